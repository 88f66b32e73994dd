"""Segmentation refuses photos without masks at the start, in one line."""

import pytest

from models.data.records import Annotation, Artifact, SourceImage
from tasks.assemble.ground_truth import require_masks


def test_photos_without_masks_are_counted_and_one_is_named() -> None:
    image = Artifact(
        key="abc", stage="ingest", version=1, name="cup/a", media="png", digest="0", size=1
    )
    bare = SourceImage(
        name="cup/a",
        file="cup/a.jpg",
        split="train",
        image=image,
        annotations=(Annotation(label="cup"),),
    )
    masked = bare.model_copy(update={"annotations": (Annotation(label="cup", mask=image),)})
    require_masks([masked])
    with pytest.raises(ValueError, match=r"1 of 2 photos have none, such as cup/a\.jpg"):
        require_masks([masked, bare])
