"""Samples of photos and of generated scenes: boxes, the class they are counted in, their names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, Sample, SourceImage
from tasks.assemble.samples import make_samples, real_sample
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import WorkItem
from tasks.store.store import open_store
from tests.tasks.assemble.cases import stored_image

CELL = {"label": "cell", "box": [10.0, 20.0, 30.0, 40.0], "mask": None}
SPOT = {"label": "spot", "box": [50.0, 5.0, 8.0, 8.0], "mask": None}


def painted(folder: Path, **metadata: Any) -> Sample:
    """The sample of an image of 100 x 80 px that a generator painted into the photo cell/a."""
    run = RunContext(open_store(folder / "store"), "test")
    image = stored_image(run.store, "cell/a", np.zeros((80, 100, 3), np.uint8))
    image = image.model_copy(update={"metadata": metadata, "variant": {"place": 2}})
    half = {"width": 50, "height": 40}
    jpeg = image.model_copy(update={"key": "j", "parents": (image.id,), "metadata": half})
    photo = scene(image, Annotation(label="cell", box=(10, 20, 30, 40)))
    item = WorkItem(
        generator="ddpm_repaint", phase="paint", name="shard 0", key="", sources=(photo,)
    )
    verdict = {image.id: {"reason": None, "scores": {}}}
    (sample,) = make_samples(run, item, [image], verdict, [jpeg], [])
    return sample


def scene(image: Artifact, *notes: Annotation, counted_as: str = "") -> SourceImage:
    return SourceImage(
        name="cell/a",
        file="a.jpg",
        split="train",
        image=image,
        annotations=notes,
        counted_as=counted_as,
    )


def test_a_scene_is_counted_as_its_generator_says_and_keeps_all_objects(tmp_path: Path) -> None:
    sample = painted(
        tmp_path, objects=[CELL, SPOT], counted_as="spot", sources=["cell/a", "spot/b"]
    )
    assert sample.annotations == (
        Annotation(label="cell", box=(5, 10, 15, 20)),
        Annotation(label="spot", box=(25, 2.5, 4, 4)),
    )
    assert (sample.label, sample.counted_as) == ("spot", "spot")
    # Its file lies in the folder of the class that it is counted in.
    assert sample.name == "spot/cell/a_place2"
    assert sample.sources == ("cell/a", "spot/b")


def test_a_scene_without_an_object_is_no_example_of_its_class(tmp_path: Path) -> None:
    sample = painted(tmp_path, objects=[], counted_as="cell")
    assert sample.annotations == (Annotation(label=NO_OBJECT_LABEL),)
    assert (sample.label, sample.name) == ("cell", "cell/a_place2")
    other = painted(tmp_path, objects=[])
    assert other.annotations == (Annotation(label="cell"),)


@pytest.mark.parametrize("has_box", [False, True])
def test_the_box_of_a_photo_is_given_or_that_of_its_mask(has_box: bool, tmp_path: Path) -> None:
    run = RunContext(open_store(tmp_path / "store"), "test")
    image = stored_image(run.store, "cell/a", np.zeros((90, 30, 3), np.uint8))
    image = image.model_copy(update={"metadata": {"width": 30, "height": 90}})
    small = image.model_copy(update={"metadata": {"boxes": [[1, 2, 3, 4]]}})
    jpeg = image.model_copy(update={"metadata": {"width": 10, "height": 30}})
    note = Annotation(label="cell", box=(10, 20, 15, 40) if has_box else None, mask=image)
    photo = scene(image, note, Annotation(label="spot", box=(0, 0, 3, 3)), counted_as="spot")
    sample = real_sample(photo, jpeg, {image.id: small})
    expected = (3.333333, 6.666667, 5.0, 13.333333) if has_box else (1, 2, 3, 4)
    assert sample.annotations[0].box == expected
    assert sample.counted_as == "spot"
