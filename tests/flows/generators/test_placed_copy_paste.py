"""Copy-paste into real photos: its places are those of the shared stage, and all is labelled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.config.recipe import load_recipe
from flows.generators.catalog import find_generator
from flows.planning import plan_generator
from models.data.formats.polygons import decode_runs
from models.data.records import Annotation, Artifact, Box, Record, SourceImage
from tasks.assemble.resize import Resize
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.generate.pasting.compose_scenes import compose_scenes
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.real_objects import real_objects
from tasks.settings.copy_paste import ComposeScenes
from tasks.settings.placing import PlaceObjects
from tasks.store.store import open_store

_CHANGES = [
    "generators={copy_paste: {classes: [car], cut_outs: {min_side: 4}, scenes: {blends: 2,"
    " placing: {versions: 2, per_scene: 2}}}}"
]
_CAR: Box = (10.0, 8.0, 16.0, 12.0)
_BUS: Box = (60.0, 50.0, 24.0, 20.0)


class _Nothing(Record):
    pass


def _one_each(_parameters: Record, names: Sequence[str]) -> list[Job]:
    return [Job((), {"at": at}, name=name) for at, name in enumerate(names)]


@stage("draw_street", version=1, plan=_one_each)
def draw_street(inputs: Sequence[StageInput], parameters: _Nothing) -> Any:
    for item in inputs:
        image = item.rng().integers(40, 60, (80, 96, 3), np.uint8)
        image[8:20, 10:26] = (220, 40, 30)
        image[50:70, 60:84] = (30, 40, 220)
        yield StageOutput(image, metadata={"width": 96, "height": 80})


def _photos(run: RunContext) -> list[SourceImage]:
    notes = (Annotation(label="bus", box=_BUS), Annotation(label="car", box=_CAR))
    return [
        SourceImage(
            name=image.name,
            file=f"{image.name}.png",
            split="train",
            image=image,
            annotations=notes,
            counted_as="bus",
        )
        for image in draw_street(run, _Nothing(), ["bus/a", "bus/b"])
    ]


def _item(phase: str, name: str, photos: Sequence[SourceImage], *inputs: Artifact) -> WorkItem:
    return WorkItem(
        generator="copy_paste", phase=phase, name=name, key="", sources=tuple(photos), inputs=inputs
    )


def test_scenes_are_the_photos_with_objects_at_the_places_of_the_stage(tmp_path: Path) -> None:
    run = RunContext(open_store(tmp_path / "store"), "test")
    generator, photos = find_generator("copy_paste"), _photos(run)
    settings = load_recipe("demo", _CHANGES).generators["copy_paste"]
    bank, scenes = generator.phases
    made = {
        label: bank.run(run, settings, _item("bank", label, photos), SharedInputs())
        for label in ("bus", "car")
    }
    assert made["bus"] == []
    assert scenes.choose_inputs is not None
    inputs = scenes.choose_inputs(settings, photos[:1], made)
    images = scenes.run(run, settings, _item("scenes", "a", photos[:1], *inputs), SharedInputs())
    assert [(one.variant["place"], one.variant["blend"]) for one in images] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]

    placing = PlaceObjects(versions=2, per_scene=2)
    learned = real_objects(run, placing, "car", photos)
    placements = place_objects(run, placing, "car", photos[:1], learned)
    assert [image.parents[1] for image in images[::2]] == [one.id for one in placements]
    assert run.counts["place_objects"].computed == 2

    for image, placement in zip(images[::2], placements, strict=True):
        bus, car, *new = image.metadata["objects"]
        assert [(entry["label"], tuple(entry["box"])) for entry in (bus, car)] == [
            ("bus", _BUS),
            ("car", _CAR),
        ]
        assert not bus["is_new"]
        assert image.metadata["counted_as"] == "car"
        assert "bus/a" in image.metadata["sources"]
        before, after = run.load(photos[0].image), run.load(image)
        for entry, place in zip(new, placement.metadata["placed"], strict=True):
            assert entry["is_new"]
            mask = decode_runs(entry["mask"], 80, 96)
            x, y, width, height = place["box"]
            assert mask[y : y + height, x : x + width].sum() == mask.sum() > 0
            assert after[mask][:, 0].mean() > before[mask][:, 0].mean() + 80
            assert entry["source"] in image.metadata["sources"]
    assert len({image.metadata["composition"] for image in images}) == 1


def test_the_plan_counts_placements_and_versions() -> None:
    settings = load_recipe("demo", _CHANGES).generators["copy_paste"]
    planned, images = plan_generator(find_generator("copy_paste"), settings, 6, 2, Resize())
    assert images == 6 * 2 * 2
    assert planned.stages["place_objects"].artifacts == 12
    assert planned.stages["placement_picture"].artifacts == 12


def test_scenes_with_new_backgrounds_keep_their_keys() -> None:
    job = Job((), {"scene": 0, "blend": 0})
    usual = ComposeScenes()
    assert compose_scenes.key(job, usual.model_copy(update={"placing": PlaceObjects()})) == (
        compose_scenes.key(job, usual)
    )


@pytest.mark.parametrize("label", ["car", "bus"])
def test_every_photo_is_a_scene_for_the_named_classes(label: str) -> None:
    generator = find_generator("copy_paste")
    settings = load_recipe("demo", _CHANGES).generators["copy_paste"]
    assert generator.makes_images_of(settings, label)
