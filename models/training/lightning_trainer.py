"""Lightning's Trainer set up for repeatable trainings that write only into their own folder."""

import contextlib
import importlib.util
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.pytorch import loggers as writers
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader, Dataset

from models.runtime.loading import silence_loggers
from models.runtime.torch_state import TORCH_STATE
from models.training.sampler import FixedStepsSampler
from models.training.settings import TrainingParameters

_LOGGERS = ("lightning.pytorch", "lightning.fabric")

BEST, LAST = "best.ckpt", "last.ckpt"


class BestAndLastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` (everything) after each epoch, ``best.ckpt`` (weights) after the best.

    A file is renamed into place when it is complete, so a killed training can always be resumed.

    Args:
        folder: where the files are written.
        is_best: whether an epoch, counted from 0, is the best so far.
        on_saved: called with the epoch's number once its files are on disk.
    """

    def __init__(
        self, folder: Path, is_best: Callable[[int], bool], on_saved: Callable[[int], None]
    ) -> None:
        self.folder, self.is_best, self.on_saved = folder, is_best, on_saved

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save first and report second: an epoch that was reported is never trained again."""
        epoch = pl_module.current_epoch
        if self.is_best(epoch):
            self._save(trainer, BEST, weights_only=True)
        self._save(trainer, LAST, weights_only=False)
        self.on_saved(epoch)

    def _save(self, trainer: L.Trainer, name: str, weights_only: bool) -> None:
        part = self.folder / f"{name}.part"
        trainer.save_checkpoint(part, weights_only=weights_only)
        os.replace(part, self.folder / name)


def build_trainer(
    parameters: TrainingParameters, folder: Path, steps: int, checkpoints: BestAndLastCheckpoint
) -> L.Trainer:
    """Build a Trainer for the GPU, or for the CPU where there is none; ``steps`` are per epoch."""
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
    with (
        # torch has one random generator per process and Lightning sets process-wide switches.
        TORCH_STATE,
        warnings.catch_warnings(),
        torch.random.fork_rng(),
        silence_loggers(*_LOGGERS),
    ):
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
    logs, name = folder / "logs", folder.name
    logs.mkdir(parents=True, exist_ok=True)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    makers: dict[str, Callable[[], writers.Logger]] = {
        "csv": lambda: writers.CSVLogger(logs, "", "csv"),
        "tensorboard": lambda: writers.TensorBoardLogger(
            logs, "", "tensorboard", default_hp_metric=False
        ),
        "wandb": lambda: writers.WandbLogger(name, save_dir=logs, project="synthset"),
        "mlflow": lambda: writers.MLFlowLogger("synthset", run_name=name, tracking_uri=uri),
    }
    return [makers[logger]() for logger in dict.fromkeys(parameters.loggers)]
