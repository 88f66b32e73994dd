"""The top of the report: its sentence, the figure that decides, and the differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.reporting.numbers import Arm, number

TITLES = {"accuracy": "Accuracy", "f1_macro": "Macro F1", "f1_weighted": "Weighted F1"}


@dataclass(frozen=True)
class Bar:
    """One arm's figure on the test photos, 0..1, with its interval and its single trainings."""

    arm: Arm
    value: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Difference:
    """How far one arm is ahead of another, -1..1, with its interval and what it settles."""

    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    reading: str
    tone: int

    @property
    def limit(self) -> float:
        """The largest number to be drawn, on either side of zero."""
        return max(abs(one) for one in (self.difference, self.low, self.high) if one is not None)


@dataclass(frozen=True)
class Headline:
    """What the page opens with. ``chance`` is the figure of guessing, where it has a plain one."""

    sentence: str
    rest: str
    title: str
    bars: tuple[Bar, ...]
    chance: float | None
    differences: tuple[Difference, ...]
    limit: float


def headline_of(
    metrics: Mapping[str, Any], arms: Sequence[Arm], classes: Sequence[str]
) -> Headline:
    """The verdict of ``metrics.json``, or what can be said without one."""
    verdict = metrics.get("verdict") or {}
    metric = str(verdict.get("metric") or "accuracy")
    bars = tuple(bar for arm in arms if (bar := _bar(arm, metric, verdict)) is not None)
    sentence, rest = _first_sentence(str(verdict.get("text") or _plain_sentence(arms, bars)))
    differences = _differences(metrics, verdict, arms)
    return Headline(
        sentence=sentence,
        rest=rest,
        title=TITLES.get(metric, metric),
        bars=bars,
        chance=1 / len(classes) if metric == "accuracy" and len(classes) > 1 else None,
        differences=differences,
        limit=max([0.05, *(one.limit for one in differences)]),
    )


def _bar(arm: Arm, metric: str, verdict: Mapping[str, Any]) -> Bar | None:
    interval = (verdict.get("intervals") or {}).get(arm.name) or {}
    value = number(interval.get("value"))
    value = arm.score(metric) if value is None else value
    if value is None:
        return None
    low, high = number(interval.get("low")), number(interval.get("high"))
    low = arm.score(f"{metric}_low") if low is None else low
    high = arm.score(f"{metric}_high") if high is None else high
    return Bar(arm, value, low, high, arm.per_seed(metric))


def _plain_sentence(arms: Sequence[Arm], bars: Sequence[Bar]) -> str:
    if bars:
        return f"{len(bars)} datasets were tried on the same test photos."
    if arms:
        return "The datasets are ready; no classifier has been trained on them yet."
    return "No dataset has been built yet."


def _first_sentence(text: str) -> tuple[str, str]:
    first, stop, rest = text.partition(". ")
    return first + stop.rstrip(), rest


def _differences(
    metrics: Mapping[str, Any], verdict: Mapping[str, Any], arms: Sequence[Arm]
) -> tuple[Difference, ...]:
    given = list((verdict.get("differences") or {}).values()) or metrics.get("comparisons") or []
    tones = {arm.name: arm.tone for arm in arms}
    found = []
    for one in given:
        gap = number(one.get("difference"))
        if gap is None:
            continue
        a, b = (str(one.get(f"dataset_{side}") or one.get(side)) for side in "ab")
        low, high = number(one.get("low")), number(one.get("high"))
        found.append(Difference(a, b, gap, low, high, _read(a, b, gap, low, high), tones.get(a, 0)))
    return tuple(found)


def _read(a: str, b: str, gap: float, low: float | None, high: float | None) -> str:
    better, worse = (a, b) if gap > 0 else (b, a)
    size = f"{abs(gap) * 100:.1f} points"
    if low is None or high is None:
        return f"{better} is {size} above {worse}; without an interval this settles nothing"
    if low > 0 or high < 0:
        return f"{better} is {size} above {worse}, and the interval excludes zero"
    return f"{a} and {b} can't be told apart: the interval includes zero"
