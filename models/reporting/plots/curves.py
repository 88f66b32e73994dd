"""Precision by recall, and both over the threshold, as SVG or PNG bytes: a panel per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from models.evaluation.classification import DatasetScores, Values
from models.evaluation.detection.average_precision import RECALLS
from models.evaluation.detection.scores import DetectionScores
from models.reporting.plots.style import (
    DATASET_LOOKS,
    SVG,
    Style,
    add_legend,
    dataset_handles,
    dataset_look,
    escape_math,
    panel_grid,
    write_figure,
)

# Not the colours of the first datasets, which most reports have.
PRECISION, RECALL = DATASET_LOOKS[3][0], DATASET_LOOKS[4][0]
SHOWN_CLASSES = 12
# More numbers than these would overlap above a precision-recall panel.
LABELLED_DATASETS = 5


@dataclass(frozen=True)
class PrecisionRecall:
    """The precision-recall curve of one class, and its average precision, 0..1."""

    recall: Sequence[float] | Values
    precision: Sequence[float]
    area: float


def precision_recall_of(
    scores: DatasetScores | DetectionScores,
) -> dict[str, PrecisionRecall]:
    """The curve of each class of a classifier, or of a detector at an IoU of 0.5."""
    if isinstance(scores, DetectionScores):
        return {
            label: _cut(PrecisionRecall(RECALLS, curve, scores.per_class[label].ap_50 or 0.0))
            for label, curve in scores.curves.items()
        }
    return {
        label: PrecisionRecall(
            curve.pr_recall, curve.pr_precision, scores.per_class[label].average_precision or 0.0
        )
        for label, curve in scores.curves.items()
    }


def _cut(curve: PrecisionRecall) -> PrecisionRecall:
    """The curve as far as its precision is above 0."""
    reached = int(np.count_nonzero(curve.precision)) + 1
    return replace(curve, recall=curve.recall[:reached], precision=curve.precision[:reached])


def draw_pr_curves(
    scores: Mapping[str, DatasetScores | DetectionScores], style: Style = SVG
) -> bytes:
    """Precision-recall curves with their average precision: a panel per class, a line per dataset.

    Args:
        scores: per dataset, its scores on the same photos.
        style: how to write it.

    Raises:
        ValueError: there is no dataset.
    """
    if not scores:
        raise ValueError("scores: give at least one dataset")
    datasets = [precision_recall_of(dataset) for dataset in scores.values()]
    classes = _shown_classes(datasets)
    figure, panels = panel_grid(len(classes), style)
    for panel, label in zip(panels, classes, strict=True):
        panel.set_title(escape_math(label), pad=16)
        for position, dataset in enumerate(datasets):
            curve = dataset[label]
            colour, dashes = dataset_look(position)
            # Between two recalls, the precision of the higher recall is reached.
            look: dict[str, Any] = {"where": "pre", "color": colour, "linestyle": dashes, "lw": 1.6}
            panel.step(curve.recall, curve.precision, **look)
            if len(scores) <= LABELLED_DATASETS:
                text = f"{curve.area:.2f}" if position else f"AP {curve.area:.2f}"
                left = 0.17 * position + 0.12 * (position > 0)
                panel.text(left, 1.06, text, color=colour, fontsize=8)
        _set_unit_axes(panel)
    _label_grid(figure, panels, "recall", "precision")
    add_legend(figure, dataset_handles(list(scores)), style)
    _note_hidden(figure, len(datasets[0]), classes, style)
    return write_figure(figure, style)


def draw_threshold_curves(scores: DatasetScores, style: Style = SVG) -> bytes:
    """Precision and recall of each class over the probability threshold for predicting it."""
    classes = _shown_classes([precision_recall_of(scores)])
    figure, panels = panel_grid(len(classes), style)
    for panel, label in zip(panels, classes, strict=True):
        curve = scores.curves[label]
        panel.set_title(escape_math(label))
        panel.plot(curve.threshold, curve.precision, color=PRECISION, lw=1.6)
        panel.plot(curve.threshold, curve.recall, color=RECALL, linestyle="--", lw=1.6)
        _set_unit_axes(panel)
    _label_grid(figure, panels, "threshold", "")
    handles = [
        Line2D([], [], color=PRECISION, lw=1.8, label="precision"),
        Line2D([], [], color=RECALL, lw=1.8, linestyle="--", label="recall"),
    ]
    add_legend(figure, handles, style)
    _note_hidden(figure, len(scores.curves), classes, style)
    return write_figure(figure, style)


def _shown_classes(datasets: Sequence[Mapping[str, PrecisionRecall]]) -> list[str]:
    """The classes that get a panel: all, or the twelve with the lowest average precision."""

    def worst(label: str) -> float:
        return min(dataset[label].area for dataset in datasets)

    kept = sorted(datasets[0], key=worst)[:SHOWN_CLASSES]
    return [label for label in datasets[0] if label in kept]


def _set_unit_axes(panel: Axes) -> None:
    panel.set_xlim(0, 1.02)
    panel.set_ylim(0, 1.04)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _label_grid(figure: Figure, panels: Sequence[Axes], x_label: str, y_label: str) -> None:
    """Axis names at the outer panels only."""
    for panel in panels:
        cell = panel.get_subplotspec()
        if cell is not None and cell.is_first_col():
            panel.set_ylabel(y_label)
        if cell is not None and cell.num1 + cell.get_gridspec().ncols >= len(panels):
            panel.set_xlabel(x_label)


def _note_hidden(figure: Figure, classes: int, shown: Sequence[str], style: Style) -> None:
    hidden = classes - len(shown)
    if hidden:
        note = (
            f"the {len(shown)} classes with the lowest average precision; {hidden} more not drawn"
        )
        figure.supxlabel(note, fontsize=8, color=style.ink)
