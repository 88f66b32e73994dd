"""Lightning's Trainer as a study needs it: quiet, repeatable, and writing only below its folder."""

import contextlib
import importlib.util
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.pytorch import loggers as writers
from torch.utils.data import DataLoader

from models.training.classification.data import FixedStepsSampler, LetterboxedDataset
from models.training.classification.module import BestAndLastCheckpoint
from models.training.settings import TrainingParameters

# torch seeds dropout and first weights from one generator per process, and Lightning sets
# process-wide switches, so trainings in threads take turns.
_ONE_AT_A_TIME = threading.Lock()


def build_trainer(parameters: TrainingParameters, folder: Path, steps: int) -> L.Trainer:
    """A Trainer on the GPU where there is one, that saves into ``folder`` after each epoch.

    ``steps`` is the number of steps per epoch.
    """
    on_gpu = torch.cuda.is_available()
    precision: Any = parameters.precision
    if precision == "auto":
        mixed = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "16-mixed"
        precision = mixed if on_gpu else "32-true"
    return L.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        precision=precision,
        max_epochs=parameters.epochs,
        callbacks=[BestAndLastCheckpoint(folder)],
        logger=_loggers(parameters, folder) or False,
        default_root_dir=folder,
        log_every_n_steps=steps,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic="warn",
        benchmark=False,
    )


def load_batches(
    photos: LetterboxedDataset,
    parameters: TrainingParameters,
    sampler: FixedStepsSampler | None = None,
) -> DataLoader[Any]:
    """Batches of (images uint8 BxHxWx3, labels int64 B), in the sampler's order or as they lie."""
    return DataLoader(
        photos,
        batch_size=parameters.batch_size,
        sampler=sampler,
        num_workers=parameters.workers,
        persistent_workers=parameters.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


@contextlib.contextmanager
def seeded_and_quiet(parameters: TrainingParameters, seed: int) -> Iterator[None]:
    """Sets what torch and Lightning keep per process, one thread at a time, and puts it back."""
    with _ONE_AT_A_TIME, warnings.catch_warnings(), torch.random.fork_rng():
        loud = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
        levels = [logger.level for logger in loud]
        deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        threads = torch.get_num_threads()
        # Advice on worker counts and hardware is not for whoever runs a study.
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        if parameters.threads is not None:
            torch.set_num_threads(parameters.threads)
        torch.manual_seed(seed)
        # Some networks use an operation with no repeatable form on GPUs; they run all the same.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)


def check_loggers(parameters: TrainingParameters) -> None:
    """Raises ValueError, with what mends it, where a logger is not installed or not set up."""
    for name, package in (("wandb", "wandb"), ("mlflow", "mlflow-skinny")):
        if name in parameters.loggers and importlib.util.find_spec(name) is None:
            raise ValueError(f"loggers: {name} is not installed; run: pip install {package}")
    if "mlflow" in parameters.loggers and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ValueError("loggers: mlflow needs a server; set MLFLOW_TRACKING_URI to its address")


def close_loggers(trainer: L.Trainer) -> None:
    """Ends what a logger keeps per process, so that the next training begins a run of its own."""
    for logger in trainer.loggers:
        if isinstance(logger, writers.WandbLogger):
            logger.experiment.finish()


def _loggers(parameters: TrainingParameters, folder: Path) -> list[writers.Logger]:
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    loggers: list[writers.Logger] = []
    for name in dict.fromkeys(parameters.loggers):
        if name == "csv":
            loggers.append(writers.CSVLogger(logs, "", "csv"))
        elif name == "tensorboard":
            loggers.append(
                writers.TensorBoardLogger(logs, "", "tensorboard", default_hp_metric=False)
            )
        elif name == "wandb":
            loggers.append(writers.WandbLogger(folder.name, save_dir=logs, project="synthset"))
        else:
            uri = os.environ["MLFLOW_TRACKING_URI"]
            loggers.append(writers.MLFlowLogger("synthset", run_name=folder.name, tracking_uri=uri))
    return loggers
