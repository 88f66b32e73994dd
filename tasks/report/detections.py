"""Pictures of what detectors found in some test photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.classification import Labels
from models.evaluation.detection.matching import (
    Boxes,
    Matches,
    boxes_by_photo,
    read_found,
    read_objects,
)
from models.evaluation.detection.predictions import match_column
from models.evaluation.detection.scores import best_threshold
from models.reporting.boxes import LONGEST_SIDE, draw_found, draw_objects
from models.reporting.input import Thumb
from models.reporting.thumbnails import NORMAL_SIDE
from tasks.engine.fetch_images import find_artifacts
from tasks.engine.run_context import RunContext
from tasks.report.data import RunSummary

# Photos at equal distances through the test, and photos with the most misses and false alarms.
EVEN, WORST = 4, 4
_SCALE = LONGEST_SIDE / NORMAL_SIDE


@dataclass(frozen=True)
class _Training:
    """The detector of the first seed of a training; ``threshold`` is the best one on val."""

    name: str
    classes: Sequence[str]
    test: Mapping[str, Any]
    threshold: float
    found: tuple[Boxes, ...]
    mistakes: Labels


def draw_detections(run: RunContext, summary: RunSummary) -> tuple[tuple[Thumb, ...], ...]:
    """Some test photos with their objects, and what the first seed of each training found."""
    trainings: list[_Training] = []
    for checkpoint, document in zip(summary.checkpoints, summary.scores, strict=True):
        name, predictions = str(checkpoint.variant["dataset"]), run.load(document)
        if "detected" in predictions and name not in [known.name for known in trainings]:
            trainings.append(_read_training(name, predictions))
    if not trainings:
        return ()
    test = trainings[0].test
    shown = choose_photos(np.sum([training.mistakes for training in trainings], axis=0))
    artifacts = find_artifacts(run, [test["images"][photo] for photo in shown])
    objects = tuple(boxes_by_photo(read_objects(test["objects"]), len(test["images"])))
    rows = []
    for photo in shown:
        artifact = artifacts[test["images"][photo]]
        pixels, real = run.load(artifact), objects[photo]
        row = [Thumb(draw_objects(pixels, real), artifact.name, "real objects", scale=_SCALE)]
        for training in trainings:
            drawn = draw_found(
                pixels, real, training.found[photo], training.threshold, training.classes
            )
            words = f"{drawn.words}; scores from {training.threshold:.2f}"
            row.append(Thumb(drawn.pixels, words, training.name, scale=_SCALE))
        rows.append(tuple(row))
    return tuple(rows)


def choose_photos(mistakes: Labels) -> list[int]:
    """Positions of photos: `EVEN` at equal distances, then the `WORST` others by mistakes.

    Args:
        mistakes: (photos,) misses and false alarms in each.
    """
    even = np.linspace(0, len(mistakes) - 1, EVEN).round().astype(int)
    chosen = list(dict.fromkeys(even.tolist()))
    by_mistakes = np.argsort(-mistakes, kind="stable").tolist()
    worst = [photo for photo in by_mistakes if photo not in chosen and mistakes[photo]]
    return [*chosen, *worst[:WORST]]


def _read_training(name: str, predictions: Mapping[str, Any]) -> _Training:
    classes, test = predictions["detected"], predictions["test"]
    threshold = best_threshold(match_column(predictions["val"], len(classes)))
    found = tuple(boxes_by_photo(read_found(test["found"]), len(test["images"])))
    mistakes = _count_mistakes(match_column(test, len(classes)), threshold)
    return _Training(name, classes, test, threshold, found, mistakes)


def _count_mistakes(matches: Matches, threshold: float) -> Labels:
    """(photos,) misses and false alarms at an IoU of 0.5."""
    is_shown, photos = matches.scores >= threshold, len(matches.objects)
    found = np.bincount(matches.photos[is_shown], minlength=photos)
    hits = np.bincount(matches.photos[is_shown & matches.is_hit[0]], minlength=photos)
    return np.asarray(found + matches.objects.sum(axis=1) - 2 * hits)
