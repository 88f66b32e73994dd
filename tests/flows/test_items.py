"""Work items: what a generator needs of its reference photos is checked before anything runs."""

from dataclasses import replace

import pytest

from flows.generators.multiview import GENERATOR
from flows.items import require_annotations
from models.data.records import Annotation, Artifact, SourceImage


def reference(note: Annotation) -> SourceImage:
    image = Artifact(
        key="p", stage="ingest", version=1, name="mug/a", media="png", digest="d", size=1
    )
    return SourceImage(
        name="mug/a", file="mug/a.png", split="train", image=image, annotations=(note,)
    )


def test_a_generator_that_needs_boxes_names_the_photo_without_one() -> None:
    boxed = replace(GENERATOR, needs=frozenset({"boxes"}))
    require_annotations(boxed, [reference(Annotation(label="mug", box=(1, 2, 3, 4)))])
    with pytest.raises(ValueError, match=r"multiview: it needs boxes, and mug/a\.png has none"):
        require_annotations(boxed, [reference(Annotation(label="mug"))])


def test_a_generator_that_needs_masks_names_the_photo_without_one() -> None:
    masked = replace(GENERATOR, needs=frozenset({"boxes", "masks"}))
    note = Annotation(label="mug", box=(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"it needs masks, and mug/a\.png has none"):
        require_annotations(masked, [reference(note)])
    mask = reference(note).image
    require_annotations(masked, [reference(note.model_copy(update={"mask": mask}))])


def test_multiview_needs_no_annotations() -> None:
    require_annotations(GENERATOR, [reference(Annotation(label="mug"))])
