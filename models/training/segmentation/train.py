"""Training of one segmentation network on photos with masks, and its predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from models.checkpoints.local import locate
from models.data.pixels import Pixels
from models.data.square import read_square
from models.embedding.weights import NETWORK
from models.training.epoch_module import EpochModule
from models.training.history import SegmentationEpoch, TrainedModel
from models.training.lightning_trainer import seeded_torch
from models.training.pretrained import published_weights
from models.training.resumable import Training, check_machine, read_weights, train_or_resume
from models.training.segmentation.data import (
    UNKNOWN,
    MaskedDataset,
    MaskedImages,
    digest_masked,
    inner_box,
)
from models.training.segmentation.networks import build_segmentation_network
from models.training.segmentation.settings import SegmentationParameters

Counts = npt.NDArray[np.int64]


class SegmentationModule(EpochModule):
    """A segmentation network; the targets of a batch are class maps, int64 BxHxW."""

    record = SegmentationEpoch
    ignored = UNKNOWN

    def __init__(
        self, network: nn.Module, classes: Sequence[str], settings: SegmentationParameters
    ) -> None:
        count = len(classes)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(count, average="micro", ignore_index=UNKNOWN),
                "miou": MulticlassJaccardIndex(count, average="macro", ignore_index=UNKNOWN),
            },
            compute_groups=False,
        )
        super().__init__(network, settings, metrics, _metadata(settings, classes))


@dataclass(frozen=True)
class Prediction:
    """What a network says of one photo: its class map, and pixels of class i seen as class j."""

    class_map: Pixels
    truth: Pixels
    confusion: Counts


def check_ready(parameters: SegmentationParameters) -> None:
    """Check that this machine can train with these settings.

    Raises:
        CheckpointMissingError, WeightsMissingError: published weights are asked for and are not on
            this machine.
        ValueError: the weights file is missing, a logger is not installed, or this machine lacks
            the precision.
    """
    check_machine(parameters)
    if parameters.pretrained and parameters.weights_file is None:
        for reference in parameters.checkpoints:
            locate(reference)
        if not parameters.checkpoints:
            published_weights(NETWORK, parameters.revision)


def train_segmentation(
    train: MaskedImages,
    val: MaskedImages,
    parameters: SegmentationParameters,
    seed: int,
    folder: Path,
    *,
    groups: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train a network on ``train`` and keep the epoch with the best mean IoU on ``val``.

    A training that was killed continues after its last saved epoch. A finished training is
    returned as it is. `train_once` of classification explains the other arguments.

    Raises:
        WeightsMissingError: published weights are asked for and are not on this machine.
        TrainingDivergedError: the loss became infinite.
        ValueError: a set is empty or has an unreadable photo or mask, a logger is not installed,
            or the folder holds another training.
    """
    for name, images in (("train", train), ("val", val)):
        if not images.files:
            raise ValueError(f"{name} set: it has no image; give at least one")
    sets = {"train": digest_masked(train), "val": digest_masked(val)}
    training = Training(
        parameters=parameters,
        classes=train.classes,
        seed=seed,
        described=parameters.key_params() | {"seed": seed, "classes": list(train.classes)} | sets,
        groups=groups or [0] * len(train.files),
        check=lambda: check_ready(parameters),
        build=lambda is_new: _build(parameters, train.classes, parameters if is_new else None),
        load=lambda: _load_sets(train, val, parameters, seed),
    )
    return train_or_resume(training, folder, progress)


def predict_maps(
    checkpoint: Path, images: MaskedImages, parameters: SegmentationParameters
) -> list[Prediction]:
    """The predicted and the true class map of each photo, and their confusion counts.

    Maps have the size of the masks. Computed in 32 bit, so the same inputs give the same figures.

    Raises:
        ValueError: the checkpoint is of another network or other classes, or a photo is unreadable.
    """
    weights = read_weights(checkpoint, _metadata(parameters, images.classes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictions = []
    with seeded_torch(parameters, 0), torch.inference_mode():
        module = _build(parameters, images.classes, None)
        module.load_state_dict(weights)
        module.to(device).eval()
        for index, path in enumerate(images.files):
            truth = images.map_of(index)
            square = torch.from_numpy(read_square(path, parameters.image_size))
            logits = module(square[None].to(device)).float().cpu()
            class_map = _undo_letterbox(logits, truth.shape[0], truth.shape[1])
            confusion = count_confusion(truth, class_map, len(images.classes))
            predictions.append(Prediction(class_map, truth, confusion))
    return predictions


def count_confusion(truth: Pixels, predicted: Pixels, classes: int) -> Counts:
    """Pixels of class i (row) that are predicted as class j (column); unknown ones don't count."""
    known = truth != UNKNOWN
    cells = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _undo_letterbox(logits: Tensor, height: int, width: int) -> Pixels:
    """The class map, uint8 HxW, of the logits (1, classes, side, side) of a letterboxed photo."""
    top, left, inner_height, inner_width = inner_box(height, width, logits.shape[-1])
    inner = logits[..., top : top + inner_height, left : left + inner_width]
    large = functional.interpolate(inner, size=(height, width), mode="bilinear")
    return np.asarray(large[0].argmax(0).numpy(), np.uint8)


def _build(
    parameters: SegmentationParameters,
    classes: Sequence[str],
    start: SegmentationParameters | None,
) -> EpochModule:
    network = build_segmentation_network(parameters.network, len(classes), start)
    return SegmentationModule(network, classes, parameters)


def _metadata(parameters: SegmentationParameters, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "network": parameters.network,
        "image_size": parameters.image_size,
        "classes": list(classes),
    }


def _load_sets(
    train: MaskedImages, val: MaskedImages, parameters: SegmentationParameters, seed: int
) -> tuple[Dataset[Any], Dataset[Any]]:
    train_set, val_set = (
        MaskedDataset(images, parameters.image_size, parameters.memory_mb, parameters.workers + 1)
        for images in (train, val)
    )
    train_set.augmentation, train_set.seed = parameters.augment, seed
    return train_set, val_set
