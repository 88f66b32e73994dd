"""Label: the object's mask and box in a finished image, at the size the dataset holds it."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.records import Record
from models.screening.quality import boxes_from_mask
from tasks.engine.stage import StageInput, StageOutput, stage


class Label(Record):
    """Size of a mask; the same as the images'."""

    longest_side: int = Field(512, ge=32, le=4096, description="Longer side at most, px.")


@stage("label", version=1)
def label(inputs: Sequence[StageInput], parameters: Label) -> Iterator[StageOutput]:
    """8-bit masks, 255 = object; ``facts`` give the boxes (x, y, width, height) in pixels."""
    for item in inputs:
        alpha = pixels.fit_within(item.load()[..., 3], parameters.longest_side)
        mask = alpha >= 128
        boxes = [list(box) for box in boxes_from_mask(mask)]
        yield StageOutput(np.where(mask, 255, 0).astype(np.uint8), metadata={"boxes": boxes})
