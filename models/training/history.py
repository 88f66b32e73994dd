"""What a training reports: the figures of each epoch, and the trained model's description."""

from collections.abc import Sequence
from pathlib import Path

from models.data.records import Record


class EpochRecord(Record):
    """Figures of one epoch: losses in nats, all others in 0..1, epochs counted from 0.

    The train figures are those of augmented images, measured while the weights changed. F1 is
    averaged over the classes: ``macro`` counts each class once, ``weighted`` by its images. A
    linear classifier has one record; ``learning_rate`` is its inverse strength of regularisation.
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


class TrainedModel(Record):
    """A finished training. ``checkpoint`` holds the weights of ``best_epoch``, counted from 0."""

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


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The epoch with the best macro F1 on val; ties go to the lower val loss, then the earlier."""
    return max(history, key=lambda record: (record.val_f1_macro, -record.val_loss)).epoch
