"""Segmentation as a vision task; importing it imports torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.data.formats.polygons import encode_mask
from models.evaluation.segmentation import SegmentationScores, score_segmentation
from models.training.history import TrainedModel
from models.training.segmentation.data import segment_names, with_masks
from models.training.segmentation.settings import SegmentationParameters
from models.training.segmentation.train import (
    Prediction,
    check_ready,
    predict_maps,
    train_segmentation,
)
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Predictions, Train, Truth, VisionTask

# Photos whose class maps are kept for the report.
SHOWN = 6


def _check(settings: TrainingParameters, on_this_machine: bool) -> None:
    if on_this_machine:
        check_ready(_own(settings))


def _own(settings: TrainingParameters) -> SegmentationParameters:
    assert isinstance(settings, SegmentationParameters)
    return settings


def _train(
    train: LabelledImages,
    val: LabelledImages,
    classes: Sequence[str],
    parameters: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    groups: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
    truth: Truth | None = None,
) -> TrainedModel:
    settings = _own(parameters)
    train_set, val_set = (
        with_masks(images, truth or {}, classes, settings) for images in (train, val)
    )
    return train_segmentation(
        train_set, val_set, settings, seed, folder, groups=groups, progress=progress
    )


def _names(settings: TrainingParameters, classes: Sequence[str]) -> dict[str, list[str]]:
    return {"segments": list(segment_names(classes, _own(settings).ground_truth))}


def _trainer(_settings: TrainingParameters) -> Train:
    return _train


def _predict(
    checkpoint: Path,
    images: LabelledImages,
    settings: TrainingParameters,
    classes: Sequence[str],
    truth: Truth,
) -> Predictions:
    """``{"confusion", "maps"}``: pixel counts of each image, and class maps of some images."""
    own = _own(settings)
    masked = with_masks(images, truth, classes, own)
    found = predict_maps(checkpoint, masked, own)
    shown = set(np.linspace(0, max(len(found) - 1, 0), SHOWN).round().astype(int).tolist())
    return {
        "confusion": [prediction.confusion.tolist() for prediction in found],
        "maps": [
            _encode(prediction, len(masked.classes)) if index in shown else None
            for index, prediction in enumerate(found)
        ],
    }


def _encode(prediction: Prediction, classes: int) -> dict[str, Any]:
    """Both class maps as COCO's run lengths, one per class of pixels."""
    return {
        "size": list(prediction.truth.shape),
        "truth": [encode_mask(prediction.truth == index) for index in range(classes)],
        "prediction": [encode_mask(prediction.class_map == index) for index in range(classes)],
    }


def _score(
    _truth: Sequence[int], predictions: Predictions, classes: Sequence[str]
) -> SegmentationScores:
    return score_segmentation(np.asarray(predictions["confusion"], np.int64)[None], classes)


SEGMENTATION = VisionTask(
    name="segmentation",
    settings=SegmentationParameters,
    check=_check,
    trainer=_trainer,
    predict=_predict,
    score=_score,
    headline="miou",
    names=_names,
)
