"""The report's charts: learning curves over the arms, and precision and recall of one arm."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from models.reporting.charts import (
    Axis,
    LineChart,
    Series,
    Words,
    draw_lines,
    finite_points,
    mean_by_place,
    thin,
)
from models.reporting.numbers import TONES, Arm, number

Points = Sequence[tuple[float, float]]
# With more classes than colours, the weakest are coloured and the others stay grey behind them.
HIGHLIGHTED = 4
# Classes begin after the colours of real, synthetic and mixed, so that they are not taken for them.
_FIRST_TONE = 3


def learning_charts(arms: Sequence[Arm]) -> tuple[LineChart, ...]:
    """Accuracy, loss, F1 and learning rate by epoch, as far as the trainings have noted them."""
    both = "solid: validation, dashed: training"
    planned = (
        (Words("Accuracy", both), "val_accuracy", "train_accuracy", Axis("accuracy", percent=True)),
        (Words("Loss", both), "val_loss", "train_loss", Axis("loss", low=0.0)),
        (Words("F1, macro", both), "val_f1_macro", "train_f1_macro", Axis("F1", percent=True)),
    )
    epoch = Axis("epoch", whole=True)
    charts = []
    for words, solid, dashed, axis in planned:
        series = [one for arm in arms for one in _by_epoch(arm, solid, dashed)]
        charts.append(draw_lines(words, series, epoch, axis))
    rates = [one for arm in arms for one in _rates(arm)]
    if len({one.points for one in rates}) == 1:
        rates = [replace(rates[0], name="every dataset", tone=TONES - 1)]
    note = "the same for every dataset" if len(rates) == 1 else "logarithmic"
    words = Words("Learning rate", note)
    charts.append(draw_lines(words, rates, epoch, Axis("rate", powers=True)))
    return tuple(chart for chart in charts if chart)


def class_tones(arms: Sequence[Arm], classes: Sequence[str]) -> dict[str, int]:
    """The colour number of each class that gets a colour, the same for every arm.

    Up to eight classes all get one; of more, the `HIGHLIGHTED` of lowest mean F1 over the arms.
    """
    if len(classes) <= TONES:
        return {label: (place + _FIRST_TONE) % TONES for place, label in enumerate(classes)}

    def mean_f1(label: str) -> float:
        scored = [(arm.test.get("per_class") or {}).get(label) or {} for arm in arms]
        known = [value for one in scored if (value := number(one.get("f1"))) is not None]
        return sum(known) / len(known) if known else 1.0

    weakest = sorted(classes, key=mean_f1)[:HIGHLIGHTED]
    return {label: (place + _FIRST_TONE) % TONES for place, label in enumerate(weakest)}


def precision_recall_chart(arm: Arm, tones: Mapping[str, int]) -> LineChart | None:
    """Precision over recall, one line per class; classes without a colour are faint."""
    series = [
        _of_class(label, finite_points(curve["pr_recall"], curve["pr_precision"]), tones)
        for label, curve in _curves(arm, tones).items()
    ]
    return draw_lines(
        Words("Precision by recall", "one line per class; the top right corner is perfect"),
        series,
        Axis("recall", 0.0, 1.0, percent=True),
        Axis("precision", 0.0, 1.0, percent=True),
    )


def threshold_chart(arm: Arm, tones: Mapping[str, int]) -> LineChart | None:
    """Precision (solid) and recall (dashed) by the score from which on a class is named."""
    series = []
    for label, curve in _curves(arm, tones).items():
        for kind, dashed in (("precision", False), ("recall", True)):
            found = finite_points(curve["threshold"], curve[kind])
            series.append(_of_class(label, found, tones, kind=kind, dashed=dashed))
    return draw_lines(
        Words("Precision and recall by threshold", "solid: precision, dashed: recall"),
        series,
        Axis("threshold", 0.0, 1.0, percent=True),
        Axis("share", 0.0, 1.0, percent=True),
    )


def _by_epoch(arm: Arm, solid: str, dashed: str) -> list[Series]:
    """The arm's mean over its seeds, over faint lines of each seed, each best epoch marked."""
    runs = arm.runs
    columns = [_column(run, solid) for run in runs]
    lines = [
        Series(
            f"{arm.name}, seed {run.get('seed')}", tuple(column.items()), arm.tone,
            faint=True, marked=_best(run, column),
        )
        for run, column in zip(runs, columns, strict=True) if len(runs) > 1
    ]  # fmt: skip
    marked = _best(runs[0], columns[0]) if len(runs) == 1 else None
    lines.append(Series(arm.name, mean_by_place(columns), arm.tone, marked=marked))
    trained = mean_by_place([_column(run, dashed) for run in runs])
    return [Series(f"{arm.name}, training", trained, arm.tone, dashed=True), *lines]


def _rates(arm: Arm) -> list[Series]:
    """The learning rate of the arm's longest training, as exponents of ten."""
    columns = [_column(run, "learning_rate") for run in arm.runs]
    longest = max(columns, key=len, default={})
    points = tuple((epoch, math.log10(rate)) for epoch, rate in longest.items() if rate > 0)
    return [Series(arm.name, points, arm.tone)] if points else []


def _column(run: Mapping[str, Any], name: str) -> dict[float, float]:
    """The figure by epoch. ``metrics.json`` counts epochs from 0, people from 1."""
    history = run.get("history") or {}
    values = history.get(name) or []
    points = finite_points(history.get("epoch") or range(len(values)), values)
    return {epoch + 1: value for epoch, value in points}


def _best(run: Mapping[str, Any], column: Mapping[float, float]) -> int | None:
    best = number(run.get("best_epoch"))
    return list(column).index(best + 1) if best is not None and best + 1 in column else None


def _curves(arm: Arm, tones: Mapping[str, int]) -> dict[str, Mapping[str, Any]]:
    """The curves of each class, those without a colour first, so that colours lie on top."""
    curves = arm.test.get("curves") or {}
    return dict(sorted(curves.items(), key=lambda pair: pair[0] in tones))


def _of_class(
    label: str, points: Points, tones: Mapping[str, int], kind: str = "", dashed: bool = False
) -> Series:
    name = f"{label}, {kind}" if kind else label
    tone = tones.get(label)
    grey = TONES - 1
    return Series(name, thin(points), grey if tone is None else tone, dashed, faint=tone is None)
