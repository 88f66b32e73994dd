"""The charts of a study as SVG or PNG bytes. The same scores give the same bytes."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from models.evaluation.classification import Metric
from models.evaluation.study import PointScores, StudyScores
from models.reporting.plots.style import (
    SVG,
    Dashes,
    Style,
    add_legend,
    dataset_look,
    escape_math,
    new_figure,
    write_figure,
)

# Lines are moved sideways by this part of the distance between two ticks, so that intervals
# stay apart.
_STEP = 0.055
_SIZE = (8.4, 4.0)
# Photos alone are grey, so that the colours are left for shares.
GREY_DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.", (0, (1, 3)))
METRIC_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
    "miou": "mean IoU",
    "map_50_95": "mean AP",
    "map_50": "mean AP50",
}
Look = tuple[str, Dashes]


def draw_scores(scores: StudyScores, method: str, style: Style = SVG) -> bytes:
    """Test scores by photos per class: a line per share, and one per augmentation without images.

    Whiskers are the intervals of `models.evaluation.comparison.dataset_interval`.
    """
    figure = new_figure(style, _SIZE)
    _plot_scores(figure.add_subplot(), scores, method)
    add_legend(figure, _handles(_lines_of(scores, method)), style)
    return write_figure(figure, style)


def draw_gains(scores: StudyScores, method: str, style: Style = SVG) -> bytes:
    """Gains over the best training without generated images, by share: a line per number."""
    figure = new_figure(style, _SIZE)
    _plot_gains(figure.add_subplot(), scores, method)
    add_legend(figure, _handles(_numbers_of(scores, method)), style)
    return write_figure(figure, style)


def draw_all(scores: StudyScores, style: Style = SVG) -> bytes:
    """Both charts of every method in one figure: scores at the left, gains at the right."""
    rows = len(scores.methods)
    figure = new_figure(style, (2 * _SIZE[0], _SIZE[1] * rows))
    for row, method in enumerate(scores.methods):
        left = figure.add_subplot(rows, 2, 2 * row + 1)
        right = figure.add_subplot(rows, 2, 2 * row + 2)
        _plot_scores(left, scores, method)
        _plot_gains(right, scores, method)
        for panel, lines in (
            (left, _lines_of(scores, method)),
            (right, _numbers_of(scores, method)),
        ):
            panel.set_title(escape_math(method))
            panel.legend(
                handles=_handles(lines),
                frameon=False,
                labelcolor=style.ink,
                fontsize=8,
            )
    return write_figure(figure, style)


def line_name(found: PointScores) -> str:
    """What a point has in common with those of other numbers of photos."""
    return found.point.amount_name or found.point.method


def _looks_of(lines: Mapping[str, Sequence[PointScores]]) -> list[Look]:
    """Colour and line style of each line."""
    alone = [name for name, line in lines.items() if not line[0].point.has_images]
    shares = [name for name in lines if name not in alone]
    return [
        (SVG.ink, GREY_DASHES[alone.index(name) % len(GREY_DASHES)])
        if name in alone
        else dataset_look(shares.index(name))
        for name in lines
    ]


def _handles(lines: Mapping[str, Sequence[PointScores]]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, linestyle=dashes, lw=2.2, label=escape_math(name))
        for name, (colour, dashes) in zip(lines, _looks_of(lines), strict=True)
    ]


def _lines_of(scores: StudyScores, method: str) -> dict[str, list[PointScores]]:
    lines: dict[str, list[PointScores]] = {}
    for found in scores.of(method):
        lines.setdefault(line_name(found), []).append(found)
    return lines


def _numbers_of(scores: StudyScores, method: str) -> dict[str, list[PointScores]]:
    """The points with generated images by photos per class."""
    numbers: dict[str, list[PointScores]] = {}
    for found in scores.of(method):
        if found.point.has_images:
            numbers.setdefault(found.point.photos_name.removesuffix(" per class"), []).append(found)
    return numbers


def _plot_scores(panel: Axes, scores: StudyScores, method: str) -> None:
    numbers = list(dict.fromkeys(found.point.photos_label for found in scores.points))
    lines = _lines_of(scores, method)
    for position, (line, look) in enumerate(zip(lines.values(), _looks_of(lines), strict=True)):
        places = [numbers.index(found.point.photos_label) for found in line]
        intervals = [(found.test.value, found.test.low, found.test.high) for found in line]
        _plot_line(panel, look, position, places, intervals)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.set_ylabel(f"{METRIC_NAMES[scores.metric]} on test photos")
    panel.set_xlabel("real photos per class")
    _name_ticks(panel, numbers)


def _plot_gains(panel: Axes, scores: StudyScores, method: str) -> None:
    numbers = _numbers_of(scores, method)
    amounts = sorted({_amount(found) for line in numbers.values() for found in line})
    panel.axhline(0, color=SVG.ink, lw=1)
    looks = _looks_of(numbers)
    for position, (line, look) in enumerate(zip(numbers.values(), looks, strict=True)):
        gains = [(_amount(found), found.gain) for found in line if found.gain is not None]
        places = [amounts.index(amount) for amount, _ in gains]
        intervals = [(gain.difference, gain.low, gain.high) for _, gain in gains]
        _plot_line(panel, look, position, places, intervals)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.0f}"))
    panel.set_ylabel("gain in points over photos alone")
    panel.set_xlabel("generated images per real photo")
    _name_ticks(panel, [f"{amount:g}" for amount in amounts])


def _amount(found: PointScores) -> float:
    return found.point.instances or found.point.images_per_class or found.point.share


def _plot_line(
    panel: Axes,
    look: Look,
    position: int,
    places: Sequence[int],
    intervals: Sequence[tuple[float, float, float]],
) -> None:
    colour, dashes = look
    moved = [place + _STEP * (position - 3.5) for place in places]
    values = [value for value, _, _ in intervals]
    panel.plot(moved, values, color=colour, linestyle=dashes, lw=1.8, marker="o", ms=3.5)
    lows, highs = ([interval[end] for interval in intervals] for end in (1, 2))
    panel.vlines(moved, lows, highs, color=colour, lw=1.1, alpha=0.75)


def _name_ticks(panel: Axes, names: Sequence[str]) -> None:
    panel.set_xticks(range(len(names)), names)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(-0.5, len(names) - 0.5)
