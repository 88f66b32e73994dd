"""Objects in the metadata of an image: label, box and mask, and how they move with the image.

An object is ``{"label": str, "box": [x, y, width, height] or None, "mask": RLE or None}``. Boxes are
in px of the image; masks are run-length encoded as in COCO, so that they travel as JSON text.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from models.data.records import Box

Mask = npt.NDArray[np.bool_]


class ImageObject(TypedDict):
    """One object of an image."""

    label: str
    box: list[float] | None
    mask: str | None


def encode_mask(mask: Mask) -> str:
    """A bool HxW mask as COCO's compressed run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return str(encoded["counts"].decode("ascii"))


def decode_mask(text: str, height: int, width: int) -> Mask:
    """The bool HxW mask of compressed run lengths.

    Raises:
        ValueError: the text is not run lengths, or they cover more than that size.
    """
    try:
        decoded = coco_mask.decode({"size": [height, width], "counts": text.encode("ascii")})
    except (ValueError, UnicodeEncodeError) as error:
        raise ValueError(f"no mask of {width}x{height} px: {error}") from error
    return np.asarray(decoded, np.uint8).astype(bool)


def box_of_mask(mask: Mask) -> Box | None:
    """The smallest box around a mask in px, or None if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    x, y = int(columns[0]), int(rows[0])
    return (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def shift_objects(
    objects: Sequence[Any], dx: int, dy: int, height: int, width: int
) -> list[ImageObject]:
    """The objects after the image content moved by whole px (right, down) within its frame.

    Boxes are cut at the frame. Objects that have left the frame are dropped.
    """
    moved: list[ImageObject] = []
    for entry in objects:
        mask = entry["mask"]
        if mask is not None:
            pixels = _shift_mask(decode_mask(mask, height, width), dx, dy)
            box = box_of_mask(pixels)
            mask = encode_mask(pixels)
        else:
            box = _cut_box(entry["box"], dx, dy, height, width)
        if box is not None:
            moved.append({"label": entry["label"], "box": list(box), "mask": mask})
    return moved


def scale_box(box: Sequence[float], factor_x: float, factor_y: float) -> Box:
    """A box after its image was resized by these factors."""
    x, y, width, height = box
    return (x * factor_x, y * factor_y, width * factor_x, height * factor_y)


def _shift_mask(mask: Mask, dx: int, dy: int) -> Mask:
    moved = np.zeros_like(mask)
    height, width = mask.shape
    # Slices with a larger shift would count from the other end.
    dx, dy = max(-width, min(width, dx)), max(-height, min(height, dy))
    moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = mask[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return moved


def _cut_box(box: Sequence[float] | None, dx: int, dy: int, height: int, width: int) -> Box | None:
    if box is None:
        return None
    left, top = max(0.0, box[0] + dx), max(0.0, box[1] + dy)
    right, bottom = (
        min(float(width), box[0] + dx + box[2]),
        min(float(height), box[1] + dy + box[3]),
    )
    if right <= left or bottom <= top:
        return None
    return (left, top, right - left, bottom - top)
