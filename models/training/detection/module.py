"""The module that Lightning trains for a detector of any library."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.detection import MeanAveragePrecision

from models.training.detection.data import unpack_objects
from models.training.detection.detector import Detector, Objects
from models.training.detection.settings import DetectionParameters
from models.training.epoch_module import EpochModule
from models.training.history import DetectionEpoch


class AveragePrecision(MeanAveragePrecision):
    """AP50 and AP50:95, each a mean over the classes that have an object, by pycocotools."""

    def __init__(self) -> None:
        super().__init__(backend="pycocotools")
        self.warn_on_many_detections = False

    def compute(self) -> dict[str, Tensor]:
        """``{"map_50", "map_50_95"}``, 0..1."""
        found = super().compute()
        return {"map_50": found["map_50"].clamp(min=0), "map_50_95": found["map"].clamp(min=0)}


class DetectionModule(EpochModule):
    """A `Detector`; the targets of a batch are float32 [B, N, 5], see `unpack_objects`."""

    record = DetectionEpoch

    def __init__(
        self, network: nn.Module, classes: Sequence[str], settings: DetectionParameters
    ) -> None:
        metrics = MetricCollection({"precision": AveragePrecision()}, compute_groups=False)
        super().__init__(network, settings, metrics, checkpoint_metadata(settings, classes))
        # What is found in train photos is not measured: it would take as long as the training.
        self.train_metrics = MetricCollection({})
        self.fixed = [weights for weights in network.parameters() if not weights.requires_grad]

    @property
    def detector(self) -> Detector:
        """The network as what it can do."""
        return cast(Detector, self.network)

    def _freeze_body(self, is_frozen: bool) -> None:
        """As for other tasks; weights that a network keeps are never trained."""
        super()._freeze_body(is_frozen)
        for weights in self.fixed:
            weights.requires_grad_(False)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, targets = _read(batch)
        loss = torch.stack(list(self.detector.losses(images, targets).values())).sum()
        self.train_loss.update(loss.detach(), len(targets))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add one batch to the figures on val."""
        images, targets = _read(batch)
        loss = torch.stack(list(self.detector.losses(images, targets).values())).sum()
        self.val_loss.update(loss, len(targets))
        found = [
            {"boxes": image.boxes, "labels": image.labels, "scores": image.scores}
            for image in self.detector.detect(images)
        ]
        wanted = [{"boxes": image.boxes, "labels": image.labels} for image in targets]
        self.val_metrics.update(found, wanted)


def checkpoint_metadata(settings: DetectionParameters, classes: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint says of its network, so that another one is refused."""
    return {
        "network": settings.network,
        "image_size": settings.image_size,
        "classes": list(classes),
    }


def to_unit_range(images_BHWC: Tensor) -> Tensor:  # noqa: N803
    """Images uint8 BxHxWx3 as float32 Bx3xHxW in 0..1."""
    # A permuted view keeps the channels-last layout, in which convolutions are fastest.
    return images_BHWC.permute(0, 3, 1, 2).float() / 255


def _read(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, list[Objects]]:
    images, targets = batch
    return to_unit_range(images), unpack_objects(targets)
