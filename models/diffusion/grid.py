"""Sizes that Stable Diffusion can generate: whole cells of 64 px."""

import cv2
import numpy as np

from models.data.pixels import Pixels, resize

GRID = 64


def check_size(width: int, height: int) -> None:
    """Refuse a size that the pipelines would silently crop.

    Raises:
        ValueError: a side is no multiple of 64.
    """
    if min(width, height) < GRID or width % GRID or height % GRID:
        raise ValueError(f"size {width}x{height}: give multiples of {GRID} px")


def fit_to_grid(image: Pixels, longest_side: int) -> Pixels:
    """An image scaled to cover the whole cells of 64 px nearest to its shape, and cropped to them.

    Args:
        image: uint8 HxWx3.
        longest_side: of the result in px, rounded to cells.
    """
    size, rows, columns, scale = _fit(image.shape[:2], longest_side)
    return np.ascontiguousarray(resize(image, *size, scale=scale)[rows, columns])


def fit_mask_to_grid(levels: Pixels, longest_side: int) -> Pixels:
    """A mask (uint8 HxW) scaled and cropped as `fit_to_grid` does with its image.

    No level is mixed with another: each px takes the nearest one's.
    """
    size, rows, columns, _ = _fit(levels.shape[:2], longest_side)
    large = np.asarray(cv2.resize(levels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    return np.ascontiguousarray(large[rows, columns])


def _fit(shape: tuple[int, ...], longest_side: int) -> tuple[tuple[int, int], slice, slice, float]:
    """Width and height after scaling, the rows and columns that are kept, and the scale."""
    height, width = shape
    scale = longest_side / max(height, width)
    new_height, new_width = (max(1, round(side * scale / GRID)) * GRID for side in (height, width))
    cover = max(new_height / height, new_width / width)
    size = (max(new_width, round(width * cover)), max(new_height, round(height * cover)))
    top, left = (size[1] - new_height) // 2, (size[0] - new_width) // 2
    return size, slice(top, top + new_height), slice(left, left + new_width), cover
