"""The predictions of the models that were trained on one dataset, and counts of hits."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from models.data.specs import Origin
from models.evaluation.classification import (
    LEAST_PROBABILITY,
    Labels,
    Metric,
    Probabilities,
    Values,
    check_predictions,
    metric_of_counts,
)
from models.evaluation.jackknife import Jackknife, Strata, stratify

UNKNOWN = Origin()


@dataclass(frozen=True)
class DatasetPredictions(ABC):
    """Predictions for the test photos by the models that were trained on one dataset.

    Every dataset that is compared has the same order of seeds and photos. ``y_true`` (photos,) are
    the classes of whole photos by their index in ``classes``; -1: no object. ``families`` are codes
    (photos,) of near-duplicate families: photos with the same code count as one observation.
    Without codes, each photo is a family. ``figures`` are those of the task; ``shown_metric`` is
    the one that a page shows without a verdict.
    """

    figures: ClassVar[tuple[Metric, ...]]
    shown_metric: ClassVar[Metric]

    name: str
    y_true: Labels
    classes: tuple[str, ...]
    origin: Origin = UNKNOWN
    families: Labels = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.families) == 0:
            object.__setattr__(self, "families", np.arange(len(self.y_true)))

    @property
    @abstractmethod
    def seeds(self) -> int:
        """The number of trainings."""

    @abstractmethod
    def values(self, metric: Metric) -> Values:
        """The metric of each seed, 0..1."""

    @abstractmethod
    def changes(self, metric: Metric, strata: Strata) -> Values:
        """(families, seeds): by how much the metric changes without each family of photos."""

    @abstractmethod
    def best_constant(self, metric: Metric) -> float:
        """The metric, 0..1, of the best answer that is the same for every photo."""

    @abstractmethod
    def least_change(self, metric: Metric) -> float:
        """What one observation of the smallest class can change; it stands for a variance of 0.

        A test in which two trainings never disagree does not prove that they are equal.
        """

    @property
    def log_loss(self) -> float:
        """The mean over seeds and photos, in nats; 0 where no probabilities are predicted."""
        return 0.0

    @property
    def photos_by_class(self) -> dict[str, int]:
        """Test photos of each class that the figures are averaged over."""
        labels = self.y_true[self.y_true >= 0]
        counts = np.bincount(labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, counts, strict=True))

    @property
    def family_count(self) -> int:
        """The number of families of test photos."""
        return len(np.unique(self.families))

    @property
    def family_rows(self) -> Labels:
        """(photos,) the position of each photo's family among all families."""
        return np.unique(self.families, return_inverse=True)[1]

    def jackknife(self, metric: Metric) -> Jackknife:
        """Each seed's figure, and how it changes when a family is left out."""
        first = np.unique(self.families, return_index=True)[1]
        labels = np.unique(self.y_true[first], return_inverse=True)[1]
        strata = stratify(labels)
        scale = np.sqrt(strata.others / (strata.others + 1))[:, None]
        deviations = scale * self.changes(metric, strata)
        return Jackknife(self.values(metric), deviations, strata.degrees_of_freedom)


class CountedPredictions(DatasetPredictions):
    """Predictions whose figures follow from counts that are added up over the photos."""

    @abstractmethod
    def family_counts(self) -> Iterator[Values]:
        """Per seed, counts (3, families, classes): of a class, hits, and predicted as it."""

    @property
    def support(self) -> Values:
        """Photos, or pixels, of each class."""
        return np.asarray(next(self.family_counts())[0].sum(axis=0))

    def values(self, metric: Metric) -> Values:
        """The metric of each seed, 0..1."""
        totals = np.stack([counts.sum(axis=1) for counts in self.family_counts()], axis=1)
        return metric_of_counts(metric, totals[0], totals[1], totals[2])

    def changes(self, metric: Metric, strata: Strata) -> Values:
        """(families, seeds): by how much the metric changes without each family of photos."""
        changes = []
        for counts in self.family_counts():
            totals = counts.sum(axis=1)
            whole = metric_of_counts(metric, totals[0], totals[1], totals[2])
            without = [strata.leave_out(kind) for kind in counts]
            left = metric_of_counts(metric, without[0], without[1], without[2])
            changes.append(left - whole)
        return np.stack(changes, axis=1)

    def best_constant(self, metric: Metric) -> float:
        """The metric, 0..1, of the best answer that is one class for every photo or pixel."""
        support = self.support
        hits, predicted = np.diag(support), np.eye(len(support)) * support.sum()
        return float(metric_of_counts(metric, support, hits, predicted).max())


@dataclass(frozen=True)
class ClassifierPredictions(CountedPredictions):
    """Predictions of classifiers: ``probabilities`` is float (seeds, photos, classes)."""

    figures: ClassVar[tuple[Metric, ...]] = ("accuracy", "f1_macro", "f1_weighted")
    shown_metric: ClassVar[Metric] = "accuracy"

    probabilities: Probabilities = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
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
    def log_loss(self) -> float:
        """The mean over seeds and photos, in nats."""
        own = self.probabilities[:, np.arange(len(self.y_true)), self.y_true]
        return float(-np.log(np.maximum(own.astype(np.float64), LEAST_PROBABILITY)).mean())

    def least_change(self, metric: Metric) -> float:
        """What one photo of the smallest class can change."""
        counts = np.bincount(self.y_true)
        counts = counts[counts > 0]
        photos = len(self.y_true) if metric != "f1_macro" else len(counts) * counts.min()
        return float(1 / photos)

    def family_counts(self) -> Iterator[Values]:
        """Per seed, counts (3, families, classes): photos of a class, hits, photos predicted."""
        rows = self.family_rows
        shape = (self.family_count, len(self.classes))

        def count(labels: Labels, weights: Values | None = None) -> Values:
            cells = rows * shape[1] + labels
            found = np.bincount(cells, weights, shape[0] * shape[1])
            return found.reshape(shape).astype(np.float64)

        for predicted in self.probabilities.argmax(axis=2):
            hits = count(self.y_true, (predicted == self.y_true).astype(np.float64))
            yield np.stack([count(self.y_true), hits, count(predicted)])
