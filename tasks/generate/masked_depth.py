"""Masked depth: the depth of the object alone, stretched to the full range, zero elsewhere."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.records import Record
from tasks.engine.stage import StageInput, StageOutput, stage


class MaskedDepth(Record):
    """How the object's depth is stretched."""

    floor: float = Field(0.2, ge=0, lt=1, description="Depth of the object's farthest point, 0..1.")


@stage("masked_depth", version=1)
def masked_depth(inputs: Sequence[StageInput], parameters: MaskedDepth) -> Iterator[StageOutput]:
    """16-bit depth maps from a segmented image and its depth; ``floor`` keeps the rim off zero."""
    for item in inputs:
        alpha = pixels.matte(item.load(0))
        near = item.load(1).astype(np.float32) / 65535.0
        inside = near[alpha > 0.5]
        if inside.size == 0:
            yield StageOutput(reject_reason="the mask is empty")
            continue
        low, high = float(inside.min()), float(inside.max())
        stretched = np.clip((near - low) / max(high - low, 1e-6), 0, 1)
        levels = (parameters.floor + (1 - parameters.floor) * stretched) * alpha
        yield StageOutput(np.rint(levels * 65535).astype(np.uint16))
