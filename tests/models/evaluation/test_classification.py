import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from models.evaluation.classification import CURVE_POINTS, score

CLASSES = ("apple", "kiwi", "plum")
# Six photos: one apple is predicted as kiwi, one plum as apple.
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


def test_figures_of_six_photos_are_those_computed_by_hand() -> None:
    scores = score(TRUTH, SURE, CLASSES).model_dump(mode="json")
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
    # The plum's 0.4 is above the plum score of every other photo, so the area is full.
    assert scores["per_class"]["plum"]["roc_auc"] == 1.0
    assert "plum      0.000" in scores["text"]
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_figures_equal_scikit_learn(classes: int) -> None:
    truth, probabilities = random_case(classes)
    names = [f"c{index}" for index in range(classes)]
    scores = score(truth.tolist(), probabilities, names).model_dump(mode="json")
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


def test_curves_are_short_and_exact() -> None:
    truth, probabilities = random_case(photos=3000)
    curves = score(truth.tolist(), probabilities, list("abcde")).model_dump(mode="json")["curves"]
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
        for point in (5, 30, 45):
            predicted = own >= curve["threshold"][point] - 5e-5
            recall = is_class[predicted].sum() / is_class.sum()
            assert curve["recall"][point] == pytest.approx(recall, abs=0.01)
            assert curve["precision"][point] == pytest.approx(is_class[predicted].mean(), abs=0.01)


def test_a_class_without_a_photo_is_left_out() -> None:
    truth, probabilities = random_case(5)
    kept = truth != 3
    scores = score(truth[kept].tolist(), probabilities[kept], list("abcde")).model_dump(mode="json")
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


def test_a_set_of_one_class_has_no_roc_area() -> None:
    scores = score([1, 1], SURE[3:5], CLASSES).model_dump(mode="json")
    assert scores["roc_auc"] is None
    assert scores["accuracy"] == 1.0
    assert scores["per_class"]["kiwi"]["average_precision"] == 1.0


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        ([], np.empty((0, 3), np.float32), "has no photo"),
        ([0, 1], SURE, "does not fit 2 photos"),
        ([0, 0, 0, 1, 1, 3], SURE, "labels go from 0 to 3"),
        (TRUTH, SURE * np.nan, "NaN"),
        (TRUTH, SURE * 2, "do not sum to 1"),
    ],
)
def test_rejects_predictions_that_do_not_fit(
    truth: list[int], probabilities: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(truth, probabilities, CLASSES)
