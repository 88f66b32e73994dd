"""Training of one detector on photos with boxes, and what it finds in others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from models.embedding.weights import NETWORK
from models.training.detection.data import (
    BoxedDataset,
    BoxedImages,
    class_pools,
    digest_boxed,
    read_padded,
    with_boxes,
)
from models.training.detection.detector import Detections
from models.training.detection.module import DetectionModule, checkpoint_metadata, to_unit_range
from models.training.detection.networks import build_detector
from models.training.detection.published.detr import check_detr
from models.training.detection.published.names import YOLO_NETWORKS
from models.training.detection.published.yolo import check_yolo, find_with_yolo, train_yolo
from models.training.detection.settings import DetectionParameters
from models.training.history import TrainedModel
from models.training.lightning_trainer import seeded_torch
from models.training.pretrained import published_weights
from models.training.resumable import Training, check_machine, read_weights, train_or_resume
from models.training.task import TrainingSets


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """What a detector finds in a photo: boxes in px of the photo, whose size is width, height."""

    detections: Detections
    size: tuple[int, int]


def check_ready(parameters: DetectionParameters) -> None:
    """Check that this machine can train with these settings.

    Raises:
        CheckpointMissingError, WeightsMissingError: published weights are asked for and are not on
            this machine.
        ValueError: the weights file is missing, a library is not installed, or this machine lacks
            the precision.
    """
    if parameters.network in YOLO_NETWORKS:
        return check_yolo(parameters)
    check_machine(parameters)
    for reference in parameters.checkpoints:
        check_detr(reference)
    if not parameters.checkpoints and parameters.pretrained and parameters.weights_file is None:
        published_weights(NETWORK, parameters.revision)
    return None


def train_detector(
    sets: TrainingSets,
    parameters: DetectionParameters,
    seed: int,
    folder: Path,
    *,
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train a detector on the train images and keep the epoch with the best AP50 on val.

    A training that was killed continues after its last saved epoch. A finished training is
    returned as it is. `train_once` of classification and `TrainingSets` explain the arguments.

    Raises:
        WeightsMissingError: published weights are asked for and are not on this machine.
        TrainingDivergedError: the loss became infinite.
        ValueError: a set shows no object, a class of it is unknown or not in the train set, a
            photo is unreadable, a logger is not installed, or the folder holds another training.
    """
    train, val = (with_boxes(images, sets.truth) for images in (sets.train, sets.val))
    check_objects(train, val, sets.classes)
    digests = {"train": digest_boxed(train), "val": digest_boxed(val)}
    described = parameters.key_params() | {"seed": seed, "classes": list(sets.classes)} | digests
    groups = sets.groups or [0] * len(train.files)
    is_class_aware = parameters.sampler == "class_aware"
    pools = class_pools(train, sets.groups) if is_class_aware else ()
    if parameters.network in YOLO_NETWORKS:
        return train_yolo(
            train, val, described, parameters, folder, groups=groups, pools=pools, progress=progress
        )
    training = Training(
        parameters=parameters,
        classes=sets.classes,
        seed=seed,
        described=described,
        groups=groups,
        check=lambda: check_ready(parameters),
        build=lambda is_new: _build(parameters, sets.classes, parameters if is_new else None),
        load=lambda: _load_sets(train, val, parameters, seed),
        pools=pools,
    )
    return train_or_resume(training, folder, progress)


def check_objects(train: BoxedImages, val: BoxedImages, classes: Sequence[str]) -> None:
    """Check that there are objects to learn from, and some to choose an epoch by.

    A class may have none: a study takes a class away, and a generator may make some classes alone.

    Raises:
        ValueError: there are none; the line names the set.
    """
    for name, images in (("train", train), ("val", val)):
        labels = {found.label for objects in images.objects for found in objects}
        if not labels:
            raise ValueError(f"{name} set: no photo shows an object with a box; give at least one")
        if not labels <= set(range(len(classes))):
            raise ValueError(
                f"{name} set: it shows class number {max(labels)}, and there are {len(classes)} "
                "classes; remove that object"
            )


def find_objects(
    checkpoint: Path,
    images: Sequence[Path],
    parameters: DetectionParameters,
    classes: Sequence[str],
) -> list[FoundObjects]:
    """What a trained detector finds in each photo.

    Computed in 32 bit and photo by photo, so the same inputs give the same figures.

    Raises:
        ValueError: the checkpoint is of another network or other classes, or a photo is unreadable.
    """
    if parameters.network in YOLO_NETWORKS:
        seen_by_yolo = find_with_yolo(checkpoint, images, parameters, classes)
        return [FoundObjects(detections, size) for detections, size in seen_by_yolo]
    weights = read_weights(checkpoint, checkpoint_metadata(parameters, classes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = []
    with seeded_torch(parameters, 0), torch.inference_mode():
        module = _build(parameters, classes, None)
        module.load_state_dict(weights)
        module.to(device).eval()
        for path in images:
            square = read_padded(path, parameters.image_size)
            batch = to_unit_range(torch.from_numpy(square.pixels)[None].to(device))
            (seen,) = module.detector.detect(batch)
            width, height = square.size
            boxes = seen.boxes.cpu() / square.scale
            limits = torch.tensor([width, height, width, height])
            boxes = torch.minimum(boxes.clamp(min=0), limits)
            detections = Detections(boxes, seen.labels.cpu(), seen.scores.cpu())
            found.append(FoundObjects(detections, square.size))
    return found


def _build(
    parameters: DetectionParameters, classes: Sequence[str], start: DetectionParameters | None
) -> DetectionModule:
    network = build_detector(parameters.network, len(classes), parameters, start)
    return DetectionModule(network, classes, parameters)


def _load_sets(
    train: BoxedImages, val: BoxedImages, parameters: DetectionParameters, seed: int
) -> tuple[Dataset[Any], Dataset[Any]]:
    train_set, val_set = (
        BoxedDataset(images, parameters.image_size, parameters.memory_mb, parameters.workers + 1)
        for images in (train, val)
    )
    train_set.augmentation, train_set.seed = parameters.augment, seed
    return train_set, val_set
