"""The loss over the steps of a training, and the scores of its sample sheets."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes

from models.reporting.plots.style import (
    SVG,
    Style,
    add_legend,
    dataset_handles,
    dataset_look,
    panel_grid,
    write_figure,
)

# Points of a line. A loss depends on the noise and the time that a step drew, so a point is a mean.
POINTS = 50
# More classes have no lines of their own.
SHOWN_CLASSES = 8


# Step and score of each sample sheet of a training.
Scores = Sequence[tuple[int, float]]


def draw_losses(
    losses: Mapping[str, Sequence[float]],
    style: Style = SVG,
    *,
    every: int = 1,
    scores: Mapping[str, Scores] = MappingProxyType({}),
) -> bytes:
    """A line per class: the mean loss of each fiftieth of the steps. At most eight are drawn.

    A second panel has the scores of the sample sheets, if any class has some.

    Args:
        losses: per class, the loss of each step, 1 or more.
        style: how to write it.
        every: steps whose mean a loss is.
        scores: per class; may lack classes.

    Raises:
        ValueError: there is no class, or a class without steps.
    """
    if not losses or not all(losses.values()):
        raise ValueError("losses: give at least one class, each with the loss of a step or more")
    shown, has_scores = list(losses)[:SHOWN_CLASSES], any(scores.values())
    size = (3.6, 2.7) if has_scores else (6.0, 2.7)
    figure, panels = panel_grid(1 + has_scores, style, size=size)
    for position, label in enumerate(shown):
        steps, means = mean_losses(losses[label])
        _add_line(panels[0], position, [step * every for step in steps], means)
        if scores.get(label):
            sheets, values = zip(*scores[label], strict=True)
            _add_line(panels[1], position, sheets, values)
    for panel, name in zip(panels, ("mean loss", "score (0 is best)"), strict=False):
        panel.set_ylim(bottom=0)
        panel.set_xlabel("step")
        panel.set_ylabel(name)
    add_legend(figure, dataset_handles(shown), style)
    return write_figure(figure, style)


def _add_line(panel: Axes, position: int, steps: Sequence[float], values: Sequence[float]) -> None:
    colour, dashes = dataset_look(position)
    marker = "o" if len(steps) == 1 else None
    panel.plot(steps, values, color=colour, linestyle=dashes, lw=1.6, marker=marker)


def describe_losses(
    losses: Mapping[str, Sequence[float]], scores: Mapping[str, Scores] = MappingProxyType({})
) -> str:
    """What the figure shows, in words: the first and the last mean of each class, and scores."""
    parts = []
    for label in list(losses)[:SHOWN_CLASSES]:
        _, means = mean_losses(losses[label])
        part = f"{label} from {means[0]:.3f} to {means[-1]:.3f}"
        if scores.get(label):
            step, best = min(scores[label], key=lambda sheet: sheet[1])
            part += f", best score {best:.2f} at step {step}"
        parts.append(part)
    hidden = len(losses) - len(parts)
    more = f"; {hidden} more classes are not drawn" if hidden > 0 else ""
    return f"Mean loss by step: {', '.join(parts)}{more}."


def mean_losses(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The middle step and the mean loss of each fiftieth of the steps; of each step if few."""
    parts = np.array_split(np.arange(len(losses)), min(POINTS, len(losses)))
    steps = [float(part.mean()) + 1 for part in parts]
    return steps, [float(np.mean([losses[step] for step in part])) for part in parts]
