"""The verdict: which dataset to train on, in words, and whether synthetic images help."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from models.data.records import Record
from models.evaluation.classification import Metric
from models.evaluation.comparison import LEVEL, Difference, Interval, compare, dataset_interval
from models.evaluation.predictions import DatasetPredictions, read_predictions

REAL = "real"
# A gain below one percentage point is not worth generating images for.
WORTHWHILE = 0.01
# Below this number of test photos, one class has a large influence on a macro average.
FEW_PHOTOS = 10
_METRICS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
}
_DATASETS = {
    REAL: "real photos alone",
    "synthetic": "synthetic images alone",
    "mixed": "the mixed set",
}


class Conclusion(Record):
    """The verdict. ``helps``: whether a dataset with synthetic images beats real photos alone.

    ``winner`` is the dataset to use; both are None where the test cannot decide. ``differences``
    compare each other dataset with ``real``, at a level that holds for all of them together.
    """

    winner: str | None
    helps: bool | None
    text: str
    metric: Metric
    intervals: dict[str, Interval]
    differences: dict[str, Difference]


def conclude_from(path: Path, metric: Metric = "f1_macro") -> Conclusion:
    """The verdict that follows from a run's ``predictions.parquet`` alone.

    Raises:
        ValueError: the file is missing or is no such file, or see `conclude`.
    """
    return conclude(read_predictions(path), metric)


def conclude(datasets: Sequence[DatasetPredictions], metric: Metric = "f1_macro") -> Conclusion:
    """Decide which dataset to use, by how much, and whether synthetic images help.

    They help if a dataset with them beats ``real`` with the whole interval above zero. They do not
    help if no interval reaches a gain of one percentage point. Otherwise the test cannot decide.
    Several comparisons share the 95 percent: each interval is wider by Bonferroni's correction.

    All datasets were tested on the same photos, with the same seeds.

    Raises:
        ValueError: ``real`` or the other dataset is missing, or two datasets share a name.
    """
    by_name = {dataset.name: dataset for dataset in datasets}
    if len(by_name) != len(datasets) or REAL not in by_name or len(datasets) < 2:
        raise ValueError(
            f"verdict: got datasets {[dataset.name for dataset in datasets]}; "
            f"give {REAL!r} and others, each once"
        )
    others = [dataset for dataset in datasets if dataset.name != REAL]
    level = 1 - (1 - LEVEL) / len(others)
    differences = {other.name: compare(other, by_name[REAL], metric, level) for other in others}
    intervals = {dataset.name: dataset_interval(dataset, metric) for dataset in datasets}
    helpful = [name for name, difference in differences.items() if difference.low > 0]
    winner: str | None = None
    helps: bool | None = None
    if all(_is_guessing(dataset) for dataset in datasets):
        answer = "No dataset beats the majority-class baseline; correct the training first."
    elif helpful:
        winner, helps = max(helpful, key=lambda name: differences[name].difference), True
        answer = _say_helps(winner, intervals, differences)
    elif all(difference.high < WORTHWHILE for difference in differences.values()):
        winner, helps = REAL, False
        answer = _say_no_help(intervals, differences)
    else:
        answer = _say_undecided(intervals, differences)
    text = " ".join([answer, *_caveats(by_name[REAL], len(others))])
    return Conclusion(
        winner=winner,
        helps=helps,
        text=text,
        metric=metric,
        intervals=intervals,
        differences=differences,
    )


def _is_guessing(dataset: DatasetPredictions) -> bool:
    majority = np.bincount(dataset.y_true).max() / len(dataset.y_true)
    return bool(dataset.values("accuracy").mean() <= majority + WORTHWHILE)


def _say_helps(
    winner: str, intervals: Mapping[str, Interval], differences: Mapping[str, Difference]
) -> str:
    first = f"Use {_subject(winner)}: synthetic images help here."
    figures = _say_figures(winner, intervals, differences[winner])
    return " ".join([first, figures, *_say_others(winner, intervals, differences)])


def _say_no_help(intervals: Mapping[str, Interval], differences: Mapping[str, Difference]) -> str:
    metric = _METRICS[next(iter(differences.values())).metric]
    first = (
        f"Use {_subject(REAL)}, with {_percent(intervals[REAL].value)} {metric}: "
        "synthetic images do not help here."
    )
    return " ".join([first, *_say_others(REAL, intervals, differences)])


def _say_undecided(intervals: Mapping[str, Interval], differences: Mapping[str, Difference]) -> str:
    best = max(differences, key=lambda name: differences[name].difference)
    difference = differences[best]
    sentences = [
        "This test cannot decide whether synthetic images help.",
        _say_figures(best, intervals, difference),
        *_say_others(best, intervals, differences),
    ]
    if difference.seed_variance_share >= 0.5:
        sentences.append(
            "Most of the uncertainty is training variance: five or more seeds reduce it."
        )
    elif difference.difference > WORTHWHILE / 2:
        # The width of an interval falls with the square root of the number of photos.
        factor = ((difference.difference - difference.low) / difference.difference) ** 2
        needed = float(f"{difference.photos * factor:.1g}")
        sentences.append(
            f"About {needed:,.0f} such test photos would decide a difference of this size."
        )
    return " ".join([*sentences, f"Until then {_subject(REAL)} are the safe choice."])


def _say_figures(name: str, intervals: Mapping[str, Interval], difference: Difference) -> str:
    return (
        f"{_capitalized(name)} reached {_percent(intervals[name].value)} "
        f"{_METRICS[difference.metric]}, {_subject(REAL)} {_percent(intervals[REAL].value)} "
        f"({_interval(difference)})."
    )


def _say_others(
    named: str, intervals: Mapping[str, Interval], differences: Mapping[str, Difference]
) -> list[str]:
    """One sentence per dataset that the text has not ``named``: how it compares with real."""
    return [
        f"{_capitalized(name)} reached {_percent(intervals[name].value)}, "
        f"{_relation(difference)} {_subject(REAL)} ({_interval(difference)})."
        for name, difference in differences.items()
        if name != named
    ]


def _relation(difference: Difference) -> str:
    if difference.low > 0:
        return "also better than"
    if difference.high < 0:
        return "worse than"
    if max(-difference.low, difference.high) < WORTHWHILE:
        return "as good as"
    return "not significantly different from"


def _caveats(real: DatasetPredictions, comparisons: int) -> list[str]:
    photos, seeds = len(real.y_true), real.seeds
    together = " together" if comparisons > 1 else ""
    over_seeds = f" and {seeds} seeds" if seeds > 1 else ""
    sentences = [
        f"Intervals hold{together} at 95 percent, over {photos:,} test photos{over_seeds}."
    ]
    if seeds == 1:
        sentences.append("One seed does not show the training variance: train with three or more.")
    counts = np.bincount(real.y_true, minlength=len(real.classes))
    few = [name for name, n in zip(real.classes, counts, strict=True) if 0 < n < FEW_PHOTOS]
    if few:
        sentences.append(f"Fewer than {FEW_PHOTOS} test photos: {', '.join(few)}.")
    absent = [name for name, n in zip(real.classes, counts, strict=True) if n == 0]
    if absent:
        sentences.append(f"No test photo, so left out of the figures: {', '.join(absent)}.")
    return sentences


def _percent(figure: float) -> str:
    return f"{100 * figure:.1f}"


def _subject(name: str) -> str:
    return _DATASETS.get(name, f"the {name} set")


def _capitalized(name: str) -> str:
    return _subject(name)[0].upper() + _subject(name)[1:]


def _interval(difference: Difference) -> str:
    ends = f"interval {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    return f"{100 * difference.difference:+.1f} percentage points, {ends}"
