"""The part of a scene that a model of one size paints, and its way back into the scene."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from models.data.formats.annotated import box_of_mask
from models.data.objects import PixelBox
from models.data.pixels import Bools, Pixels, resize


@dataclass(frozen=True)
class Crop:
    """A square of a scene: its left upper corner and its side, px."""

    left: int
    top: int
    side: int

    @cached_property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the square in its scene."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def crop_around(mask: Bools, size: int, context: float) -> Crop:
    """The square around the true px of a mask, inside of the scene and centred as far as possible.

    Args:
        mask: bool HxW of the scene.
        size, context: see `crop_around_box`.

    Raises:
        ValueError: the mask is empty, or its box is longer than the scene's shorter side.
    """
    box = box_of_mask(mask)
    if box is None:
        raise ValueError("mask: nothing is to be painted; give a mask that is not empty")
    return crop_around_box(box, (mask.shape[1], mask.shape[0]), size, context)


def crop_around_box(box: PixelBox, frame: tuple[int, int], size: int, context: float) -> Crop:
    """The square around a box, inside of the scene and centred as far as possible.

    Its side is ``context`` times that of the box, and not below ``size`` where the scene allows
    that.

    Args:
        box: x, y, width, height in px of the scene.
        frame: width and height of the scene, px.
        size: side of the images that the model makes, px.
        context: 1 or more.

    Raises:
        ValueError: the box is longer than the scene's shorter side.
    """
    x, y, box_width, box_height = box
    (width, height), longer = frame, max(box_width, box_height)
    if longer > min(frame):
        raise ValueError(
            f"mask: its box is {longer} px long, and the scene {width}x{height}; "
            "choose a smaller part"
        )
    side = min(height, width, max(size, round(context * longer)))
    left, top = (2 * x + box_width - side) // 2, (2 * y + box_height - side) // 2
    return Crop(max(0, min(left, width - side)), max(0, min(top, height - side)), side)


def cut(scene: Pixels, crop: Crop, size: int) -> Pixels:
    """The square at the model's size, uint8 size x size x 3."""
    square = np.ascontiguousarray(scene[crop.slices][..., :3])
    return square if crop.side == size else resize(square, size, size)


def cut_mask(mask: Bools, crop: Crop, size: int) -> Bools:
    """Where the square is painted, bool size x size: every px that touches the mask."""
    square = mask[crop.slices].astype(np.uint8) * 255
    if crop.side > size:
        square = np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA))
    elif crop.side < size:
        square = np.asarray(cv2.resize(square, (size, size), interpolation=cv2.INTER_NEAREST))
    return np.asarray(square > 0)


def paste(scene: Pixels, painted: Pixels, mask: Bools, crop: Crop) -> Pixels:
    """A copy of the scene with the painted square where the mask is true; all else is unchanged.

    Args:
        scene: uint8 HxWx3.
        painted: uint8 of `cut`'s size.
        mask: bool HxW of the scene.
        crop: of the square.
    """
    size = painted.shape[0]
    large = painted if crop.side == size else resize(painted, crop.side, crop.side)
    result = scene.copy()
    part = mask[crop.slices]
    result[crop.slices][part] = large[part]
    return result


def fill_box(mask: Bools) -> Bools:
    """A mask of the whole box around the true px of a mask, of the same size."""
    filled = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return filled
