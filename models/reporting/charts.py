"""Line charts as plain geometry: ticks in percent and SVG paths, which the template draws.

The page draws them with its own colours and fonts, so that they follow light and dark, stay sharp,
and stretch to any width without stretching their text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLOT_WIDTH, PLOT_HEIGHT = 1000, 1000
MAX_POINTS = 160


@dataclass(frozen=True)
class Series:
    """One line: its points, the number of its colour, and how it is drawn.

    ``marked`` is the place of the point that carries a dot, such as the best epoch.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    tone: int
    dashed: bool = False
    faint: bool = False
    marked: int | None = None


@dataclass(frozen=True)
class Axis:
    """What an axis shows. Without ``low`` and ``high`` it spans the data.

    ``whole`` axes have ticks at whole numbers only; values of ``powers`` are exponents of ten.
    """

    label: str
    low: float | None = None
    high: float | None = None
    percent: bool = False
    whole: bool = False
    powers: bool = False

    def tell(self, value: float) -> str:
        """The value in words, to be read at a point of a line."""
        if self.percent:
            return f"{value * 100:.1f}%"
        return f"{10.0**value if self.powers else value:.3g}"


@dataclass(frozen=True)
class Tick:
    """A label on an axis, and how far along it stands, in percent."""

    label: str
    at: float


@dataclass(frozen=True)
class Line:
    """One drawn line: the SVG path, dots that tell their values on hover, and the marked dot."""

    name: str
    tone: int
    dashed: bool
    faint: bool
    path: str
    dots: tuple[tuple[str, str], ...]
    mark: str | None


@dataclass(frozen=True)
class LineChart:
    """A chart ready to be drawn. ``summary`` is what a screen reader says in its place."""

    title: str
    note: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    summary: str


@dataclass(frozen=True)
class Words:
    """The title of a chart and the remark under it."""

    title: str
    note: str = ""


def draw_lines(words: Words, series: Sequence[Series], x: Axis, y: Axis) -> LineChart | None:
    """The chart of all series that have points, or None when none has any."""
    series = [one for one in series if one.points]
    if not series:
        return None
    x_low, x_high, x_ticks = _scale(x, [point[0] for one in series for point in one.points])
    y_low, y_high, y_ticks = _scale(y, [point[1] for one in series for point in one.points])

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = (point[0] - x_low) / (x_high - x_low)
        up = min(1.02, max(-0.02, (point[1] - y_low) / (y_high - y_low)))
        return round(across * PLOT_WIDTH, 1), round((1.0 - up) * PLOT_HEIGHT, 1)

    lines = []
    for one in series:
        placed = [place(point) for point in one.points]
        told = () if one.faint or len(placed) > 60 else tuple(_dots(one, placed, x, y))
        mark = None if one.marked is None else "M{:g} {:g}h0".format(*placed[one.marked])
        lines.append(Line(one.name, one.tone, one.dashed, one.faint, _path(placed), told, mark))
    return LineChart(
        words.title, words.note, x.label, y.label, x_ticks, y_ticks, tuple(lines),
        _summarise(words.title, series, y),
    )  # fmt: skip


def thin(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """At most `MAX_POINTS` of the points, evenly spaced, the first and the last among them."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    step = (len(points) - 1) / (MAX_POINTS - 1)
    return tuple(points[round(place * step)] for place in range(MAX_POINTS))


def finite_points(across: Iterable[Any], up: Iterable[Any]) -> tuple[tuple[float, float], ...]:
    """The pairs of which both numbers are there and finite."""
    pairs = zip(across, up, strict=False)
    return tuple((float(a), float(b)) for a, b in pairs if is_number(a) and is_number(b))


def is_number(value: Any) -> bool:
    """Whether the value is a finite number (a bool is none)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def mean_by_place(runs: Sequence[Mapping[float, float]]) -> tuple[tuple[float, float], ...]:
    """The mean over the runs at every place that at least half of them reached."""
    places = sorted({place for run in runs for place in run})
    means = []
    for place in places:
        values = [run[place] for run in runs if place in run]
        if 2 * len(values) >= len(runs):
            means.append((place, sum(values) / len(values)))
    return tuple(means)


def _scale(axis: Axis, values: Sequence[float]) -> tuple[float, float, tuple[Tick, ...]]:
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if axis.powers:
        low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    if high - low < 1e-12:
        margin = abs(high) * 0.5 or 0.5
        low, high = low - margin * (axis.low is None), high + margin
    step = _step((high - low) / 4, axis.whole or axis.powers)
    if axis.low is None and not axis.whole:
        low = math.floor(low / step + 1e-9) * step
    if axis.high is None and not axis.whole:
        high = math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    marked = [place * step for place in range(first, last + 1)]
    if axis.whole and (not marked or marked[0] - low > 0.1 * (high - low)):
        marked.insert(0, low)
    ticks = (
        Tick(_label(one, step, axis), round((one - low) / (high - low) * 100, 2)) for one in marked
    )
    return low, high, tuple(ticks)


def _step(rough: float, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * (1 - 1e-9))
    return max(1.0, math.ceil(step)) if whole else step


def _label(value: float, step: float, axis: Axis) -> str:
    if axis.percent:
        return f"{value * 100:.{0 if step >= 0.0099 else 1}f}%"
    if axis.powers:
        return f"{10.0**value:.1g}" if value > -4 else f"1e{value:.0f}"
    if axis.whole:
        return f"{value:.0f}"
    if value and (abs(step) < 1e-3 or abs(step) >= 1e5):
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6
    return f"{value:.{decimals}f}"


def _path(placed: Sequence[tuple[float, float]]) -> str:
    if len(placed) == 1:
        return "M{:g} {:g}h0".format(*placed[0])
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in placed)


def _dots(
    one: Series, placed: Sequence[tuple[float, float]], x: Axis, y: Axis
) -> Iterable[tuple[str, str]]:
    for (across, up), (left, top) in zip(one.points, placed, strict=True):
        told = f"{one.name}, {x.label} {across:.4g}: {y.label} {y.tell(up)}"
        yield f"M{left:g} {top:g}h0", told


def _summarise(title: str, series: Sequence[Series], y: Axis) -> str:
    told = [
        f"{one.name} from {y.tell(one.points[0][1])} to {y.tell(one.points[-1][1])}"
        for one in series
        if not one.faint
    ]
    return f"{title}: " + "; ".join(told[:8])
