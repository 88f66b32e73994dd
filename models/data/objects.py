"""Objects in the metadata of an image: label, box and mask, and how they move with the image.

An object is ``{"label": str, "box": [x, y, width, height] or None, "mask": RLE or None}``. Boxes
are
in px of the image; masks are run-length encoded as in COCO, so that they travel as JSON text.
"""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from models.data.formats.annotated import Box, box_of_mask
from models.data.formats.polygons import decode_runs, encode_mask
from models.data.pixels import Bools, resize

# x, y, width, height in whole px.
PixelBox = tuple[int, int, int, int]


class ImageObject(TypedDict):
    """One object of an image."""

    label: str
    box: list[float] | None
    mask: str | None


def scale_box(box: Sequence[float], factor_x: float, factor_y: float) -> Box:
    """A box (x, y, width, height in px) after its image was resized by these factors."""
    x, y, width, height = box
    return (x * factor_x, y * factor_y, width * factor_x, height * factor_y)


def add_margin(box: Box, margin: float, width: int, height: int) -> PixelBox:
    """The whole px around a box that is wider by ``margin`` of its sides on each side.

    Args:
        box: x, y, width, height in px.
        margin: share of the box's width (left, right) and height (above, below).
        width, height: the photo's sides in px, at which the result is cut.
    """
    x, y, w, h = box
    left, top = max(0, math.floor(x - margin * w)), max(0, math.floor(y - margin * h))
    right = min(width, math.ceil(x + w + margin * w))
    bottom = min(height, math.ceil(y + h + margin * h))
    return left, top, right - left, bottom - top


def resize_mask(mask: Bools, width: int, height: int) -> Bools:
    """A mask (bool HxW) at the size of its resized image: px that are covered by half or more."""
    if mask.shape == (height, width):
        return mask
    return resize(np.where(mask, 255, 0).astype(np.uint8), width, height) >= 128


def shift_objects(
    objects: Sequence[Any], dx: int, dy: int, height: int, width: int
) -> list[ImageObject]:
    """The objects after the image content moved by whole px (right, down) within its frame.

    Boxes are cut at the frame. Objects that have left the frame are dropped.
    """
    moved: list[ImageObject] = []
    for entry in objects:
        box: Sequence[float] | None
        mask = entry["mask"]
        if mask is None:
            box = _cut_box(entry["box"], dx, dy, height, width)
        else:
            pixels = _shift_mask(decode_runs(mask, height, width), dx, dy)
            box, mask = box_of_mask(pixels), encode_mask(pixels)
        if box is not None:
            moved.append({"label": entry["label"], "box": list(box), "mask": mask})
    return moved


def _shift_mask(mask: Bools, dx: int, dy: int) -> Bools:
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) < width and abs(dy) < height:
        moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = mask[
            max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
        ]
    return moved


def _cut_box(box: Sequence[float] | None, dx: int, dy: int, height: int, width: int) -> Box | None:
    if box is None:
        return None
    left, top = max(0.0, box[0] + dx), max(0.0, box[1] + dy)
    right = min(float(width), box[0] + dx + box[2])
    bottom = min(float(height), box[1] + dy + box[3])
    if right <= left or bottom <= top:
        return None
    return (left, top, right - left, bottom - top)
