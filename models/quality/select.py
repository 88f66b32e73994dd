"""Selection by meaning: which generated images of a class are most like its real photos.

All functions take the features of one frozen network, float arrays of shape (images, values).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.quality.distances import Features, Matrix

# Similarity to a class is the mean over so many of its nearest photos.
NEAREST = 3
# The kernel distance between two sets needs two of either.
_LEAST = 2

Indices = npt.NDArray[np.intp]


class Step(NamedTuple):
    """A point of the curve: the images that are left, and their distance to train and val photos.

    ``val`` is None where the class has fewer than two val photos.
    """

    images: int
    train: float
    val: float | None


class Reduced(NamedTuple):
    """The images that are kept, in their order, and the curve from all images to the fewest."""

    kept: Indices
    curve: tuple[Step, ...]


def similarity(images: Features, photos: Features) -> Matrix:
    """Per image, the mean cosine similarity (-1 to 1) to the three photos most like it.

    Raises:
        ValueError: there is no photo.
    """
    from sklearn.metrics.pairwise import cosine_similarity

    if not len(photos):
        raise ValueError("similarity: give at least one photo")
    nearest = min(NEAREST, len(photos))
    values = np.sort(cosine_similarity(np.asarray(images, np.float64), photos), axis=1)
    return np.asarray(values[:, -nearest:].mean(axis=1), np.float64)


def best_of(scores: Matrix, groups: list[str], size: int) -> Indices:
    """The best image of every ``size`` images of a group, by score; earlier ones win ties.

    A group of n images keeps the best n / ``size`` of them, rounded up.
    """
    kept: list[int] = []
    for group in dict.fromkeys(groups):
        own = np.array([at for at, name in enumerate(groups) if name == group])
        ranked = own[np.argsort(-scores[own], kind="stable")]
        kept += ranked[: -(-len(own) // size)].tolist()
    return np.sort(np.array(kept, np.intp))


def reduce_distance(images: Features, train: Features, val: Features, least: int) -> Reduced:
    """Leave out images one after another, so that the kernel distance to train photos falls.

    Each step leaves out the image whose absence gives the lowest squared maximum mean discrepancy
    to the train photos, with the kernel of KID. The set with the lowest distance to the val photos
    is kept: they had no part in the order. Without val photos, it is the lowest distance to the
    train photos. The estimate is the one that counts pairs of an image with itself (Gretton et al.
    2012, equation 5). The unbiased one of KID falls below 0 for a few images that differ by chance.

    Args:
        images: features of the images of one class.
        train: features of its train photos, at least two.
        val: features of its val photos.
        least: images that are kept at least; two or more.

    Raises:
        ValueError: there are fewer than two images, two train photos, or ``least`` is below two.
    """
    from sklearn.metrics.pairwise import polynomial_kernel

    if min(len(images), len(train), least) < _LEAST:
        raise ValueError(
            f"selection: {len(images)} images, {len(train)} train photos, {least} to keep; give "
            "at least 2 of each"
        )
    own = np.asarray(images, np.float64)
    among = polynomial_kernel(own)
    selves = np.diag(among).copy()
    to_train = _Target(own, train)
    to_val = _Target(own, val) if len(val) >= _LEAST else None
    left = np.arange(len(own))
    sums, total = among.sum(axis=1), float(among.sum())
    states, curve = [left], [_step(left, total, to_train, to_val)]
    while len(left) > max(least, _LEAST):
        count = len(left) - 1
        totals = total - 2 * sums[left] + selves[left]
        across = to_train.mean[left].sum() - to_train.mean[left]
        distances = totals / count**2 - 2 * across / count
        worst = int(distances.argmin())
        total = float(totals[worst])
        sums = sums - among[left[worst]]
        left = np.delete(left, worst)
        states.append(left)
        curve.append(_step(left, total, to_train, to_val))
    distances_to = [step.train if step.val is None else step.val for step in curve]
    return Reduced(states[int(np.argmin(distances_to))], tuple(curve))


class _Target:
    """Real photos: the mean kernel of each image to them, and that among them."""

    def __init__(self, images: Matrix, photos: Features) -> None:
        from sklearn.metrics.pairwise import polynomial_kernel

        real = np.asarray(photos, np.float64)
        self.mean: Matrix = polynomial_kernel(images, real).mean(axis=1)
        self.among = float(polynomial_kernel(real).mean())

    def distance(self, left: Indices, total: float) -> float:
        """The squared discrepancy of some images; ``total`` is the kernel sum of their pairs."""
        count = len(left)
        return total / count**2 + self.among - 2 * float(self.mean[left].mean())


def _step(left: Indices, total: float, train: _Target, val: _Target | None) -> Step:
    return Step(
        len(left),
        train.distance(left, total),
        None if val is None else val.distance(left, total),
    )
