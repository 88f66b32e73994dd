"""Lightning's Trainer set up for repeatable trainings that write only into their own folder."""

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.pytorch import loggers as writers
from torch.utils.data import DataLoader, Dataset

from models.training.callbacks import BestAndLastCheckpoint
from models.training.sampler import FixedStepsSampler
from models.training.settings import TrainingParameters

# torch has one random generator per process and Lightning sets process-wide switches, so only one
# thread at a time may train.
_TORCH_STATE = threading.Lock()
_LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric")


def build_trainer(
    parameters: TrainingParameters, folder: Path, steps: int, checkpoints: BestAndLastCheckpoint
) -> L.Trainer:
    """Build a Trainer for the GPU, or for the CPU where there is none.

    Args:
        parameters: epochs, precision and loggers are read.
        folder: where logs are written.
        steps: steps per epoch.
        checkpoints: saves the training after each epoch.
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
        callbacks=[checkpoints],
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
    dataset: Dataset[Any],
    parameters: TrainingParameters,
    sampler: FixedStepsSampler | None = None,
) -> DataLoader[Any]:
    """Batches of a dataset, in the sampler's order, or in the dataset's order without one.

    With ``parameters.workers`` each loader process gets a copy of the dataset.
    """
    return DataLoader(
        dataset,
        batch_size=parameters.batch_size,
        sampler=sampler,
        num_workers=parameters.workers,
        multiprocessing_context=_loader_context(dataset) if parameters.workers else None,
        persistent_workers=parameters.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


@contextlib.contextmanager
def seeded_torch(parameters: TrainingParameters, seed: int) -> Iterator[None]:
    """Seed torch, make it deterministic, limit its threads and silence Lightning.

    On exit the former state is restored. Other threads that enter wait until then.
    """
    with _TORCH_STATE, warnings.catch_warnings(), torch.random.fork_rng(), _silence_lightning():
        deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        threads = torch.get_num_threads()
        # Lightning advises on worker counts and hardware, which the recipe decides.
        warnings.filterwarnings("ignore", module="lightning")
        if parameters.threads is not None:
            torch.set_num_threads(parameters.threads)
        torch.manual_seed(seed)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # warn_only: some networks use an operation that has no deterministic form on GPUs.
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextlib.contextmanager
def _silence_lightning() -> Iterator[None]:
    """Set Lightning's loggers to ERROR, and back on exit."""
    loggers = [logging.getLogger(name) for name in _LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check_loggers(parameters: TrainingParameters) -> None:
    """Check the loggers before any work.

    Raises:
        ValueError: a logger is not installed or has no server; the message gives the fix.
    """
    for name, package in (("wandb", "wandb"), ("mlflow", "mlflow-skinny")):
        if name in parameters.loggers and importlib.util.find_spec(name) is None:
            raise ValueError(f"loggers: {name} is not installed; run: pip install {package}")
    if "mlflow" in parameters.loggers and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ValueError("loggers: mlflow needs a server; set MLFLOW_TRACKING_URI to its address")


def close_loggers(trainer: L.Trainer) -> None:
    """End the run that Weights & Biases keeps per process, so the next training starts its own."""
    for logger in trainer.loggers:
        if isinstance(logger, writers.WandbLogger):
            logger.experiment.finish()


def _loader_context(dataset: Dataset[Any]) -> ForkServerContext:
    """Start loader processes from a server process that runs no threads.

    A fork of this process would copy the locks that its other threads hold. Once a flow has run
    here, Prefect's threads make every forked process end with code 1, which fails the training.
    """
    context = multiprocessing.get_context("forkserver")
    # The server imports torch once; otherwise each loader process spends seconds on it.
    context.set_forkserver_preload([type(dataset).__module__])
    return context


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
