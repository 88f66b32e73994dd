"""Detection as a vision task; importing it imports torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.training.detection.data import with_boxes
from models.training.detection.settings import DetectionParameters
from models.training.detection.train import (
    FoundObjects,
    check_ready,
    find_objects,
    train_detector,
)
from models.training.history import TrainedModel
from models.training.settings import TrainingParameters
from models.training.task import (
    LabelledImages,
    ObjectTruth,
    Predictions,
    Train,
    TrainingSets,
    Truth,
    VisionTask,
)


def _check(settings: TrainingParameters, on_this_machine: bool) -> None:
    if on_this_machine:
        check_ready(_own(settings))


def _own(settings: TrainingParameters) -> DetectionParameters:
    assert isinstance(settings, DetectionParameters)
    return settings


def _train(
    sets: TrainingSets,
    parameters: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    return train_detector(sets, _own(parameters), seed, folder, progress=progress)


def _trainer(_settings: TrainingParameters) -> Train:
    return _train


def _names(_settings: TrainingParameters, classes: Sequence[str]) -> dict[str, list[str]]:
    return {"detected": list(classes)}


def _predict(
    checkpoint: Path,
    images: LabelledImages,
    settings: TrainingParameters,
    classes: Sequence[str],
    truth: Truth,
) -> Predictions:
    """``{"objects", "found", "size"}`` of each image, in px of the image.

    ``objects``: [class, x, y, width, height] of its real objects. ``found``: [class, score, x, y,
    width, height] of at most 100 objects, the highest score first. ``size``: width and height.
    """
    boxed = with_boxes(images, truth)
    seen = find_objects(checkpoint, boxed.files, _own(settings), classes)
    return {
        "objects": [[_true_row(found) for found in objects] for objects in boxed.objects],
        "found": [_found_rows(image) for image in seen],
        "size": [list(image.size) for image in seen],
    }


def _true_row(truth: ObjectTruth) -> list[float]:
    assert truth.box is not None
    return [truth.label, *(round(side, 2) for side in truth.box)]


def _found_rows(image: FoundObjects) -> list[list[Any]]:
    rows = zip(
        image.detections.labels.tolist(),
        image.detections.scores.tolist(),
        image.detections.boxes.tolist(),
        strict=True,
    )
    return [
        [
            label,
            round(score, 5),
            *(round(side, 2) for side in (left, top, right - left, bottom - top)),
        ]
        for label, score, (left, top, right, bottom) in rows
    ]


DETECTION = VisionTask(
    name="detection",
    settings=DetectionParameters,
    check=_check,
    trainer=_trainer,
    predict=_predict,
    names=_names,
)
