import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from models.evaluation.classification import CURVE_POINTS, score
from models.evaluation.comparison import Arm, arm_interval, compare, mean_interval
from models.evaluation.conclusion import Verdict, verdict

CLASSES = ("apple", "kiwi", "plum")
# Six photos, of which one apple is taken for a kiwi and one plum for an apple.
TRUTH = [0, 0, 0, 1, 1, 2]
SURE = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.3, 0.5, 0.2],
        [0.1, 0.7, 0.2],
        [0.2, 0.6, 0.2],
        [0.5, 0.1, 0.4],
    ],
    np.float32,
)


def random_case(
    classes: int = 5, photos: int = 200, skill: float = 1.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, photos)
    logits = rng.normal(size=(photos, classes))
    logits[np.arange(photos), truth] += skill
    exponents = np.exp(logits)
    return truth, (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


def test_hand_case() -> None:
    scores = score(TRUTH, SURE, CLASSES)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["confusion"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert scores["per_class"]["apple"]["precision"] == pytest.approx(2 / 3)
    assert scores["per_class"]["apple"]["recall"] == pytest.approx(2 / 3)
    assert scores["per_class"]["kiwi"]["f1"] == pytest.approx(4 / 5)
    assert scores["per_class"]["plum"]["f1"] == 0
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert scores["f1_weighted"] == pytest.approx((3 * 2 / 3 + 2 * 4 / 5) / 6)
    assert scores["prediction_share"] == pytest.approx({"apple": 0.5, "kiwi": 0.5, "plum": 0})
    assert scores["loss"] == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.7, 0.6, 0.4]).mean(), rel=1e-6)
    # Of the pairs (plum, other) 0.4 is above every other photo's plum: a full area.
    assert scores["per_class"]["plum"]["roc_auc"] == 1.0
    assert "plum      0.000" in scores["text"]
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    truth, probabilities = random_case(classes)
    names = [f"c{index}" for index in range(classes)]
    scores = score(truth.tolist(), probabilities, names)
    predicted = probabilities.argmax(axis=1)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(truth, predicted, average=average)
        figure = scores["f1_macro"] if average == "macro" else scores["f1_weighted"]
        assert figure == pytest.approx(expected)
    rows = scores["per_class"].values()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, predicted)
    assert [row["precision"] for row in rows] == pytest.approx(precision)
    assert [row["recall"] for row in rows] == pytest.approx(recall)
    assert [row["f1"] for row in rows] == pytest.approx(f1)
    assert [row["support"] for row in rows] == support.tolist()
    one_hot = np.eye(classes)[truth]
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(one_hot, probabilities))
    areas = metrics.average_precision_score(one_hot, probabilities, average=None)
    assert [row["average_precision"] for row in rows] == pytest.approx(areas)
    assert scores["loss"] == pytest.approx(
        -np.log(probabilities[np.arange(len(truth)), truth]).mean(), rel=1e-5
    )


def test_curves_are_thin_and_true() -> None:
    truth, probabilities = random_case(photos=3000)
    curves = score(truth.tolist(), probabilities, list("abcde"))["curves"]
    for index, name in enumerate("abcde"):
        is_class, own = truth == index, probabilities[:, index]
        curve = curves[name]
        assert len(curve["threshold"]) == len(curve["precision"]) == len(curve["recall"])
        assert 50 < len(curve["pr_recall"]) <= CURVE_POINTS
        assert 50 < len(curve["threshold"]) <= CURVE_POINTS
        assert curve["pr_recall"] == sorted(curve["pr_recall"], reverse=True)
        assert curve["pr_recall"][0] == 1
        assert curve["pr_recall"][-1] == 0
        assert curve["threshold"] == sorted(curve["threshold"])
        for place in (5, 30, 45):
            taken = own >= curve["threshold"][place] - 5e-5
            assert curve["recall"][place] == pytest.approx(
                is_class[taken].sum() / is_class.sum(), abs=0.01
            )
            assert curve["precision"][place] == pytest.approx(is_class[taken].mean(), abs=0.01)


def test_class_without_a_photo_is_left_out() -> None:
    truth, probabilities = random_case(5)
    kept = truth != 3
    scores = score(truth[kept].tolist(), probabilities[kept], list("abcde"))
    assert scores["absent"] == ["d"]
    assert scores["per_class"]["d"] == {
        "precision": 0.0,
        "recall": None,
        "f1": None,
        "support": 0,
        "average_precision": None,
        "roc_auc": None,
    }
    assert "d" not in scores["curves"]
    present = [row["f1"] or 0.0 for name, row in scores["per_class"].items() if name != "d"]
    assert scores["f1_macro"] == pytest.approx(np.mean(present))
    assert np.sum(scores["confusion"]) == kept.sum()
    assert sum(scores["prediction_share"].values()) == pytest.approx(1)


def test_single_class_set_has_no_roc_area() -> None:
    scores = score([1, 1], SURE[3:5], CLASSES)
    assert scores["roc_auc"] is None
    assert scores["accuracy"] == 1.0
    assert scores["per_class"]["kiwi"]["average_precision"] == 1.0


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        ([], np.empty((0, 3), np.float32), "holds no photo"),
        ([0, 1], SURE, "does not fit 2 photos"),
        ([0, 0, 0, 1, 1, 3], SURE, "labels go up to 3"),
        (TRUTH, SURE * np.nan, "NaN"),
        (TRUTH, SURE * 2, "don't sum to 1"),
    ],
)
def test_bad_predictions_are_refused(truth: list[int], probabilities: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(truth, probabilities, CLASSES)


def make_arm(
    name: str, accuracy: float, seeds: int = 3, each: int = 60, spread: float = 0.0
) -> Arm:
    """An arm that is right on the easiest photos, with luck on each; ``spread`` parts the seeds."""
    rng = np.random.default_rng(sum(map(ord, name)) + seeds)
    truth = np.repeat(np.arange(3), each)
    difficulty = np.random.default_rng(1).permutation(len(truth)) / len(truth)
    probabilities = np.full((seeds, len(truth), 3), 0.1, np.float32)
    for seed in range(seeds):
        luck = rng.normal(0, 0.05, len(truth)) + spread * (seed - (seeds - 1) / 2)
        right = difficulty + luck < accuracy
        predicted = np.where(right, truth, (truth + rng.integers(1, 3, len(truth))) % 3)
        probabilities[seed, np.arange(len(truth)), predicted] = 0.8
    return Arm(name, truth, probabilities, CLASSES)


def test_mean_interval_is_students() -> None:
    interval = mean_interval([0.7, 0.8, 0.9])
    # t(0.975, 2) = 4.3027, standard error 0.1 / sqrt(3)
    assert interval.value == pytest.approx(0.8)
    assert interval.low == pytest.approx(0.8 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert interval.high == 1.0
    assert interval.over == "seeds"
    assert mean_interval([0.5, 0.5]).low == 0.5
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([0.5])


def test_one_seed_takes_its_interval_from_the_photos() -> None:
    arm = make_arm("real", 0.8, seeds=1, each=100)
    interval = arm_interval(arm, "accuracy")
    accuracy = float(arm.values("accuracy")[0])
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 300)
    assert interval.over == "photos"
    assert interval.value == accuracy
    assert interval.low == pytest.approx(accuracy - half, abs=0.012)
    assert interval.high == pytest.approx(accuracy + half, abs=0.012)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "f1_weighted"])
def test_arm_values_are_the_scores(metric: Any) -> None:
    arm = make_arm("real", 0.7)
    for value, probabilities in zip(arm.values(metric), arm.probabilities, strict=True):
        scores: Any = score(arm.y_true.tolist(), probabilities, CLASSES)
        assert value == pytest.approx(scores[metric])


def test_difference_is_paired_antisymmetric_and_repeats() -> None:
    real, mixed = make_arm("real", 0.7), make_arm("mixed", 0.8)
    gap = compare(mixed, real)
    assert gap == compare(mixed, real)
    assert gap.low < gap.difference < gap.high
    assert gap.difference == pytest.approx(
        (mixed.values("f1_macro") - real.values("f1_macro")).mean()
    )
    back = compare(real, mixed)
    assert (back.low, back.high) == pytest.approx((-gap.high, -gap.low), abs=0.01)
    # Both arms fail on the same hard photos: unpaired, the interval would be far wider.
    one, other = make_arm("real", 0.7, seeds=1), make_arm("mixed", 0.8, seeds=1)
    widths = [gap.high - gap.low for gap in (arm_interval(one), arm_interval(other))]
    unpaired = np.hypot(widths[0], widths[1])
    paired = compare(other, one)
    assert paired.high - paired.low < 0.8 * unpaired
    same = compare(real, real)
    assert same.low <= 0 <= same.high
    assert same.difference == 0


def test_luck_of_training_widens_the_interval() -> None:
    calm = compare(make_arm("mixed", 0.8), make_arm("real", 0.7))
    moody = compare(make_arm("mixed", 0.8, spread=0.08), make_arm("real", 0.7, spread=0.08))
    assert moody.high - moody.low > 1.5 * (calm.high - calm.low)
    assert moody.seed_share > 0.5 > calm.seed_share


def test_more_photos_narrow_the_interval() -> None:
    few = compare(make_arm("mixed", 0.8, each=30), make_arm("real", 0.7, each=30))
    many = compare(make_arm("mixed", 0.8, each=300), make_arm("real", 0.7, each=300))
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_arms_that_can_not_be_paired_are_refused() -> None:
    real = make_arm("real", 0.7)
    with pytest.raises(ValueError, match="scored on other photos"):
        compare(make_arm("mixed", 0.8, each=50), real)
    with pytest.raises(ValueError, match="have 2 and 3 seeds"):
        compare(make_arm("mixed", 0.8, seeds=2), real)
    with pytest.raises(ValueError, match=r"give \(seeds, photos, classes\)"):
        Arm("real", real.y_true, real.probabilities[0], CLASSES)


def infer(real: float, mixed: float, synthetic: float, **settings: Any) -> Verdict:
    figures = {"real": real, "mixed": mixed, "synthetic": synthetic}
    return verdict([make_arm(name, figure, **settings) for name, figure in figures.items()])


def test_verdict_says_that_synthetic_images_help() -> None:
    answer = infer(real=0.6, mixed=0.85, synthetic=0.4)
    assert (answer.winner, answer.helps) == ("mixed", True)
    assert answer.text.startswith("Use the mixed set: synthetic images help here.")
    gap = answer.differences["mixed"]
    assert gap.low > 0
    assert f"({100 * gap.difference:+.1f} points, interval {100 * gap.low:+.1f} to" in answer.text
    assert f"reached {100 * answer.intervals['mixed'].value:.1f} macro F1" in answer.text
    assert "Synthetic images alone reached" in answer.text
    assert "worse than real photos alone" in answer.text
    assert "180 test photos and 3 seeds" in answer.text
    assert gap.level == pytest.approx(0.975)


def test_verdict_says_that_synthetic_images_do_not_help() -> None:
    answer = infer(real=0.85, mixed=0.7, synthetic=0.5)
    assert (answer.winner, answer.helps) == ("real", False)
    assert answer.text.startswith("Use real photos alone, with ")
    assert "synthetic images do not help here" in answer.text
    assert all(gap.high < 0 for gap in answer.differences.values())


def test_verdict_says_when_it_can_not_be_told() -> None:
    answer = infer(real=0.7, mixed=0.73, synthetic=0.7, each=12)
    assert (answer.winner, answer.helps) == (None, None)
    assert answer.text.startswith("This test can't tell whether synthetic images help.")
    assert "not told apart from real photos alone" in answer.text
    assert "real photos alone are the safe choice" in answer.text


def test_verdict_tells_how_many_photos_would_settle_it() -> None:
    answer = infer(real=0.7, mixed=0.78, synthetic=0.5, each=12, seeds=1)
    assert answer.helps is None
    assert "such photos" in answer.text


def test_verdict_prefers_the_better_of_two_that_help() -> None:
    answer = infer(real=0.5, mixed=0.7, synthetic=0.9)
    assert (answer.winner, answer.helps) == ("synthetic", True)
    assert "Use synthetic images alone" in answer.text
    assert "The mixed set reached" in answer.text
    assert "also better than real photos alone" in answer.text


def test_verdict_without_skill_blames_the_training() -> None:
    answer = infer(real=0.31, mixed=0.3, synthetic=0.3)
    assert (answer.winner, answer.helps) == (None, None)
    assert answer.text.startswith("No arm does better than always guessing one class")


def test_verdict_names_what_weakens_it() -> None:
    answer = infer(real=0.6, mixed=0.9, synthetic=0.4, seeds=1, each=9)
    assert "One seed leaves out the luck of training" in answer.text
    assert "Fewer than 10 test photos: apple, kiwi, plum." in answer.text
    real, mixed = make_arm("real", 0.6), make_arm("mixed", 0.9)
    kept = real.y_true != 2
    arms = [Arm(a.name, a.y_true[kept], a.probabilities[:, kept], CLASSES) for a in (real, mixed)]
    assert "No test photo, so left out: plum." in verdict(arms).text


def test_verdict_on_equal_arms_is_no() -> None:
    real = make_arm("real", 0.7, seeds=1)
    twin = Arm("mixed", real.y_true, real.probabilities, CLASSES)
    answer = verdict([real, twin])
    assert (answer.winner, answer.helps) == ("real", False)
    assert "as good as real photos alone (+0.0 points" in answer.text


def test_verdict_needs_a_real_arm_and_another() -> None:
    with pytest.raises(ValueError, match="give 'real' and others"):
        verdict([make_arm("mixed", 0.7), make_arm("synthetic", 0.7)])
    with pytest.raises(ValueError, match="give 'real' and others"):
        verdict([make_arm("real", 0.7)])
    with pytest.raises(ValueError, match="each once"):
        verdict([make_arm("real", 0.7), make_arm("real", 0.7)])


def test_intervals_hold_their_level_when_nothing_differs() -> None:
    misses = 0
    for case in range(40):
        rng = np.random.default_rng(case)
        truth = np.repeat(np.arange(3), 40)
        hard = rng.normal(0, 1.5, len(truth))
        arms = []
        for name in ("mixed", "real"):
            right = rng.random((3, len(truth))) < 1 / (
                1 + np.exp(hard - rng.normal(1, 0.2, (3, 1)))
            )
            predicted = np.where(right, truth, (truth + 1) % 3)
            arms.append(Arm(name, truth, np.eye(3, dtype=np.float32)[predicted], CLASSES))
        gap = compare(arms[0], arms[1])
        misses += not gap.low <= 0 <= gap.high
    assert misses <= 5
