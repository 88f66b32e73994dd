"""Figures and curves of a classifier on a set of photos, by scikit-learn's definitions.

Averages over classes leave out the classes without a photo in the set: they have no recall, and
zero would lower the figures of every dataset alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from models.data.records import Record

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

Metric = Literal["accuracy", "f1_macro", "f1_weighted", "miou", "map_50_95", "map_50"]

CURVE_POINTS = 100
CALIBRATION_BINS = 15
# The smallest probability that a float32 softmax gives reliably; it keeps the log loss finite.
LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class ClassFigure:
    """A figure of one class, 0..1, with a note on what it counts.

    ``spread`` is the standard deviation over the seeds, where it is known.
    """

    value: float | None
    note: str
    spread: float | None = None


class ClassScores(Record):
    """Scores of one class; null where the set can't tell (no photo of it, or only of it)."""

    precision: float
    recall: float | None
    f1: float | None
    support: int = Field(description="Photos of the class.")
    average_precision: float | None
    roc_auc: float | None


class ClassCurves(Record):
    """Points of one class: recall falls along ``pr_*``, thresholds rise along the others."""

    pr_recall: tuple[float, ...]
    pr_precision: tuple[float, ...]
    threshold: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]


class TrainingScores(Record):
    """Scores of one training on the photos of one split."""

    headline: ClassVar[Metric] = "f1_macro"
    shown: ClassVar[Metric] = "accuracy"

    accuracy: float
    f1_macro: float
    f1_weighted: float
    roc_auc: float | None = Field(description="One class against the rest, macro average.")
    loss: float = Field(description="Cross entropy in nats.")
    calibration_error: float = Field(
        description="Expected calibration error, 0..1, over 15 bins of the highest probability."
    )
    brier: float = Field(description="Brier score, 0..2: squared errors of all probabilities.")
    per_class: dict[str, ClassScores]
    confusion: tuple[tuple[float, ...], ...] = Field(
        description="Photos of class i (row) predicted as class j (column); means over seeds."
    )
    prediction_share: dict[str, float] = Field(description="How often each class was predicted.")

    def class_figures(self) -> dict[str, dict[str, ClassFigure]]:
        """The F1 of each class, and the number of its photos in words."""
        rows = {
            name: ClassFigure(row.f1, f"{row.support:,} photos")
            for name, row in self.per_class.items()
        }
        return {"F1": rows}


class DatasetScores(TrainingScores):
    """Scores on a set of photos. Over several seeds, all are means; see `mean_over_seeds`."""

    classes: tuple[str, ...]
    images: int
    absent: tuple[str, ...] = Field(description="Classes without a photo in the split.")
    curves: dict[str, ClassCurves]
    text: str = Field(description="The classification report of scikit-learn.")

    def of_training(self) -> TrainingScores:
        """The scores without what is shown of a dataset alone, such as its curves."""
        return TrainingScores.model_validate(
            self.model_dump(include=set(TrainingScores.model_fields))
        )


def score(
    y_true: Sequence[int], probabilities: Probabilities, classes: Sequence[str]
) -> DatasetScores:
    """All figures and curves of a classifier on one set of photos.

    ``probabilities`` is float (photos, classes), 0..1, rows summing to 1.

    Raises:
        ValueError: the set is empty, or lengths, labels and probabilities do not fit together.
    """
    # Here and below: scikit-learn takes a second to import, and reading a recipe needs none of it.
    from sklearn import metrics

    truth = check_predictions(y_true, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    present = np.unique(truth)
    labels = np.arange(len(classes))
    confusion = metrics.confusion_matrix(truth, predicted, labels=labels)
    per_class = {
        name: _score_class(truth == index, predicted == index, probabilities[:, index])
        for index, name in enumerate(classes)
    }
    areas = [row.roc_auc for row in per_class.values() if row.roc_auc is not None]
    own = np.clip(probabilities[np.arange(len(truth)), truth], LEAST_PROBABILITY, 1.0)
    return DatasetScores(
        classes=tuple(classes),
        images=len(truth),
        accuracy=float(np.mean(predicted == truth)),
        f1_macro=_mean_f1(truth, predicted, present, "macro"),
        f1_weighted=_mean_f1(truth, predicted, present, "weighted"),
        roc_auc=float(np.mean(areas)) if areas else None,
        loss=float(-np.log(own.astype(np.float64)).mean()),
        calibration_error=_calibration_error(truth, probabilities),
        brier=float(((probabilities - np.eye(len(classes))[truth]) ** 2).sum(axis=1).mean()),
        absent=tuple(name for index, name in enumerate(classes) if index not in present),
        per_class=per_class,
        confusion=confusion.tolist(),
        prediction_share={
            name: float(np.mean(predicted == index)) for index, name in enumerate(classes)
        },
        curves={
            name: _trace_curves(truth == index, probabilities[:, index])
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
    """Check labels and probabilities against each other; returns the labels as an array.

    Raises:
        ValueError: the set is empty, or they do not fit together.
    """
    truth = np.asarray(y_true, np.int64)
    if len(truth) == 0:
        raise ValueError("y_true: the set has no photo; give at least one")
    if probabilities.shape != (len(truth), len(classes)):
        raise ValueError(
            f"probabilities: shape {probabilities.shape} does not fit {len(truth)} photos of "
            f"{len(classes)} classes; give one row per photo"
        )
    if truth.min() < 0 or truth.max() >= len(classes):
        raise ValueError(
            f"y_true: labels go from {truth.min()} to {truth.max()}; give 0 to {len(classes) - 1}"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError(
            "probabilities: NaN or infinite, so the training diverged; lower learning_rate"
        )
    if np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("probabilities: rows do not sum to 1; pass the softmax of the logits")
    return truth


def _trace_curves(
    is_class: npt.NDArray[np.bool_], probability: npt.NDArray[np.floating]
) -> ClassCurves:
    """The precision-recall curve of one class, and both over the threshold; at most 100 points.

    A photo is predicted as the class if its probability reaches the threshold. Of points with equal
    recall, the precision-recall curve keeps the most precise. At recall 0 precision is 1, as in
    scikit-learn.
    """
    from sklearn import metrics

    precision, recall, threshold = metrics.precision_recall_curve(is_class, probability)
    # Recall falls along the array, and within equal recall precision rises: the last is the best.
    best = np.flatnonzero(np.append(recall[1:] != recall[:-1], True))
    by_recall = best[thin(recall[best])]
    by_threshold = thin(threshold)
    return ClassCurves(
        pr_recall=round_curve(recall[by_recall]),
        pr_precision=round_curve(precision[by_recall]),
        threshold=round_curve(threshold[by_threshold]),
        precision=round_curve(precision[by_threshold]),
        recall=round_curve(recall[by_threshold]),
    )


def _score_class(
    is_class: npt.NDArray[np.bool_],
    predicted_as: npt.NDArray[np.bool_],
    probability: npt.NDArray[np.floating],
) -> ClassScores:
    from sklearn import metrics

    hits = int(np.sum(is_class & predicted_as))
    support, predictions = int(np.sum(is_class)), int(np.sum(predicted_as))
    has_both_kinds = 0 < support < len(is_class)
    return ClassScores(
        precision=hits / predictions if predictions else 0.0,
        recall=hits / support if support else None,
        f1=2 * hits / (predictions + support) if support else None,
        support=support,
        average_precision=(
            float(metrics.average_precision_score(is_class, probability)) if support else None
        ),
        roc_auc=float(metrics.roc_auc_score(is_class, probability)) if has_both_kinds else None,
    )


def metric_of_counts(metric: Metric, support: Values, hits: Values, predicted: Values) -> Values:
    """A metric in 0..1 from counts per class, all (..., classes); counts may be fractions.

    Args:
        metric: which one; ``miou`` is the mean of the Jaccard index of each class. Mean average
            precision is no function of such counts.
        support: photos, or pixels, of each class.
        hits: those of them that were predicted rightly.
        predicted: photos that were predicted as each class.
    """
    # Sums of weights leave rounding errors where a class has no photo.
    present = support > 1e-9
    if metric == "accuracy":
        return np.asarray(hits.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1e-9))
    if metric == "miou":
        ious = np.where(present, hits / np.maximum(support + predicted - hits, 1e-9), 0.0)
        return np.asarray(ious.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))
    f1 = 2 * hits / np.maximum(support + predicted, 1e-9)
    shares = np.where(present, support if metric == "f1_weighted" else 1.0, 0.0)
    return np.asarray((f1 * shares).sum(axis=-1) / np.maximum(shares.sum(axis=-1), 1e-9))


def _calibration_error(truth: Labels, probabilities: Probabilities) -> float:
    """Expected calibration error, 0..1 (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    surplus = confidence - (probabilities.argmax(axis=1) == truth)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, surplus)).sum() / len(truth))


def _mean_f1(truth: Labels, predicted: Labels, present: Labels, average: str) -> float:
    from sklearn import metrics

    return float(
        metrics.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
    )


def thin(along: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Indices of at most `CURVE_POINTS` points, spread evenly along the axis, with both ends."""
    if len(along) <= CURVE_POINTS:
        return np.arange(len(along))
    order = np.argsort(along, kind="stable")
    targets = np.linspace(along.min(), along.max(), CURVE_POINTS)
    nearest = np.clip(np.searchsorted(along[order], targets), 0, len(along) - 1)
    return np.unique(np.concatenate([order[nearest][1:-1], [0, len(along) - 1]]))


def round_curve(values: npt.NDArray[np.floating]) -> tuple[float, ...]:
    """The values with four decimals."""
    return tuple(round(float(value), 4) for value in values)
