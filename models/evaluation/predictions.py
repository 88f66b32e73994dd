"""The predictions of the models that were trained on one dataset, and counts of hits."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from models.data.records import Origin
from models.evaluation.classification import (
    Labels,
    Metric,
    Probabilities,
    Values,
    check_predictions,
    metric_of_counts,
)

UNKNOWN = Origin()


@dataclass(frozen=True)
class DatasetPredictions:
    """Predictions for the test photos by the models that were trained on one dataset.

    ``probabilities`` is float (seeds, photos, classes), in the same order of seeds and photos for
    every dataset that is compared. ``families`` are codes (photos,) of near-duplicate families:
    photos with the same code count as one observation. Without codes, each photo is a family.
    ``shown_metric`` is the figure that a page shows without a verdict.
    """

    shown_metric: ClassVar[Metric] = "accuracy"

    name: str
    y_true: Labels
    probabilities: Probabilities
    classes: tuple[str, ...]
    origin: Origin = UNKNOWN
    families: Labels = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.families) == 0:
            object.__setattr__(self, "families", np.arange(len(self.y_true)))
        if self.probabilities.ndim != 3 or len(self.probabilities) == 0:
            raise ValueError(
                f"dataset {self.name}: probabilities have shape {self.probabilities.shape}; "
                "give (seeds, photos, classes)"
            )
        for probabilities in self.probabilities:
            check_predictions(self.y_true, probabilities, self.classes)

    @property
    def seeds(self) -> int:
        """The number of trainings."""
        return len(self.probabilities)

    @property
    def family_count(self) -> int:
        """The number of families of test photos."""
        return len(np.unique(self.families))

    @property
    def support(self) -> Values:
        """Photos, or pixels, of each class."""
        return np.asarray(next(self.family_counts())[0].sum(axis=0))

    def values(self, metric: Metric) -> Values:
        """The metric of each seed, 0..1."""
        totals = np.stack([counts.sum(axis=1) for counts in self.family_counts()], axis=1)
        return metric_of_counts(metric, totals[0], totals[1], totals[2])

    def family_counts(self) -> Iterator[Values]:
        """Per seed, counts (3, families, classes): photos of a class, hits, photos predicted."""
        rows = np.unique(self.families, return_inverse=True)[1]
        shape = (self.family_count, len(self.classes))

        def count(labels: Labels, weights: Values | None = None) -> Values:
            cells = rows * shape[1] + labels
            found = np.bincount(cells, weights, shape[0] * shape[1])
            return found.reshape(shape).astype(np.float64)

        for predicted in self.probabilities.argmax(axis=2):
            hits = count(self.y_true, (predicted == self.y_true).astype(np.float64))
            yield np.stack([count(self.y_true), hits, count(predicted)])


@dataclass(frozen=True)
class SegmentationPredictions(DatasetPredictions):
    """Confusion counts of the test photos by the networks that were trained on one dataset.

    ``confusion`` (seeds, photos, segments, segments) counts pixels of segment i seen as segment j;
    ``segments`` are their names. ``y_true`` and ``classes`` are those of whole photos, which decide
    the strata of the jackknife. ``probabilities`` is empty.
    """

    shown_metric: ClassVar[Metric] = "miou"

    confusion: Values = field(default_factory=lambda: np.empty(0))
    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.families) == 0:
            object.__setattr__(self, "families", np.arange(len(self.y_true)))
        expected = (len(self.y_true), len(self.segments), len(self.segments))
        if self.confusion.ndim != 4 or self.confusion.shape[1:] != expected:
            raise ValueError(
                f"dataset {self.name}: confusion has shape {self.confusion.shape}; give (seeds, "
                "photos, segments, segments)"
            )

    @property
    def seeds(self) -> int:
        """The number of trainings."""
        return len(self.confusion)

    def family_counts(self) -> Iterator[Values]:
        """Per seed, counts (3, families, segments): pixels of a segment, hits, predicted pixels."""
        rows = np.unique(self.families, return_inverse=True)[1]
        for photos in self.confusion.astype(np.float64):
            counts = np.stack(
                [photos.sum(axis=2), np.diagonal(photos, axis1=1, axis2=2), photos.sum(axis=1)]
            )
            summed = np.zeros((self.family_count, 3, len(self.segments)))
            np.add.at(summed, rows, counts.transpose(1, 0, 2))
            yield summed.transpose(1, 0, 2)
