"""Surroundings of objects and of free places, and how alike they are.

Objects are hidden, so that a place is compared by what is around it, whether an object is there or
not.
"""

from collections.abc import Sequence

import numpy as np

from models.data.pixels import Floats, Pixels
from models.data.records import Box
from models.data.square import GREY

# Real surroundings that a place is compared with: the most similar ones.
NEAREST = 5


def crop_surroundings(image: Pixels, box: Box, context_size: float) -> Pixels:
    """The square around a box, cut at the frame, with the box itself grey.

    Args:
        image: uint8 HxWx3 RGB.
        box: x, y, width, height in px.
        context_size: side of the square by the longer side of the box.

    Returns:
        uint8 RGB.
    """
    x, y, width, height = box
    half = context_size * max(width, height) / 2
    left, right = _cut(x + width / 2 - half, x + width / 2 + half, image.shape[1])
    top, bottom = _cut(y + height / 2 - half, y + height / 2 + half, image.shape[0])
    crop = image[top:bottom, left:right].copy()
    rows = _cut(y - top, y + height - top, crop.shape[0])
    columns = _cut(x - left, x + width - left, crop.shape[1])
    crop[slice(*rows), slice(*columns)] = GREY
    return crop


def score_places(places: Floats, real: Floats) -> Floats:
    """How alike the surroundings of places are to those of real objects, -1..1.

    The score of a place is the mean cosine similarity to the `NEAREST` most similar real ones.

    Args:
        places: features float32 (n, values).
        real: features float32 (m, values), m of 1 or more.
    """
    similarity = _unit(places) @ _unit(real).T
    nearest = min(NEAREST, len(real))
    return np.asarray(np.sort(similarity, axis=1)[:, -nearest:].mean(axis=1), np.float32)


def choose_evenly(boxes: Sequence[tuple[int, Box]], count: int) -> list[tuple[int, Box]]:
    """At most ``count`` of the boxes, at even distances in their order."""
    if len(boxes) <= count:
        return list(boxes)
    return [boxes[index * len(boxes) // count] for index in range(count)]


def _cut(low: float, high: float, side: int) -> tuple[int, int]:
    """Whole px from low to high within a side; one px at least."""
    first = min(max(int(np.floor(low)), 0), side - 1)
    return first, min(max(int(np.ceil(high)), first + 1), side)


def _unit(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
