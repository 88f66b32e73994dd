"""Differences between models trained on two datasets, with confidence intervals.

Two sources of variance count: which photos are in the test set, and how each training went (its
seed). Both are resampled together. All datasets are resampled alike, so that errors that their
models have in common cancel in the difference.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from models.data.records import Record
from models.evaluation.classification import Labels, Metric, Values
from models.evaluation.predictions import DatasetPredictions

ROUNDS = 2000
LEVEL = 0.95
# Rounds per block; the weights of 100 rounds and 10,000 photos take 8 MB.
_BLOCK = 100


class Interval(Record):
    """A figure, 0..1, with its confidence interval at ``level``, over seeds or test photos."""

    value: float
    low: float
    high: float
    over: Literal["seeds", "photos"]
    level: float = LEVEL


class Difference(Record):
    """``dataset_a`` minus ``dataset_b``, -1..1, with its interval over seeds and photos together.

    ``seed_variance_share``, 0..1, is the part of the variance that the training seeds cause.
    """

    dataset_a: str
    dataset_b: str
    metric: Metric
    difference: float
    low: float
    high: float
    level: float
    seeds: int
    photos: int
    seed_variance_share: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean over seeds with Student's t interval, cut to 0..1.

    Raises:
        ValueError: there are fewer than two values.
    """
    figures = np.asarray(values, np.float64)
    if len(figures) < 2:
        raise ValueError(
            f"mean_interval: got {len(figures)} value; give those of two seeds or more"
        )
    standard_error = float(figures.std(ddof=1)) / np.sqrt(len(figures))
    half_width = float(stats.t.ppf((1 + level) / 2, len(figures) - 1)) * standard_error
    mean = float(figures.mean())
    low, high = max(0.0, mean - half_width), min(1.0, mean + half_width)
    return Interval(value=mean, low=low, high=high, over="seeds", level=level)


def dataset_interval(dataset: DatasetPredictions, metric: Metric = "f1_macro") -> Interval:
    """A dataset's mean figure with its interval over seeds.

    With one seed, the interval is over test photos: percentiles of a bootstrap that is stratified
    by class.
    """
    values = dataset.values(metric)
    if len(values) >= 2:
        return mean_interval(values.tolist())
    weights = _weights(dataset.y_true, np.random.default_rng(0))
    rounds = np.concatenate([dataset.measure(metric, block)[:, 0] for block in weights])
    low, high = np.quantile(rounds, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=float(values[0]), low=float(low), high=float(high), over="photos")


def compare(
    dataset_a: DatasetPredictions,
    dataset_b: DatasetPredictions,
    metric: Metric = "f1_macro",
    level: float = LEVEL,
) -> Difference:
    """How far ``dataset_a`` is ahead of ``dataset_b``, with a paired bootstrap interval.

    Each of 2000 rounds draws test photos within their class, the same ones for both datasets, and
    seeds of each dataset. The percentiles give the interval's shape. Its width is rescaled: photos
    and seeds each contribute a Student's t half-width, added in quadrature, because percentiles of
    a few seeds are too narrow. The same predictions always give the same interval.

    Raises:
        ValueError: the datasets were tested on other photos, or have unequal numbers of seeds.
    """
    _check_pair(dataset_a, dataset_b)
    rng = np.random.default_rng(0)
    blocks = [
        [dataset.measure(metric, weights) for dataset in (dataset_a, dataset_b)]
        for weights in _weights(dataset_a.y_true, rng)
    ]
    rounds_a, rounds_b = (np.concatenate(rounds) for rounds in zip(*blocks, strict=True))
    resampled = _draw_seeds(rounds_a, rng) - _draw_seeds(rounds_b, rng)
    values_a, values_b = dataset_a.values(metric), dataset_b.values(metric)
    observed = float(values_a.mean() - values_b.mean())
    from_photos = float((rounds_a.mean(axis=1) - rounds_b.mean(axis=1)).var(ddof=1))
    from_seeds = _seed_variance(rounds_a, values_a) + _seed_variance(rounds_b, values_b)
    half_width = np.hypot(
        _student(from_photos, len(dataset_a.y_true) - 1, level),
        # The seeds' variance is pooled over both datasets, which doubles its degrees of freedom.
        _student(from_seeds, 2 * (dataset_a.seeds - 1), level),
    )
    normal_half_width = float(stats.norm.ppf((1 + level) / 2)) * float(resampled.std())
    scale = half_width / normal_half_width if normal_half_width > 0 else 1.0
    ends = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    low, high = observed + (ends - observed) * scale
    total = from_photos + from_seeds
    return Difference(
        dataset_a=dataset_a.name,
        dataset_b=dataset_b.name,
        metric=metric,
        difference=observed,
        low=float(low),
        high=float(high),
        level=level,
        seeds=dataset_a.seeds,
        photos=len(dataset_a.y_true),
        seed_variance_share=from_seeds / total if total else 0.0,
    )


def _weights(y_true: Labels, rng: np.random.Generator) -> Iterator[Values]:
    """Blocks (rounds, photos): how often each photo is drawn; class sizes stay the same."""
    groups = [np.flatnonzero(y_true == label) for label in np.unique(y_true)]
    for _ in range(ROUNDS // _BLOCK):
        weights = np.zeros((_BLOCK, len(y_true)))
        for group in groups:
            weights[:, group] = rng.multinomial(
                len(group), np.full(len(group), 1 / len(group)), _BLOCK
            )
        yield weights


def _draw_seeds(rounds: Values, rng: np.random.Generator) -> Values:
    """Per round, the mean over as many seeds as there are, drawn with replacement."""
    drawn = rng.integers(0, rounds.shape[1], rounds.shape)
    return np.asarray(np.take_along_axis(rounds, drawn, axis=1).mean(axis=1))


def _seed_variance(rounds: Values, values: Values) -> float:
    """The part of the variance of a dataset's mean that its training seeds cause.

    The variance between the seeds' figures also contains how each seed reacts to single photos
    (the interaction), which the resampled photos measure already. Half of it is subtracted:
    subtracting all gave intervals that were too narrow in simulations with three seeds.
    ``rounds`` (rounds, seeds) are figures on resampled photos, ``values`` (seeds,) on the photos.
    """
    seeds = len(values)
    if seeds == 1:
        return 0.0
    within = rounds - rounds.mean(axis=1, keepdims=True)
    interaction = float(within.var(axis=0, ddof=1).mean()) * seeds / (seeds - 1)
    between = float(values.var(ddof=1))
    return (between - 0.5 * min(between, interaction)) / seeds


def _student(variance: float, degrees_of_freedom: int, level: float) -> float:
    """Half the width of Student's t interval of a mean that has this variance."""
    if variance == 0:
        return 0.0
    return float(stats.t.ppf((1 + level) / 2, max(1, degrees_of_freedom)) * np.sqrt(variance))


def _check_pair(dataset_a: DatasetPredictions, dataset_b: DatasetPredictions) -> None:
    names = f"datasets {dataset_a.name} and {dataset_b.name}"
    if dataset_a.classes != dataset_b.classes or not np.array_equal(
        dataset_a.y_true, dataset_b.y_true
    ):
        raise ValueError(f"{names} were tested on other photos; use one test set")
    if dataset_a.seeds != dataset_b.seeds:
        raise ValueError(
            f"{names} have {dataset_a.seeds} and {dataset_b.seeds} seeds; "
            "train both with the same seeds"
        )
