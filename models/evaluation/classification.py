"""What a classifier is worth on a set of photos: every figure and curve of the report.

Follows scikit-learn's definitions. Averages over classes take the classes that have a photo in the
set: a class without one has no recall, and counting it as zero would punish every arm alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from sklearn import metrics

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

CURVE_POINTS = 100
# The smallest probability a float32 softmax can tell from zero; keeps one sure mistake finite.
LEAST_PROBABILITY = 1e-7


class ClassScores(TypedDict):
    """Figures of one class, 0..1; None where the set can't tell (no photo of it, or only of it)."""

    precision: float
    recall: float | None
    f1: float | None
    support: int
    average_precision: float | None
    roc_auc: float | None


class Curves(TypedDict):
    """Points of one class: recall falls along ``pr_*``, thresholds rise along the others."""

    pr_recall: list[float]
    pr_precision: list[float]
    threshold: list[float]
    precision: list[float]
    recall: list[float]


class Scores(TypedDict):
    """Figures of one classifier on one set of photos, ready for JSON.

    ``confusion[i][j]`` counts photos of class i taken for class j; ``prediction_share`` says how
    often each class was predicted, summing to 1; ``roc_auc`` is one-versus-rest, macro-averaged;
    ``loss`` is the cross entropy in nats; ``absent`` names the classes without a photo.
    """

    classes: list[str]
    images: int
    accuracy: float
    f1_macro: float
    f1_weighted: float
    roc_auc: float | None
    loss: float
    absent: list[str]
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    prediction_share: dict[str, float]
    curves: dict[str, Curves]
    text: str


def score(y_true: Sequence[int], probabilities: Probabilities, classes: Sequence[str]) -> Scores:
    """Every figure and curve of a classifier on one set of photos.

    Args:
        y_true: class index of each photo.
        probabilities: float (photos, classes), 0..1, rows summing to 1.
        classes: class names in the order of the columns.

    Raises:
        ValueError: the set is empty, or lengths, labels or probabilities don't fit together.
    """
    truth = check_predictions(y_true, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    present = np.unique(truth)
    labels = np.arange(len(classes))
    confusion = metrics.confusion_matrix(truth, predicted, labels=labels)
    per_class = {
        name: _score_class(truth == index, predicted == index, probabilities[:, index])
        for index, name in enumerate(classes)
    }
    areas = [row["roc_auc"] for row in per_class.values() if row["roc_auc"] is not None]
    own = np.clip(probabilities[np.arange(len(truth)), truth], LEAST_PROBABILITY, 1.0)
    return Scores(
        classes=list(classes),
        images=len(truth),
        accuracy=float(np.mean(predicted == truth)),
        f1_macro=_mean_f1(truth, predicted, present, "macro"),
        f1_weighted=_mean_f1(truth, predicted, present, "weighted"),
        roc_auc=float(np.mean(areas)) if areas else None,
        loss=float(-np.log(own.astype(np.float64)).mean()),
        absent=[name for index, name in enumerate(classes) if index not in present],
        per_class=per_class,
        confusion=confusion.tolist(),
        prediction_share={
            name: float(np.mean(predicted == index)) for index, name in enumerate(classes)
        },
        curves={
            name: trace_curves(truth == index, probabilities[:, index])
            for index, name in enumerate(classes)
            if index in present
        },
        text=metrics.classification_report(
            truth,
            predicted,
            labels=present,
            target_names=[classes[index] for index in present],
            digits=3,
            zero_division=0,
        ),
    )


def as_probabilities(predictions: Mapping[str, Any]) -> Probabilities:
    """The column ``probabilities`` of a split's predictions, as float32 (images, classes)."""
    return np.asarray(predictions["probabilities"], np.float32)


def check_predictions(
    y_true: Sequence[int] | Labels, probabilities: Probabilities, classes: Sequence[str]
) -> Labels:
    """The labels as an array, once they and the probabilities are known to fit together.

    Raises:
        ValueError: they don't; the message says which.
    """
    truth = np.asarray(y_true, np.int64)
    if len(truth) == 0:
        raise ValueError("y_true: the set holds no photo; give at least one")
    if probabilities.shape != (len(truth), len(classes)):
        raise ValueError(
            f"probabilities: shape {probabilities.shape} does not fit {len(truth)} photos of "
            f"{len(classes)} classes"
        )
    if truth.min() < 0 or truth.max() >= len(classes):
        raise ValueError(
            f"y_true: labels go up to {truth.max()} but there are {len(classes)} classes"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities: they hold NaN or infinity; the training diverged")
    if np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities: rows don't sum to 1; pass the softmax of the logits")
    return truth


def trace_curves(is_class: npt.NDArray[np.bool_], probability: npt.NDArray[np.floating]) -> Curves:
    """The precision-recall curve of one class, and both over the threshold, at most 100 points.

    The threshold is the probability from which on a photo is taken for the class. Of the points
    with equal recall the precision-recall curve keeps the most precise; at recall 0 precision is 1,
    as scikit-learn draws it.
    """
    precision, recall, threshold = metrics.precision_recall_curve(is_class, probability)
    # Recall falls along the array, and within equal recall precision rises: the last is the best.
    best = np.flatnonzero(np.append(recall[1:] != recall[:-1], True))
    by_recall = best[_thin(recall[best])]
    by_threshold = _thin(threshold)
    return Curves(
        pr_recall=_rounded(recall[by_recall]),
        pr_precision=_rounded(precision[by_recall]),
        threshold=_rounded(threshold[by_threshold]),
        precision=_rounded(precision[by_threshold]),
        recall=_rounded(recall[by_threshold]),
    )


def _score_class(
    is_class: npt.NDArray[np.bool_],
    taken_for: npt.NDArray[np.bool_],
    probability: npt.NDArray[np.floating],
) -> ClassScores:
    hits, support, taken = (int(np.sum(m)) for m in (is_class & taken_for, is_class, taken_for))
    tells_apart = 0 < support < len(is_class)
    return ClassScores(
        precision=hits / taken if taken else 0.0,
        recall=hits / support if support else None,
        f1=2 * hits / (taken + support) if support else None,
        support=support,
        average_precision=(
            float(metrics.average_precision_score(is_class, probability)) if support else None
        ),
        roc_auc=float(metrics.roc_auc_score(is_class, probability)) if tells_apart else None,
    )


def _mean_f1(truth: Labels, predicted: Labels, present: Labels, average: str) -> float:
    return float(
        metrics.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
    )


def _thin(along: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Indices of at most `CURVE_POINTS` points, spread evenly along the axis, both ends kept."""
    if len(along) <= CURVE_POINTS:
        return np.arange(len(along))
    order = np.argsort(along, kind="stable")
    targets = np.linspace(along.min(), along.max(), CURVE_POINTS)
    nearest = np.clip(np.searchsorted(along[order], targets), 0, len(along) - 1)
    return np.unique(np.concatenate([order[nearest][1:-1], [0, len(along) - 1]]))


def _rounded(values: npt.NDArray[np.floating]) -> list[float]:
    return [round(float(value), 4) for value in values]
