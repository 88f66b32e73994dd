"""Object mask: an annotation's run lengths, or a cut-out's alpha, as a mask of the image's size."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.data.formats.annotated import ObjectAnnotation, box_of_mask
from models.data.formats.polygons import decode_runs
from models.data.objects import PixelBox, resize_mask
from models.data.records import Artifact, Record
from models.data.trimaps import BORDER
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.stage import stage


class ObjectMask(Record):
    """The mask has no settings: its runs, size and box are its input."""


@stage("object_mask", version=2)
def object_mask(inputs: Sequence[StageInput], _parameters: ObjectMask) -> Iterator[StageOutput]:
    """Masks, uint8 HxW, 255 = object. A mask without a pixel is rejected.

    The mask of a trimap has 128 where its border is.
    """
    for item in inputs:
        annotation = item.job.inputs[0].metadata
        height, width = annotation["size"]
        mask = decode_runs(annotation["counts"], height, width)
        inner = outer = mask
        if "border" in annotation:
            border = decode_runs(annotation["border"], height, width)
            inner, outer = mask & ~border, mask | border
        x, y, width, height = annotation["box"]
        part = (slice(y, y + height), slice(x, x + width))
        inner, outer = (
            resize_mask(area, *annotation["photo_size"])[part] for area in (inner, outer)
        )
        if outer.any():
            yield StageOutput(np.where(inner, 255, np.where(outer, BORDER, 0)).astype(np.uint8))
        else:
            yield StageOutput(reject_reason="no px of the mask is left")


@stage("alpha_mask", version=2)
def alpha_mask(inputs: Sequence[StageInput], _parameters: ObjectMask) -> Iterator[StageOutput]:
    """The mask of a cut-out, uint8 HxW, 255 where its alpha is 128 or more.

    ``metadata["box"]`` is the box around it: x, y, width, height in px.
    """
    for item in inputs:
        mask = item.load()[..., 3] >= 128
        yield StageOutput(
            np.where(mask, 255, 0).astype(np.uint8), metadata={"box": box_of_mask(mask)}
        )


def has_alpha(image: Artifact) -> bool:
    """Whether a source image is a cut-out: its alpha is the mask of its object."""
    return image.shape is not None and image.shape[2:] == (4,)


def mask_as_artifact(
    item: ObjectAnnotation, photo_size: tuple[int, int], box: PixelBox, name: str
) -> Artifact:
    """The mask of an object as an input of the stage: the user's annotation file keeps it.

    Args:
        item: the object; its run lengths have the size of the photo in its annotation.
        photo_size: width and height of the normalised photo in px.
        box: what of the normalised photo the source image shows, in px.
    """
    metadata: dict[str, Any] = {
        **(item.runs or {}),
        "photo_size": list(photo_size),
        "box": list(box),
    }
    if item.border_runs is not None:
        metadata["border"] = item.border_runs["counts"]
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
    return Artifact(
        key=digest,
        stage="annotation",
        version=1,
        name=name,
        media="json",
        digest=digest,
        size=0,
        metadata=metadata,
    )
