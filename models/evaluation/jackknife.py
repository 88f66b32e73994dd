"""The jackknife over families of test photos: how much a figure depends on single photos."""

from dataclasses import dataclass

import numpy as np

from models.evaluation.classification import Labels, Values


@dataclass(frozen=True)
class Strata:
    """Families of test photos by class; a family that is left out gives its weight to its stratum.

    ``of_family`` (families,) are codes of strata. ``sizes`` count the families of each stratum.
    """

    of_family: Labels
    sizes: Labels

    @property
    def others(self) -> Values:
        """(families,) the other families of the same stratum, 1 or more."""
        return np.maximum(self.sizes[self.of_family] - 1, 1).astype(np.float64)

    @property
    def degrees_of_freedom(self) -> int:
        """Families less strata."""
        return int(self.sizes.sum() - len(self.sizes))

    def leave_out(self, counts: Values) -> Values:
        """Sums over the families, with each family left out.

        Args:
            counts: (families, ...) of each family.

        Returns:
            (families, ...): row f is the sum without family f.
        """
        by_stratum = np.stack(
            [counts[self.of_family == index].sum(axis=0) for index in range(len(self.sizes))]
        )
        others = self.others.reshape(-1, *(1,) * (counts.ndim - 1))
        moved = (by_stratum[self.of_family] - (others + 1) * counts) / others
        return np.asarray(counts.sum(axis=0) + moved)


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


def stratify(labels: Labels) -> Strata:
    """The strata of families with these classes.

    A stratum is a class. Classes with a single family share one stratum, because one family shows
    no variance. Where only one class has a single family, the smallest other class joins it.

    Args:
        labels: (families,) index of the class of each family; -1 for photos without an object.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(labels)
    single = counts[labels] == 1
    if single.sum() == 1 and len(labels) > 1:
        smallest = np.where(counts > 1, counts, counts.max() + 1).argmin()
        single |= labels == smallest
    strata = np.unique(np.where(single, -1, labels), return_inverse=True)[1]
    return Strata(strata, np.bincount(strata))
