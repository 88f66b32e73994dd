"""Photos as squares of one size, as classifiers read them."""

from pathlib import Path

import numpy as np

from models.data.photo_colours import PhotoRejectedError
from models.data.pixels import Pixels, resize
from models.data.read_photo import read_photo

GREY = 128


def letterbox(pixels: Pixels, size: int) -> Pixels:
    """Fit an RGB image into a square of ``size`` px, centred on grey, proportions kept."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Area averaging keeps fine patterns from aliasing when shrinking; it is blocky when enlarging.
    inner = resize(pixels, *fitted, scale=scale)
    square = np.full((size, size, 3), GREY, np.uint8)
    top, left = (size - fitted[1]) // 2, (size - fitted[0]) // 2
    square[top : top + fitted[1], left : left + fitted[0]] = inner
    return square


def read_square(path: Path, size: int) -> Pixels:
    """Read a photo as an RGB uint8 square of ``size`` px.

    Raises:
        ValueError: the file is missing or not a photo; the message names it.
    """
    try:
        photo = read_photo(read_bytes(path), max_side=2 * size, min_side=1)
    except PhotoRejectedError as reason:
        raise ValueError(f"{path}: {reason}") from None
    return letterbox(photo.pixels, size)


def read_bytes(path: Path) -> bytes:
    """The bytes of a photo's file.

    Raises:
        ValueError: the file cannot be read; the message names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: the file cannot be read ({error.strerror}); restore it"
        ) from None
