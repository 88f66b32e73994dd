"""Training one classifier on one set of photos, so that sets can be compared.

Same network, same number of steps and same seeds for every arm; the checkpoint that is best on val
is kept. On one machine with one thread count the same photos, parameters and seed give the same
weights, whether or not the training was killed and resumed. Across machines, core counts or kinds
of GPU the arithmetic rounds differently, and figures agree within the spread over seeds.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.data.records import Record
from models.training.classification.data import (
    FixedStepsSampler,
    ImageSet,
    LetterboxedDataset,
    digest_images,
)
from models.training.classification.module import (
    BEST,
    LAST,
    ClassifierModule,
    EpochRecord,
    Schedule,
    TrainingDiverged,
    best_epoch,
    is_finished,
)
from models.training.classification.networks import (
    Pretraining,
    WeightsMissing,
    build_network,
    check_network,
    count_parameters,
    find_published,
)
from models.training.lightning_trainer import (
    build_trainer,
    check_loggers,
    close_loggers,
    load_batches,
    seeded_and_quiet,
)
from models.training.settings import TrainingParameters, equal_budget

__all__ = [
    "EpochRecord",
    "ImageSet",
    "TrainedRun",
    "TrainingDiverged",
    "TrainingParameters",
    "WeightsMissing",
    "check_ready",
    "equal_budget",
    "predict",
    "train_once",
]

RUN, RESULT = "run.json", "trained.json"
# What changes neither weights nor history; a folder may be resumed with other values of these.
_FREE = ("loggers", "memory_mb", "seeds", "workers")
_log = logging.getLogger(__name__)


class TrainedRun(Record):
    """One finished training. ``best_epoch`` counts from 0; ``checkpoint`` holds its weights."""

    network: str
    parameters_count: int
    classes: tuple[str, ...]
    seed: int
    train_images: int
    steps_per_epoch: int
    epochs_run: int
    best_epoch: int
    history: tuple[EpochRecord, ...]
    checkpoint: Path
    seconds: float


def check_ready(parameters: TrainingParameters) -> None:
    """Raises, before anything is made to train on, what would make a training impossible.

    Published weights that are not in the cache yet are downloaded.

    Raises:
        WeightsMissing: published weights were asked for and can't be had.
        ValueError: the network is unknown, the weights file missing, a logger not
            installed, or the precision not to be had on this machine.
    """
    check_network(parameters.network)
    check_loggers(parameters)
    if parameters.precision == "16-mixed" and not torch.cuda.is_available():
        raise ValueError("precision: 16-mixed needs a CUDA GPU; set it to auto")
    if parameters.weights_file is not None and not parameters.weights_file.is_file():
        raise ValueError(f"weights_file: {parameters.weights_file} does not exist")
    if parameters.pretrained and parameters.weights_file is None:
        find_published(parameters.network, parameters.revision)


def train_once(
    train: ImageSet,
    val: ImageSet,
    classes: Sequence[str],
    parameters: TrainingParameters,
    seed: int,
    folder: Path,
    *,
    progress: Callable[[EpochRecord], None] | None = None,
) -> TrainedRun:
    """The classifier trained on ``train`` and chosen on ``val``, in ``folder``.

    A training that was killed goes on after its last whole epoch; one that is done is returned as
    it was. ``progress`` hears of each epoch once it is on disk.

    Args:
        train: photos with their class index.
        val: photos that choose the epoch; a class may be missing.
        classes: class names in the order of the indices.
        parameters: how to train.
        seed: seed of the first weights, the order, the augmentation and dropout.
        folder: where checkpoints and logs go; it belongs to this training alone.

    Raises:
        WeightsMissing: published weights were asked for and can't be had.
        TrainingDiverged: the loss became infinite.
        ValueError: a set is empty or holds an unreadable photo, a logger is not installed, or the
            folder holds another training.
    """
    _check_sets(train, val, classes)
    settings = _describe(train, val, classes, parameters, seed)
    _check_claim(folder, settings)
    done = _read_result(folder)
    if done is not None:
        return done
    if not (folder / LAST).exists():
        check_ready(parameters)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / RUN, settings)
    with seeded_and_quiet(parameters, seed):
        learner = _begin_or_resume(folder, parameters, classes)
        learner.seed, learner.progress = seed, progress
        if not is_finished(learner.history, learner.schedule):
            _fit(learner, train, val, parameters, folder)
    run = TrainedRun(
        network=parameters.network,
        parameters_count=count_parameters(learner.network),
        classes=tuple(classes),
        seed=seed,
        train_images=len(train),
        steps_per_epoch=_steps(parameters, train),
        epochs_run=len(learner.history),
        best_epoch=best_epoch(learner.history),
        history=tuple(learner.history),
        checkpoint=folder / BEST,
        seconds=round(learner.seconds, 3),
    )
    _write(folder / RESULT, run.model_dump(mode="json") | {"checkpoint": BEST})
    return run


def predict(
    checkpoint: Path, images: Sequence[Path], parameters: TrainingParameters, classes: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Class probabilities, float32 (images, classes), each row summing to 1.

    Always in 32-bit and without augmentation: the same checkpoint and images give the same figures.

    Raises:
        ValueError: the checkpoint is of another network or of other classes, or a photo unreadable.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    metadata = _facts(parameters, classes)
    unlike = [name for name, value in metadata.items() if saved["classifier"].get(name) != value]
    if unlike:
        raise ValueError(
            f"{checkpoint}: trained with {unlike[0]} {saved['classifier'].get(unlike[0])}, "
            f"not {metadata[unlike[0]]}; give the parameters and classes it was trained with"
        )
    if not images:
        return np.empty((0, len(classes)), np.float32)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with seeded_and_quiet(parameters, 0), torch.inference_mode():
        learner = _build_learner(parameters, classes, Pretraining())
        learner.load_state_dict(saved["state_dict"])
        learner.to(device).eval()
        photos = LetterboxedDataset([(path, 0) for path in images], parameters.image_size, 0)
        logits = [learner(batch.to(device)).cpu() for batch, _ in load_batches(photos, parameters)]
    return np.asarray(torch.cat(logits).float().softmax(1).numpy(), np.float32)


def _begin_or_resume(
    folder: Path, parameters: TrainingParameters, classes: Sequence[str]
) -> ClassifierModule:
    saved = _read_last(folder / LAST)
    if saved is None:
        start = Pretraining(parameters.pretrained, parameters.weights_file, parameters.revision)
        return _build_learner(parameters, classes, start)
    learner = _build_learner(parameters, classes, Pretraining())
    learner.on_load_checkpoint(saved)
    return learner


def _fit(
    learner: ClassifierModule,
    train: ImageSet,
    val: ImageSet,
    parameters: TrainingParameters,
    folder: Path,
) -> None:
    """Trains the epochs that are missing; Lightning reads weights and optimiser from the file."""
    shown, kept = (
        LetterboxedDataset(images, parameters.image_size, parameters.memory_mb)
        for images in (train, val)
    )
    shown.augmentation, shown.seed = parameters.augment, learner.seed
    steps, first = _steps(parameters, train), len(learner.history)
    # Loading processes start on their first epoch before Lightning has named it.
    sampler = FixedStepsSampler(len(train), steps * parameters.batch_size, learner.seed, first)
    trainer = build_trainer(parameters, folder, steps)
    try:
        trainer.fit(
            learner,
            load_batches(shown, parameters, sampler),
            load_batches(kept, parameters),
            ckpt_path=folder / LAST if first else None,
            weights_only=True,
        )
    finally:
        close_loggers(trainer)


def _steps(parameters: TrainingParameters, train: ImageSet) -> int:
    return parameters.steps_per_epoch or -(-len(train) // parameters.batch_size)


def _build_learner(
    parameters: TrainingParameters, classes: Sequence[str], start: Pretraining
) -> ClassifierModule:
    network = build_network(parameters.network, len(classes), parameters.image_size, start)
    schedule = Schedule(
        parameters.learning_rates(), parameters.label_smoothing, parameters.early_stopping_patience
    )
    learner = ClassifierModule(network, len(classes), _optimizer(network, parameters), schedule)
    learner.metadata = _facts(parameters, classes)
    return learner


def _facts(parameters: TrainingParameters, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "network": parameters.network,
        "image_size": parameters.image_size,
        "classes": list(classes),
    }


def _optimizer(network: nn.Module, parameters: TrainingParameters) -> torch.optim.Optimizer:
    rate, decay = parameters.learning_rate, parameters.weight_decay
    if parameters.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    if parameters.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)
    return torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=decay)


def _check_sets(train: ImageSet, val: ImageSet, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        raise ValueError(f"classes: {list(classes)} is too few; give at least two")
    for name, images in (("train", train), ("val", val)):
        if not images:
            raise ValueError(f"{name} set: it holds no image; give at least one per class")
        for path, label in images:
            if not 0 <= label < len(classes):
                raise ValueError(f"{name} set: {path} has class {label} of {len(classes)}")
    seen = {label for _, label in train}
    missing = [name for index, name in enumerate(classes) if index not in seen]
    if missing:
        raise ValueError(f"train set: class {missing[0]!r} has no image; give at least one")


def _describe(
    train: ImageSet,
    val: ImageSet,
    classes: Sequence[str],
    parameters: TrainingParameters,
    seed: int,
) -> dict[str, Any]:
    settings = parameters.model_dump(mode="json", exclude=set(_FREE))
    sets = {"train": digest_images(train), "val": digest_images(val)}
    return settings | {"seed": seed, "classes": list(classes)} | sets


def _check_claim(folder: Path, settings: dict[str, Any]) -> None:
    """Raises ValueError where the folder is another training's."""
    path = folder / RUN
    if not path.exists():
        return
    held = json.loads(path.read_text())
    for name, value in settings.items():
        if held.get(name) != value:
            raise ValueError(
                f"{folder}: holds a training with {name} {held.get(name)}, not {value}; "
                "choose another folder"
            )


def _read_result(folder: Path) -> TrainedRun | None:
    path = folder / RESULT
    if not path.exists() or not (folder / BEST).exists():
        return None
    return TrainedRun(**json.loads(path.read_text()) | {"checkpoint": folder / BEST})


def _read_last(path: Path) -> dict[str, Any] | None:
    """The checkpoint to go on from; None where there is none that can be read."""
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and disk errors alike: the file is of no use
        _log.warning("%s can't be read (%s); training starts again", path, type(error).__name__)
        return None
    return saved


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=1))
    os.replace(part, path)
