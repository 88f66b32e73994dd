from typing import Any

import numpy as np
import pytest

from models.evaluation.classification import metric_of_counts, score
from models.evaluation.comparison import compare, dataset_interval
from models.evaluation.predictions import ClassifierPredictions
from tests.models.evaluation.prediction_case import CLASSES, make_dataset, predict

TRUTH = np.repeat(np.arange(3), 40)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "f1_weighted"])
def test_values_are_those_of_the_scores(metric: Any) -> None:
    dataset = make_dataset("real", 0.7)
    for value, probabilities in zip(dataset.values(metric), dataset.probabilities, strict=True):
        scores = score(dataset.y_true.tolist(), probabilities, CLASSES)
        assert value == pytest.approx(getattr(scores, metric))


def test_a_difference_is_paired_and_antisymmetric() -> None:
    real, mixed = make_dataset("real", 0.7), make_dataset("mixed", 0.8)
    gap, back = compare(mixed, real), compare(real, mixed)
    assert gap.low < gap.difference < gap.high
    assert gap.difference == pytest.approx(
        (mixed.values("f1_macro") - real.values("f1_macro")).mean()
    )
    assert (back.low, back.high) == pytest.approx((-gap.high, -gap.low))
    # Both fail on the same hard photos, so an unpaired interval would be much wider.
    widths = [found.high - found.low for found in map(dataset_interval, (real, mixed))]
    assert gap.high - gap.low < 0.8 * np.hypot(widths[0], widths[1])


def test_the_standard_error_is_that_of_a_paired_bootstrap_over_families() -> None:
    rng = np.random.default_rng(3)
    families = np.repeat(np.arange(30), 4)
    truth = np.repeat(np.arange(30) % 3, 4)
    shared = rng.normal(0, 1.5, 30)[families]
    datasets = [
        predict(name, truth, rng.normal(mean, 1, (1, 120)) > shared, families=families)
        for name, mean in (("synthetic", 1.2), ("few_shot", 0.8))
    ]
    groups = [np.flatnonzero(np.arange(30) % 3 == label) for label in range(3)]
    counts = [next(dataset.family_counts()) for dataset in datasets]
    rounds = []
    for _ in range(800):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])
        totals = [count[:, drawn].sum(axis=1) for count in counts]
        ahead, behind = (metric_of_counts("f1_macro", *total) for total in totals)
        rounds.append(ahead - behind)
    expected = np.std(rounds) * np.sqrt(10 / 9)
    assert compare(datasets[0], datasets[1]).standard_error == pytest.approx(expected, rel=0.12)


def test_near_duplicates_count_as_one_photo() -> None:
    rng = np.random.default_rng(0)
    datasets, families = [], np.repeat(np.arange(30), 4)
    for name in ("synthetic", "few_shot"):
        right = (rng.random((1, 30)) < 0.8)[:, families]
        datasets.append((name, right))
    single = compare(*(predict(name, TRUTH, right) for name, right in datasets))
    joined = compare(*(predict(name, TRUTH, right, families=families) for name, right in datasets))
    assert (single.families, joined.families) == (120, 30)
    assert joined.standard_error > 1.5 * single.standard_error


def test_training_variance_widens_the_interval() -> None:
    stable = compare(make_dataset("mixed", 0.8), make_dataset("real", 0.7))
    unstable = compare(
        make_dataset("mixed", 0.8, spread=0.08), make_dataset("real", 0.7, spread=0.08)
    )
    assert unstable.high - unstable.low > 1.5 * (stable.high - stable.low)
    assert unstable.seed_variance > unstable.photo_variance
    assert stable.seed_variance < stable.photo_variance


def test_more_photos_narrow_the_interval() -> None:
    few = compare(make_dataset("mixed", 0.8, each=30), make_dataset("real", 0.7, each=30))
    many = compare(make_dataset("mixed", 0.8, each=300), make_dataset("real", 0.7, each=300))
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_a_difference_has_an_interval_at_every_level() -> None:
    gap = compare(make_dataset("mixed", 0.8), make_dataset("real", 0.7))
    wider = gap.at(0.99)
    assert wider.low < gap.low < gap.high < wider.high
    assert (wider.difference, wider.level) == (gap.difference, 0.99)
    assert gap.at(0.95) == gap


@pytest.mark.parametrize("each", [1, 2])
def test_few_photos_per_class_do_not_give_certainty(each: int) -> None:
    truth = np.repeat(np.arange(40), each)
    classes = tuple(f"c{label}" for label in range(40))
    false = 0
    for case in range(20):
        rng = np.random.default_rng(case)
        datasets = []
        for name in ("synthetic", "few_shot"):
            probabilities = rng.random((3, len(truth), 40)).astype(np.float32)
            for seed in range(3):
                hits = rng.permutation(len(truth))[: len(truth) // 10]
                probabilities[seed, hits, truth[hits]] = 2
            probabilities /= probabilities.sum(axis=2, keepdims=True)
            datasets.append(
                ClassifierPredictions(name, truth, classes, probabilities=probabilities)
            )
        gap = compare(datasets[0], datasets[1])
        assert gap.high - gap.low > 0.03
        false += not gap.low <= 0 <= gap.high
    assert false <= 3


def test_a_test_without_any_disagreement_is_no_certainty() -> None:
    right = np.ones((3, 120), bool)
    gap = compare(predict("synthetic", TRUTH, right), predict("few_shot", TRUTH, right))
    assert gap.low < -0.01 < 0.01 < gap.high
    interval = dataset_interval(predict("real", TRUTH, right), "accuracy")
    assert interval.high == 1
    assert interval.low == pytest.approx(1 - 3.92 / (120 + 3.92), abs=0.001)


def test_two_photos_say_nothing() -> None:
    pair = [
        predict(name, np.array([0, 1]), np.array([[True, right]]))
        for name, right in (("synthetic", True), ("few_shot", False))
    ]
    assert (compare(*pair).low, compare(*pair).high) == (-1, 1)
    one = predict("real", np.array([0]), np.array([[True]]))
    assert (dataset_interval(one).low, dataset_interval(one).high) == (
        pytest.approx(0, abs=1e-9),
        1,
    )


def test_the_interval_of_a_training_is_over_photos_and_seeds() -> None:
    rng = np.random.default_rng(0)
    single = predict("real", np.repeat(np.arange(3), 100), rng.random((1, 300)) < 0.8)
    interval = dataset_interval(single, "accuracy")
    half = 1.96 * np.sqrt(interval.value * (1 - interval.value) / 300)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)
    # Seeds that agree do not make the test larger.
    same = predict(
        "real", single.y_true, np.repeat(single.probabilities.argmax(2) == single.y_true, 5, 0)
    )
    again = dataset_interval(same, "accuracy")
    assert (again.low, again.high) == pytest.approx((interval.low, interval.high))
    spread = [dataset_interval(make_dataset("real", 0.7, spread=by)) for by in (0, 0.1)]
    assert spread[1].high - spread[1].low > 1.3 * (spread[0].high - spread[0].low)


def test_rejects_datasets_that_cannot_be_paired() -> None:
    real = make_dataset("real", 0.7)
    with pytest.raises(ValueError, match="tested on other photos"):
        compare(make_dataset("mixed", 0.8, each=50), real)
    with pytest.raises(ValueError, match=r"give \(seeds, photos, classes\)"):
        ClassifierPredictions("real", real.y_true, CLASSES, probabilities=real.probabilities[0])
