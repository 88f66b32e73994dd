"""The top of the report: the verdict, the score that decides, and the differences."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.evaluation.comparison import Difference, Interval
from models.reporting.metrics import Metrics
from models.reporting.tables import TITLES, Dataset

# The axis of the differences reaches at least 5 percentage points to either side.
_LEAST_LIMIT = 0.05


@dataclass(frozen=True)
class Bar:
    """A dataset's score on the test photos, 0..1, with its interval and the score of each seed."""

    dataset: Dataset
    interval: Interval
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Gap:
    """How far dataset ``a`` is ahead of ``b``, -1..1, with its interval and that in words."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    text: str
    colour: int


@dataclass(frozen=True)
class Headline:
    """What the page opens with. ``chance`` is the accuracy of guessing, if accuracy is shown.

    ``limit`` is the largest difference on the axis, on either side of zero.
    """

    sentence: str
    details: str
    title: str
    bars: tuple[Bar, ...]
    chance: float | None
    gaps: tuple[Gap, ...]
    limit: float


def headline_of(metrics: Metrics, datasets: Sequence[Dataset]) -> Headline:
    """The verdict of the run, or a plain sentence where there is none."""
    shown = (found.metrics.shown for found in datasets)
    plain = next((figure for figure, _ in filter(None, shown)), "accuracy")
    metric = metrics.verdict.metric if metrics.verdict else plain
    bars = tuple(_bars(metrics, datasets, metric))
    text = metrics.verdict.text if metrics.verdict else _plain_sentence(metrics, datasets, bars)
    if metrics.test_looks:
        plural = "" if metrics.test_looks == 1 else "s"
        text += f" This test set has now judged {metrics.test_looks} recipe{plural}."
    first, stop, details = text.partition(". ")
    gaps = tuple(_read_gap(difference, datasets) for difference in metrics.comparisons)
    ends = [abs(end) for gap in gaps for end in (gap.difference, gap.low, gap.high)]
    has_chance = metric == "accuracy" and len(metrics.classes) > 1
    return Headline(
        sentence=first + stop.rstrip(),
        details=details,
        title=TITLES[metric],
        bars=bars,
        chance=1 / len(metrics.classes) if has_chance else None,
        gaps=gaps,
        limit=max([_LEAST_LIMIT, *ends]),
    )


def _bars(metrics: Metrics, datasets: Sequence[Dataset], metric: str) -> list[Bar]:
    bars = []
    for dataset in datasets:
        shown = dataset.metrics.shown
        interval = shown[1] if shown else None
        if metrics.verdict:
            interval = metrics.verdict.intervals.get(dataset.name)
        if interval is not None:
            bars.append(Bar(dataset, interval, dataset.seed_scores(metric)))
    return bars


def _plain_sentence(metrics: Metrics, datasets: Sequence[Dataset], bars: Sequence[Bar]) -> str:
    if metrics.problem:
        return f"The run ended early. {metrics.problem[:1].upper()}{metrics.problem[1:]}."
    if bars:
        names = ", ".join(bar.dataset.name for bar in bars)
        return f"Only one dataset was trained on, so there is nothing to compare: {names}."
    if datasets:
        return "The datasets are ready; no classifier has been trained on them yet."
    return "No dataset has been built yet."


def _read_gap(difference: Difference, datasets: Sequence[Dataset]) -> Gap:
    a, b = difference.dataset_a, difference.dataset_b
    colours = {dataset.name: dataset.colour for dataset in datasets}
    better, worse = (a, b) if difference.difference > 0 else (b, a)
    interval = f"{100 * difference.level:.4g} % interval"
    if difference.low > 0 or difference.high < 0:
        size = f"{abs(difference.difference) * 100:.1f} percentage points"
        text = f"{better} is {size} above {worse}; the {interval} excludes zero"
    else:
        text = f"{a} and {b}: no significant difference ({interval} includes zero)"
    return Gap(
        a,
        b,
        difference.difference,
        difference.low,
        difference.high,
        text,
        colours.get(a, 0),
    )
