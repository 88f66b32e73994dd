"""Means over the seeds of a training: each seed is scored alone, and nothing is pooled.

Probabilities of several seeds in one curve would mix networks with different calibration.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.evaluation.classification import (
    ClassCurves,
    ClassScores,
    DatasetScores,
    Values,
    round_curve,
    thin,
)

FIGURES = (
    "accuracy",
    "f1_macro",
    "f1_weighted",
    "roc_auc",
    "loss",
    "calibration_error",
    "brier",
)
_CLASS_FIGURES = ("precision", "recall", "f1", "average_precision", "roc_auc")


def mean_over_seeds(scores: Sequence[DatasetScores]) -> DatasetScores:
    """The mean of every figure, count and curve; ``text`` has the report of each seed.

    All scores are of the same photos.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("scores: give those of at least one seed")
    first = scores[0]
    if len(scores) == 1:
        return first
    changes: dict[str, object] = {
        name: _mean([getattr(s, name) for s in scores]) for name in FIGURES
    }
    changes["confusion"] = np.mean([s.confusion for s in scores], axis=0).tolist()
    changes["prediction_share"] = {
        label: float(np.mean([s.prediction_share[label] for s in scores]))
        for label in first.classes
    }
    changes["per_class"] = {
        label: _mean_class([s.per_class[label] for s in scores]) for label in first.classes
    }
    changes["curves"] = {
        label: _mean_curves([s.curves[label] for s in scores]) for label in first.curves
    }
    changes["text"] = "\n".join(
        f"training {number} of {len(scores)}\n\n{s.text}" for number, s in enumerate(scores, 1)
    )
    return DatasetScores.model_validate(dict(first) | changes)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_class(rows: Sequence[ClassScores]) -> ClassScores:
    means = {name: _mean([getattr(row, name) for row in rows]) for name in _CLASS_FIGURES}
    return rows[0].model_copy(update=means)


def _mean_curves(curves: Sequence[ClassCurves]) -> ClassCurves:
    recalls = _points([curve.pr_recall for curve in curves])[::-1]
    thresholds = _points([curve.threshold for curve in curves])
    # Beyond its highest threshold a network predicts nothing: recall 0 and, by convention,
    # precision 1.
    return ClassCurves(
        pr_recall=round_curve(recalls),
        pr_precision=_mean_steps(
            curves, lambda c: (c.pr_recall[::-1], c.pr_precision[::-1]), recalls
        ),
        threshold=round_curve(thresholds),
        precision=_mean_steps(
            curves, lambda c: ((*c.threshold, 2.0), (*c.precision, 1.0)), thresholds
        ),
        recall=_mean_steps(curves, lambda c: ((*c.threshold, 2.0), (*c.recall, 0.0)), thresholds),
    )


def _points(axes: Sequence[Sequence[float]]) -> Values:
    """At most as many points as a curve has, out of those of all seeds, ascending."""
    every = np.unique(np.concatenate([np.asarray(axis) for axis in axes]))
    return every[thin(every)]


def _mean_steps(
    curves: Sequence[ClassCurves],
    pick: Callable[[ClassCurves], tuple[Sequence[float], Sequence[float]]],
    points: Values,
) -> tuple[float, ...]:
    """The mean at each point. A curve has the value of its next point, as in step plots."""
    rows = []
    for curve in curves:
        axis, values = pick(curve)
        places = np.minimum(np.searchsorted(axis, points), len(axis) - 1)
        rows.append(np.asarray(values)[places])
    return round_curve(np.mean(rows, axis=0))
