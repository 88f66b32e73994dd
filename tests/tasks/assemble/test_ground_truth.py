"""Ground truth: documents of masks and boxes, and photos that lack them, refused in one line."""

from pathlib import Path

import pytest

from models.data.records import NO_OBJECT_LABEL, Annotation, Artifact, Sample, SourceImage
from tasks.assemble.ground_truth import (
    GroundTruth,
    ground_truth,
    object_boxes,
    require_boxes,
    require_masks,
)
from tasks.engine.run_context import RunContext, StageCount
from tasks.store.store import open_store
from tests.tasks.assemble.cases import samples

IMAGE = Artifact(
    key="abc", stage="ingest", version=1, name="cup/a", media="png", digest="0", size=1
)
BARE = SourceImage(
    name="cup/a",
    file="cup/a.jpg",
    split="train",
    image=IMAGE,
    annotations=(Annotation(label="cup"),),
)
MASKED = BARE.model_copy(update={"annotations": (Annotation(label="cup", mask=IMAGE),)})
EMPTY = BARE.model_copy(update={"annotations": (Annotation(label=NO_OBJECT_LABEL),)})


def test_photos_without_masks_are_counted_and_one_is_named() -> None:
    require_masks([MASKED, EMPTY])
    with pytest.raises(ValueError, match=r"1 of 2 photos have none, such as cup/a\.jpg"):
        require_masks([MASKED, BARE])


def test_masks_give_boxes_and_photos_without_either_are_counted() -> None:
    boxed = BARE.model_copy(update={"annotations": (Annotation(label="cup", box=(1, 2, 3, 4)),)})
    require_boxes([boxed, MASKED, EMPTY])
    with pytest.raises(ValueError, match=r"detection needs boxes, and 1 of 3 photos have none"):
        require_boxes([boxed, MASKED, BARE])


def with_notes(sample: Sample, *notes: Annotation) -> Sample:
    return sample.model_copy(update={"annotations": notes})


def test_boxes_are_listed_by_image_and_an_image_without_an_object_has_none(tmp_path: Path) -> None:
    first, second = samples("", {"cell": 2})
    cells = [
        Annotation(label="cell", box=(0.5, 2, 3, 4)),
        Annotation(label="dot", box=(1, 1, 2, 2)),
    ]
    run = RunContext(open_store(tmp_path / "store"), "test")

    def describe(*listed: Sample) -> object:
        return run.load(object_boxes(run, GroundTruth(), "real", listed)[0])

    empty = with_notes(second, Annotation(label=NO_OBJECT_LABEL))
    assert describe(with_notes(first, *cells), empty) == {
        first.image.id: [["cell", [0.5, 2, 3, 4]], ["dot", [1, 1, 2, 2]]],
        second.image.id: [],
    }
    # A box that moved is another document.
    moved = cells[0].model_copy(update={"box": (1.5, 2, 3, 4)})
    describe(with_notes(first, moved, cells[1]), empty)
    assert run.counts["object_boxes"] == StageCount(computed=2)
    with pytest.raises(ValueError, match=r"cell/real0 \(photo\): an object has no box"):
        describe(first)


def test_masks_are_listed_by_image_and_an_image_without_an_object_has_none(tmp_path: Path) -> None:
    first, second = samples("", {"cell": 2})
    run = RunContext(open_store(tmp_path / "store"), "test")
    masked = with_notes(first, Annotation(label="cell", mask=IMAGE))
    empty = with_notes(second, Annotation(label=NO_OBJECT_LABEL))
    (made,) = ground_truth(run, GroundTruth(), "real", [masked, empty])
    assert run.load(made) == {first.image.id: [["cell", IMAGE.id]], second.image.id: []}
