"""Which dataset to train on, in plain words, and whether synthetic images help at all."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.data.records import Record
from models.evaluation.comparison import (
    LEVEL,
    Arm,
    Difference,
    Interval,
    Metric,
    arm_interval,
    compare,
)

REAL = "real"
# Less than one point is not worth a generator; an interval below it answers the question with no.
WORTHWHILE = 0.01
# Below this many test photos a class decides too much of a macro average to be left unmentioned.
FEW_PHOTOS = 10
_NAMES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "f1_weighted": "weighted F1",
}
_SUBJECTS = {
    REAL: "real photos alone",
    "synthetic": "synthetic images alone",
    "mixed": "the mixed set",
}


class Verdict(Record):
    """The answer. ``helps``: whether any set with synthetic images beats real photos alone.

    ``winner`` is the set to use; both are None where the test can't tell. ``differences`` are those
    of every other arm to the real one, at a level that holds for all of them together.
    """

    winner: str | None
    helps: bool | None
    text: str
    metric: Metric
    intervals: dict[str, Interval]
    differences: dict[str, Difference]


def verdict(arms: Sequence[Arm], metric: Metric = "f1_macro") -> Verdict:
    """Which dataset to use, by how much, and whether synthetic images help, in plain words.

    They help when a set that holds them beats ``real`` with the whole interval above zero; they
    don't when no interval reaches a gain of one point; otherwise the test can't tell. Intervals of
    several comparisons are widened to hold together at 95 percent (Bonferroni).

    Args:
        arms: ``real`` and at least one other, scored on the same photos with the same seeds.
        metric: the figure that decides.

    Raises:
        ValueError: there is no real arm, nothing to compare it with, or two arms share a name.
    """
    by_name = {arm.name: arm for arm in arms}
    if len(by_name) != len(arms) or REAL not in by_name or len(arms) < 2:
        raise ValueError(
            f"verdict: got arms {[arm.name for arm in arms]}; give {REAL!r} and others, each once"
        )
    others = [arm for arm in arms if arm.name != REAL]
    level = 1 - (1 - LEVEL) / len(others)
    differences = {o.name: compare(o, by_name[REAL], metric, level) for o in others}
    intervals = {arm.name: arm_interval(arm, metric) for arm in arms}
    helpful = [name for name, gap in differences.items() if gap.low > 0]
    winner: str | None = None
    helps: bool | None = None
    if all(_is_guessing(arm) for arm in arms):
        answer = "No arm does better than always guessing one class; mend the training first."
    elif helpful:
        winner, helps = max(helpful, key=lambda name: differences[name].difference), True
        answer = _say_helps(winner, intervals, differences)
    elif all(gap.high < WORTHWHILE for gap in differences.values()):
        winner, helps = REAL, False
        answer = _say_no_help(intervals, differences)
    else:
        answer = _say_unclear(intervals, differences)
    text = " ".join([answer, *_caveats(by_name[REAL], len(others))])
    return Verdict(
        winner=winner,
        helps=helps,
        text=text,
        metric=metric,
        intervals=intervals,
        differences=differences,
    )


def _is_guessing(arm: Arm) -> bool:
    commonest = np.bincount(arm.y_true).max() / len(arm.y_true)
    return bool(arm.values("accuracy").mean() <= commonest + WORTHWHILE)


def _say_helps(
    winner: str, intervals: Mapping[str, Interval], differences: Mapping[str, Difference]
) -> str:
    return " ".join(
        [
            f"Use {_subject(winner)}: synthetic images help here.",
            _score(winner, intervals, differences[winner]),
            *(_place(n, intervals, gap) for n, gap in differences.items() if n != winner),
        ]
    )


def _say_no_help(intervals: Mapping[str, Interval], differences: Mapping[str, Difference]) -> str:
    places = [_place(name, intervals, gap) for name, gap in differences.items()]
    first = f"Use {_subject(REAL)}, with {_points(intervals[REAL].value)}"
    metric = _NAMES[next(iter(differences.values())).metric]
    return " ".join([f"{first} {metric}: synthetic images do not help here.", *places])


def _say_unclear(intervals: Mapping[str, Interval], differences: Mapping[str, Difference]) -> str:
    best = max(differences, key=lambda name: differences[name].difference)
    gap = differences[best]
    sentences = [
        "This test can't tell whether synthetic images help.",
        _score(best, intervals, gap),
        *(_place(name, intervals, other) for name, other in differences.items() if name != best),
    ]
    if gap.difference > WORTHWHILE / 2 and gap.seed_share < 0.5:
        # An interval narrows with the square root of the number of photos.
        factor = ((gap.difference - gap.low) / gap.difference) ** 2
        needed = float(f"{gap.photos * factor:.1g}")
        sentences.append(f"A gap this wide shows with about {needed:,.0f} such photos.")
    elif gap.seed_share >= 0.5:
        sentences.append("Most of the doubt is the luck of training: five or more seeds narrow it.")
    return " ".join([*sentences, f"Until then {_subject(REAL)} are the safe choice."])


def _score(name: str, intervals: Mapping[str, Interval], gap: Difference) -> str:
    subject = _subject(name)
    return (
        f"{subject[0].upper()}{subject[1:]} reached {_points(intervals[name].value)} "
        f"{_NAMES[gap.metric]}, {_subject(REAL)} {_points(intervals[REAL].value)} ({_gap(gap)})."
    )


def _place(name: str, intervals: Mapping[str, Interval], gap: Difference) -> str:
    """One sentence on where an arm stands to the real one."""
    if gap.low > 0:
        place = "also better than"
    elif gap.high < 0:
        place = "worse than"
    elif max(-gap.low, gap.high) < WORTHWHILE:
        place = "as good as"
    else:
        place = "not told apart from"
    subject = _subject(name)
    return (
        f"{subject[0].upper()}{subject[1:]} reached {_points(intervals[name].value)}, "
        f"{place} {_subject(REAL)} ({_gap(gap)})."
    )


def _caveats(real: Arm, comparisons: int) -> list[str]:
    photos, seeds = len(real.y_true), real.seeds
    together = " together" if comparisons > 1 else ""
    sources = (
        f"{photos:,} test photos and {seeds} seeds" if seeds > 1 else f"{photos:,} test photos"
    )
    sentences = [f"Intervals hold{together} at 95 percent, over {sources}."]
    if seeds == 1:
        sentences.append("One seed leaves out the luck of training: train with three or more.")
    counts = np.bincount(real.y_true, minlength=len(real.classes))
    few = [name for name, n in zip(real.classes, counts, strict=True) if 0 < n < FEW_PHOTOS]
    if few:
        sentences.append(f"Fewer than {FEW_PHOTOS} test photos: {', '.join(few)}.")
    absent = [name for name, n in zip(real.classes, counts, strict=True) if n == 0]
    if absent:
        sentences.append(f"No test photo, so left out: {', '.join(absent)}.")
    return sentences


def _points(figure: float) -> str:
    return f"{100 * figure:.1f}"


def _subject(name: str) -> str:
    return _SUBJECTS.get(name, f"the {name} set")


def _gap(gap: Difference) -> str:
    ends = f"interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
    return f"{100 * gap.difference:+.1f} points, {ends}"
