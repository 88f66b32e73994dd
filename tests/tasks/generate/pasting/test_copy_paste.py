"""Cutting out by box, the bank of a photo, and scenes whose versions share their labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.records import Annotation, Artifact, Record, SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.pasting.backdrop import backdrop
from tasks.generate.pasting.compose_scenes import choose_bank, compose_scenes
from tasks.generate.pasting.cut_out import cut_out
from tasks.generate.pasting.object_crop import object_crop
from tasks.generate.segment import segment
from tasks.screen.measure import Measure, measure
from tasks.screen.screen import Screen, screen
from tasks.settings.copy_paste import ComposeScenes, CutOuts, ObjectCrop, SizedBackdrops
from tasks.settings.segment import SegmentGrabCut
from tasks.store.store import open_store

NAMES = ("disc/1", "disc/2", "block/1")
SMALL = {"width": 96, "height": 72, "per_photo": 3, "blends": 4, "max_distractors": 0}


class Nothing(Record):
    pass


def one_each(_parameters: Record, names: Sequence[str]) -> list[Job]:
    return [Job((), {"at": at}, name=name) for at, name in enumerate(names)]


@stage("draw", version=1, plan=one_each)
def photo(inputs: Sequence[StageInput], parameters: Nothing) -> Any:
    for item in inputs:
        image = np.full((60, 90, 3), 40, np.uint8)
        image += np.random.default_rng(0).integers(0, 20, image.shape, np.uint8)
        image[20:40, 30:60] = (220, 60 * int(item.job.variant["at"]), 30)
        yield StageOutput(image)


def cut_outs_of(run: RunContext, box: tuple[float, ...] | None) -> list[Artifact]:
    photos = [
        SourceImage(
            name=image.name,
            file=f"{image.name}.png",
            split="train",
            image=image,
            annotations=(Annotation(label=image.name.partition("/")[0], box=box),),
        )
        for image in photo(run, Nothing(), NAMES)
    ]
    crops = object_crop(run, ObjectCrop(box_margin=0.5), photos)
    settings = SegmentGrabCut(min_score=0, min_compactness=0)
    return cut_out(run, CutOuts(clean_edge=False), segment(run, settings, crops), 0.5)


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def test_an_object_is_cut_out_within_its_box(run: RunContext) -> None:
    for artifact in cut_outs_of(run, (32.0, 22.0, 20.0, 10.0)):
        height, width = run.load(artifact).shape[:2]
        assert 8 <= height <= 10
        assert 16 <= width <= 20


def test_a_bank_holds_its_own_class_unless_scenes_mix_classes(run: RunContext) -> None:
    made = {"all": cut_outs_of(run, None)}
    bank = choose_bank(ComposeScenes(), "disc/1", made)
    assert [artifact.name for artifact in bank] == ["disc/1", "disc/2"]
    mixed = choose_bank(ComposeScenes(one_class_share=0.5), "disc/1", made)
    assert sorted(artifact.name for artifact in mixed) == sorted(NAMES)
    assert len(choose_bank(ComposeScenes(one_class_share=0.5, bank=1), "block/1", made)) == 2


def test_objects_of_a_photo_of_several_classes_keep_their_classes(run: RunContext) -> None:
    (image,) = photo(run, Nothing(), ["disc/1"])
    boxes = {"block": (28.0, 18.0, 34.0, 24.0), "disc": (32.0, 22.0, 20.0, 10.0)}
    scene = SourceImage(
        name=image.name,
        file="1.png",
        split="train",
        image=image,
        annotations=tuple(Annotation(label=name, box=box) for name, box in boxes.items()),
        counted_as="disc",
    )
    settings = SegmentGrabCut(min_score=0, min_compactness=0)
    crops = segment(run, settings, object_crop(run, ObjectCrop(box_margin=0.5), [scene]))
    made = {"disc": cut_out(run, CutOuts(clean_edge=False), crops, 0.5)}
    (own,) = choose_bank(ComposeScenes(), "disc/1", made)
    assert own.variant["cut_out"] == 1
    mixed = ComposeScenes(**SMALL, one_class_share=0, min_objects=2, max_objects=2)
    made |= {"none": backdrop(run, SizedBackdrops(width=120, height=90), [])}
    bank = choose_bank(mixed, "disc/1", made)
    images = compose_scenes(run, mixed, "disc/1", bank)
    labels = [sorted(entry["label"] for entry in i.metadata["objects"]) for i in images]
    assert labels
    assert all(found == ["block", "disc"] for found in labels)


def test_versions_of_a_scene_differ_in_blending_alone_and_are_no_near_duplicates(
    run: RunContext,
) -> None:
    bank = cut_outs_of(run, None) + backdrop(run, SizedBackdrops(count=2, width=120, height=90), [])
    scenes = compose_scenes(run, ComposeScenes.model_validate(SMALL), "disc/1", bank)
    assert len(scenes) == 12
    for first in range(0, 12, 4):
        versions = scenes[first : first + 4]
        assert len({str(version.metadata["objects"]) for version in versions}) == 1
        assert len({version.digest for version in versions}) == 4
        assert {version.metadata["blending"] for version in versions} == {
            "none",
            "alpha",
            "gaussian",
            "box",
        }
    limits = Screen(min_sharpness=0, min_contrast=0, max_cut=1, max_object=1)
    (verdicts,) = screen(run, limits, measure(run, Measure(), scenes), [])
    for scene, verdict in zip(scenes, run.load(verdicts)["images"], strict=True):
        assert verdict["accepted"] or "sibling" in verdict["reason"]
        assert verdict["scores"]["object_fraction"] > 0
        assert scene.metadata["sources"][0].startswith("disc/")
    assert sum(verdict["accepted"] for verdict in run.load(verdicts)["images"]) >= 4


def test_scenes_are_the_same_bytes_in_another_store(run: RunContext, tmp_path: Path) -> None:
    other = RunContext(open_store(tmp_path / "other"), "other")
    digests = []
    for context in (run, other):
        empty = backdrop(context, SizedBackdrops(count=2, width=120, height=90), [])
        bank = cut_outs_of(context, None) + empty
        scenes = compose_scenes(context, ComposeScenes.model_validate(SMALL), "disc/1", bank)
        digests.append([scene.digest for scene in scenes])
    assert digests[0] == digests[1]
