"""Training of one classifier on one set of photos, and its predictions.

All datasets of a run use the same network, number of steps and seeds; the epoch that is best on
val is kept. On one machine with one thread count, the same photos, settings and seed give the same
weights, also after an interruption. Other machines, core counts and GPUs round differently, so
their figures agree only within the spread over seeds.
"""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.data.files import write_atomic
from models.training.classification.data import LetterboxedDataset, digest_images
from models.training.classification.module import ClassifierModule, checkpoint_metadata
from models.training.classification.networks import build_network, check_network, count_parameters
from models.training.history import TrainedModel, best_epoch
from models.training.lightning_trainer import (
    BEST,
    LAST,
    BestAndLastCheckpoint,
    build_trainer,
    check_loggers,
    close_loggers,
    load_batches,
    seeded_torch,
)
from models.training.pretrained import published_weights
from models.training.sampler import FixedStepsSampler
from models.training.settings import NON_KEY_FIELDS, TrainingParameters
from models.training.task import LabelledImages

SETTINGS_FILE, RESULT_FILE = "run.json", "trained.json"
_log = logging.getLogger(__name__)


def check_ready(parameters: TrainingParameters) -> None:
    """Check that this machine can train with these settings; published weights are downloaded.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        ValueError: the network is unknown, the weights file is missing, a logger is not
            installed, or this machine lacks the precision.
    """
    check_network(parameters.network)
    check_loggers(parameters)
    if parameters.precision == "16-mixed" and not torch.cuda.is_available():
        raise ValueError("precision: 16-mixed needs a CUDA GPU; set it to auto")
    if parameters.weights_file is not None and not parameters.weights_file.is_file():
        raise ValueError(f"weights_file: {parameters.weights_file} does not exist; correct it")
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
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Train a classifier on ``train`` and keep the epoch that is best on ``val``.

    A training that was killed continues after its last saved epoch. A finished training is
    returned as it is.

    Args:
        val: photos that choose the epoch; a class may be missing.
        seed: seed of the first weights, the image order, the augmentation and dropout.
        folder: where checkpoints and logs are written; no other training may use it.
        progress: called with each epoch's number, from 0, once the epoch is on disk.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        TrainingDivergedError: the loss became infinite.
        ValueError: a set is empty or has an unreadable photo, a logger is not installed, or the
            folder holds another training.
    """
    _check_sets(train, val, classes)
    settings = _describe(train, val, classes, parameters, seed)
    _check_folder(folder, settings)
    finished = _read_result(folder)
    if finished is not None:
        return finished
    if not (folder / LAST).exists():
        check_ready(parameters)
    write_atomic(folder / SETTINGS_FILE, json.dumps(settings, indent=1).encode())
    with seeded_torch(parameters, seed):
        module = _start_or_resume(folder, parameters, classes)
        module.seed = seed
        if not module.is_finished():
            _fit(module, train, val, parameters, folder, progress)
    trained = TrainedModel(
        network=parameters.network,
        parameters_count=count_parameters(module.network),
        classes=tuple(classes),
        seed=seed,
        train_images=len(train),
        steps_per_epoch=_steps(parameters, train),
        epochs_run=len(module.history),
        best_epoch=best_epoch(module.history),
        history=tuple(module.history),
        checkpoint=folder / BEST,
        seconds=round(module.seconds, 3),
    )
    result = trained.model_dump(mode="json") | {"checkpoint": BEST}
    write_atomic(folder / RESULT_FILE, json.dumps(result, indent=1).encode())
    return trained


def predict(
    checkpoint: Path, images: Sequence[Path], parameters: TrainingParameters, classes: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Class probabilities, float32 (images, classes); each row sums to 1.

    Computed in 32 bit and without augmentation, so the same inputs give the same figures.

    Raises:
        ValueError: the checkpoint is of another network or other classes, or a photo is unreadable.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    metadata = checkpoint_metadata(parameters, classes)
    unlike = [name for name, value in metadata.items() if saved["classifier"].get(name) != value]
    if unlike:
        raise ValueError(
            f"{checkpoint}: trained with {unlike[0]} {saved['classifier'].get(unlike[0])}, "
            f"not {metadata[unlike[0]]}; give the parameters and classes it was trained with"
        )
    if not images:
        return np.empty((0, len(classes)), np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with seeded_torch(parameters, 0), torch.inference_mode():
        module = _build_module(parameters, classes, None)
        module.load_state_dict(saved["state_dict"])
        module.to(device).eval()
        # Each photo is read once, so none is kept in memory.
        photos = LetterboxedDataset([(path, 0) for path in images], parameters.image_size, 0)
        logits = [module(batch.to(device)).cpu() for batch, _ in load_batches(photos, parameters)]
    return np.asarray(torch.cat(logits).float().softmax(1).numpy(), np.float32)


def _start_or_resume(
    folder: Path, parameters: TrainingParameters, classes: Sequence[str]
) -> ClassifierModule:
    saved = _read_checkpoint(folder / LAST)
    module = _build_module(parameters, classes, None if saved else parameters)
    if saved is not None:
        module.on_load_checkpoint(saved)
    return module


def _build_module(
    parameters: TrainingParameters, classes: Sequence[str], start: TrainingParameters | None
) -> ClassifierModule:
    network = build_network(parameters.network, len(classes), parameters.image_size, start)
    return ClassifierModule(network, classes, parameters)


def _fit(
    module: ClassifierModule,
    train: LabelledImages,
    val: LabelledImages,
    parameters: TrainingParameters,
    folder: Path,
    progress: Callable[[int], None] | None,
) -> None:
    """Train the missing epochs; Lightning reads weights and optimiser from ``last.ckpt``."""
    train_set, val_set = (
        LetterboxedDataset(
            images, parameters.image_size, parameters.memory_mb, parameters.workers + 1
        )
        for images in (train, val)
    )
    train_set.augmentation, train_set.seed = parameters.augment, module.seed
    steps, first = _steps(parameters, train), len(module.history)
    # Loader processes draw for their first epoch before Lightning calls `set_epoch`.
    sampler = FixedStepsSampler(len(train), steps * parameters.batch_size, module.seed, first)
    checkpoints = BestAndLastCheckpoint(
        folder,
        is_best=lambda epoch: best_epoch(module.history) == epoch,
        on_saved=progress or (lambda epoch: None),
    )
    trainer = build_trainer(parameters, folder, steps, checkpoints)
    try:
        trainer.fit(
            module,
            load_batches(train_set, parameters, sampler),
            load_batches(val_set, parameters),
            ckpt_path=folder / LAST if first else None,
            weights_only=True,
        )
    finally:
        close_loggers(trainer)


def _steps(parameters: TrainingParameters, train: LabelledImages) -> int:
    return parameters.steps_per_epoch or -(-len(train) // parameters.batch_size)


def _check_sets(train: LabelledImages, val: LabelledImages, classes: Sequence[str]) -> None:
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
    settings = parameters.model_dump(mode="json", exclude=set(NON_KEY_FIELDS))
    sets = {"train": digest_images(train), "val": digest_images(val)}
    return settings | {"seed": seed, "classes": list(classes)} | sets


def _check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds a training with other settings or photos."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return
    saved = json.loads(path.read_text())
    for name, value in settings.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{folder}: holds a training with {name} {saved.get(name)}, not {value}; "
                "choose another folder"
            )


def _read_result(folder: Path) -> TrainedModel | None:
    path = folder / RESULT_FILE
    if not path.exists() or not (folder / BEST).exists():
        return None
    return TrainedModel(**json.loads(path.read_text()) | {"checkpoint": folder / BEST})


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint to resume from; None if it does not exist or cannot be read."""
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and disk errors alike: the file is of no use
        _log.warning("%s: cannot be read (%s); training restarts", path, type(error).__name__)
        return None
    return saved
