"""Distances between sets of features: kernel distance, Fréchet distance, density and coverage.

Features are float arrays of shape (images, values). All sums are in float64.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
# The subsets of the kernel distance, and their largest size.
SUBSETS = 100
SUBSET_SIZE = 100


class KernelDistance(NamedTuple):
    """Mean and standard deviation of the kernel distance over random subsets of one size."""

    mean: float
    sd: float
    subset: int


class Support(NamedTuple):
    """Density (0 or more, about 1 for equal sets) and coverage (0 to 1)."""

    density: float
    coverage: float


def kernel_distance(images: Features, photos: Features, rng: np.random.Generator) -> KernelDistance:
    """KID: the unbiased squared maximum mean discrepancy (Bińkowski et al. 2018, section 4).

    The kernel is scikit-learn's polynomial one, ``(x·y / values + 1)^3``. Subsets hold at most half
    of the smaller set, so that their spread shows how much the choice of images matters.

    Raises:
        ValueError: a set has fewer than four images.
    """
    from sklearn.metrics.pairwise import polynomial_kernel

    smaller = min(len(images), len(photos))
    if smaller < 4:
        raise ValueError(f"kernel distance: {smaller} images; give at least 4 in either set")
    size = min(SUBSET_SIZE, smaller // 2)
    first, second = np.asarray(images, np.float64), np.asarray(photos, np.float64)
    among_images, among_photos = polynomial_kernel(first), polynomial_kernel(second)
    across = polynomial_kernel(first, second)
    values = []
    for _ in range(SUBSETS):
        rows = rng.choice(len(images), size, replace=False)
        columns = rng.choice(len(photos), size, replace=False)
        values.append(
            _mean_of_pairs(among_images[np.ix_(rows, rows)])
            + _mean_of_pairs(among_photos[np.ix_(columns, columns)])
            - 2 * float(across[np.ix_(rows, columns)].mean())
        )
    return KernelDistance(float(np.mean(values)), float(np.std(values)), size)


def frechet_distance(images: Features, photos: Features) -> float:
    """FID: the Fréchet distance of two Gaussians fitted to the sets (Heusel et al. 2017, eq. 6).

    The trace of the root of both covariances' product is the sum of the singular values of
    ``A Bᵀ``, where A and B are the centred sets over the root of their size less one, or their
    triangular factors.
    """
    first, second = _centred(images), _centred(photos)
    between = images.mean(0, dtype=np.float64) - photos.mean(0, dtype=np.float64)
    factors = [np.asarray(np.linalg.qr(centred, mode="r")) for centred in (first, second)]
    shared = np.linalg.norm(factors[0] @ factors[1].T, ord="nuc")
    return float(between @ between + (first**2).sum() + (second**2).sum() - 2 * shared)


def density_and_coverage(images: Features, photos: Features, neighbour: int) -> Support:
    """Density and coverage of photos by images (Naeem et al. 2020, equations 5 and 6).

    Each photo has a sphere that reaches its k-th nearest photo. Density counts the spheres that
    hold an image, over k; coverage is the share of photos whose sphere holds an image.

    Args:
        images, photos: the two sets.
        neighbour: k.

    Raises:
        ValueError: there are no more photos than k.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    if len(photos) <= neighbour:
        raise ValueError(f"coverage: {len(photos)} photos; give more than {neighbour}")
    spheres = np.asarray(photos, np.float64)
    among = euclidean_distances(spheres)
    np.fill_diagonal(among, np.inf)
    radii = np.partition(among, neighbour - 1, axis=1)[:, neighbour - 1]
    is_near = euclidean_distances(spheres, np.asarray(images, np.float64)) <= radii[:, None]
    return Support(float(is_near.sum(axis=0).mean() / neighbour), float(is_near.any(axis=1).mean()))


def nearest(images: Features, photos: Features) -> tuple[Matrix, npt.NDArray[np.intp]]:
    """Cosine distance (0 to 2) from each image to its nearest photo, and that photo's index."""
    from sklearn.metrics.pairwise import cosine_distances

    distances = cosine_distances(np.asarray(images, np.float64), np.asarray(photos, np.float64))
    indices = distances.argmin(axis=1)
    return distances[np.arange(len(images)), indices], indices


def mean_pairwise_distance(images: Features) -> float:
    """The mean cosine distance over all pairs, 0 to 2.

    Raises:
        ValueError: there are fewer than two images.
    """
    from sklearn.preprocessing import normalize

    count = len(images)
    if count < 2:
        raise ValueError(f"pairwise distance: {count} images; give at least 2")
    total = normalize(np.asarray(images, np.float64)).sum(axis=0)
    return float(1.0 - (total @ total - count) / (count * (count - 1)))


def _mean_of_pairs(kernel: Matrix) -> float:
    """The mean without the diagonal, which makes the estimate unbiased."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _centred(features: Features) -> Matrix:
    values = np.asarray(features, np.float64)
    return np.asarray((values - values.mean(axis=0)) / np.sqrt(len(values) - 1))
