"""Inpainted scenes: prompts, known px, boxes, sources, and what is rejected."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.pixels import encode_png
from models.data.records import Annotation, Artifact, Media, SourceImage
from models.diffusion.inpaint.request import InpaintRequest
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sd15.inpaint import Sd15Inpaint
from models.diffusion.sdxl.inpaint import SdxlInpaint
from tasks.engine.run_context import RunContext
from tasks.generate.inpaint import inpaint
from tasks.settings.inpaint import Inpaint, InpaintSd15, InpaintSdxl, inpaint_for
from tasks.store.layout import digest_of
from tasks.store.store import open_store

BOXES = [[30, 20, 12, 9], [60, 40, 8, 8]]
REAL = {"label": "mug", "box": [2, 3, 10, 8], "mask": None}
SMALL = {"size": 64, "find_mask": False}
Calls = list[tuple[Any, tuple[str, ...], list[InpaintRequest]]]


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What networks are asked; each inverts the whole square, or finds the prompt unsafe."""
    calls: Calls = []

    def infer(kind: type, references: Sequence[str], requests: Sequence[InpaintRequest]) -> Any:
        calls.append((kind, tuple(references), list(requests)))
        unsafe = UnsafeImage("flagged as not safe for work once")
        return [
            unsafe if "unsafe" in request.prompt else SafeImage(255 - request.image)
            for request in requests
        ]

    monkeypatch.setattr("models.runtime.network_pool.infer", infer)
    return calls


def put(run: RunContext, stage: str, name: str, blob: bytes, media: Media, **fields: Any) -> Any:
    digest = digest_of(blob)
    key = digest_of(json.dumps([stage, name, digest]).encode())
    artifact = Artifact(
        key=key, stage=stage, version=1, name=name, media=media, digest=digest, size=len(blob),
        **fields,
    )  # fmt: skip
    run.store.put(artifact, blob)
    return artifact


def scenes_of(run: RunContext, count: int) -> tuple[list[SourceImage], list[Artifact]]:
    """Scenes of noise, and where two new mugs go in each."""
    scenes, placements = [], []
    placed = [{"label": "mug", "box": box, "context": "random", "score": None} for box in BOXES]
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 120, (70, 90, 3), np.uint8)
        image = put(run, "ingest", f"mug/{number}", encode_png(pixels), "png")
        note = Annotation(label="mug", box=(2.0, 3.0, 10.0, 8.0))
        scenes.append(
            SourceImage(
                name=image.name, file=image.name, split="train", image=image, annotations=(note,)
            )
        )
        content = {"width": 90, "height": 70, "placed": placed, "objects": [REAL]}
        blob, variant = json.dumps(content).encode(), {"label": "mug", "place": 0}
        made = put(run, "place_objects", image.name, blob, "json", variant=variant)
        placements.append(made)
    return scenes, placements


def paint(run: RunContext, settings: Inpaint, count: int = 2) -> list[Artifact]:
    scenes, placements = scenes_of(run, count)
    images: list[Artifact] = inpaint.run(
        run, inpaint_for(settings, len(BOXES)), scenes, placements, ["mug/teacher"]
    )
    return images


@pytest.mark.parametrize(
    ("settings", "network", "prompt"),
    [
        (InpaintSd15(**SMALL), Sd15Inpaint, "a photo of a mug"),
        (InpaintSdxl(**SMALL, templates=("(a {label})1.2",)), SdxlInpaint, "(a mug)1.2"),
        (InpaintSd15(**SMALL, templates=("(a {label})1.2",)), Sd15Inpaint, "a mug"),
    ],
)
def test_new_objects_join_the_real_ones_and_all_other_px_stay(
    run: RunContext, calls: Calls, settings: Inpaint, network: type, prompt: str
) -> None:
    images = paint(run, settings)
    assert {(kind, checkpoints) for kind, checkpoints, _ in calls} == {
        (network, settings.checkpoints)
    }
    # The squares of a scene overlap: its objects are painted one after another.
    assert [len(requests) for _, _, requests in calls] == [2, 2]
    requests = [request for _, _, round_ in calls for request in round_]
    assert {request.prompt for request in requests} == {prompt}
    assert {request.image.shape for request in requests} == {(64, 64, 3)}
    assert len({request.seed for request in requests}) == 4
    scenes, _ = scenes_of(run, 2)
    for scene, image in zip(scenes, images, strict=True):
        before, after = run.load(scene.image), run.load(image)
        where = np.zeros(before.shape[:2], bool)
        for x, y, width, height in BOXES:
            reach = int(np.ceil(0.1 * max(width, height)))
            where[y - reach : y + height + reach, x - reach : x + width + reach] = True
        np.testing.assert_array_equal(after[~where], before[~where])
        assert (after[where] != before[where]).any(axis=-1).all()
        real, *new = image.metadata["objects"]
        assert real == {**REAL, "source": scene.name, "is_new": False}
        assert [entry["box"] for entry in new] == [entry["placed"] for entry in new] == BOXES
        assert image.metadata["sources"] == sorted([scene.name, "mug/teacher"])
        assert (image.metadata["counted_as"], image.name) == ("mug", scene.name)
        assert image.prompt == prompt
    assert images[0].metadata["composition"] != images[1].metadata["composition"]


def test_prompts_of_other_classes_are_no_part_of_the_key(run: RunContext, calls: Calls) -> None:
    first = paint(run, InpaintSd15(**SMALL))
    same = paint(run, InpaintSd15(**SMALL, prompts={"cup": ("a cup",)}))
    assert [image.key for image in same] == [image.key for image in first]
    other = paint(run, InpaintSd15(**SMALL, prompts={"mug": ("a mug on a desk",)}))
    assert {image.key for image in other}.isdisjoint(image.key for image in first)


def test_a_scene_of_which_every_object_is_flagged_is_rejected(
    run: RunContext, calls: Calls
) -> None:
    assert paint(run, InpaintSd15(**SMALL, templates=("an unsafe {label}",)), 1) == []
    (rejected,) = [made for made in run.made.values() if made.reject_reason]
    assert rejected.reject_reason == "nothing was painted: flagged as not safe for work once"
