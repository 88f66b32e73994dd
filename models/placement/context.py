"""Surroundings of objects and of free places, and how alike they are.

A place is relevant if its surroundings look like those of real objects, and not like those of
random places in the same photos. Objects are hidden in both, so that a place is judged by what is
around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models.data.pixels import Bools, Floats, Pixels
from models.data.records import Box

# Weight of the fit against the size of the weights, in scikit-learn's terms.
_INVERSE_REGULARISATION = 10.0
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Relevance:
    """A linear classifier of surroundings; ``weights`` is float32 (values,)."""

    weights: Floats
    bias: float


def crop_surroundings(image: Pixels, box: Box, context_size: float) -> Pixels:
    """The square around a box, moved into the frame, without the box's content.

    The box gets one colour, the median of the rest.

    Args:
        image: uint8 HxWx3 RGB.
        box: x, y, width, height in px.
        context_size: side of the square by the longer side of the box.

    Returns:
        uint8 RGB; no square where the frame is smaller.
    """
    x, y, width, height = box
    side = context_size * max(width, height)
    columns = _span(x + width / 2, side, image.shape[1])
    rows = _span(y + height / 2, side, image.shape[0])
    crop = image[slice(*rows), slice(*columns)].copy()
    hidden: Bools = np.zeros(crop.shape[:2], np.bool_)
    top, left = max(int(y) - rows[0], 0), max(int(x) - columns[0], 0)
    hidden[top : top + int(np.ceil(height)) + 1, left : left + int(np.ceil(width)) + 1] = True
    if not hidden.all():
        crop[hidden] = np.rint(np.median(crop[~hidden], axis=0)).astype(np.uint8)
    return crop


def learn_relevance(real: Floats, random: Floats) -> Relevance:
    """Tell the surroundings of real objects from those of random places, by logistic regression.

    Args:
        real: features float32 (n, values), n of 1 or more.
        random: features float32 (m, values), m of 1 or more.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    features = _unit(np.concatenate([real, random])).astype(np.float64)
    is_real = np.arange(len(features)) < len(real)
    fit = LogisticRegression(
        C=_INVERSE_REGULARISATION, class_weight="balanced", max_iter=1000, tol=1e-6
    )
    # With more threads, sums are added in another order.
    with threadpool_limits(1):
        fit.fit(features, is_real)
    return Relevance(fit.coef_[0].astype(np.float32), float(fit.intercept_[0]))


def score_places(features: Floats, relevance: Relevance) -> Floats:
    """How likely surroundings are those of a real object, 0..1: float32 (n,).

    Args:
        features: float32 (n, values).
    """
    # A sum per row, whose order does not depend on the number of threads.
    sums = (_unit(features) * relevance.weights).sum(axis=1, dtype=np.float64)
    return np.asarray(1 / (1 + np.exp(-sums - relevance.bias)), np.float32)


def choose_evenly(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, at even distances in their order."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _span(middle: float, length: float, side: int) -> tuple[int, int]:
    """First and last + 1 px of a length around a middle, moved into a side."""
    whole = min(max(round(length), 1), side)
    first = min(max(round(middle - whole / 2), 0), side - whole)
    return first, first + whole


def _unit(features: Floats) -> Floats:
    lengths = np.sqrt((features.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
