"""The report's figures as PNG or SVG bytes; the same input gives the same bytes.

Colours and themes are those of `models.reporting.figure_style`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from models.evaluation.classification import Scores
from models.evaluation.comparison import Difference, Interval
from models.reporting.figure_style import (
    ARMS,
    SVG,
    Style,
    arm_handle,
    arm_look,
    new_figure,
    panel_grid,
    plain,
    put_legend,
    write_figure,
)

# Neighbours in a pie differ in hue and lightness; more classes than colours are pooled.
WEDGES = (
    *("#1f7ac4", "#e0a33a", "#159a74", "#c2538f", "#6bb5dd", "#a2521b"),
    *("#7a6fc0", "#8aa63f", "#d9837a", "#4f7f86"),
)
PRECISION, RECALL = ARMS["real"][0], ARMS["synthetic"][0]
SHOWN_CLASSES = 12
NUMBERED_CLASSES = 20
_CURVES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "f1_macro": "Macro F1",
    "learning_rate": "Learning rate",
}
# Line widths in the learning curves.
_WIDTHS = ((2.1, "val"), (0.9, "train"))
History = Sequence[Mapping[str, float]]


def draw_learning_curves(histories: Mapping[str, Sequence[History]], style: Style = SVG) -> bytes:
    """Loss, accuracy, macro F1 and learning rate over the epochs, a line per arm.

    Lines are means over the seeds and bands their range; val is drawn thick, train thin.

    Args:
        histories: per arm, per seed, the epochs' figures under the names of `EpochRecord`.
        style: how to write it.

    Raises:
        ValueError: there is no arm, or an arm without epochs.
    """
    if not histories or any(not seeds or not all(seeds) for seeds in histories.values()):
        raise ValueError("histories: give at least one arm, each with a history of epochs")
    figure, panels = panel_grid(4, style, columns=2, size=(4.2, 2.7))
    for panel, (name, title) in zip(panels, _CURVES.items(), strict=True):
        panel.set_title(title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for arm, seeds in histories.items():
            colour, dashes = arm_look(arm, list(histories))
            look = {"color": colour, "linestyle": dashes}
            if name != "learning_rate":
                for width, part in _WIDTHS:
                    _draw_band(panel, seeds, f"{part}_{name}", look | {"lw": width})
            else:
                _draw_band(panel, seeds, name, look | {"drawstyle": "steps-mid"})
                panel.set_yscale("log")
        if name in ("accuracy", "f1_macro"):
            panel.set_ylim(0, 1.02)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    for panel in panels[2:]:
        panel.set_xlabel("epoch")
    handles = [arm_handle(arm, list(histories)) for arm in histories]
    handles += [Line2D([], [], color=style.ink, lw=width, label=name) for width, name in _WIDTHS]
    put_legend(figure, handles, style)
    return write_figure(figure, style)


def draw_pr_curves(scores: Mapping[str, Scores], style: Style = SVG) -> bytes:
    """A precision-recall curve per class and arm, with the average precision; a panel per class.

    Args:
        scores: per arm, its scores on the same photos.
        style: how to write it.

    Raises:
        ValueError: there is no arm.
    """
    if not scores:
        raise ValueError("scores: give at least one arm")
    classes = _shown(list(scores.values()))
    figure, panels = panel_grid(len(classes), style)
    for panel, name in zip(panels, classes, strict=True):
        panel.set_title(plain(name), pad=16)
        for row, (arm, one) in enumerate(scores.items()):
            curve = one["curves"][name]
            colour, dashes = arm_look(arm, list(scores))
            # Between two recalls the precision of the higher one is what is reached.
            look: dict[str, Any] = {"where": "pre", "color": colour, "linestyle": dashes, "lw": 1.6}
            panel.step(curve["pr_recall"], curve["pr_precision"], **look)
            area = one["per_class"][name]["average_precision"] or 0.0
            text = f"{area:.2f}" if row else f"AP {area:.2f}"
            panel.text(0.02 + 0.2 * row + 0.12 * (row > 0), 1.06, text, color=colour, fontsize=8)
        _unit_axes(panel)
    _label_grid(figure, panels, "recall", "precision")
    put_legend(figure, [arm_handle(arm, list(scores)) for arm in scores], style)
    _note_hidden(figure, next(iter(scores.values())), classes, style)
    return write_figure(figure, style)


def draw_threshold_curves(scores: Scores, style: Style = SVG) -> bytes:
    """Precision and recall of each class over the probability from which it is accepted."""
    classes = _shown([scores])
    figure, panels = panel_grid(len(classes), style)
    for panel, name in zip(panels, classes, strict=True):
        curve = scores["curves"][name]
        panel.set_title(plain(name))
        panel.plot(curve["threshold"], curve["precision"], color=PRECISION, lw=1.6)
        panel.plot(curve["threshold"], curve["recall"], color=RECALL, linestyle="--", lw=1.6)
        _unit_axes(panel)
    _label_grid(figure, panels, "threshold", "")
    handles = [
        Line2D([], [], color=PRECISION, lw=1.8, label="precision"),
        Line2D([], [], color=RECALL, lw=1.8, linestyle="--", label="recall"),
    ]
    put_legend(figure, handles, style)
    _note_hidden(figure, scores, classes, style)
    return write_figure(figure, style)


def draw_prediction_share(scores: Scores, style: Style = SVG) -> bytes:
    """A pie of how often each class was predicted, around a ring of how often it occurs."""
    images = scores["images"]
    shares = sorted(scores["prediction_share"].items(), key=lambda item: -item[1])
    kept = [name for name, _ in shares[: len(WEDGES) - (len(shares) > len(WEDGES))]]
    truth = {name: row["support"] / images for name, row in scores["per_class"].items()}
    rows = [(n, scores["prediction_share"][n], truth[n]) for n in scores["classes"] if n in kept]
    if len(kept) < len(shares):
        predicted, true = sum(row[1] for row in rows), sum(row[2] for row in rows)
        rows.append((f"{len(shares) - len(kept)} others", 1 - predicted, 1 - true))
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
    labels = [f"{plain(n)}  {100 * said:.0f} % (true {100 * is_:.0f} %)" for n, said, is_ in rows]
    look: dict[str, Any] = {"fontsize": 9, "labelcolor": style.ink, "frameon": False}
    figure.legend(wedges, labels, loc="outside right center", **look)
    return write_figure(figure, style)


def draw_confusion_matrix(scores: Scores, style: Style = SVG) -> bytes:
    """Photos of each class (rows) by the class they were taken for, shaded by their share."""
    counts = np.asarray(scores["confusion"], np.int64)
    classes = scores["classes"]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = min(9.0, max(3.6, 1.6 + 0.55 * len(classes)))
    figure = new_figure(style, (side + 0.6, side))
    panel = figure.add_subplot()
    # From transparent to blue, so that an empty cell is the page's own colour.
    blues = LinearSegmentedColormap.from_list("b", [to_rgba(PRECISION, 0), to_rgba(PRECISION, 1)])
    edge = len(classes)
    panel.imshow(shares, cmap=blues, vmin=0, vmax=1, extent=(0, edge, edge, 0))
    for line in range(1, edge):
        panel.axhline(line, color=style.ink, lw=0.5, alpha=0.4)
        panel.axvline(line, color=style.ink, lw=0.5, alpha=0.4)
    ticks = np.arange(0, len(classes), math.ceil(len(classes) / 40))
    names = [plain(classes[tick]) for tick in ticks]
    crowded = sum(map(len, names)) > 14 * side
    panel.set_xticks(
        ticks + 0.5, names, rotation=45 if crowded else 0, ha="right" if crowded else "center"
    )
    panel.set_yticks(ticks + 0.5, names)
    if len(classes) <= NUMBERED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            ink = "#ffffff" if shares[row, column] > 0.45 else style.ink
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": ink}
            size = 9 if len(classes) <= 12 else 7
            panel.text(column + 0.5, row + 0.5, str(counts[row, column]), fontsize=size, **look)
    panel.set_xlabel("taken for")
    panel.set_ylabel("true class")
    return write_figure(figure, style)


def draw_comparison(intervals: Mapping[str, Mapping[str, Interval]], style: Style = SVG) -> bytes:
    """Bars of each arm, grouped by metric, with their intervals and figures in percent.

    Args:
        intervals: per metric (its printed name), per arm, the figure with its interval.
        style: how to write it.

    Raises:
        ValueError: there is no metric, or the metrics have different arms.
    """
    arms = list(next(iter(intervals.values()), {}))
    if not arms or any(list(group) != arms for group in intervals.values()):
        raise ValueError("intervals: give at least one metric, each with the same arms")
    width = 0.8 / len(arms)
    figure = new_figure(style, (2.0 + 0.62 * len(arms) * len(intervals), 3.2))
    panel = figure.add_subplot()
    for place, arm in enumerate(arms):
        colour = arm_look(arm, arms)[0]
        found = [group[arm] for group in intervals.values()]
        centres = np.arange(len(found)) + (place - (len(arms) - 1) / 2) * width
        # The bar is paler than the interval that lies on it.
        pale, heights = to_rgba(colour, 0.5), [interval.value for interval in found]
        panel.bar(centres, heights, width * 0.88, color=pale, edgecolor=colour, label=plain(arm))
        for centre, interval in zip(centres, found, strict=True):
            panel.plot([centre] * 2, [interval.low, interval.high], color=colour, lw=3.0)
            top = max(interval.high, interval.value) + 0.015
            figures = f"{100 * interval.value:.1f}"
            panel.text(centre, top, figures, ha="center", va="bottom", fontsize=8, color=colour)
    panel.set_xticks(range(len(intervals)), list(intervals))
    panel.tick_params(axis="x", length=0)
    panel.set_ylim(0, 1.08)
    panel.set_yticks(np.linspace(0, 1, 6))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    put_legend(figure, panel.get_legend_handles_labels()[0], style)
    return write_figure(figure, style)


def draw_differences(differences: Mapping[str, Difference], style: Style = SVG) -> bytes:
    """How many points each arm is ahead of the one it is compared with, with its interval.

    Raises:
        ValueError: there is no difference.
    """
    if not differences:
        raise ValueError("differences: give at least one")
    arms = list(differences)
    figure = new_figure(style, (5.6, 1.2 + 0.5 * len(differences)))
    panel = figure.add_subplot()
    panel.axvline(0, color=style.ink, lw=1.2)
    for row, (arm, gap) in enumerate(differences.items()):
        colour = arm_look(arm, arms)[0]
        panel.plot([100 * gap.low, 100 * gap.high], [row, row], color=colour, lw=3.0)
        panel.plot([100 * gap.difference], [row], "o", color=colour, ms=9)
        look: dict[str, Any] = {"ha": "center", "va": "bottom", "color": colour}
        panel.text(100 * gap.difference, row - 0.2, _ends(gap), fontsize=9, **look)
    panel.set_yticks(range(len(differences)), [plain(arm) for arm in differences])
    panel.set_ylim(len(differences) - 0.4, -0.7)
    baseline = next(iter(differences.values())).dataset_b
    panel.set_xlabel(f"points ahead of {baseline} (right of 0: better)")
    return write_figure(figure, style)


def _ends(gap: Difference) -> str:
    return f"{100 * gap.difference:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def _shown(scores: Sequence[Scores]) -> list[str]:
    """The classes that get a panel: all, or the twelve with the lowest average precision."""
    names = [name for name in scores[0]["classes"] if name in scores[0]["curves"]]

    def worst(name: str) -> float:
        return min(one["per_class"][name]["average_precision"] or 0.0 for one in scores)

    kept = sorted(names, key=worst)[:SHOWN_CLASSES]
    return [name for name in names if name in kept]


def _draw_band(panel: Axes, seeds: Sequence[History], name: str, look: dict[str, Any]) -> None:
    epochs = sorted({int(row["epoch"]) for seed in seeds for row in seed})
    by_epoch = [[row[name] for s in seeds for row in s if int(row["epoch"]) == e] for e in epochs]
    shown = [epoch + 1 for epoch in epochs]
    marker = "o" if len(epochs) == 1 else None
    panel.plot(shown, [float(np.mean(values)) for values in by_epoch], marker=marker, **look)
    if len(seeds) > 1 and name.startswith("val_"):
        low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
        panel.fill_between(shown, low, high, color=look["color"], alpha=0.18, lw=0)


def _unit_axes(panel: Axes) -> None:
    panel.set_xlim(0, 1.02)
    panel.set_ylim(0, 1.04)
    panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    panel.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _label_grid(figure: Figure, panels: Sequence[Axes], below: str, beside: str) -> None:
    for panel in panels:
        place = panel.get_subplotspec()
        if place is not None and place.is_first_col():
            panel.set_ylabel(beside)
        if place is not None and place.num1 + place.get_gridspec().ncols >= len(panels):
            panel.set_xlabel(below)


def _note_hidden(figure: Figure, scores: Scores, shown: Sequence[str], style: Style) -> None:
    hidden = len(scores["curves"]) - len(shown)
    if hidden:
        note = (
            f"the {len(shown)} classes with the lowest average precision; {hidden} more not drawn"
        )
        figure.supxlabel(note, fontsize=8, color=style.ink)
