"""Masked depth: the depth of the object alone, stretched to the full range, zero elsewhere."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from models.data.records import Record
from models.depth.masked import mask_depth
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class MaskedDepth(Record):
    """How the object's depth is stretched."""

    min_depth: float = Field(
        0.2, ge=0, lt=1, description="Depth of the object's farthest point, 0..1."
    )


@stage(
    "masked_depth",
    version=2,
    cost=Cost(ms=1, ms_per_mp=9, mb_per_mp=0.4),
    shown_as="the depth of the object alone",
)
def masked_depth(inputs: Sequence[StageInput], parameters: MaskedDepth) -> Iterator[StageOutput]:
    """uint16 HxW depth maps of a segmented image and its depth map.

    `min_depth` keeps the object's edge apart from the background, which is 0.
    """
    for item in inputs:
        alpha = np.ascontiguousarray(item.load(0)[..., 3])
        masked = mask_depth(item.load(1), alpha, parameters.min_depth)
        if masked is None:
            yield StageOutput(reject_reason="the mask is empty")
        else:
            yield StageOutput(masked)
