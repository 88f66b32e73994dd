"""Placements of a class in real photos: what they hold, what decides them, and what is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.formats.polygons import decode_runs
from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, Box, Record, SourceImage
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.generate.placing.place_objects import place_objects
from tasks.generate.placing.placement_picture import placement_picture
from tasks.generate.placing.real_objects import real_objects
from tasks.settings.placing import PlacementPicture, PlaceObjects
from tasks.store.store import open_store

_BOXES: tuple[Box, ...] = ((10.0, 8.0, 12.0, 9.0), (40.0, 30.0, 6.0, 6.0))


class _Nothing(Record):
    pass


def _one_each(_parameters: Record, names: Sequence[str]) -> list[Job]:
    return [Job((), {"at": at}, name=name) for at, name in enumerate(names)]


@stage("draw_scene", version=1, plan=_one_each)
def draw_scene(inputs: Sequence[StageInput], parameters: _Nothing) -> Any:
    for item in inputs:
        image = item.rng().integers(40, 60, (48, 64, 3), np.uint8)
        yield StageOutput(image, metadata={"width": 64, "height": 48})


@stage("draw_mask", version=1, plan=_one_each)
def draw_mask(inputs: Sequence[StageInput], parameters: _Nothing) -> Any:
    for _ in inputs:
        mask = np.zeros((48, 64), np.uint8)
        mask[30:36, 40:46] = 255
        yield StageOutput(mask)


def scenes_of(run: RunContext) -> list[SourceImage]:
    """Two scenes with a car and a bus each; the bus has a mask."""
    names = ("bus/a", "bus/b")
    masks = draw_mask(run, _Nothing(), ["mask"])
    car, bus = _BOXES
    notes = (Annotation(label="car", box=car), Annotation(label="bus", box=bus, mask=masks[0]))
    return [
        SourceImage(
            name=image.name, file=f"{image.name}.jpg", split="train", image=image, annotations=notes
        )
        for image in draw_scene(run, _Nothing(), names)
    ]


def region_of(run: RunContext, of: str) -> Artifact:
    """A region that holds the bus alone."""
    (mask,) = draw_mask(run, _Nothing(), ["mask"])
    return mask.model_copy(update={"variant": {"of": of}})


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    return RunContext(open_store(tmp_path / "store"), "test")


def _place(
    run: RunContext, settings: PlaceObjects, regions: Sequence[Artifact] = ()
) -> list[Artifact]:
    scenes = scenes_of(run)
    learned = real_objects(run, settings, "car", scenes)
    return place_objects(run, settings, "car", scenes, learned, regions)


def test_a_placement_lists_new_and_real_objects(run: RunContext) -> None:
    placements = _place(run, PlaceObjects(versions=2, per_scene=2, size_jitter=0.0))
    assert [(one.name, one.variant["place"]) for one in placements] == [
        ("bus/a", 0),
        ("bus/a", 1),
        ("bus/b", 0),
        ("bus/b", 1),
    ]
    contents = [run.load(one) for one in placements]
    for content, artifact in zip(contents, placements, strict=True):
        assert (content["width"], content["height"]) == (64, 48)
        assert content["placed"] == artifact.metadata["placed"]
        assert [(entry["label"], entry["box"][2:]) for entry in content["placed"]] == [
            ("car", [12, 9]),
            ("car", [12, 9]),
        ]
        car, bus = content["objects"]
        assert (car["label"], tuple(car["box"]), car["mask"]) == ("car", _BOXES[0], None)
        assert decode_runs(bus["mask"], 48, 64).sum() == 36
    assert len({str(content["placed"]) for content in contents}) == 4


def test_relevant_places_have_scores_and_versions_choose_among_the_same(run: RunContext) -> None:
    # Seeds differ between machines: features do, in their last digits. All of 24 versions lie at
    # one of two places by a chance of 1 in 8 million.
    settings = PlaceObjects(context="relevant", candidates=2, top_share=1.0, versions=24)
    placed = [run.load(one)["placed"] for one in _place(run, settings)[:24]]
    assert len({str(places) for places in placed}) == 2
    for places in placed:
        (place,) = places
        assert place["context"] == "relevant"
        assert 0 < place["score"] < 1


def test_settings_of_relevant_context_don_t_change_random_placements() -> None:
    job = Job((), {"place": 0})
    keys = {
        place_objects.key(job, settings)
        for settings in (PlaceObjects(), PlaceObjects(candidates=9), PlaceObjects(versions=4))
    }
    assert len(keys) == 1
    assert place_objects.key(job, PlaceObjects(per_scene=2)) not in keys


def test_boxes_of_the_photos_are_part_of_the_keys(run: RunContext) -> None:
    scenes = scenes_of(run)
    moved = scenes[0].annotations[0].model_copy(update={"box": (11.0, 8.0, 12.0, 9.0)})
    changed = scenes[0].model_copy(update={"annotations": (moved, scenes[0].annotations[1])})
    first = real_objects(run, PlaceObjects(), "car", scenes)
    second = real_objects(run, PlaceObjects(), "car", [changed, scenes[1]])
    assert first[0].key != second[0].key
    placements = [
        place_objects(run, PlaceObjects(), "car", [scene], first)[0]
        for scene in (scenes[0], changed)
    ]
    assert placements[0].key != placements[1].key


@pytest.mark.parametrize("of", ["", "a"])
def test_a_region_without_a_free_place_rejects_the_placement(run: RunContext, of: str) -> None:
    assert _place(run, PlaceObjects(), [region_of(run, of)]) == []
    reasons = {
        artifact.name: artifact.reject_reason
        for artifact in run.made.values()
        if artifact.stage == "place_objects"
    }
    full = "no free place for an object of a real size"
    missing = "no region: no mask of `regions` is named like the photo"
    assert reasons == {"bus/a": full, "bus/b": missing if of else full}


def test_a_class_without_a_box_is_refused(run: RunContext) -> None:
    bare = [
        scene.model_copy(update={"annotations": (Annotation(label="car"),)})
        for scene in scenes_of(run)
    ]
    with pytest.raises(ValueError, match="class 'car': no photo has a box of it"):
        real_objects(run, PlaceObjects(), "car", bare)


def test_a_picture_shows_each_placement(run: RunContext) -> None:
    scenes, settings = scenes_of(run), PlaceObjects(versions=2)
    placements = _place(run, settings)
    drawing = PlacementPicture(region=settings.region, longest_side=128)
    pictures = placement_picture(run, drawing, scenes, placements)
    assert [(one.name, one.variant["place"]) for one in pictures] == [
        (one.name, one.variant["place"]) for one in placements
    ]
    assert run.load(pictures[0]).shape[1] == 128


def test_only_photos_of_some_classes_are_scenes(run: RunContext) -> None:
    first, second = scenes_of(run)
    none = (Annotation(label=NO_OBJECT_LABEL),)
    scenes = [first, second.model_copy(update={"annotations": none})]
    learned = real_objects(run, PlaceObjects(), "car", [first])
    everywhere = place_objects(run, PlaceObjects(), "car", scenes, learned)
    assert [placement.name for placement in everywhere] == [scene.name for scene in scenes]
    for classes, expected in (((NO_OBJECT_LABEL,), [second.name]), (("bus",), [first.name])):
        settings = PlaceObjects(scene_classes=classes)
        placed = place_objects(run, settings, "car", scenes, learned)
        assert [placement.name for placement in placed] == expected
        # The same photos get the same places.
        assert {placement.key for placement in placed} <= {made.key for made in everywhere}
