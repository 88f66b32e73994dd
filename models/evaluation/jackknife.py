"""The jackknife over families of test photos: how much a figure depends on single photos."""

from dataclasses import dataclass

import numpy as np

from models.evaluation.classification import Labels, Metric, Values, metric_of_counts
from models.evaluation.predictions import DatasetPredictions


@dataclass(frozen=True)
class Jackknife:
    """How the figure of each seed changes when a family of test photos is left out.

    ``values`` (seeds,) are the figures. ``deviations`` (families, seeds) are scaled so that
    products, summed over families, are covariances of the figures.
    """

    values: Values
    deviations: Values
    degrees_of_freedom: int

    @property
    def interaction(self) -> float:
        """Variance of a figure by photos that the seeds do not share."""
        return float(self.deviations.var(axis=1, ddof=1).sum()) if len(self.values) > 1 else 0.0

    @property
    def between_seeds(self) -> float:
        """Variance of the figure over the seeds, the interaction included."""
        return float(self.values.var(ddof=1)) if len(self.values) > 1 else 0.0


def leave_families_out(dataset: DatasetPredictions, metric: Metric) -> Jackknife:
    """Jackknife each seed's figure: leave one family out, and give its weight to its stratum."""
    strata, sizes = _strata(dataset)
    values, deviations = [], []
    for counts in dataset.family_counts():
        totals = counts.sum(axis=1, keepdims=True)
        by_stratum = np.stack(
            [counts[:, strata == index].sum(axis=1) for index in range(len(sizes))], axis=1
        )
        others = np.maximum(sizes[strata] - 1, 1)[None, :, None]
        left = totals + (by_stratum[:, strata] - (others + 1) * counts) / others
        whole = metric_of_counts(metric, totals[0], totals[1], totals[2])
        scale = np.sqrt(others / (others + 1))[0, :, 0]
        values.append(whole[0])
        without = metric_of_counts(metric, left[0], left[1], left[2])
        deviations.append(scale * (without - whole))
    return Jackknife(
        np.asarray(values), np.stack(deviations, axis=1), int(sizes.sum() - len(sizes))
    )


def _strata(dataset: DatasetPredictions) -> tuple[Labels, Labels]:
    """The stratum of each family, and the number of families of each stratum.

    A stratum is a class. Classes with a single family share one stratum, because one family shows
    no variance. Where only one class has a single family, the smallest other class joins it.
    """
    first = np.unique(dataset.families, return_index=True)[1]
    labels = dataset.y_true[first]
    counts = np.bincount(labels, minlength=len(dataset.classes))
    single = counts[labels] == 1
    if single.sum() == 1 and len(labels) > 1:
        smallest = np.where(counts > 1, counts, counts.max() + 1).argmin()
        single |= labels == smallest
    strata = np.unique(np.where(single, -1, labels), return_inverse=True)[1]
    return strata, np.bincount(strata)
