"""One network learning: what Lightning calls at each step, and the history of its epochs.

Everything an epoch depends on (learning rate, order, dropout) is a function of the seed and the
epoch's number, and the history travels in the checkpoint, so a training that was killed goes on
as if it had not been.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from models.data.records import Record
from models.training.classification.networks import normalisation

BEST, LAST = "best.ckpt", "last.ckpt"


class TrainingDiverged(ValueError):
    """The loss is no longer a number."""


class EpochRecord(Record):
    """What one epoch came to; losses in nats, all other figures 0..1, epochs counted from 0.

    The training figures are of the augmented pictures, while the weights were changing. F1 is
    averaged over the classes that occur (macro), or weighted by how often they do.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    train_f1_macro: float
    train_f1_weighted: float
    val_loss: float
    val_accuracy: float
    val_f1_macro: float
    val_f1_weighted: float


@dataclass(frozen=True)
class Schedule:
    """How a network learns: one learning rate per epoch, and when to stop before the last.

    ``label_smoothing`` is 0..1; ``patience`` is how many epochs may pass without a better one.
    """

    learning_rates: tuple[float, ...]
    label_smoothing: float = 0.0
    patience: int | None = None


def best_epoch(history: list[EpochRecord]) -> int:
    """The epoch with the best macro F1 on val; of equals the lower loss, then the earlier, wins."""
    return max(history, key=lambda record: (record.val_f1_macro, -record.val_loss)).epoch


def is_finished(history: list[EpochRecord], schedule: Schedule) -> bool:
    """Whether every epoch was trained, or val has stopped improving for ``patience`` epochs."""
    if not history:
        return False
    waited = history[-1].epoch - best_epoch(history)
    out_of_patience = schedule.patience is not None and waited >= schedule.patience
    return out_of_patience or len(history) >= len(schedule.learning_rates)


class ClassifierModule(L.LightningModule):
    """A network with its optimiser, schedule and metrics, for Lightning's Trainer.

    Batches are ``(images uint8 BxHxWx3, labels int64 B)``; normalisation happens on the device.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, network: nn.Module, classes: int, optimizer: torch.optim.Optimizer, schedule: Schedule
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.history: list[EpochRecord] = []
        self.seed = 0
        self.metadata: dict[str, Any] = {}
        self.progress: Callable[[EpochRecord], None] | None = None
        self.seconds_before, self.started = 0.0, time.monotonic()
        mean, deviation = (torch.tensor(values) * 255 for values in normalisation(network))
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(1, 3, 1, 1), persistent=False)
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "f1_macro": MulticlassF1Score(classes, average="macro"),
                "f1_weighted": MulticlassF1Score(classes, average="weighted"),
            },
            compute_groups=False,
        )
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        # One loss that is no number must not vanish in the mean.
        self.train_loss = MeanMetric(nan_strategy=math.inf)
        self.val_loss = MeanMetric(nan_strategy=math.inf)

    def forward(self, images_BHWC: Tensor) -> Tensor:  # noqa: N803
        """Logits, shape (batch, classes), of uint8 images."""
        # A permuted view keeps the channels innermost, the layout convolutions are fastest in.
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()  # noqa: N806
        logits: Tensor = self.network((images_BCHW - self.mean) / self.deviation)
        return logits

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, those before an interruption included."""
        return self.seconds_before + time.monotonic() - self.started

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser; the schedule is applied by the epoch's number, not by a scheduler."""
        return self.optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Sets what the epoch depends on; the hook before it is skipped when resuming."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * 100_003 + self.current_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.learning_rates[self.current_epoch]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        logits = self(images)
        loss = functional.cross_entropy(
            logits, labels, label_smoothing=self.schedule.label_smoothing
        )
        self.train_loss.update(loss.detach(), len(labels))
        self.train_metrics.update(logits.detach(), labels)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Adds one batch to the figures on val."""
        images, labels = batch
        logits = self(images)
        self.val_loss.update(functional.cross_entropy(logits, labels), len(labels))
        self.val_metrics.update(logits, labels)

    def on_train_epoch_end(self) -> None:
        """Writes the epoch into the history and the loggers; Lightning has run val by now.

        Raises:
            TrainingDiverged: the loss is infinite or no number.
        """
        figures = {"train_loss": self.train_loss, "val_loss": self.val_loss}
        row = {name: round(float(metric.compute()), 6) for name, metric in figures.items()}
        for collection in (self.train_metrics, self.val_metrics):
            row |= {k: round(float(v), 6) for k, v in collection.compute().items()}
        for metric in (self.train_loss, self.val_loss, self.train_metrics, self.val_metrics):
            metric.reset()
        row["learning_rate"] = self.schedule.learning_rates[self.current_epoch]
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise TrainingDiverged(
                f"training diverged in epoch {self.current_epoch}: the loss on train is "
                f"{row['train_loss']}, on val {row['val_loss']}; lower learning_rate "
                f"(now {row['learning_rate']:g})"
            )
        self.history.append(EpochRecord(epoch=self.current_epoch, **row))
        for logger in self.loggers:
            self._write(logger, self.history[-1])
        if is_finished(self.history, self.schedule):
            self.trainer.should_stop = True

    def on_fit_start(self) -> None:
        """Gives the epochs before an interruption to the CSV log, which begins anew each time."""
        for logger in self.loggers:
            if isinstance(logger, CSVLogger):
                for record in self.history:
                    self._write(logger, record)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the history, the time it took, and what it takes to rebuild the network."""
        checkpoint["history"] = [record.model_dump() for record in self.history]
        checkpoint["seconds"] = self.seconds
        checkpoint["classifier"] = self.metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the history and the time up."""
        self.history = [EpochRecord(**record) for record in checkpoint["history"]]
        self.seconds_before = checkpoint["seconds"]

    @staticmethod
    def _write(logger: Any, record: EpochRecord) -> None:
        # Not through Lightning's log(): curves are read over epochs, and in full precision.
        logger.log_metrics(record.model_dump(exclude={"epoch"}), step=record.epoch)
        logger.save()


class BestAndLastCheckpoint(Checkpoint):
    """Writes ``best.ckpt`` (weights) when val improved and ``last.ckpt`` (all) after every epoch.

    A file appears whole or not at all, so a kill at any moment leaves something to resume from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves, then reports the epoch: what was reported is never trained again."""
        assert isinstance(pl_module, ClassifierModule)
        if best_epoch(pl_module.history) == pl_module.current_epoch:
            self._save(trainer, BEST, weights_only=True)
        self._save(trainer, LAST, weights_only=False)
        if pl_module.progress is not None:
            pl_module.progress(pl_module.history[-1])

    def _save(self, trainer: L.Trainer, name: str, weights_only: bool) -> None:
        part = self.folder / f"{name}.part"
        trainer.save_checkpoint(part, weights_only=weights_only)
        os.replace(part, self.folder / name)
