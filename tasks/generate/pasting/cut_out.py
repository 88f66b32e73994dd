"""Cut-out: an object without its surroundings, ready to be pasted into scenes."""

import json
import math
from collections.abc import Iterator, Sequence

import numpy as np

from models.compositing.cut_out import trim_cut_out
from models.compositing.edge import clean_edge, edge_width
from models.data.pixels import Pixels
from models.data.records import Artifact
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage
from tasks.settings.copy_paste import CutOuts

# Smaller objects would lose too much of themselves with their edge.
_LEAST_SIDE_TO_CLEAN = 64


def within_boxes(_parameters: CutOuts, images: Sequence[Artifact], box_margin: float) -> list[Job]:
    """A job per image; its variant has the box in px of the image, if its object has one."""
    jobs = []
    for image in images:
        variant: dict[str, int | str] = {}
        if "box" in image.variant:
            x, y, width, height = json.loads(str(image.variant["box"]))
            left = max(0, math.floor(x - box_margin * width))
            top = max(0, math.floor(y - box_margin * height))
            variant["within"] = json.dumps([x - left, y - top, width, height])
        jobs.append(Job((image,), variant))
    return jobs


@stage(
    "cut_out",
    version=1,
    plan=within_boxes,
    cost=Cost(ms=3, ms_per_mp=60, mb_per_mp=0.8),
    shown_as="the photo's objects, cut out",
)
def cut_out(inputs: Sequence[StageInput], parameters: CutOuts) -> Iterator[StageOutput]:
    """RGB + alpha, uint8, cropped to the object; objects that are too small are rejected."""
    for item in inputs:
        image = item.load().copy()
        if "within" in item.job.variant:
            _clear_outside(image, json.loads(str(item.job.variant["within"])))
        trimmed = trim_cut_out(image, parameters.longest_side)
        if (
            parameters.clean_edge
            and trimmed is not None
            and min(trimmed.shape[:2]) >= _LEAST_SIDE_TO_CLEAN
        ):
            clean = clean_edge(trimmed, edge_width(trimmed.shape[:2]))
            trimmed = trim_cut_out(clean, parameters.longest_side)
        if trimmed is None:
            yield StageOutput(reject_reason="no object found: its mask is empty")
        elif max(trimmed.shape[:2]) < parameters.min_side:
            height, width = trimmed.shape[:2]
            yield StageOutput(reject_reason=f"object too small: {width}x{height} px")
        else:
            yield StageOutput(trimmed)


def _clear_outside(image: Pixels, box: Sequence[float]) -> None:
    """Make an image transparent outside of a box (x, y, width, height in px)."""
    x, y, width, height = box
    inside = np.zeros(image.shape[:2], np.bool_)
    rows = slice(math.floor(y), math.ceil(y + height))
    inside[rows, math.floor(x) : math.ceil(x + width)] = True
    image[~inside, 3] = 0
