"""Boxes and masks of an image that was resized."""

from collections.abc import Sequence

import numpy as np

from models.data.formats.annotated import Box
from models.data.pixels import Bools, resize


def scale_box(box: Sequence[float], factor_x: float, factor_y: float) -> Box:
    """A box (x, y, width, height in px) after its image was resized by these factors."""
    x, y, width, height = box
    return (x * factor_x, y * factor_y, width * factor_x, height * factor_y)


def resize_mask(mask: Bools, width: int, height: int) -> Bools:
    """A mask (bool HxW) at the size of its resized image: px that are covered by half or more."""
    if mask.shape == (height, width):
        return mask
    return resize(np.where(mask, 255, 0).astype(np.uint8), width, height) >= 128
