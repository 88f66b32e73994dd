"""Predictions drawn in code, with a known accuracy."""

import numpy as np

from models.data.specs import Origin
from models.evaluation.classification import Labels
from models.evaluation.predictions import ClassifierPredictions

# A dataset without codes of families has a family per photo.
EACH_ALONE = np.empty(0, np.int64)
CLASSES = ("apple", "kiwi", "plum")
FEW_REAL = Origin(photos="references", photos_per_class=5)
FEW_SYNTHETIC = Origin(synthetic=True, photos="references", photos_per_class=5)
ALL_REAL = Origin(photos="all", photos_per_class=40)
ADDED = Origin(synthetic=True, photos="all", photos_per_class=40)
MIXED = Origin(synthetic=True, photos="some", photos_per_class=40)


def make_dataset(
    name: str,
    accuracy: float,
    seeds: int = 3,
    each: int = 60,
    spread: float = 0.0,
    origin: Origin = FEW_REAL,
) -> ClassifierPredictions:
    """Right on the easiest photos, with noise on each; ``spread`` separates the seeds."""
    rng = np.random.default_rng(sum(map(ord, name)) + seeds)
    truth = np.repeat(np.arange(3), each)
    difficulty = np.random.default_rng(1).permutation(len(truth)) / len(truth)
    right = np.empty((seeds, len(truth)), bool)
    for seed in range(seeds):
        noise = rng.normal(0, 0.05, len(truth)) + spread * (seed - (seeds - 1) / 2)
        right[seed] = difficulty + noise < accuracy
    return predict(name, truth, right, origin)


def predict(
    name: str,
    truth: Labels,
    right: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    origin: Origin = FEW_REAL,
    families: Labels = EACH_ALONE,
) -> ClassifierPredictions:
    """Predictions that are right where ``right`` (seeds, photos) says so, else the next class."""
    predicted = np.where(right, truth, (truth + 1) % 3)
    probabilities = np.full((*predicted.shape, 3), 0.1, np.float32)
    np.put_along_axis(probabilities, predicted[..., None], 0.8, axis=2)
    return ClassifierPredictions(
        name, truth, CLASSES, origin, families, probabilities=probabilities
    )
