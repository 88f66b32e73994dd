"""The module that Lightning trains, for every task: loss, figures and history of each epoch.

An epoch's learning rate, image order and dropout depend on the seed and the epoch's number alone.
The checkpoint holds the history. So a killed training continues as if it had not stopped.
"""

import math
import time
from typing import Any

import lightning as L  # noqa: N812 - the name Lightning's own pages use
import torch
from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection

from models.training.history import Epoch, best_epoch
from models.training.optimizer import build_optimizer
from models.training.pretrained import head_names, normalisation
from models.training.schedule import Schedule
from models.training.settings import TrainingParameters


class TrainingDivergedError(ValueError):
    """The loss is infinite or not a number."""


class EpochModule(L.LightningModule):
    """A network with its optimiser, learning rates and metrics, for Lightning's Trainer.

    Batches are ``(images uint8 BxHxWx3, targets)``, normalised on the device. A task has its own
    subclass with ``record``, ``ignored`` and ``metadata``.

    Args:
        metrics: the figures of an epoch besides its loss, by the names of ``record``.
    """

    record: type[Epoch]
    ignored = -100  # a target that has no loss

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingParameters,
        metrics: MetricCollection,
        metadata: dict[str, Any],
    ) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        # `train_or_resume` replaces it by that of the training's number of steps.
        self.schedule = Schedule(settings, 1)
        self.learning_rate = 0.0
        self.optimizer = build_optimizer(network, settings)
        self.metadata = metadata
        self.history: list[Epoch] = []
        self.seed = 0
        self.seconds_before, self.started = 0.0, time.monotonic()
        mean, deviation = (torch.tensor(values) * 255 for values in normalisation(network))
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(1, 3, 1, 1), persistent=False)
        self.train_metrics = metrics.clone(prefix="train_")
        self.val_metrics = metrics.clone(prefix="val_")
        # A NaN batch loss must make the epoch mean infinite; by default torchmetrics skips it.
        self.train_loss = MeanMetric(nan_strategy=math.inf)
        self.val_loss = MeanMetric(nan_strategy=math.inf)

    def forward(self, images_BHWC: Tensor) -> Tensor:  # noqa: N803
        """Logits, shape (batch, classes, ...), of uint8 images BxHxWx3."""
        # A permuted view keeps the channels-last layout, in which convolutions are fastest.
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()  # noqa: N806
        logits: Tensor = self.network((images_BCHW - self.mean) / self.deviation)
        return logits

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, including those before an interruption."""
        return self.seconds_before + time.monotonic() - self.started

    def is_finished(self) -> bool:
        """Whether all epochs are trained, or too many were not better than the best on val."""
        if not self.history:
            return False
        patience = self.settings.early_stopping_patience
        epochs_since_best = self.history[-1].epoch - best_epoch(self.history)
        stops_early = patience is not None and epochs_since_best >= patience
        return stops_early or len(self.history) >= self.settings.epochs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser, without a scheduler: `on_train_batch_start` sets its learning rate."""
        return self.optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the epoch, and set the rate; Lightning skips the epoch's own hook on resuming."""
        if batch_idx == 0:
            torch.manual_seed(self.seed * 100_003 + self.current_epoch)
        self.learning_rate = self.schedule.apply(self.optimizer, self.current_epoch, batch_idx)
        if self.settings.freeze == "body":
            self._freeze_body(True)
        elif self.settings.frozen_steps:
            self._freeze_body(self.global_step < self.settings.frozen_steps)

    def _freeze_body(self, is_frozen: bool) -> None:
        """Train the head alone, and fix the statistics of batch normalisation, or train all."""
        self.network.train(not is_frozen)
        heads = head_names(self.network)
        for name, weights in self.network.named_parameters():
            weights.requires_grad_(not is_frozen or name.startswith(heads))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, targets = batch
        logits = self(images)
        loss = functional.cross_entropy(
            logits,
            targets,
            label_smoothing=self.settings.label_smoothing,
            ignore_index=self.ignored,
        )
        self.train_loss.update(loss.detach(), len(targets))
        self.train_metrics.update(logits.detach(), targets)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add one batch to the figures on val."""
        images, targets = batch
        logits = self(images)
        loss = functional.cross_entropy(logits, targets, ignore_index=self.ignored)
        self.val_loss.update(loss, len(targets))
        self.val_metrics.update(logits, targets)

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
        row["learning_rate"] = self.learning_rate
        if not math.isfinite(row["train_loss"] + row["val_loss"]):
            raise TrainingDivergedError(
                f"training diverged in epoch {self.current_epoch}: the loss on train is "
                f"{row['train_loss']}, on val {row['val_loss']}; lower learning_rate "
                f"(now {row['learning_rate']:g})"
            )
        self.history.append(self.record.model_validate({"epoch": self.current_epoch, **row}))
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
        checkpoint["classifier"] = self.metadata  # the name dates from the first task

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history and the seconds."""
        self.history = [self.record.model_validate(record) for record in checkpoint["history"]]
        self.seconds_before = checkpoint["seconds"]

    @staticmethod
    def _write(logger: Logger, record: Epoch) -> None:
        # Lightning's log() would round to float32 and count steps in place of epochs.
        logger.log_metrics(record.model_dump(exclude={"epoch"}), step=record.epoch)
        logger.save()
