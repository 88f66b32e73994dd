"""Annotate: the mask and the box of each object, at the size that datasets hold."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from pydantic import Field

from models.data import pixels
from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import decode_runs, encode_mask
from models.data.pixels import Pixels
from models.data.records import Artifact, Record
from models.data.trimaps import is_trimap, solid_mask
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.planning_run import Cost
from tasks.engine.stage import stage


class Annotate(Record):
    """The size of a mask, which is that of the dataset's images."""

    longest_side: int = Field(512, ge=32, le=4096, description="Longer side at most, px.")


def masks_of_each(_parameters: Annotate, images: Sequence[Artifact]) -> list[Job]:
    """A job per object that has a mask: those in the image's metadata, or else the one in its
    alpha channel. A grey image is a mask itself.

    Masks of the metadata are no part of an image's bytes, so their digest is part of the key.
    """
    jobs = []
    for image in images:
        if "objects" in image.metadata:
            for number, entry in enumerate(image.metadata["objects"]):
                if entry["mask"] is not None:
                    digest = hashlib.sha256(entry["mask"].encode()).hexdigest()
                    jobs.append(Job((image,), {"object": number, "mask": digest}))
        elif image.shape is None or len(image.shape) == 2 or image.shape[2] == 4:
            jobs.append(Job((image,)))
    return jobs


@stage(
    "annotate",
    version=2,
    plan=masks_of_each,
    cost=Cost(
        ms=0.5,
        ms_per_mp=1.5,
        mb_per_mp=0.02,
        megapixels=lambda parameters, mp: min(mp, parameters.longest_side**2 * 0.75 / 1e6),
    ),
)
def annotate(inputs: Sequence[StageInput], parameters: Annotate) -> Iterator[StageOutput]:
    """8-bit masks, 255 = object; a trimap keeps its values 0, 128 and 255.

    ``metadata`` has the box (x, y, width, height) in px, the area in px, and the mask as COCO's
    run lengths. The outline of a trimap's object runs in the middle of the border.
    """
    for item in inputs:
        kept = _fit(_mask_of(item), parameters.longest_side)
        mask = solid_mask(kept)
        box = box_of_mask(mask)
        yield StageOutput(
            kept,
            metadata={
                "boxes": [] if box is None else [list(box)],
                "rle": encode_mask(mask),
                "area": int(mask.sum()),
            },
        )


def _fit(mask: Pixels, longest_side: int) -> Pixels:
    """A mask at the size of a dataset's image: 0 and 255, or the values of a trimap."""
    small = pixels.fit_within(mask, longest_side)
    if not is_trimap(mask):
        return np.where(small >= 128, 255, 0).astype(np.uint8)
    size = small.shape[::-1]
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _mask_of(item: StageInput) -> Any:
    content = item.load()
    number = item.job.variant.get("object")
    if number is not None:
        height, width = content.shape[:2]
        entry = item.job.inputs[0].metadata["objects"][int(number)]
        return np.where(decode_runs(entry["mask"], height, width), 255, 0).astype(np.uint8)
    return content if content.ndim == 2 else content[..., 3]
