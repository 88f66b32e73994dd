"""The verdict on simulated trainings whose true difference is known.

A photo is answered rightly with a probability whose logit is the sum of a mean, a part of the photo
(normal, sd 2), a part of the photo in a training set (sd 0.7), and a part of the seed. Near-
duplicates come in families of four that share the first two parts. Trainings without synthetic
images are right on 80 % of all photos there are.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from models.data.records import Origin
from models.evaluation.answers import Answer
from models.evaluation.comparison import Interval
from models.evaluation.conclusion import conclude
from models.evaluation.predictions import DatasetPredictions

ROUNDS = 2000
GAINS = (0.0, 0.05)
SEEDS = (3, 5)
PHOTOS = (60, 120, 360, 500)
# Standard deviation of the accuracy over the seeds, in points.
SEED_SPREADS = (0, 2, 4)
FAMILY = 4
CLASSES = ("a", "b", "c")
ACCURACY = 0.8
_PHOTO_SD, _PHOTO_IN_SET_SD = 2.0, 0.7
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """One row of the table; ``spread`` is in points of accuracy."""

    seeds: int
    photos: int
    spread: float


@dataclass(frozen=True)
class Outcome:
    """What the verdict says of one simulated test, and the intervals of its two trainings."""

    answer: Answer
    intervals: tuple[Interval, Interval]


def main(_folder: Path, rounds: int = ROUNDS) -> None:
    """Print a row per setting, all in percent of the rounds."""
    print(
        f"{rounds} rounds per row and gain; intervals promise 95 %; margin 3 points; "
        f"families of {FAMILY}.\n"
    )
    print(
        "| seeds | photos | spread of seeds | interval holds, gain 0 | gain +5 | whiskers hold | "
        "helps, gain 0 (false) | helps, gain +5 (power) | does not help, gain 0 | gain +5 (false) |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for seeds, photos, spread in itertools.product(SEEDS, PHOTOS, SEED_SPREADS):
        setting = Setting(seeds, photos, spread)
        equal, better = (simulate(setting, gain, rounds) for gain in GAINS)
        figures = (
            share_that_hold(equal, GAINS[0]),
            share_that_hold(better, GAINS[1]),
            share_of_whiskers_that_hold(equal),
            share_of(equal, "helps"),
            share_of(better, "helps"),
            share_of(equal, "no_help"),
            share_of(better, "no_help"),
        )
        cells = " | ".join(f"{100 * figure:.1f}" for figure in figures)
        print(f"| {seeds} | {photos} | {spread} | {cells} |", flush=True)


def simulate(setting: Setting, gain: float, rounds: int) -> list[Outcome]:
    """The verdicts on ``rounds`` tests in which synthetic images truly gain ``gain``, 0..1."""
    rng = np.random.default_rng([setting.seeds, setting.photos, round(setting.spread), gain > 0])
    accuracies = (ACCURACY, ACCURACY + gain)
    outcomes = []
    for _ in range(rounds):
        datasets = draw_trainings(setting, accuracies, rng)
        conclusion = conclude(datasets)
        real, synthetic = (conclusion.intervals[dataset.name] for dataset in datasets)
        outcomes.append(Outcome(conclusion.answers[0], (real, synthetic)))
    return outcomes


def share_that_hold(outcomes: list[Outcome], gain: float) -> float:
    """The share of intervals, 0..1, that contain the true gain."""
    held = [outcome.answer.low <= gain <= outcome.answer.high for outcome in outcomes]
    return float(np.mean(held))


def share_of_whiskers_that_hold(outcomes: list[Outcome]) -> float:
    """The share of the intervals of single trainings that contain their true accuracy."""
    held = [
        interval.low <= ACCURACY <= interval.high
        for outcome in outcomes
        for interval in outcome.intervals
    ]
    return float(np.mean(held))


def share_of(outcomes: list[Outcome], outcome: str) -> float:
    """The share of tests, 0..1, with this outcome."""
    return float(np.mean([found.answer.outcome == outcome for found in outcomes]))


def draw_trainings(
    setting: Setting, accuracies: tuple[float, float], rng: np.random.Generator
) -> list[DatasetPredictions]:
    """A training without and one with synthetic images; ``accuracies`` are true ones, 0..1."""
    count = setting.photos // FAMILY
    families = np.repeat(np.arange(count), FAMILY)
    truth = np.repeat(np.arange(count) % len(CLASSES), FAMILY)
    photo = rng.normal(0, _PHOTO_SD, count)
    datasets = []
    for index, accuracy in enumerate(accuracies):
        seed_sd = _seed_sd(accuracy, setting.spread / 100)
        logits = (
            _mean_logit(accuracy, seed_sd)
            + (photo + rng.normal(0, _PHOTO_IN_SET_SD, count))[families]
            + rng.normal(0, seed_sd, (setting.seeds, 1))
        )
        is_right = rng.random(logits.shape) < expit(logits)
        # Each class is taken for the next one, so that macro F1 of all photos is the accuracy.
        predicted = np.where(is_right, truth, (truth + 1) % len(CLASSES))
        probabilities = np.eye(len(CLASSES), dtype=np.float32)[predicted]
        origin = Origin(synthetic=index > 0, photos="references", photos_per_class=5)
        name = ("few_shot", "synthetic")[index]
        datasets.append(DatasetPredictions(name, truth, probabilities, CLASSES, origin, families))
    return datasets


def _mean_logit(accuracy: float, seed_sd: float) -> float:
    sd = float(np.sqrt(_PHOTO_SD**2 + _PHOTO_IN_SET_SD**2 + seed_sd**2))
    return float(brentq(lambda mean: _average(expit(mean + sd * _NODES)) - accuracy, -9, 9))


def _seed_sd(accuracy: float, spread: float) -> float:
    """The seed's part of the logit that spreads the accuracy by ``spread``."""
    sd = float(np.hypot(_PHOTO_SD, _PHOTO_IN_SET_SD))
    right = expit(_mean_logit(accuracy, 0) + sd * _NODES)
    return spread / _average(right * (1 - right))


def _average(values: Floats) -> float:
    return float(values @ _WEIGHTS / _WEIGHTS.sum())
