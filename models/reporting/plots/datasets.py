"""Figures that compare datasets, as SVG or PNG bytes. The same input gives the same bytes.

Datasets take their colours by position, see `models.reporting.plots.style`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from models.evaluation.comparison import Interval
from models.reporting.plots.style import (
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

_CURVES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "f1_macro": "Macro F1",
    "miou": "Mean IoU",
    "map_50_95": "Mean AP",
    "map_50": "Mean AP50",
    "learning_rate": "Learning rate",
}
_LINE_WIDTHS = {"val": 2.1, "train": 0.9}
# Per figure of an epoch ("epoch", "val_loss", ...), one value per epoch.
History = Mapping[str, Sequence[float]]


def draw_learning_curves(histories: Mapping[str, Sequence[History]], style: Style = SVG) -> bytes:
    """Loss, the scores of the task and learning rate over the epochs, a line per dataset.

    Lines are means over the seeds and bands their range; val is drawn thick, train thin. A figure
    that the histories have for val alone has no line for train.

    Args:
        histories: per dataset, the history of each seed.
        style: how to write it.

    Raises:
        ValueError: there is no dataset, or a dataset without epochs.
    """
    seeds_of = list(histories.values())
    if not seeds_of or any(
        not seeds or not all(seed["epoch"] for seed in seeds) for seeds in seeds_of
    ):
        raise ValueError("histories: give at least one dataset, each with a history of epochs")
    known = seeds_of[0][0]
    shown = [
        (name, title)
        for name, title in _CURVES.items()
        if f"val_{name}" in known or name == "learning_rate"
    ]
    figure, panels = panel_grid(len(shown), style, columns=2, size=(4.2, 2.7))
    for panel, (name, title) in zip(panels, shown, strict=True):
        panel.set_title(title)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for position, seeds in enumerate(seeds_of):
            _draw_history(panel, seeds, name, position)
        if name == "learning_rate":
            panel.set_yscale("log")
        if name not in ("loss", "learning_rate"):
            panel.set_ylim(0, 1.02)
            panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    for panel in panels[-2:]:
        panel.set_xlabel("epoch")
    widths = [
        Line2D([], [], color=style.ink, lw=width, label=part)
        for part, width in _LINE_WIDTHS.items()
    ]
    add_legend(figure, [*dataset_handles(list(histories)), *widths], style)
    return write_figure(figure, style)


def draw_comparison(intervals: Mapping[str, Mapping[str, Interval]], style: Style = SVG) -> bytes:
    """Bars of each dataset, grouped by metric, with intervals and values in percent.

    Args:
        intervals: per metric (its printed name), per dataset, the value with its interval.
        style: how to write it.

    Raises:
        ValueError: there is no metric, or the metrics have different datasets.
    """
    names = list(next(iter(intervals.values()), {}))
    if not names or any(list(group) != names for group in intervals.values()):
        raise ValueError("intervals: give at least one metric, each with the same datasets")
    width = 0.8 / len(names)
    figure = new_figure(style, (2.0 + 0.62 * len(names) * len(intervals), 3.2))
    panel = figure.add_subplot()
    for position, name in enumerate(names):
        colour = dataset_look(position)[0]
        group = [by_name[name] for by_name in intervals.values()]
        centres = np.arange(len(group)) + (position - (len(names) - 1) / 2) * width
        # The bar is paler than the interval drawn over it.
        pale, heights = to_rgba(colour, 0.5), [interval.value for interval in group]
        label = escape_math(name)
        panel.bar(centres, heights, width * 0.88, color=pale, edgecolor=colour, label=label)
        for centre, interval in zip(centres, group, strict=True):
            panel.plot([centre] * 2, [interval.low, interval.high], color=colour, lw=3.0)
            top = max(interval.high, interval.value) + 0.015
            text = f"{100 * interval.value:.1f}"
            panel.text(centre, top, text, ha="center", va="bottom", fontsize=8, color=colour)
    panel.set_xticks(range(len(intervals)), list(intervals))
    panel.tick_params(axis="x", length=0)
    panel.set_ylim(0, 1.08)
    panel.set_yticks(np.linspace(0, 1, 6))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    add_legend(figure, panel.get_legend_handles_labels()[0], style)
    return write_figure(figure, style)


def _draw_history(panel: Axes, seeds: Sequence[History], name: str, position: int) -> None:
    """The lines of one dataset in one panel: val and train, or the learning rate."""
    colour, dashes = dataset_look(position)
    look: dict[str, Any] = {"color": colour, "linestyle": dashes}
    if name == "learning_rate":
        _draw_band(panel, seeds, name, look | {"drawstyle": "steps-mid"})
        return
    for part, width in _LINE_WIDTHS.items():
        if f"{part}_{name}" in seeds[0]:
            _draw_band(panel, seeds, f"{part}_{name}", look | {"lw": width})


def _draw_band(panel: Axes, seeds: Sequence[History], name: str, look: dict[str, Any]) -> None:
    """The mean over the seeds that reached an epoch; for val, their range as well."""
    longest = max(len(seed["epoch"]) for seed in seeds)
    by_epoch = [
        [seed[name][epoch] for seed in seeds if epoch < len(seed["epoch"])]
        for epoch in range(longest)
    ]
    epochs = range(1, longest + 1)
    marker = "o" if longest == 1 else None
    panel.plot(epochs, [float(np.mean(values)) for values in by_epoch], marker=marker, **look)
    if len(seeds) > 1 and name.startswith("val_"):
        low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
        panel.fill_between(epochs, low, high, color=look["color"], alpha=0.18, lw=0)
