"""Object mask: an annotation's run lengths, or a cut-out's alpha, as a mask of the image's size."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.formats.polygons import decode_runs
from models.data.objects import PixelBox, resize_mask
from models.data.records import Artifact, Record
from tasks.engine.jobs import StageInput, StageOutput
from tasks.engine.stage import stage


class ObjectMask(Record):
    """The mask has no settings: its runs, size and box are its input."""


@stage("object_mask", version=2)
def object_mask(inputs: Sequence[StageInput], _parameters: ObjectMask) -> Iterator[StageOutput]:
    """Masks, uint8 HxW, 255 = object. A mask without a pixel is rejected."""
    for item in inputs:
        annotation = item.job.inputs[0].metadata
        height, width = annotation["size"]
        mask = decode_runs(annotation["counts"], height, width)
        mask = resize_mask(mask, *annotation["photo_size"])
        x, y, width, height = annotation["box"]
        mask = mask[y : y + height, x : x + width]
        if mask.any():
            yield StageOutput(np.where(mask, 255, 0).astype(np.uint8))
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
    runs: dict[str, Any], photo_size: tuple[int, int], box: PixelBox, name: str
) -> Artifact:
    """The mask of an object as an input of the stage: the user's annotation file keeps it.

    Args:
        runs: its COCO run lengths at the size of the photo as its annotation describes it.
        photo_size: width and height of the normalised photo in px.
        box: what of the normalised photo the source image shows, in px.
    """
    metadata = {
        **runs,
        "photo_size": list(photo_size),
        "box": list(box),
    }
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
