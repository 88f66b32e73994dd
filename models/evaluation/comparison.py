"""Differences between trainings, with confidence intervals over test photos and seeds.

The method is multi-reader multi-case analysis (Obuchowski & Rockette 1995,
https://doi.org/10.1080/03610919508813243). Models of several seeds are the readers, and each reader
belongs to one training. Test photos are the cases, and near-duplicates count as one case. The
covariances come from a jackknife over families, stratified by class. Degrees of freedom follow
Hillis (2007, https://doi.org/10.1002/sim.2532), with one variance per training (Satterthwaite).
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from models.data.records import Record
from models.evaluation.classification import Metric, Values
from models.evaluation.jackknife import Jackknife
from models.evaluation.predictions import DatasetPredictions

LEVEL = 0.95


class Interval(Record):
    """A figure, 0..1, with its confidence interval at ``level``, over test photos and seeds."""

    value: float
    low: float
    high: float
    level: float = LEVEL
    seeds: int = Field(description="Trainings; with one, the interval is over photos alone.")
    photos: int


class Difference(Record):
    """``dataset_a`` minus ``dataset_b``, -1..1, with its interval over test photos and seeds."""

    dataset_a: str
    dataset_b: str
    metric: Metric
    difference: float
    low: float
    high: float
    level: float
    standard_error: float
    degrees_of_freedom: float
    seeds: int = Field(description="The smaller number of the two; with one, photos alone count.")
    photos: int
    families: int
    photo_variance: float = Field(description="Part of the squared standard error: photos.")
    seed_variance: float = Field(description="Part of the squared standard error: seeds.")

    def at(self, level: float) -> "Difference":
        """The same difference with its interval at another level."""
        half_width = _quantile(level, self.degrees_of_freedom) * self.standard_error
        low, high = self.difference - half_width, self.difference + half_width
        ends = {"low": max(-1.0, low), "high": min(1.0, high)}
        return self.model_copy(update={**ends, "level": level})


def compare(
    dataset_a: DatasetPredictions,
    dataset_b: DatasetPredictions,
    metric: Metric = "f1_macro",
    level: float = LEVEL,
) -> Difference:
    """How far ``dataset_a`` is ahead of ``dataset_b`` on the same photos.

    With one seed, the variance of training is unknown and left out. Where each class has a single
    family, the variance over classes stands for the variance within them.

    Raises:
        ValueError: the datasets were tested on other photos.
    """
    _check_pair(dataset_a, dataset_b)
    parts = [dataset.jackknife(metric) for dataset in (dataset_a, dataset_b)]
    deviations = parts[0].deviations.mean(axis=1) - parts[1].deviations.mean(axis=1)
    error = _add_variances(deviations, parts, dataset_a.least_change(metric) ** 2)
    exact = Difference(
        dataset_a=dataset_a.name,
        dataset_b=dataset_b.name,
        metric=metric,
        difference=float(parts[0].values.mean() - parts[1].values.mean()),
        low=0,
        high=0,
        level=level,
        standard_error=error.variance**0.5,
        degrees_of_freedom=error.degrees_of_freedom,
        seeds=min(dataset_a.seeds, dataset_b.seeds),
        photos=len(dataset_a.y_true),
        families=dataset_a.family_count,
        photo_variance=error.photos,
        seed_variance=error.seeds,
    )
    return exact.at(level)


def dataset_interval(
    dataset: DatasetPredictions, metric: Metric = "f1_macro", level: float = LEVEL
) -> Interval:
    """A training's mean figure with Wilson's interval for as many photos as give its variance.

    The variance is over photos and seeds. Wilson's interval (1927) stays within 0..1, and its width
    is not zero where all photos are right.
    """
    part = dataset.jackknife(metric)
    value = float(part.values.mean())
    error = _add_variances(part.deviations.mean(axis=1), [part], 0.0)
    # No more than the whole range where nothing is known of the variance.
    quantile = min(_quantile(level, error.degrees_of_freedom), 1e6)
    photos: float = dataset.family_count
    if error.variance > 0 and 0 < value < 1:
        photos = value * (1 - value) / error.variance
    spread = quantile**2 / photos
    centre = (value + spread / 2) / (1 + spread)
    half_width = (spread * value * (1 - value) + spread**2 / 4) ** 0.5 / (1 + spread)
    return Interval(
        value=value,
        low=max(0.0, centre - half_width),
        high=min(1.0, centre + half_width),
        level=level,
        seeds=dataset.seeds,
        photos=len(dataset.y_true),
    )


@dataclass(frozen=True)
class _Error:
    """A squared standard error and its parts. ``photos`` falls with photos, ``seeds`` with seeds.

    The interaction of photos and seeds, which falls with both, is in ``photos``.
    """

    variance: float
    degrees_of_freedom: float
    photos: float
    seeds: float


def _add_variances(deviations: Values, parts: list[Jackknife], least: float) -> _Error:
    """The variance of a mean over seeds, or of a difference of two.

    Args:
        deviations: (families,) those of the mean or difference.
        parts: one or two trainings.
        least: smallest variance that the number of photos allows.
    """
    shared = sum(part.interaction / len(part.values) for part in parts)
    cases = max(0.0, float(deviations @ deviations) - shared)
    readers = [part.between_seeds / len(part.values) for part in parts]
    variance = max(cases + sum(readers), least)
    uncertainty = cases**2 / max(parts[0].degrees_of_freedom, 1e-9) + sum(
        reader**2 / max(len(part.values) - 1, 1)
        for reader, part in zip(readers, parts, strict=True)
    )
    training = sum(
        max(0.0, part.between_seeds - part.interaction) / len(part.values) for part in parts
    )
    degrees = variance**2 / uncertainty if uncertainty else parts[0].degrees_of_freedom
    return _Error(variance, float(degrees), max(variance - training, 0.0), training)


def _quantile(level: float, degrees_of_freedom: float) -> float:
    """Student's quantile. Below one degree of freedom nothing is known, so it is infinite."""
    from scipy import stats

    if degrees_of_freedom < 1:
        return float("inf")
    return float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))


def _check_pair(dataset_a: DatasetPredictions, dataset_b: DatasetPredictions) -> None:
    is_same = (
        dataset_a.classes == dataset_b.classes
        and np.array_equal(dataset_a.y_true, dataset_b.y_true)
        and np.array_equal(dataset_a.families, dataset_b.families)
    )
    if not is_same:
        raise ValueError(
            f"datasets {dataset_a.name} and {dataset_b.name} were tested on other photos; "
            "use one test set"
        )
