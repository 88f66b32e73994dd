"""Networks that guess get no verdict, however few test photos a class has (case 30)."""

import numpy as np
import pytest

from models.evaluation.comparison import Difference
from models.evaluation.conclusion import conclude
from models.evaluation.predictions import ClassifierPredictions
from models.evaluation.settings import VerdictSettings
from tests.models.evaluation.prediction_case import ADDED, ALL_REAL

CLASSES = tuple(f"c{number}" for number in range(40))
TESTS = 20


def make_guesser(name: str, draw: int, per_class: int, seeds: int) -> ClassifierPredictions:
    """Random scores; each seed is right on at least a tenth of the photos."""
    rng = np.random.default_rng([draw, *map(ord, name)])
    truth = np.repeat(np.arange(len(CLASSES)), per_class)
    scores = rng.random((seeds, len(truth), len(CLASSES)))
    for seed in range(seeds):
        right = rng.permutation(len(truth))[: len(truth) // 10]
        scores[seed, right, truth[right]] = 2
    scores /= scores.sum(axis=2, keepdims=True)
    origin = ADDED if name == "added" else ALL_REAL
    return ClassifierPredictions(
        name, truth, CLASSES, origin, probabilities=scores.astype(np.float32)
    )


def compare_guessers(draw: int, per_class: int, seeds: int) -> tuple[Difference, str]:
    """The difference of two guessers, and the outcome of the verdict."""
    pair = [make_guesser(name, draw, per_class, seeds) for name in ("real", "added")]
    answer = conclude(pair, VerdictSettings())
    (difference,) = answer.differences
    (found,) = answer.answers
    return difference, found.outcome


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_guessers_are_not_told_apart(per_class: int, seeds: int) -> None:
    found = [compare_guessers(draw, per_class, seeds) for draw in range(TESTS)]
    assert min(difference.high - difference.low for difference, _ in found) > 0.02
    outcomes = [outcome for _, outcome in found]
    if seeds == 1:
        assert set(outcomes) == {"no_verdict"}
    else:
        assert outcomes.count("helps") <= 1
