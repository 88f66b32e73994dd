"""The figure that answers a study's question, as SVG or PNG bytes, with the published figures.

Generated images, as the grid counts them, are on a logarithmic axis that begins with 0, one panel
per number of photos. A study of methods has a row per method, and a panel per figure.
"""

import math
from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, PercentFormatter

from models.evaluation.study import PointScores, StudyScores
from models.evaluation.study_description import Description, PublishedFigure
from models.reporting.plots.style import (
    SVG,
    Style,
    add_legend,
    dataset_look,
    escape_math,
    new_figure,
    panel_grid,
    write_figure,
)
from models.reporting.studies.plots import GREY_DASHES, METRIC_NAMES, Look, draw_all

_ALONE_AT = 0.0  # One step of the logarithmic axis before the smallest amount.


def draw_study(scores: StudyScores, description: Description, style: Style = SVG) -> bytes:
    """The scores of all methods along the study's axis; on val and test for a study of methods.

    Whiskers are 95 % intervals over replicates and photos. Diamonds are published figures.
    """
    if description.x == "photos":
        if has_several_amounts(scores):
            return draw_all(scores, style)
        return _draw_numbers(scores, description, style)
    if description.x == "method":
        return _draw_methods(scores, description, style)
    return _draw_amounts(scores, description, style)


def has_several_amounts(scores: StudyScores) -> bool:
    """Whether a method has several numbers of generated images per photo or per class."""
    amounts: dict[str, set[str]] = {}
    for found in scores.points:
        amounts.setdefault(found.point.method, set()).add(found.point.amount_name)
    return max(map(len, amounts.values())) > 1


def _draw_numbers(scores: StudyScores, description: Description, style: Style) -> bytes:
    """A line per method over the numbers of real photos."""
    labels = list(dict.fromkeys(found.point.photos_label for found in scores.points))
    ticks = {label: float(place) for place, label in enumerate(labels)}
    figure = new_figure(style, (8.4, 4.2))
    panel = figure.add_subplot()
    looks = _looks_of(scores.points)
    for position, (method, (colour, dashes)) in enumerate(looks.items()):
        line = [found for found in scores.points if found.point.method == method]
        moved = 0.05 * (position - (len(looks) - 1) / 2)
        places = [ticks[found.point.photos_label] + moved for found in line]
        values = [found.test.value for found in line]
        panel.plot(places, values, color=colour, linestyle=dashes, lw=1.8, marker="o", ms=3.5)
        for place, found in zip(places, line, strict=True):
            _whisker(panel, place, found, colour)
    has_published = _plot_published(panel, description.published, scores, looks, ticks)
    panel.set_ylabel(f"{METRIC_NAMES[scores.metric]} on test photos")
    panel.set_xlabel("real photos per class")
    _name_ticks(panel, ticks)
    add_legend(figure, _handles(looks, has_published), style)
    return write_figure(figure, style)


def _draw_amounts(scores: StudyScores, description: Description, style: Style) -> bytes:
    numbers = list(dict.fromkeys(found.point.photos_name for found in scores.points))
    figure, panels = panel_grid(len(numbers), style, columns=min(3, len(numbers)), size=(4.2, 3.3))
    looks = _looks_of(scores.points)
    amounts = sorted({_amount(found) for found in scores.points} - {_ALONE_AT})
    is_per_class = any(
        found.point.images_per_class or found.point.instances for found in scores.points
    )
    ticks = _ticks(amounts, "" if is_per_class else "%")
    has_published = False
    for panel, number in zip(panels, numbers, strict=True):
        if panel is not panels[0]:
            panel.sharey(panels[0])
        found = [point for point in scores.points if point.point.photos_name == number]
        for position, (method, look) in enumerate(looks.items()):
            line = [point for point in found if point.point.method == method]
            _plot_method(panel, line, look, position, amounts)
        label = found[0].point.photos_label
        known = [row for row in description.published if row.photos in ("", label)]
        has_published |= _plot_published(panel, known, scores, looks, ticks)
        panel.set_title(number)
        _name_ticks(panel, ticks)
    panels[0].set_ylabel(f"{METRIC_NAMES[scores.metric]} on test photos")
    axis = "per class" if is_per_class else "in percent of the real photos"
    figure.supxlabel(f"generated images {axis}", color=style.ink, fontsize=9)
    add_legend(figure, _handles(looks, has_published), style)
    return write_figure(figure, style)


def _amount(found: PointScores) -> float:
    """Generated images per class, or else in percent of the real photos."""
    return found.point.instances or found.point.images_per_class or 100 * found.point.share


def _ticks(amounts: Sequence[float], unit: str) -> dict[str, float]:
    """The name of each amount, and its place."""
    return {f"{amount:g}{unit}": _place(amount, amounts) for amount in (_ALONE_AT, *amounts)}


def _place(amount: float, amounts: Sequence[float]) -> float:
    """The place of an amount on the axis: a factor of 2 is a distance of 1."""
    return 1 + math.log2(amount / amounts[0]) if amount else _ALONE_AT


def _plot_method(
    panel: Axes,
    line: Sequence[PointScores],
    look: Look,
    position: int,
    amounts: Sequence[float],
) -> None:
    """A line over amounts; a training of photos alone is a level over the whole panel."""
    colour, dashes = look
    for found in line:
        if not found.point.has_images:
            panel.axhline(found.test.value, color=colour, linestyle=dashes, lw=1.2)
            _whisker(panel, 0.06 * (position - 1), found, colour)
    made = [found for found in line if found.point.has_images]
    places = [_place(_amount(found), amounts) + 0.05 * (position - 3) for found in made]
    values = [found.test.value for found in made]
    panel.plot(places, values, color=colour, linestyle=dashes, lw=1.8, marker="o", ms=3.5)
    for place, found in zip(places, made, strict=True):
        _whisker(panel, place, found, colour)


def _whisker(panel: Axes, place: float, found: PointScores, colour: str) -> None:
    panel.vlines(place, found.test.low, found.test.high, color=colour, lw=1.1, alpha=0.75)


def _plot_published(
    panel: Axes,
    published: Sequence[PublishedFigure],
    scores: StudyScores,
    looks: dict[str, Look],
    ticks: dict[str, float],
) -> bool:
    """Mark the published figures where a series has two or more, and return whether there are any.

    They are of other photos, so that only the shape of a curve can be compared.
    """
    shown = [
        row
        for row in published
        if row.split == "test" and row.figure == scores.metric and row.series in looks
        if row.x in ticks
    ]
    if max(Counter(row.series for row in shown).values(), default=0) < 2:
        return False
    for row in shown:
        _diamond(panel, ticks[row.x], row.value, looks[row.series][0])
    return True


def _diamond(panel: Axes, x: float, y: float, colour: str) -> None:
    panel.plot([x], [y], marker="D", ms=5, mfc="none", mec=colour, linestyle="none")


def _name_ticks(panel: Axes, ticks: dict[str, float]) -> None:
    panel.set_xticks(list(ticks.values()), list(ticks))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(-0.5, max(ticks.values()) + 0.5)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))


def _looks_of(points: Sequence[PointScores]) -> dict[str, Look]:
    """Colour and line style of each method; trainings of photos alone are grey."""
    alone = dict.fromkeys(found.point.method for found in points if not found.point.has_images)
    made = dict.fromkeys(found.point.method for found in points if found.point.has_images)
    looks: dict[str, Look] = {
        method: (SVG.ink, GREY_DASHES[position % len(GREY_DASHES)])
        for position, method in enumerate(alone)
    }
    return looks | {method: dataset_look(position) for position, method in enumerate(made)}


def _handles(looks: dict[str, Look], has_published: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, linestyle=dashes, lw=2, label=escape_math(method))
        for method, (colour, dashes) in looks.items()
    ]
    if has_published:
        handles.append(_mark("D", SVG.ink, "published"))
    return handles


def _mark(marker: str, colour: str, label: str, *, filled: bool = False) -> Line2D:
    face = colour if filled else "none"
    return Line2D([], [], marker=marker, mfc=face, mec=colour, linestyle="none", label=label)


def _draw_methods(scores: StudyScores, description: Description, style: Style) -> bytes:
    """A row per point and a panel per figure; val is hollow, test is filled."""
    names = [_row_name(found, scores) for found in scores.points]
    figures = list(dict.fromkeys(row.figure for row in scores.points[0].figures))
    figure = new_figure(style, (3.2 + 2.6 * len(figures), 1.0 + 0.3 * len(names)))
    looks = _looks_of(scores.points)
    for column, kind in enumerate(figures):
        panel = figure.add_subplot(1, len(figures), column + 1)
        for row, found in enumerate(scores.points):
            colour, _ = looks[found.point.method]
            for cell in found.figures:
                if cell.figure == kind:
                    place = row + (0.14 if cell.split == "test" else -0.14)
                    interval = cell.interval
                    panel.hlines(place, interval.low, interval.high, color=colour, lw=1.2)
                    face = colour if cell.split == "test" else style.background
                    panel.plot([interval.value], [place], marker="o", ms=4.5, mfc=face, mec=colour)
            for known in description.published:
                if known.series == found.point.method and known.figure == kind:
                    place = row + (0.14 if known.split == "test" else -0.14)
                    _diamond(panel, known.value, place, colour)
        panel.set_title(METRIC_NAMES[kind])
        panel.xaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_yticks(range(len(names)), [escape_math(name) for name in names])
        panel.tick_params(labelleft=column == 0)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.grid(axis="y", color=style.ink, alpha=0.15)
    marks = [_mark("o", SVG.ink, "val photos"), _mark("o", SVG.ink, "test photos", filled=True)]
    if description.published:
        marks.append(_mark("D", SVG.ink, "published"))
    add_legend(figure, marks, style)
    return write_figure(figure, style)


def _row_name(found: PointScores, scores: StudyScores) -> str:
    """The method, and what else its points differ in."""
    point = found.point
    same = [other.point for other in scores.points if other.point.method == point.method]
    parts = [point.method]
    if len({other.photos_label for other in same}) > 1:
        parts.append(point.photos_label)
    if len({other.amount_name for other in same}) > 1:
        parts.append(point.amount_name)
    return ", ".join(parts)
