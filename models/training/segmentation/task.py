"""Segmentation as a vision task; importing it imports torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.data.formats.polygons import encode_mask
from models.training.history import TrainedModel
from models.training.segmentation.data import segment_names, with_masks
from models.training.segmentation.settings import SegmentationParameters
from models.training.segmentation.train import (
    ClassMaps,
    check_ready,
    predict_maps,
    train_segmentation,
)
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Predictions, Train, TrainingSets, Truth, VisionTask

# Photos whose class maps are kept for the report.
SHOWN = 6


def _check(settings: TrainingParameters, on_this_machine: bool) -> None:
    if on_this_machine:
        check_ready(_own(settings))


def _own(settings: TrainingParameters) -> SegmentationParameters:
    assert isinstance(settings, SegmentationParameters)
    return settings


def _train(
    sets: TrainingSets,
    parameters: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    settings = _own(parameters)
    train_set, val_set = (
        with_masks(images, sets.truth, sets.classes, settings) for images in (sets.train, sets.val)
    )
    return train_segmentation(
        train_set, val_set, settings, seed, folder, groups=sets.groups, progress=progress
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
    shown = set(np.linspace(0, max(len(images) - 1, 0), SHOWN).round().astype(int).tolist())
    found = predict_maps(checkpoint, masked, own, shown)
    return {
        "confusion": [prediction.confusion.tolist() for prediction in found],
        "maps": [
            None if prediction.maps is None else _encode(prediction.maps, len(masked.classes))
            for prediction in found
        ],
    }


def _encode(maps: ClassMaps, classes: int) -> dict[str, Any]:
    """Both class maps as COCO's run lengths, one per class of pixels."""
    return {
        "size": list(maps.truth.shape),
        "truth": [encode_mask(maps.truth == index) for index in range(classes)],
        "prediction": [encode_mask(maps.predicted == index) for index in range(classes)],
    }


SEGMENTATION = VisionTask(
    name="segmentation",
    settings=SegmentationParameters,
    check=_check,
    trainer=_trainer,
    predict=_predict,
    names=_names,
)
