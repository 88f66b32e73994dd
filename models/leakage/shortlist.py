"""Which pairs of photos are compared in detail: all that matter, or the most alike ones."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.data.pixels import Floats
from models.data.records import Split

# About half a minute of one core.
MOST_PAIRS = 60_000
# Photos that each photo is compared with where all pairs are too many.
NEAREST = 10
# Features become whole numbers of this length, so that sums of float32 are exact.
_LENGTH = 4000.0
_ROWS = 64

Pairs = list[tuple[int, int]]
Bools = npt.NDArray[np.bool_]


def list_all_pairs(splits: Sequence[Split | None], most: int = MOST_PAIRS) -> Pairs | None:
    """All pairs that matter, in order; None if there are more than ``most``."""
    pairs: Pairs = []
    for start in range(0, len(splits), _ROWS):
        first, second = np.nonzero(_pairs_that_matter(splits, start))
        is_later = second > first + start
        pairs += zip((first + start)[is_later].tolist(), second[is_later].tolist(), strict=True)
        if len(pairs) > most:
            return None
    return pairs


def _pairs_that_matter(splits: Sequence[Split | None], start: int) -> Bools:
    """For some photos from ``start`` on, which others must not be in another split.

    Two test photos, or two val photos, can't leak. Two train photos can, if test or val is still to
    be taken out of train.
    """
    given = np.array([split or "train" for split in splits])
    is_open = not {"val", "test"} <= set(given.tolist())
    rows = given[start : start + _ROWS, None]
    matters: Bools = (rows != given) | (is_open & (rows == "train"))
    matters[np.arange(len(rows)), np.arange(start, start + len(rows))] = False
    return matters


def shortlist_pairs(
    upright: Floats, turned: Sequence[Floats], splits: Sequence[Split | None], nearest: int
) -> Pairs:
    """The pairs that matter in which one photo is among the nearest of the other, sorted.

    Args:
        upright: float32 (n, d) features of the photos.
        turned: the same of the photos turned by 90, 180 and 270 degrees.
        splits: the given split of each photo.
        nearest: partners of each photo.
    """
    queries = _as_whole_numbers(upright)
    views = [queries, *map(_as_whole_numbers, turned)]
    found: set[tuple[int, int]] = set()
    for start in range(0, len(queries), _ROWS):
        rows = slice(start, start + _ROWS)
        likeness = np.maximum.reduce([queries[rows] @ view.T for view in views])
        matters = _pairs_that_matter(splits, start)
        likeness[~matters] = -1.0
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :nearest]
        for row, partners in enumerate(order):
            for other in partners[matters[row, partners]].tolist():
                found.add((min(start + row, other), max(start + row, other)))
    return sorted(found)


def _as_whole_numbers(features: Floats) -> Floats:
    """Rows of one length in whole numbers."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    rounded: Floats = np.rint(features / np.maximum(length, 1e-9) * _LENGTH).astype(np.float32)
    return rounded
