"""Annotate: the mask and the box of each object, at the size that datasets hold."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import decode_runs, encode_mask
from models.data.records import Artifact, Record
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Annotate(Record):
    """The size of a mask, which is that of the dataset's images."""

    longest_side: int = Field(512, ge=32, le=4096, description="Longer side at most, px.")


def masks_of_each(_parameters: Annotate, images: Sequence[Artifact]) -> list[Job]:
    """A job per object that has a mask: those in the image's metadata, or else the one in its
    alpha channel. A grey image is a mask itself."""
    jobs = []
    for image in images:
        if "objects" in image.metadata:
            jobs += [
                Job((image,), {"object": number})
                for number, entry in enumerate(image.metadata["objects"])
                if entry["mask"] is not None
            ]
        elif image.shape is None or len(image.shape) == 2 or image.shape[2] == 4:
            jobs.append(Job((image,)))
    return jobs


@stage(
    "annotate",
    version=1,
    plan=masks_of_each,
    cost=Cost(
        ms=0.5,
        ms_per_mp=1.5,
        mb_per_mp=0.02,
        megapixels=lambda parameters, mp: min(mp, parameters.longest_side**2 * 0.75 / 1e6),
    ),
)
def annotate(inputs: Sequence[StageInput], parameters: Annotate) -> Iterator[StageOutput]:
    """8-bit masks, 255 = object; ``metadata`` has the box (x, y, width, height) in px,
    the area in px, and the mask as COCO's run lengths."""
    for item in inputs:
        alpha = pixels.fit_within(_alpha(item), parameters.longest_side)
        mask = alpha >= 128
        box = box_of_mask(mask)
        yield StageOutput(
            np.where(mask, 255, 0).astype(np.uint8),
            metadata={
                "boxes": [] if box is None else [list(box)],
                "rle": encode_mask(mask),
                "area": int(mask.sum()),
            },
        )


def _alpha(item: StageInput) -> Any:
    content = item.load()
    number = item.job.variant.get("object")
    if number is not None:
        height, width = content.shape[:2]
        entry = item.job.inputs[0].metadata["objects"][int(number)]
        return np.where(decode_runs(entry["mask"], height, width), 255, 0).astype(np.uint8)
    return content if content.ndim == 2 else content[..., 3]
