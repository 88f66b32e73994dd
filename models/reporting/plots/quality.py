"""Figures of quality: how near images are to real photos, and what a selection did."""

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from models.quality.records import ClassSelection, NearestDistances, QualityMetrics
from models.reporting.plots.style import (
    SVG,
    Dashes,
    Style,
    add_legend,
    dataset_look,
    escape_math,
    panel_grid,
    write_figure,
)
from models.reporting.tables import decimal

# Real photos have one colour, and a line style per split.
_REAL: dict[str, Dashes] = {"real train": "-", "real val": "--", "real test": ":"}


def draw_nearest(quality: QualityMetrics, style: Style = SVG) -> bytes:
    """A panel per split: the share of images whose nearest photo is nearer than a distance.

    Raises:
        ValueError: the figures hold no distances.
    """
    rows = distances_of(quality)
    if not rows:
        raise ValueError("nearest: give at least one distribution of distances over all classes")
    targets = list(dict.fromkeys(row.photos for row in rows))
    looks = _looks(rows)
    figure, panels = panel_grid(len(targets), style, size=(2.9, 2.5))
    farthest = max(row.percentiles[-1] for row in rows)
    for panel, target in zip(panels, targets, strict=True):
        for row in rows:
            if row.photos == target:
                colour, dashes = looks[row.images]
                shares = np.linspace(0, 1, len(row.percentiles))
                panel.plot(row.percentiles, shares, color=colour, linestyle=dashes, lw=1.8)
        count = next(row.n_photos for row in rows if row.photos == target)
        panel.set_title(f"to {target} (n = {count})")
        panel.set_xlim(0, farthest * 1.02 or 1)
        panel.set_ylim(0, 1.02)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_xlabel("cosine distance")
    panels[0].set_ylabel("images at most as far")
    handles = [
        Line2D([], [], color=colour, linestyle=dashes, lw=2.2, label=escape_math(name))
        for name, (colour, dashes) in looks.items()
    ]
    add_legend(figure, handles, style)
    return write_figure(figure, style)


def describe_nearest(quality: QualityMetrics) -> str:
    """The figure in words."""
    return "; ".join(
        f"{row.images} to {row.photos}: 1% below {decimal(row.lowest_percent)}, "
        f"half below {decimal(row.median)}"
        for row in distances_of(quality)
    )


def distances_of(quality: QualityMetrics, label: str | None = None) -> list[NearestDistances]:
    """The distances of a class, or of all classes together, sorted by the split they reach to."""
    rows = [row for row in quality.nearest if row.label == label]
    order = list(_REAL)
    return sorted(rows, key=lambda row: (order.index(row.photos), row.images in _REAL))


def draw_selection(selections: Sequence[ClassSelection], style: Style = SVG) -> bytes:
    """A panel per generator and class: the distance of the set as images are left out.

    Raises:
        ValueError: no selection has a curve.
    """
    shown = [found for found in selections if found.curve]
    if not shown:
        raise ValueError("selection: give at least one curve")
    figure, panels = panel_grid(len(shown), style, size=(2.9, 2.5))
    colour = dataset_look(1)[0]
    for panel, found in zip(panels, shown, strict=True):
        counts = [count for count, _, _ in found.curve]
        train = [distance for _, distance, _ in found.curve]
        val = [distance for _, _, distance in found.curve if distance is not None]
        panel.plot(counts, train, color=dataset_look(0)[0], linestyle="-", lw=1.8)
        if val:
            panel.plot(counts, val, color=colour, linestyle="--", lw=1.8)
        panel.axvline(found.kept, color=style.ink, linestyle=":", lw=1.2)
        panel.invert_xaxis()
        panel.set_title(escape_math(f"{found.generator} · {found.label}"))
        panel.set_xlabel(f"images left (kept: {found.kept})")
    panels[0].set_ylabel("squared discrepancy")
    looks: dict[str, tuple[str, Dashes]] = {"to train photos": (dataset_look(0)[0], "-")}
    if any(distance is not None for found in shown for _, _, distance in found.curve):
        looks["to val photos"] = (colour, "--")
    handles = [
        Line2D([], [], color=own, linestyle=dashes, lw=2.2, label=name)
        for name, (own, dashes) in looks.items()
    ]
    add_legend(figure, handles, style)
    return write_figure(figure, style)


def describe_selection(selections: Sequence[ClassSelection]) -> str:
    """The figure in words."""
    return "; ".join(
        f"{found.generator}, {found.label}: {found.kept} of {found.images} images kept"
        for found in selections
    )


def _looks(rows: Sequence[NearestDistances]) -> dict[str, tuple[str, Dashes]]:
    names = list(dict.fromkeys(row.images for row in rows))
    generators = [name for name in names if name not in _REAL]
    looks = {name: dataset_look(position + 1) for position, name in enumerate(generators)}
    return looks | {
        name: (dataset_look(0)[0], dashes) for name, dashes in _REAL.items() if name in names
    }
