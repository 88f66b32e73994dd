"""Figures about single classes as SVG or PNG bytes: predicted shares and confusions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from models.evaluation.classification import DatasetScores
from models.reporting.plots.style import (
    DATASET_LOOKS,
    SVG,
    Style,
    escape_math,
    new_figure,
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
CONFUSION = DATASET_LOOKS[0][0]
# Confusion matrices of more classes show shades without numbers.
NUMBERED_CLASSES = 20


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


def _name_cells(panel: Axes, classes: Sequence[str], side: float) -> None:
    """Class names along both axes of a confusion matrix, at most 40, slanted if they are long."""
    ticks = range(0, len(classes), math.ceil(len(classes) / 40))
    names = [escape_math(classes[tick]) for tick in ticks]
    is_crowded = sum(map(len, names)) > 14 * side
    rotation, align = (45, "right") if is_crowded else (0, "center")
    centres = [tick + 0.5 for tick in ticks]
    panel.set_xticks(centres, names, rotation=rotation, ha=align)
    panel.set_yticks(centres, names)
