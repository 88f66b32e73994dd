"""Painted scenes: known px, boxes and masks, sources, choice, and resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.formats.polygons import decode_runs
from models.data.records import Artifact, SourceImage
from tasks.engine.run_context import RunContext
from tasks.generate.repainting.cherry_picker import fit_cherry_picker
from tasks.generate.repainting.repaint import one_per_placement, repaint
from tasks.settings.repaint import RepaintOn
from tasks.store.store import open_store
from tests.tasks.generate.repainting.cases import (
    REAL,
    painting,
    picking,
    put_placement,
    put_scene,
    put_squares,
    put_weights,
)

BOXES = [[30, 20, 8, 6], [60, 40, 8, 8]]


def open_run(folder: Path, **functions: Any) -> RunContext:
    return RunContext(open_store(folder / "store"), "test", folder / "scratch", **functions)


def paint(
    run: RunContext,
    settings: RepaintOn,
    learned: list[Artifact],
    squares: list[Artifact],
    *scenes: SourceImage,
) -> list[Artifact]:
    placements = [put_placement(run, scene, BOXES) for scene in scenes]
    return repaint.run(run, settings, scenes, placements, learned, squares, ["disc/teacher"])


def test_new_objects_join_the_real_ones_and_all_other_px_stay(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    scenes = [put_scene(run, number) for number in range(2)]
    learned = put_weights(run, tmp_path / "weights")
    images = paint(run, painting(), learned, [], *scenes)
    for scene, image in zip(scenes, images, strict=True):
        before, after = run.load(scene.image), run.load(image)
        where = np.zeros(before.shape[:2], bool)
        for x, y, width, height in BOXES:
            where[y : y + height, x : x + width] = True
        np.testing.assert_array_equal(after[~where], before[~where])
        assert (after[where] != before[where]).any(axis=-1).mean() > 0.9
        real, *new = image.metadata["objects"]
        assert real == {
            "label": "disc",
            "box": list(REAL),
            "mask": None,
            "source": scene.name,
            "is_new": False,
        }
        assert [entry["placed"] for entry in new] == BOXES
        assert all(entry["is_new"] and entry["label"] == "disc" for entry in new)
        assert image.metadata["sources"] == sorted([scene.name, "disc/teacher"])
        assert image.metadata["counted_as"] == "disc"
        assert (image.name, image.media) == (scene.name, "png")
    assert images[0].metadata["composition"] != images[1].metadata["composition"]


def test_objects_that_follow_masks_have_exactly_these(tmp_path: Path) -> None:
    run, scene = open_run(tmp_path), put_scene(open_run(tmp_path), 0)
    learned = put_weights(run, tmp_path / "weights", channels=1)
    settings = painting("masks", mask="tight")
    (image,) = paint(run, settings, learned, put_squares(run, 3), scene)
    before, after = run.load(scene.image), run.load(image)
    together = np.zeros(before.shape[:2], bool)
    for entry, box in zip(image.metadata["objects"][1:], BOXES, strict=True):
        mask = decode_runs(entry["mask"], *before.shape[:2])
        rows, columns = np.nonzero(mask)
        x, y, width, height = entry["box"]
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1, rows.max() + 1) == (x + width, y + height)
        np.testing.assert_allclose(entry["box"], box, atol=1)
        assert entry["source"].startswith("disc/")
        together |= mask
    np.testing.assert_array_equal(after[~together], before[~together])
    with pytest.raises(ValueError, match="no square of the class has a mask"):
        paint(run, settings, learned, put_squares(run, 3, with_mask=False), scene)


def test_the_best_candidate_is_taken_and_weak_ones_are_not_painted(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    scenes, squares = [put_scene(run, number) for number in range(2)], put_squares(run, 6)
    learned = put_weights(run, tmp_path / "weights")
    (picker,) = fit_cherry_picker.run(run, picking(drawn=6), "disc", scenes, squares, learned)
    assert picker.metadata["auc"] > 0.9
    assert picker.metadata["squares"] == {"real": 6, "background": 10, "drawn": 6}
    assert picker.metadata["drawn_auc"] > 0.9
    choosing = painting(candidates=3, cherry_picker={})
    (image,) = paint(run, choosing, [*learned, picker], [], scenes[0])
    for entry in image.metadata["objects"][1:]:
        assert len(entry["scores"]) == 3
        assert entry["chosen"] == int(np.argmax(entry["scores"]))
    strict = choosing.model_copy(update={"least_score": 1.0})
    assert paint(run, strict, [*learned, picker], [], scenes[0]) == []
    (rejected,) = [found for found in run.made.values() if found.reject_reason]
    assert "nothing was painted: no object: its best score is 0." in str(rejected.reject_reason)


def test_a_stopped_painting_continues_with_the_next_image(tmp_path: Path) -> None:
    finished: list[int] = []

    def on_batch(stage: str, done: int, _total: int) -> None:
        finished.extend([done] if stage == "repaint" and done else [])

    folders = tmp_path / "whole", tmp_path / "stopped"
    runs = [
        open_run(folders[0]),
        open_run(folders[1], on_batch=on_batch, is_cancelled=lambda: bool(finished)),
        open_run(folders[1]),
    ]
    images: list[Artifact] = []
    for number, run in enumerate(runs):
        scenes = [put_scene(run, at) for at in range(repaint.batch_size + 1)]
        learned = put_weights(run, tmp_path / "weights")
        if number == 1:
            with pytest.raises(KeyboardInterrupt):
                paint(run, painting(), learned, [], *scenes)
        else:
            images += paint(run, painting(), learned, [], *scenes)
    assert finished == [repaint.batch_size]
    assert runs[2].counts["repaint"].computed == 1
    whole, resumed = images[: len(images) // 2], images[len(images) // 2 :]
    assert [image.digest for image in whole] == [image.digest for image in resumed]


def test_scenes_draw_their_own_squares_and_others_change_nothing(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    scenes, squares = [put_scene(run, number) for number in range(3)], put_squares(run, 12)
    placements = [put_placement(run, scene, BOXES) for scene in scenes]
    some = painting("edges", bank=4)
    jobs = one_per_placement(some, scenes, placements, [], squares, [])
    banks = [frozenset(found.name for found in job.inputs[2:]) for job in jobs]
    assert {len(bank) for bank in banks} == {4}
    assert len(set(banks)) > 1
    renamed = [square.model_copy(update={"key": "other"}) for square in squares[::-1]]
    again = one_per_placement(some, scenes, placements, [], renamed, [])
    assert [repaint.key(job, some) for job in jobs] == [repaint.key(job, some) for job in again]
    unconditional = one_per_placement(painting(), scenes, placements, [], squares, [])
    assert all(len(job.inputs) == 2 for job in unconditional)
