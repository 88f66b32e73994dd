"""Computes the verdict on simulated trainings whose true difference is known.

The logit of a right prediction is a sum: a mean, the photo (normal, sd 2), the photo in a training
set (sd 0.7), and the seed. Near-duplicates form families of four, which share the parts of the
photo. Trainings without synthetic images are right on 80 % of all photos.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from models.data.specs import Origin
from models.evaluation.answers import Answer
from models.evaluation.comparison import Interval
from models.evaluation.conclusion import conclude
from models.evaluation.predictions import ClassifierPredictions, DatasetPredictions

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
class SimulatedTest:
    """The answer of the verdict on one simulated test, and the intervals of both trainings."""

    answer: Answer
    intervals: tuple[Interval, Interval]


def main(_folder: Path, rounds: int = ROUNDS) -> None:
    """Print a row per setting; figures are percent of the rounds."""
    print(
        f"{rounds} rounds per row and gain; intervals promise 95 %; margin 3 points; "
        f"families of {FAMILY}.\n"
    )
    print(
        "| seeds | photos | spread | interval holds: gain 0 | gain +5 | whiskers hold "
        '| false "helps": gain 0 | power: "helps" at +5 | "does not help": gain 0 '
        '| false "does not help": gain +5 |'
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


def simulate(setting: Setting, gain: float, rounds: int) -> list[SimulatedTest]:
    """Simulate ``rounds`` tests in which synthetic images truly gain ``gain``, 0..1."""
    rng = np.random.default_rng([setting.seeds, setting.photos, round(setting.spread), gain > 0])
    accuracies = (ACCURACY, ACCURACY + gain)
    tests = []
    for _ in range(rounds):
        datasets = draw_trainings(setting, accuracies, rng)
        conclusion = conclude(datasets)
        real, synthetic = (conclusion.intervals[dataset.name] for dataset in datasets)
        tests.append(SimulatedTest(conclusion.answers[0], (real, synthetic)))
    return tests


def share_that_hold(tests: list[SimulatedTest], gain: float) -> float:
    """Return the share of intervals, 0..1, that contain the true gain."""
    holds = [test.answer.low <= gain <= test.answer.high for test in tests]
    return float(np.mean(holds))


def share_of_whiskers_that_hold(tests: list[SimulatedTest]) -> float:
    """Return the share of trainings, 0..1, whose interval contains their true accuracy."""
    holds = [
        interval.low <= ACCURACY <= interval.high for test in tests for interval in test.intervals
    ]
    return float(np.mean(holds))


def share_of(tests: list[SimulatedTest], outcome: str) -> float:
    """Return the share of tests, 0..1, with this outcome."""
    return float(np.mean([test.answer.outcome == outcome for test in tests]))


def draw_trainings(
    setting: Setting, accuracies: tuple[float, float], rng: np.random.Generator
) -> list[DatasetPredictions]:
    """Draw the predictions of a training without and one with synthetic images.

    ``accuracies`` are their true accuracies, 0..1.
    """
    count = setting.photos // FAMILY
    families = np.repeat(np.arange(count), FAMILY)
    truth = np.repeat(np.arange(count) % len(CLASSES), FAMILY)
    photo = rng.normal(0, _PHOTO_SD, count)
    datasets: list[DatasetPredictions] = []
    for index, accuracy in enumerate(accuracies):
        seed_sd = _seed_sd(accuracy, setting.spread / 100)
        logits = (
            _mean_logit(accuracy, seed_sd)
            + (photo + rng.normal(0, _PHOTO_IN_SET_SD, count))[families]
            + rng.normal(0, seed_sd, (setting.seeds, 1))
        )
        is_right = rng.random(logits.shape) < expit(logits)
        # Wrong predictions name the next class, so that macro F1 over all photos equals accuracy.
        predicted = np.where(is_right, truth, (truth + 1) % len(CLASSES))
        probabilities = np.eye(len(CLASSES), dtype=np.float32)[predicted]
        origin = Origin(synthetic=index > 0, photos="references", photos_per_class=5)
        name = ("few_shot", "synthetic")[index]
        datasets.append(
            ClassifierPredictions(
                name, truth, CLASSES, origin, families, probabilities=probabilities
            )
        )
    return datasets


def _mean_logit(accuracy: float, seed_sd: float) -> float:
    sd = float(np.sqrt(_PHOTO_SD**2 + _PHOTO_IN_SET_SD**2 + seed_sd**2))
    return float(brentq(lambda mean: _average(expit(mean + sd * _NODES)) - accuracy, -9, 9))


def _seed_sd(accuracy: float, spread: float) -> float:
    """Return the sd of the seed's part of the logit that spreads accuracy by ``spread``, 0..1."""
    sd = float(np.hypot(_PHOTO_SD, _PHOTO_IN_SET_SD))
    right = expit(_mean_logit(accuracy, 0) + sd * _NODES)
    return spread / _average(right * (1 - right))


def _average(values: Floats) -> float:
    return float(values @ _WEIGHTS / _WEIGHTS.sum())
