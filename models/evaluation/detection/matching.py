"""Which of the boxes that a detector found are right, by the protocol of COCO.

A box is a hit at an IoU if it overlaps an object of its class by that much and no box with a higher
score has that object. Boxes are matched from the highest score on, each to the object that it
overlaps most (https://cocodataset.org/#detection-eval).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from models.evaluation.classification import Labels, Values

IOUS = np.linspace(0.5, 0.95, 10)
# Boxes of one class in one photo that count, those with the highest scores.
MOST_FOUND = 100
# Per photo, rows of numbers: the index of a class, perhaps a score, and x, y, width, height.
BoxColumn = Sequence[Sequence[Sequence[float]] | Values]
# COCO takes an IoU of almost 1 for 1.
_LIMITS = np.minimum(IOUS, 1 - 1e-10)[:, None]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of a set of photos, a row each, in the order of the photos.

    ``photos`` (n,) are positions of photos, ``labels`` (n,) indices of classes, ``boxes`` (n, 4)
    x, y, width, height in px. ``scores`` (n,) are 0..1; those of real objects are 1.
    """

    photos: Labels
    labels: Labels
    boxes: Values
    scores: Values

    def pick(self, rows: npt.NDArray[np.intp] | slice) -> "Boxes":
        """The boxes of some rows."""
        return Boxes(self.photos[rows], self.labels[rows], self.boxes[rows], self.scores[rows])


@dataclass(frozen=True, eq=False)
class Matches:
    """Which boxes are hits, for a set of photos and one detector.

    Rows are boxes, sorted by class, then from the highest score on. ``is_hit`` (10, boxes) is for
    each of `IOUS`. ``objects`` (photos, classes) counts the real objects.
    """

    photos: Labels
    labels: Labels
    scores: Values
    is_hit: npt.NDArray[np.bool_]
    objects: Labels

    def rows_of(self, label: int) -> slice:
        """The rows of one class."""
        first, last = np.searchsorted(self.labels, (label, label + 1))
        return slice(int(first), int(last))


def read_objects(column: BoxColumn) -> Boxes:
    """The real objects, from ``[[class, x, y, width, height], ...]`` of each photo."""
    rows, photos = _stack(column, 5)
    return Boxes(photos, rows[:, 0].astype(np.int64), rows[:, 1:], np.ones(len(rows)))


def read_found(column: BoxColumn) -> Boxes:
    """What was found, from ``[[class, score, x, y, width, height], ...]`` of each photo."""
    rows, photos = _stack(column, 6)
    return Boxes(photos, rows[:, 0].astype(np.int64), rows[:, 2:], rows[:, 1])


def match(objects: Boxes, found: Boxes, photos: int, classes: int) -> Matches:
    """Which of the boxes that were found are hits, at each of `IOUS`.

    Args:
        objects: the real objects.
        found: what a detector found in the same photos.
        photos: their number.
        classes: the number of classes.
    """
    found = _keep_best(found)
    is_hit = np.zeros((len(IOUS), len(found.labels)), bool)
    edges = np.arange(photos + 1)
    found_at, objects_at = (np.searchsorted(part.photos, edges) for part in (found, objects))
    for photo in np.flatnonzero((np.diff(found_at) > 0) & (np.diff(objects_at) > 0)):
        own = slice(found_at[photo], found_at[photo + 1])
        real = slice(objects_at[photo], objects_at[photo + 1])
        is_hit[:, own] = match_photo(objects.pick(real), found.pick(own)) >= 0
    counts = np.zeros((photos, classes), np.int64)
    np.add.at(counts, (objects.photos, objects.labels), 1)
    order = np.lexsort((-found.scores, found.labels))
    return Matches(
        found.photos[order], found.labels[order], found.scores[order], is_hit[:, order], counts
    )


def match_photo(objects: Boxes, found: Boxes) -> Labels:
    """(10, found) which object each box hits at each of `IOUS`; -1: none.

    Args:
        objects: those of one photo.
        found: the boxes in the same photo, from the highest score on.
    """
    hits = np.full((len(IOUS), len(found.labels)), -1, np.int64)
    if not len(objects.labels) or not len(found.labels):
        return hits
    ious = coco_mask.iou(found.boxes, objects.boxes, [0] * len(objects.labels))
    ious = np.where(found.labels[:, None] == objects.labels, ious, 0.0)
    is_free = np.ones((len(IOUS), len(objects.labels)), bool)
    for row in np.flatnonzero(ious.max(axis=1) >= _LIMITS[0]):
        fits = is_free & (ious[row] >= _LIMITS)
        # Of objects with equal overlap, COCO takes the last.
        nearest = np.where(fits, ious[row], -1.0)[:, ::-1].argmax(axis=1)
        nearest = len(objects.labels) - 1 - nearest
        levels = np.flatnonzero(fits.any(axis=1))
        is_free[levels, nearest[levels]] = False
        hits[levels, row] = nearest[levels]
    return hits


def boxes_by_photo(boxes: Boxes, photos: int) -> Iterator[Boxes]:
    """The boxes of each photo, from the highest score on."""
    boxes = _keep_best(boxes)
    edges = np.searchsorted(boxes.photos, np.arange(photos + 1))
    for photo in range(photos):
        yield boxes.pick(slice(edges[photo], edges[photo + 1]))


def _stack(column: BoxColumn, width: int) -> tuple[Values, Labels]:
    """All rows of all photos, and the position of each row's photo."""
    parts = [np.asarray(photo, np.float64).reshape(-1, width) for photo in column]
    rows = np.concatenate([np.empty((0, width)), *parts])
    return rows, np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _keep_best(found: Boxes) -> Boxes:
    """The boxes by photo and from the highest score on; at most 100 of a class in a photo."""
    found = found.pick(np.lexsort((-found.scores, found.photos)))
    if not len(found.photos) or np.bincount(found.photos).max() <= MOST_FOUND:
        return found
    groups = found.photos * (found.labels.max() + 1) + found.labels
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], groups[order])
    return found.pick(np.sort(order[np.arange(len(order)) - starts < MOST_FOUND]))
