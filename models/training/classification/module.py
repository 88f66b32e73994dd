"""The classifier that Lightning trains: loss, figures and history of each epoch.

An epoch's learning rate, image order and dropout depend on the seed and the epoch's number alone.
The checkpoint holds the history. So a killed training continues as if it had not stopped.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from models.training.classification.networks import normalisation
from models.training.history import EpochRecord, is_finished


class TrainingDivergedError(ValueError):
    """The loss is infinite or not a number."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate per epoch, label smoothing 0..1, and when to stop before the last epoch.

    ``patience``: number of epochs without a better one on val; None never stops early.
    """

    learning_rates: tuple[float, ...]
    label_smoothing: float = 0.0
    patience: int | None = None


class ClassifierModule(L.LightningModule):
    """A network with its optimiser, schedule and metrics, for Lightning's Trainer.

    Batches are ``(images uint8 BxHxWx3, labels int64 B)``, normalised on the device. ``metadata``
    is saved in each checkpoint: what `predict` needs to rebuild the network.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        metadata: dict[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.history: list[EpochRecord] = []
        self.seed = 0
        self.metadata = metadata
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
        # A NaN batch loss must make the epoch mean infinite; by default torchmetrics skips it.
        self.train_loss = MeanMetric(nan_strategy=math.inf)
        self.val_loss = MeanMetric(nan_strategy=math.inf)

    def forward(self, images_BHWC: Tensor) -> Tensor:  # noqa: N803
        """Logits, shape (batch, classes), of uint8 images BxHxWx3."""
        # A permuted view keeps the channels-last layout, in which convolutions are fastest.
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()  # noqa: N806
        logits: Tensor = self.network((images_BCHW - self.mean) / self.deviation)
        return logits

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, including those before an interruption."""
        return self.seconds_before + time.monotonic() - self.started

    def is_finished(self) -> bool:
        """Whether no epoch is left to train."""
        epochs = len(self.schedule.learning_rates)
        return is_finished(self.history, epochs, self.schedule.patience)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser, without a scheduler: `on_train_batch_start` sets its learning rate."""
        return self.optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the epoch and set its rate; Lightning skips the epoch's own hook when it resumes."""
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
        """Add one batch to the figures on val."""
        images, labels = batch
        logits = self(images)
        self.val_loss.update(functional.cross_entropy(logits, labels), len(labels))
        self.val_metrics.update(logits, labels)

    def on_train_epoch_end(self) -> None:
        """Append the epoch to the history and write it to the loggers. Val was measured before.

        Raises:
            TrainingDivergedError: the loss is infinite or not a number.
        """
        figures = {"train_loss": self.train_loss, "val_loss": self.val_loss}
        row = {name: round(float(metric.compute()), 6) for name, metric in figures.items()}
        for collection in (self.train_metrics, self.val_metrics):
            row |= {k: round(float(v), 6) for k, v in collection.compute().items()}
        for metric in (self.train_loss, self.val_loss, self.train_metrics, self.val_metrics):
            metric.reset()
        row["learning_rate"] = self.schedule.learning_rates[self.current_epoch]
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise TrainingDivergedError(
                f"training diverged in epoch {self.current_epoch}: the loss on train is "
                f"{row['train_loss']}, on val {row['val_loss']}; lower learning_rate "
                f"(now {row['learning_rate']:g})"
            )
        self.history.append(EpochRecord(epoch=self.current_epoch, **row))
        for logger in self.loggers:
            self._write(logger, self.history[-1])
        if self.is_finished():
            self.trainer.should_stop = True

    def on_fit_start(self) -> None:
        """Write the epochs before an interruption to the CSV log, which starts empty."""
        for logger in self.loggers:
            if isinstance(logger, CSVLogger):
                for record in self.history:
                    self._write(logger, record)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history, the seconds, and what `predict` needs to rebuild the network."""
        checkpoint["history"] = [record.model_dump() for record in self.history]
        checkpoint["seconds"] = self.seconds
        checkpoint["classifier"] = self.metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history and the seconds."""
        self.history = [EpochRecord(**record) for record in checkpoint["history"]]
        self.seconds_before = checkpoint["seconds"]

    @staticmethod
    def _write(logger: Logger, record: EpochRecord) -> None:
        # Lightning's log() would round to float32 and count steps in place of epochs.
        logger.log_metrics(record.model_dump(exclude={"epoch"}), step=record.epoch)
        logger.save()
