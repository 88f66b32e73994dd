from typing import Any

import numpy as np
import pytest

from models.evaluation.classification import score
from models.evaluation.comparison import compare, dataset_interval, mean_interval
from models.evaluation.predictions import DatasetPredictions
from tests.models.evaluation.prediction_case import CLASSES, make_dataset


def test_the_interval_over_seeds_is_students() -> None:
    interval = mean_interval([0.7, 0.8, 0.9])
    # t(0.975, 2) = 4.3027, standard error 0.1 / sqrt(3)
    assert interval.value == pytest.approx(0.8)
    assert interval.low == pytest.approx(0.8 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert interval.high == 1.0
    assert interval.over == "seeds"
    assert mean_interval([0.5, 0.5]).low == 0.5
    with pytest.raises(ValueError, match="two seeds or more"):
        mean_interval([0.5])


def test_with_one_seed_the_interval_is_over_photos() -> None:
    dataset = make_dataset("real", 0.8, seeds=1, each=100)
    interval = dataset_interval(dataset, "accuracy")
    accuracy = float(dataset.values("accuracy")[0])
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 300)
    assert interval.over == "photos"
    assert interval.value == accuracy
    assert interval.low == pytest.approx(accuracy - half, abs=0.012)
    assert interval.high == pytest.approx(accuracy + half, abs=0.012)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "f1_weighted"])
def test_values_are_those_of_the_scores(metric: Any) -> None:
    dataset = make_dataset("real", 0.7)
    for value, probabilities in zip(dataset.values(metric), dataset.probabilities, strict=True):
        scores = score(dataset.y_true.tolist(), probabilities, CLASSES)
        assert value == pytest.approx(getattr(scores, metric))


def test_a_difference_is_paired_antisymmetric_and_repeatable() -> None:
    real, mixed = make_dataset("real", 0.7), make_dataset("mixed", 0.8)
    gap = compare(mixed, real)
    assert gap == compare(mixed, real)
    assert gap.low < gap.difference < gap.high
    assert gap.difference == pytest.approx(
        (mixed.values("f1_macro") - real.values("f1_macro")).mean()
    )
    back = compare(real, mixed)
    assert (back.low, back.high) == pytest.approx((-gap.high, -gap.low), abs=0.01)
    # Both fail on the same hard photos, so an unpaired interval would be much wider.
    single_real, single_mixed = (
        make_dataset("real", 0.7, seeds=1),
        make_dataset("mixed", 0.8, seeds=1),
    )
    widths = [
        gap.high - gap.low
        for gap in (dataset_interval(single_real), dataset_interval(single_mixed))
    ]
    unpaired = np.hypot(widths[0], widths[1])
    paired = compare(single_mixed, single_real)
    assert paired.high - paired.low < 0.8 * unpaired
    same = compare(real, real)
    assert same.low <= 0 <= same.high
    assert same.difference == 0


def test_training_variance_widens_the_interval() -> None:
    stable = compare(make_dataset("mixed", 0.8), make_dataset("real", 0.7))
    unstable = compare(
        make_dataset("mixed", 0.8, spread=0.08), make_dataset("real", 0.7, spread=0.08)
    )
    assert unstable.high - unstable.low > 1.5 * (stable.high - stable.low)
    assert unstable.seed_variance_share > 0.5 > stable.seed_variance_share


def test_more_photos_narrow_the_interval() -> None:
    few = compare(make_dataset("mixed", 0.8, each=30), make_dataset("real", 0.7, each=30))
    many = compare(make_dataset("mixed", 0.8, each=300), make_dataset("real", 0.7, each=300))
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_rejects_datasets_that_cannot_be_paired() -> None:
    real = make_dataset("real", 0.7)
    with pytest.raises(ValueError, match="tested on other photos"):
        compare(make_dataset("mixed", 0.8, each=50), real)
    with pytest.raises(ValueError, match="have 2 and 3 seeds"):
        compare(make_dataset("mixed", 0.8, seeds=2), real)
    with pytest.raises(ValueError, match=r"give \(seeds, photos, classes\)"):
        DatasetPredictions("real", real.y_true, real.probabilities[0], CLASSES)


def test_intervals_of_equal_datasets_mostly_include_zero() -> None:
    misses = 0
    for case in range(40):
        rng = np.random.default_rng(case)
        truth = np.repeat(np.arange(3), 40)
        hard = rng.normal(0, 1.5, len(truth))
        datasets = []
        for name in ("mixed", "real"):
            right = rng.random((3, len(truth))) < 1 / (
                1 + np.exp(hard - rng.normal(1, 0.2, (3, 1)))
            )
            predicted = np.where(right, truth, (truth + 1) % 3)
            datasets.append(
                DatasetPredictions(name, truth, np.eye(3, dtype=np.float32)[predicted], CLASSES)
            )
        gap = compare(datasets[0], datasets[1])
        misses += not gap.low <= 0 <= gap.high
    assert misses <= 5
