"""Training of one classifier on one set of photos, and its predictions.

The val photos are the same for all trainings, so that a training with few photos uses more of them
to choose its epoch than to learn. `models.training.resumable` has what all tasks share.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from models.training.classification.data import LetterboxedDataset, digest_images
from models.training.classification.module import ClassifierModule, checkpoint_metadata
from models.training.classification.networks import build_network, check_network
from models.training.history import TrainedModel
from models.training.lightning_trainer import load_batches, seeded_torch
from models.training.pretrained import published_weights
from models.training.resumable import Training, check_machine, read_weights, train_or_resume
from models.training.settings import TrainingParameters
from models.training.task import LabelledImages, Truth


def check_ready(parameters: TrainingParameters) -> None:
    """Check that this machine can train with these settings; published weights are downloaded.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        ValueError: the network is unknown, the weights file is missing, a logger is not
            installed, or this machine lacks the precision.
    """
    check_network(parameters.network)
    check_machine(parameters)
    if parameters.pretrained and parameters.weights_file is None:
        published_weights(parameters.network, parameters.revision)


def train_once(
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
    """Train a classifier on ``train`` and keep the epoch that is best on ``val``.

    A training that was killed continues after its last saved epoch. A finished training is
    returned as it is.

    Args:
        val: photos that choose the epoch; a class may be missing.
        seed: seed of the first weights, the image order, the augmentation and dropout.
        folder: where checkpoints and logs are written; no other training may use it.
        groups: the group of each train image; each group gives as many draws. None: one group.
        progress: called with each epoch's number, from 0, once the epoch is on disk.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        TrainingDivergedError: the loss became infinite.
        ValueError: a set is empty or has an unreadable photo, a logger is not installed, or the
            folder holds another training.
    """
    check_sets(train, val, classes)
    training = Training(
        parameters=parameters,
        classes=classes,
        seed=seed,
        described=_describe(train, val, classes, parameters, seed),
        groups=groups or [0] * len(train),
        check=lambda: check_ready(parameters),
        build=lambda is_new: _build_module(parameters, classes, parameters if is_new else None),
        load=lambda: _load_sets(train, val, parameters, seed),
    )
    return train_or_resume(training, folder, progress)


def predict(
    checkpoint: Path, images: Sequence[Path], parameters: TrainingParameters, classes: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Class probabilities, float32 (images, classes); each row sums to 1.

    Computed in 32 bit and without augmentation, so the same inputs give the same figures.

    Raises:
        ValueError: the checkpoint is of another network or other classes, or a photo is unreadable.
    """
    weights = read_weights(checkpoint, checkpoint_metadata(parameters, classes))
    if not images:
        return np.empty((0, len(classes)), np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with seeded_torch(parameters, 0), torch.inference_mode():
        module = _build_module(parameters, classes, None)
        module.load_state_dict(weights)
        module.to(device).eval()
        # Each photo is read once, so none is kept in memory.
        photos = LetterboxedDataset([(path, 0) for path in images], parameters.image_size, 0)
        logits = [module(batch.to(device)).cpu() for batch, _ in load_batches(photos, parameters)]
    return np.asarray(torch.cat(logits).float().softmax(1).numpy(), np.float32)


def _build_module(
    parameters: TrainingParameters, classes: Sequence[str], start: TrainingParameters | None
) -> ClassifierModule:
    network = build_network(parameters.network, len(classes), parameters.image_size, start)
    return ClassifierModule(network, classes, parameters)


def _load_sets(
    train: LabelledImages, val: LabelledImages, parameters: TrainingParameters, seed: int
) -> tuple[Dataset[Any], Dataset[Any]]:
    train_set, val_set = (
        LetterboxedDataset(
            images, parameters.image_size, parameters.memory_mb, parameters.workers + 1
        )
        for images in (train, val)
    )
    train_set.augmentation, train_set.seed = parameters.augment, seed
    train_set.ranges = parameters.augment_ranges
    return train_set, val_set


def check_sets(train: LabelledImages, val: LabelledImages, classes: Sequence[str]) -> None:
    """Check that there are classes, and images of each.

    Raises:
        ValueError: there are too few; the line names the set.
    """
    if len(classes) < 2:
        raise ValueError(f"classes: {list(classes)} are too few; give at least two")
    for name, images in (("train", train), ("val", val)):
        if not images:
            raise ValueError(f"{name} set: it has no image; give at least one per class")
        for path, label in images:
            if not 0 <= label < len(classes):
                raise ValueError(
                    f"{name} set: {path} has class {label} of {len(classes)}; "
                    f"give 0 to {len(classes) - 1}"
                )
    seen = {label for _, label in train}
    missing = [name for index, name in enumerate(classes) if index not in seen]
    if missing:
        raise ValueError(f"train set: class {missing[0]!r} has no image; give at least one")


def _describe(
    train: LabelledImages,
    val: LabelledImages,
    classes: Sequence[str],
    parameters: TrainingParameters,
    seed: int,
) -> dict[str, Any]:
    """Everything that decides the weights and the history."""
    sets = {"train": digest_images(train), "val": digest_images(val)}
    return parameters.key_params() | {"seed": seed, "classes": list(classes)} | sets
