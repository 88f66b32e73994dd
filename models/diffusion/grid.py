"""Sizes that Stable Diffusion can generate: whole cells of 64 px."""

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
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    new_height, new_width = (max(1, round(side * scale / GRID)) * GRID for side in (height, width))
    cover = max(new_height / height, new_width / width)
    size = (max(new_width, round(width * cover)), max(new_height, round(height * cover)))
    large = resize(image, *size, scale=cover)
    top, left = (size[1] - new_height) // 2, (size[0] - new_width) // 2
    return np.ascontiguousarray(large[top : top + new_height, left : left + new_width])
