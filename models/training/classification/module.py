"""The classifier that Lightning trains."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from models.training.epoch_module import EpochModule
from models.training.history import EpochRecord
from models.training.settings import TrainingParameters


class ClassifierModule(EpochModule):
    """A classifier; the targets of a batch are class indices, int64 B."""

    record = EpochRecord

    def __init__(
        self, network: nn.Module, classes: Sequence[str], settings: TrainingParameters
    ) -> None:
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(len(classes), average="micro"),
                "f1_macro": MulticlassF1Score(len(classes), average="macro"),
                "f1_weighted": MulticlassF1Score(len(classes), average="weighted"),
            },
            compute_groups=False,
        )
        super().__init__(network, settings, metrics, checkpoint_metadata(settings, classes))


def checkpoint_metadata(settings: TrainingParameters, classes: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint tells of its network, so that `predict` can rebuild it."""
    return {
        "network": settings.network,
        "image_size": settings.image_size,
        "classes": list(classes),
    }
