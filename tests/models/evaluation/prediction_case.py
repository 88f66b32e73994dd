"""Predictions drawn in code, with a known accuracy."""

import numpy as np

from models.evaluation.predictions import DatasetPredictions

CLASSES = ("apple", "kiwi", "plum")


def make_dataset(
    name: str, accuracy: float, seeds: int = 3, each: int = 60, spread: float = 0.0
) -> DatasetPredictions:
    """Right on the easiest photos, with noise on each; ``spread`` separates the seeds."""
    rng = np.random.default_rng(sum(map(ord, name)) + seeds)
    truth = np.repeat(np.arange(3), each)
    difficulty = np.random.default_rng(1).permutation(len(truth)) / len(truth)
    probabilities = np.full((seeds, len(truth), 3), 0.1, np.float32)
    for seed in range(seeds):
        noise = rng.normal(0, 0.05, len(truth)) + spread * (seed - (seeds - 1) / 2)
        right = difficulty + noise < accuracy
        predicted = np.where(right, truth, (truth + rng.integers(1, 3, len(truth))) % 3)
        probabilities[seed, np.arange(len(truth)), predicted] = 0.8
    return DatasetPredictions(name, truth, probabilities, CLASSES)
