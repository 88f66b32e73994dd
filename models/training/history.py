"""What a training reports: the figures of each epoch, and the trained model's description."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from models.data.records import Record


class Epoch(Record, ABC):
    """Figures of one epoch: losses in nats, all others in 0..1, epochs counted from 0.

    The train figures are those of augmented images, measured while the weights changed. The
    learning rate is that of the head in the last step.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float

    @property
    @abstractmethod
    def val_score(self) -> float:
        """The figure on val that chooses the epoch; higher is better."""


class EpochRecord(Epoch):
    """An epoch of a classifier.

    F1 is averaged over the classes: ``macro`` counts each class once, ``weighted`` by its images. A
    linear classifier has one record; ``learning_rate`` is its inverse strength of regularisation.
    """

    train_accuracy: float
    train_f1_macro: float
    train_f1_weighted: float
    val_accuracy: float
    val_f1_macro: float
    val_f1_weighted: float

    @property
    def val_score(self) -> float:
        """Macro F1."""
        return self.val_f1_macro


class SegmentationEpoch(Epoch):
    """An epoch of a segmentation network: share of pixels that are right, and mean IoU."""

    train_accuracy: float
    train_miou: float
    val_accuracy: float
    val_miou: float

    @property
    def val_score(self) -> float:
        """Mean IoU."""
        return self.val_miou


class DetectionEpoch(Epoch):
    """An epoch of a detector: mean over the classes of AP50 and AP50:95; train is not measured."""

    val_map_50: float
    val_map_50_95: float

    @property
    def val_score(self) -> float:
        """AP50."""
        return self.val_map_50


class EpochChoice(Record):
    """One of several lengths of a training: its best epoch on val, counted from 0.

    ``val_score`` is macro F1, mean IoU or AP50; ``chosen``: whether its weights were kept.
    """

    epochs: int
    best_epoch: int
    val_score: float
    val_loss: float
    chosen: bool


class TrainedModel(Record):
    """A finished training. ``checkpoint`` holds the weights of ``best_epoch``, counted from 0.

    ``epoch_choices`` are empty where the recipe names one number of epochs.
    """

    network: str
    parameters_count: int
    classes: tuple[str, ...]
    seed: int
    train_images: int
    steps_per_epoch: int
    epochs_run: int
    best_epoch: int
    history: tuple[EpochRecord | SegmentationEpoch | DetectionEpoch, ...]
    checkpoint: Path
    seconds: float
    epoch_choices: tuple[EpochChoice, ...] = ()

    @property
    def best(self) -> EpochRecord | SegmentationEpoch | DetectionEpoch:
        """The epoch whose weights were kept."""
        return self.history[self.best_epoch]


def best_epoch(history: Sequence[Epoch]) -> int:
    """The epoch with the best score on val; ties go to the lower val loss, then the earlier."""
    return max(history, key=lambda record: (record.val_score, -record.val_loss)).epoch
