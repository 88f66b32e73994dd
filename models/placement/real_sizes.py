"""Sizes of real objects, from which the sizes of new ones are drawn."""

from collections.abc import Sequence

import numpy as np

from models.data.pixels import Floats
from models.data.records import Box

# The real boxes of a photo, and its width and height; all in px.
PhotoBoxes = tuple[Sequence[Box], tuple[int, int]]


def measure_boxes(photos: Sequence[PhotoBoxes]) -> Floats:
    """The sizes of real boxes, in shares of their photos.

    Boxes that end at the border of a photo are left out, because the frame may cut their objects;
    where all boxes do, all are used.

    Returns:
        float32 (n, 3): width and height of a box by the photo's longer side, and the middle of the
        box by the photo's height.
    """
    rows, is_whole = [], []
    for boxes, (width, height) in photos:
        longest = max(width, height)
        for x, y, w, h in boxes:
            rows.append((w / longest, h / longest, (y + h / 2) / height))
            is_whole.append(x > 1 and y > 1 and x + w < width - 1 and y + h < height - 1)
    sizes, whole = np.array(rows, np.float32).reshape(-1, 3), np.array(is_whole, np.bool_)
    return sizes[whole] if whole.any() else sizes


def draw_size(
    sizes: Floats,
    frame: tuple[int, int],
    jitter: float,
    square: bool,
    rng: np.random.Generator,
) -> tuple[tuple[int, int], float]:
    """Width and height of a new object in px, and the middle of the real one by the height.

    Args:
        sizes: as `measure_boxes` returns them; one or more.
        frame: width and height of the scene, px.
        jitter: change of width and height, share either way.
        square: whether both are as long as the longer one.
    """
    width, height, middle = sizes[int(rng.integers(len(sizes)))].tolist()
    sides = np.array([width, height]) * max(frame) * (1 + jitter * rng.uniform(-1, 1, 2))
    if square:
        sides[:] = sides.max()
    return (max(1, round(float(sides[0]))), max(1, round(float(sides[1])))), middle
