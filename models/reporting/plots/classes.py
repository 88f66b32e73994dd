"""Figures about single classes as SVG or PNG bytes: curves, shares and confusions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from models.evaluation.classification import DatasetScores
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
    new_figure,
    panel_grid,
    write_figure,
)
from models.reporting.tables import mean_count

# Neighbours in the pie differ in hue and lightness; more classes than colours are pooled.
WEDGES = (
    "#1f7ac4",
    "#e0a33a",
    "#159a74",
    "#c2538f",
    "#6bb5dd",
    "#a2521b",
    "#7a6fc0",
    "#8aa63f",
    "#d9837a",
    "#4f7f86",
)
# Not the colours of the first datasets, which most reports have.
PRECISION, RECALL = DATASET_LOOKS[3][0], DATASET_LOOKS[4][0]
CONFUSION = DATASET_LOOKS[0][0]
SHOWN_CLASSES = 12
# Confusion matrices of more classes show shades without numbers.
NUMBERED_CLASSES = 20
# More numbers than these would overlap above a precision-recall panel.
LABELLED_DATASETS = 5


@dataclass(frozen=True)
class PrecisionRecall:
    """The precision-recall curve of one class, and its average precision, 0..1."""

    recall: Sequence[float]
    precision: Sequence[float]
    area: float


def precision_recall_of(
    scores: DatasetScores | DetectionScores,
) -> dict[str, PrecisionRecall]:
    """The curve of each class of a classifier, or of a detector at an IoU of 0.5."""
    if isinstance(scores, DetectionScores):
        recalls = RECALLS.tolist()
        return {
            label: PrecisionRecall(recalls, curve, scores.per_class[label].ap_50 or 0.0)
            for label, curve in scores.curves.items()
        }
    return {
        label: PrecisionRecall(
            curve.pr_recall, curve.pr_precision, scores.per_class[label].average_precision or 0.0
        )
        for label, curve in scores.curves.items()
    }


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


def draw_prediction_share(scores: DatasetScores, style: Style = SVG) -> bytes:
    """A pie of how often each class was predicted, around a ring of how often it occurs."""
    predicted = scores.prediction_share
    true = {label: row.support / scores.images for label, row in scores.per_class.items()}
    by_share = sorted(predicted, key=lambda label: -predicted[label])
    kept = by_share[: len(WEDGES) - (len(by_share) > len(WEDGES))]
    rows = [(label, predicted[label], true[label]) for label in scores.classes if label in kept]
    pooled = len(predicted) - len(kept)
    if pooled:
        rest = (1 - sum(row[1] for row in rows), 1 - sum(row[2] for row in rows))
        rows.append((f"{pooled} others", *rest))
    figure = new_figure(style, (6.4, 3.6))
    panel = figure.add_subplot()
    panel.set_title("Predicted share (inner ring: true share)")
    colours = [*WEDGES[: len(kept)], style.ink][: len(rows)]
    for column, radius, width in ((1, 1.0, 0.45), (2, 0.5, 0.22)):
        wedges = panel.pie(
            [max(0.0, row[column]) for row in rows],
            radius=radius,
            colors=colours,
            startangle=90,
            counterclock=False,
            wedgeprops={"width": width, "linewidth": 1.0, "edgecolor": style.ink},
        )[0]
    labels = [
        f"{escape_math(label)}  {100 * share:.0f} % (true {100 * true_share:.0f} %)"
        for label, share, true_share in rows
    ]
    look: dict[str, Any] = {"fontsize": 9, "labelcolor": style.ink, "frameon": False}
    figure.legend(wedges, labels, loc="outside right center", **look)
    return write_figure(figure, style)


def draw_confusion_matrix(scores: DatasetScores, style: Style = SVG) -> bytes:
    """Photos of each class (rows) by predicted class (columns), shaded by share of the row.

    Over several seeds, the counts are means.
    """
    counts = np.asarray(scores.confusion, np.float64)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    edge = len(scores.classes)
    side = min(9.0, max(3.6, 1.6 + 0.55 * edge))
    figure = new_figure(style, (side + 0.6, side))
    panel = figure.add_subplot()
    # From transparent to blue, so that an empty cell has the colour of the page.
    blues = LinearSegmentedColormap.from_list("b", [to_rgba(CONFUSION, 0), to_rgba(CONFUSION, 1)])
    panel.imshow(shares, cmap=blues, vmin=0, vmax=1, extent=(0, edge, edge, 0))
    for line in range(1, edge):
        panel.axhline(line, color=style.ink, lw=0.5, alpha=0.4)
        panel.axvline(line, color=style.ink, lw=0.5, alpha=0.4)
    _name_cells(panel, scores.classes, side)
    if edge <= NUMBERED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            ink = "#ffffff" if shares[row, column] > 0.45 else style.ink
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
            size = 9 if edge <= 12 else 7
            panel.text(
                column + 0.5, row + 0.5, mean_count(counts[row, column]), fontsize=size, **look
            )
    panel.set_xlabel("predicted as")
    panel.set_ylabel("true class")
    return write_figure(figure, style)


def _shown_classes(datasets: Sequence[Mapping[str, PrecisionRecall]]) -> list[str]:
    """The classes that get a panel: all, or the twelve with the lowest average precision."""

    def worst(label: str) -> float:
        return min(dataset[label].area for dataset in datasets)

    kept = sorted(datasets[0], key=worst)[:SHOWN_CLASSES]
    return [label for label in datasets[0] if label in kept]


def _name_cells(panel: Axes, classes: Sequence[str], side: float) -> None:
    """Class names along both axes of a confusion matrix, at most 40, slanted if they are long."""
    ticks = range(0, len(classes), math.ceil(len(classes) / 40))
    names = [escape_math(classes[tick]) for tick in ticks]
    is_crowded = sum(map(len, names)) > 14 * side
    rotation, align = (45, "right") if is_crowded else (0, "center")
    centres = [tick + 0.5 for tick in ticks]
    panel.set_xticks(centres, names, rotation=rotation, ha=align)
    panel.set_yticks(centres, names)


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
