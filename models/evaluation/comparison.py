"""Differences between trained arms, with intervals that count both kinds of luck.

An arm is one dataset's trainings, one per seed, all scored on the same test photos. Two kinds of
luck stand between a difference and the truth: which photos are in the test, and how each training
went. Both are resampled together, in pairs, so that what is common to two arms cancels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from models.data.records import Record
from models.evaluation.classification import Labels, Probabilities, Values, check_predictions

Metric = Literal["accuracy", "f1_macro", "f1_weighted"]

ROUNDS = 2000
LEVEL = 0.95
# Rounds are resampled in blocks: weights of 100 rounds and 10,000 photos take 8 MB.
_BLOCK = 100


@dataclass(frozen=True)
class Arm:
    """One dataset's classifiers on the test photos.

    ``probabilities`` is float (seeds, photos, classes), the seeds in the same order in every arm.
    """

    name: str
    y_true: Labels
    probabilities: Probabilities
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 3 or len(self.probabilities) == 0:
            raise ValueError(
                f"arm {self.name}: probabilities have shape {self.probabilities.shape}; "
                "give (seeds, photos, classes)"
            )
        for one in self.probabilities:
            check_predictions(self.y_true, one, self.classes)

    @property
    def seeds(self) -> int:
        """How many trainings the arm has."""
        return len(self.probabilities)

    def values(self, metric: Metric) -> Values:
        """The metric of each seed, 0..1."""
        figures: Values = _measure(self, metric, np.ones((1, len(self.y_true))))[0]
        return figures


class Interval(Record):
    """A figure, 0..1, and where it may lie at ``level`` given the luck of ``over``."""

    value: float
    low: float
    high: float
    over: Literal["seeds", "photos"]
    level: float = LEVEL


class Difference(Record):
    """``arm_a`` minus ``arm_b``, -1..1, with its interval over seeds and photos together.

    ``seed_share`` is the part of its variance that comes from the seeds, 0..1.
    """

    arm_a: str
    arm_b: str
    metric: Metric
    difference: float
    low: float
    high: float
    level: float
    seeds: int
    photos: int
    seed_share: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean over seeds with Student's t interval, kept inside 0..1.

    Raises:
        ValueError: there are fewer than two values.
    """
    figures = np.asarray(values, np.float64)
    if len(figures) < 2:
        raise ValueError("mean_interval: give the figures of at least two seeds")
    spread = float(figures.std(ddof=1)) / np.sqrt(len(figures))
    reach = float(stats.t.ppf((1 + level) / 2, len(figures) - 1)) * spread
    mean = float(figures.mean())
    low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return Interval(value=mean, low=low, high=high, over="seeds", level=level)


def arm_interval(arm: Arm, metric: Metric = "f1_macro") -> Interval:
    """The arm's mean with its interval: over seeds, or over test photos where it has one seed."""
    values = arm.values(metric)
    if len(values) >= 2:
        return mean_interval(values.tolist())
    rng = np.random.default_rng(0)
    rounds = np.concatenate([_measure(arm, metric, w)[:, 0] for w in _weights(arm.y_true, rng)])
    low, high = np.quantile(rounds, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=float(values[0]), low=float(low), high=float(high), over="photos")


def compare(
    arm_a: Arm, arm_b: Arm, metric: Metric = "f1_macro", level: float = LEVEL
) -> Difference:
    """How far ``arm_a`` is ahead of ``arm_b``, with a hierarchical bootstrap interval.

    Each of 2000 rounds draws test photos within their class, the same for both arms, and seeds. The
    percentiles are then scaled to the two variances, each with Student's t for its sample, because
    a handful of seeds says little about their spread. In simulations without a true difference (60
    to 270 photos, 2 to 5 seeds) 94 to 98 percent of the 95 percent intervals held zero. The same
    arms always give the same interval.

    Raises:
        ValueError: the arms were scored on other photos, or have unequal numbers of seeds.
    """
    _check_pair(arm_a, arm_b)
    rng = np.random.default_rng(0)
    blocks = [
        [_measure(arm, metric, weights) for arm in (arm_a, arm_b)]
        for weights in _weights(arm_a.y_true, rng)
    ]
    rounds_a, rounds_b = (np.concatenate(arm_blocks) for arm_blocks in zip(*blocks, strict=True))
    both = _draw_seeds(rounds_a, rng) - _draw_seeds(rounds_b, rng)
    values_a, values_b = arm_a.values(metric), arm_b.values(metric)
    observed = float(values_a.mean() - values_b.mean())
    from_photos = float((rounds_a.mean(axis=1) - rounds_b.mean(axis=1)).var(ddof=1))
    from_seeds = _seed_variance(rounds_a, values_a) + _seed_variance(rounds_b, values_b)
    reach = np.hypot(
        _student(from_photos, len(arm_a.y_true) - 1, level),
        # Both arms' spreads are pooled, as in an analysis of variance: twice the freedom.
        _student(from_seeds, 2 * (arm_a.seeds - 1), level),
    )
    usual = float(stats.norm.ppf((1 + level) / 2)) * float(both.std())
    scale = reach / usual if usual > 0 else 1.0
    ends = np.quantile(both, [(1 - level) / 2, (1 + level) / 2])
    low, high = observed + (ends - observed) * scale
    total = from_photos + from_seeds
    return Difference(
        arm_a=arm_a.name,
        arm_b=arm_b.name,
        metric=metric,
        difference=observed,
        low=float(low),
        high=float(high),
        level=level,
        seeds=arm_a.seeds,
        photos=len(arm_a.y_true),
        seed_share=from_seeds / total if total else 0.0,
    )


def _measure(arm: Arm, metric: Metric, weights: Values) -> Values:
    """The metric per round and seed, (rounds, seeds), of photos weighted (rounds, photos)."""
    classes = np.flatnonzero(np.bincount(arm.y_true, minlength=len(arm.classes)))
    truth = arm.y_true[:, None] == classes
    support = weights @ truth
    columns = []
    for predicted in arm.probabilities.argmax(axis=2):
        if metric == "accuracy":
            columns.append(weights @ (predicted == arm.y_true) / weights.sum(axis=1))
            continue
        taken = predicted[:, None] == classes
        f1 = 2 * (weights @ (truth & taken)) / (support + weights @ taken)
        share = support if metric == "f1_weighted" else np.ones_like(support)
        columns.append((f1 * share).sum(axis=1) / share.sum(axis=1))
    return np.stack(columns, axis=1)


def _weights(y_true: Labels, rng: np.random.Generator) -> Iterator[Values]:
    """How often each photo is drawn in each round, each class keeping its number of photos."""
    groups = [np.flatnonzero(y_true == label) for label in np.unique(y_true)]
    for _ in range(ROUNDS // _BLOCK):
        weights = np.zeros((_BLOCK, len(y_true)))
        for group in groups:
            weights[:, group] = rng.multinomial(
                len(group), np.full(len(group), 1 / len(group)), _BLOCK
            )
        yield weights


def _draw_seeds(rounds: Values, rng: np.random.Generator) -> Values:
    """The mean over as many seeds, drawn with replacement in each round, as there are."""
    drawn = rng.integers(0, rounds.shape[1], rounds.shape)
    means: Values = np.take_along_axis(rounds, drawn, axis=1).mean(axis=1)
    return means


def _seed_variance(rounds: Values, values: Values) -> float:
    """The variance of an arm's mean that its seeds cause beyond what resampled photos show.

    Args:
        rounds: figures of resampled photos, (rounds, seeds).
        values: figures of the photos as they are, (seeds,).
    """
    seeds = len(values)
    if seeds == 1:
        return 0.0
    within = rounds - rounds.mean(axis=1, keepdims=True)
    interaction = float(within.var(axis=0, ddof=1).mean()) * seeds / (seeds - 1)
    between = float(values.var(ddof=1))
    # What a seed does to single photos is in both variances. Taking all of it out here leaves too
    # little when three seeds happen to agree: intervals then hold zero in 92 percent only.
    return (between - 0.5 * min(between, interaction)) / seeds


def _student(variance: float, freedom: int, level: float) -> float:
    """Half of Student's t interval of a mean with this variance and degrees of freedom."""
    if variance == 0:
        return 0.0
    return float(stats.t.ppf((1 + level) / 2, max(1, freedom)) * np.sqrt(variance))


def _check_pair(arm_a: Arm, arm_b: Arm) -> None:
    if arm_a.classes != arm_b.classes or not np.array_equal(arm_a.y_true, arm_b.y_true):
        raise ValueError(
            f"arms {arm_a.name} and {arm_b.name} were scored on other photos; use one test set"
        )
    if arm_a.seeds != arm_b.seeds:
        raise ValueError(
            f"arms {arm_a.name} and {arm_b.name} have {arm_a.seeds} and {arm_b.seeds} seeds; "
            "train both with the same seeds"
        )
