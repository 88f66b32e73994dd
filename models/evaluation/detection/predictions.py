"""What the detectors of one dataset found in the test photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from models.evaluation.classification import Metric, Values
from models.evaluation.detection.average_precision import changes_without_families, precision_curves
from models.evaluation.detection.matching import Matches, match, read_found, read_objects
from models.evaluation.jackknife import Strata
from models.evaluation.predictions import DatasetPredictions

_FIGURES: tuple[Metric, ...] = ("map_50_95", "map_50")


@dataclass(frozen=True)
class DetectionPredictions(DatasetPredictions):
    """Which boxes of the detectors that were trained on one dataset are right.

    ``matches`` has those of each seed, ``detected`` the names of the classes that have boxes.
    ``y_true`` and ``classes`` are those that whole photos are counted in: they decide the strata of
    the jackknife.
    """

    figures: ClassVar[tuple[Metric, ...]] = _FIGURES
    shown_metric: ClassVar[Metric] = "map_50_95"

    matches: tuple[Matches, ...] = field(kw_only=True)
    detected: tuple[str, ...] = field(kw_only=True)

    @property
    def seeds(self) -> int:
        """The number of trainings."""
        return len(self.matches)

    @property
    def photos_by_class(self) -> dict[str, int]:
        """Test photos that show each class."""
        counts = np.count_nonzero(self.matches[0].objects, axis=0).tolist()
        return dict(zip(self.detected, counts, strict=True))

    def values(self, metric: Metric) -> Values:
        """Mean average precision of each seed, 0..1, over the classes with an object."""
        return self._values[:, _FIGURES.index(metric)]

    def changes(self, metric: Metric, strata: Strata) -> Values:
        """(families, seeds): by how much the metric changes without each family of photos.

        The changes are those of the area under the whole curve; see `changes_without_families`.
        """
        both = self._changes
        if metric not in both:
            found = [
                changes_without_families(matches, self.family_rows, strata)
                for matches in self.matches
            ]
            both.update(zip(_FIGURES, np.stack(found, axis=2), strict=True))
        return both[metric]

    def best_constant(self, metric: Metric) -> float:
        """0: the same boxes in every photo find nothing."""
        return 0.0

    def least_change(self, metric: Metric) -> float:
        """What one object of the smallest class can change."""
        objects = self.matches[0].objects.sum(axis=0)
        objects = objects[objects > 0]
        return float(1 / (len(objects) * objects.min())) if len(objects) else 1.0

    @cached_property
    def _values(self) -> Values:
        """(seeds, 2) mAP50:95 and mAP50."""
        return np.stack([mean_precisions(precision_curves(matches)) for matches in self.matches])

    @cached_property
    def _changes(self) -> dict[Metric, Values]:
        return {}


def mean_precisions(curves: Values) -> Values:
    """(2,) mAP50:95 and mAP50 of `precision_curves`; 0 without an object."""
    present = curves[~np.isnan(curves[:, 0, 0])]
    if not len(present):
        return np.zeros(2)
    return np.array([present.mean(), present[:, 0].mean()])


def match_column(split: Mapping[str, Any], classes: int) -> Matches:
    """Which boxes are right, from the columns ``objects`` and ``found`` of one split."""
    objects, found = read_objects(split["objects"]), read_found(split["found"])
    return match(objects, found, len(split["objects"]), classes)


def match_seeds(splits: Sequence[Mapping[str, Any]], classes: int) -> tuple[Matches, ...]:
    """`match_column` of each seed."""
    return tuple(match_column(split, classes) for split in splits)
