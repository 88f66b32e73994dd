"""The loss over the steps of a training."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.reporting.figure_style import (
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


def draw_losses(losses: Mapping[str, Sequence[float]], style: Style = SVG) -> bytes:
    """A line per class: the mean loss of each fiftieth of the steps. At most eight are drawn.

    Args:
        losses: per class, the loss of each step, 1 or more.
        style: how to write it.

    Raises:
        ValueError: there is no class, or a class without steps.
    """
    if not losses or not all(losses.values()):
        raise ValueError("losses: give at least one class, each with the loss of a step or more")
    figure, (panel,) = panel_grid(1, style, size=(6.0, 2.7))
    shown = list(losses)[:SHOWN_CLASSES]
    for position, label in enumerate(shown):
        steps, means = mean_losses(losses[label])
        colour, dashes = dataset_look(position)
        marker = "o" if len(steps) == 1 else None
        panel.plot(steps, means, color=colour, linestyle=dashes, lw=1.6, marker=marker)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("step")
    panel.set_ylabel("mean loss")
    add_legend(figure, dataset_handles(shown), style)
    return write_figure(figure, style)


def describe_losses(losses: Mapping[str, Sequence[float]]) -> str:
    """What the figure shows, in words: the first and the last mean of each class."""
    parts = []
    for label in list(losses)[:SHOWN_CLASSES]:
        _, means = mean_losses(losses[label])
        parts.append(f"{label} from {means[0]:.3f} to {means[-1]:.3f}")
    hidden = len(losses) - len(parts)
    more = f"; {hidden} more classes are not drawn" if hidden > 0 else ""
    return f"Mean loss by step: {', '.join(parts)}{more}."


def mean_losses(losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The middle step and the mean loss of each fiftieth of the steps; of each step if few."""
    parts = np.array_split(np.arange(len(losses)), min(POINTS, len(losses)))
    steps = [float(part.mean()) + 1 for part in parts]
    return steps, [float(np.mean([losses[step] for step in part])) for part in parts]
