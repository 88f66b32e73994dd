"""A training that a kill interrupts and the next call continues; the same for every task.

All trainings of a run take the same number of steps with the same seeds; the epoch that is best on
val is kept. On one machine with one thread count, the same photos, settings and seed give the same
weights, also after an interruption. Other machines, core counts and GPUs round differently, so
their figures agree only within the spread over seeds.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from models.data.files import write_atomic
from models.training.epoch_module import EpochModule
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
from models.training.pretrained import count_parameters
from models.training.sampler import FixedStepsSampler
from models.training.schedule import Schedule
from models.training.settings import TrainingParameters

SETTINGS_FILE, RESULT_FILE = "run.json", "trained.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What one training is made of.

    Args:
        described: everything that decides the weights and the history.
        groups: the group of each train image; each group gives as many draws.
        check: raises ValueError where this machine can't start it.
        build: the module; with first weights, or random ones where a checkpoint replaces them.
        load: the train set, whose items are ``(index, draw)``, and the val set.
        pools: numbers of train images; the pools take turns in place of the groups. Empty: none.
    """

    parameters: TrainingParameters
    classes: Sequence[str]
    seed: int
    described: dict[str, Any]
    groups: Sequence[int]
    check: Callable[[], None]
    build: Callable[[bool], EpochModule]
    load: Callable[[], tuple[Dataset[Any], Dataset[Any]]]
    pools: Sequence[Sequence[int]] = ()

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        passes = -(-len(self.groups) // self.parameters.batch_size)
        return self.parameters.steps_per_epoch or passes


def train_or_resume(
    training: Training, folder: Path, progress: Callable[[int], None] | None
) -> TrainedModel:
    """Train in a folder, or continue after the last saved epoch; a finished one is returned.

    Raises:
        WeightsMissingError: published weights are asked for and cannot be fetched.
        TrainingDivergedError: the loss became infinite.
        ValueError: the folder holds another training, or see ``check``.
    """
    check_folder(folder, training.described)
    finished = read_result(folder)
    if finished is not None:
        return finished
    if not (folder / LAST).exists():
        training.check()
    write_atomic(folder / SETTINGS_FILE, json.dumps(training.described, indent=1).encode())
    with seeded_torch(training.parameters, training.seed):
        saved = _read_checkpoint(folder / LAST)
        module = training.build(saved is None)
        if saved is not None:
            module.on_load_checkpoint(saved)
        module.seed = training.seed
        module.schedule = Schedule(training.parameters, training.steps)
        if not module.is_finished():
            _fit(module, training, folder, progress)
    trained = TrainedModel.model_validate(
        {
            "network": training.parameters.network,
            "parameters_count": count_parameters(module.network),
            "classes": tuple(training.classes),
            "seed": training.seed,
            "train_images": len(training.groups),
            "steps_per_epoch": training.steps,
            "epochs_run": len(module.history),
            "best_epoch": best_epoch(module.history),
            "history": tuple(module.history),
            "checkpoint": folder / BEST,
            "seconds": round(module.seconds, 3),
        }
    )
    write_result(trained, folder)
    return trained


def read_result(folder: Path) -> TrainedModel | None:
    """The finished training in a folder, or None."""
    path = folder / RESULT_FILE
    if not path.exists() or not (folder / BEST).exists():
        return None
    return TrainedModel(**json.loads(path.read_text()) | {"checkpoint": folder / BEST})


def write_result(trained: TrainedModel, folder: Path) -> None:
    """Write that the training in a folder is finished; its checkpoint is there as ``BEST``."""
    result = trained.model_dump(mode="json") | {"checkpoint": BEST}
    write_atomic(folder / RESULT_FILE, json.dumps(result, indent=1).encode())


def check_machine(parameters: TrainingParameters) -> None:
    """Check that this machine can train with these settings; the network is not looked at.

    Raises:
        ValueError: the weights file is missing, a logger is not installed, or this machine lacks
            the precision.
    """
    check_loggers(parameters)
    if parameters.precision == "16-mixed" and not torch.cuda.is_available():
        raise ValueError("precision: 16-mixed needs a CUDA GPU; set it to auto")
    if parameters.weights_file is not None and not parameters.weights_file.is_file():
        raise ValueError(f"weights_file: {parameters.weights_file} does not exist; correct it")


def check_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds a training with other settings or photos."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return
    saved = json.loads(path.read_text())
    # A field that was added later is in one of both alone, where the other has its default.
    for name in (*settings, *sorted(set(saved) - set(settings))):
        if saved.get(name) != settings.get(name):
            raise ValueError(
                f"{folder}: holds a training with {name} {saved.get(name)}, not "
                f"{settings.get(name)}; choose another folder"
            )


def read_weights(checkpoint: Path, metadata: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a trained network.

    Raises:
        ValueError: the checkpoint is of another network or other classes.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    unlike = [name for name, value in metadata.items() if saved["classifier"].get(name) != value]
    if unlike:
        raise ValueError(
            f"{checkpoint}: trained with {unlike[0]} {saved['classifier'].get(unlike[0])}, "
            f"not {metadata[unlike[0]]}; give the parameters and classes it was trained with"
        )
    weights: dict[str, torch.Tensor] = saved["state_dict"]
    return weights


def _fit(
    module: EpochModule,
    training: Training,
    folder: Path,
    progress: Callable[[int], None] | None,
) -> None:
    """Train the missing epochs; Lightning reads weights and optimiser from ``last.ckpt``."""
    parameters, steps, first = training.parameters, training.steps, len(module.history)
    train_set, val_set = training.load()
    # Loader processes draw for their first epoch before Lightning calls `set_epoch`.
    draws = steps * parameters.batch_size
    sampler = FixedStepsSampler(training.groups, draws, training.seed, first, pools=training.pools)
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
