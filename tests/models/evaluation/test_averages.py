import numpy as np
import pytest
from sklearn import metrics

from models.evaluation.averages import FIGURES, mean_over_seeds
from models.evaluation.classification import DatasetScores, Probabilities, score

CLASSES = ("a", "b")
TRUTH = np.repeat([0, 1], 30)


def probabilities(seed: int, sharpness: float) -> Probabilities:
    """Two networks rank photos well; a ``sharpness`` below 1 pulls all towards class a."""
    logit = np.random.default_rng(seed).normal(4 * TRUTH - 2.0, 1.2) * sharpness
    logit -= 0 if sharpness >= 1 else 6
    chance = 1 / (1 + np.exp(-logit))
    return np.stack([1 - chance, chance], axis=1).astype(np.float32)


def scores() -> list[DatasetScores]:
    return [
        score(TRUTH.tolist(), probabilities(s, sharp), CLASSES) for s, sharp in ((0, 3), (1, 0.3))
    ]


def test_figures_are_means_over_the_seeds() -> None:
    each = scores()
    mean = mean_over_seeds(each)
    for name in FIGURES:
        assert getattr(mean, name) == pytest.approx(np.mean([getattr(s, name) for s in each]))
    assert mean.images == 60
    assert np.sum(mean.confusion) == pytest.approx(60)
    assert mean.per_class["a"].support == 30
    assert "training 2 of 2" in mean.text
    assert mean_over_seeds(each[:1]) == each[0]
    with pytest.raises(ValueError, match="at least one seed"):
        mean_over_seeds([])


def test_seeds_with_other_calibration_are_not_pooled() -> None:
    each = scores()
    pooled = np.concatenate([probabilities(0, 3), probabilities(1, 0.3)])[:, 1]
    area = metrics.roc_auc_score(np.tile(TRUTH, 2), pooled)
    mean = mean_over_seeds(each).per_class["b"]
    assert mean.roc_auc is not None
    assert mean.roc_auc > area + 0.05
    assert mean.roc_auc == pytest.approx(np.mean([s.per_class["b"].roc_auc for s in each]))


def test_curves_are_means_at_the_same_recall_and_threshold() -> None:
    each = scores()
    curve = mean_over_seeds(each).curves["b"]
    assert curve.pr_recall[0] == 1
    assert curve.pr_recall[-1] == 0
    assert curve.pr_precision[-1] == 1
    assert list(curve.pr_recall) == sorted(curve.pr_recall, reverse=True)
    assert list(curve.threshold) == sorted(curve.threshold)
    middle = int(np.argmin(np.abs(np.array(curve.threshold) - 0.5)))
    recalls = [
        np.mean(probabilities(s, sharp)[TRUTH == 1, 1] >= curve.threshold[middle] - 1e-4)
        for s, sharp in ((0, 3), (1, 0.3))
    ]
    assert curve.recall[middle] == pytest.approx(np.mean(recalls), abs=0.02)
