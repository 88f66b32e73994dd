"""A detector with anchors, of torchvision's parts: SSDLite and RetinaNet on one feature pyramid."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from models.training.detection.detector import Detections, Objects
from models.training.detection.settings import DetectionParameters

MOST_OBJECTS = 100
# Anchors from this IoU with an object on are taught to find it, those below the other are taught to
# be background. Anchors of small objects lie up to half a cell off, so 0.5 is too high.
_OBJECT_IOU, _BACKGROUND_IOU = 0.4, 0.3
# Background anchors per object in the loss cross_entropy (Liu et al. 2016, section 2.2).
_NEGATIVES = 3


class AnchorDetector(RetinaNet):  # type: ignore[misc]  # torchvision has no types
    """A network that scores anchors; anchors, matching, decoding and NMS are torchvision's.

    The score of each class is a sigmoid, as in Lin et al. 2017 (https://arxiv.org/abs/1708.02002).
    Boxes are taught by their generalised IoU (Rezatofighi et al. 2019,
    https://arxiv.org/abs/1902.09630). Losses are means over the objects of the batch, so that a
    photo without an object counts as background.

    Args:
        backbone: features of all levels by name, equally wide, and ``out_channels``.
        head: class logits and box offsets of all anchors; one logit per class.
        mean, std: normalisation of images in 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        anchors: AnchorGenerator,
        settings: DetectionParameters,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(
            backbone,
            num_classes=1,  # the head has its own
            anchor_generator=anchors,
            head=head,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_threshold,
            detections_per_img=MOST_OBJECTS,
            fg_iou_thresh=_OBJECT_IOU,
            bg_iou_thresh=_BACKGROUND_IOU,
        )
        self.loss = settings.loss
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.pretrained_cfg: dict[str, Any] = {
            "classifier": ("head", "backbone.fpn"),
            "mean": tuple(mean),
            "std": tuple(std),
        }

    def losses(self, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """The losses of classes and boxes of a batch; see `Detector`."""
        logits, offsets, anchors, _ = self._score(images)
        matches = torch.stack([self._match(anchors, target) for target in targets])
        found = matches >= 0
        total = found.sum().clamp(min=1)
        wanted = torch.zeros_like(logits)
        pairs = []
        for image, (target, matched) in enumerate(zip(targets, matches, strict=True)):
            positive = torch.nonzero(matched >= 0)[:, 0]
            objects = matched[positive]
            wanted[image, positive, target.labels[objects]] = 1
            boxes = self.box_coder.decode_single(offsets[image, positive], anchors[positive])
            pairs.append(generalized_box_iou_loss(boxes, target.boxes[objects]).sum())
        of_classes = self._class_loss(logits, wanted, found, matches == -1)
        return {"classes": of_classes / total, "boxes": torch.stack(pairs).sum() / total}

    def detect(self, images: Tensor) -> list[Detections]:
        """What is found in each image of a batch; see `Detector`."""
        logits, offsets, anchors, counts = self._score(images)
        outputs = {
            "cls_logits": list(torch.split(logits, counts, dim=1)),
            "bbox_regression": list(torch.split(offsets, counts, dim=1)),
        }
        size = (images.shape[-2], images.shape[-1])
        per_level = [list(torch.split(anchors, counts))] * len(images)
        found = self.postprocess_detections(outputs, per_level, [size] * len(images))
        return [Detections(image["boxes"], image["labels"], image["scores"]) for image in found]

    def _score(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """Logits [B, A, classes], offsets [B, A, 4], anchors [A, 4], and anchors per level."""
        features = list(self.backbone((images - self.mean) / self.std).values())
        outputs = self.head(features)
        size = (images.shape[-2], images.shape[-1])
        # Half precision is too coarse for coordinates and for the sum over all anchors.
        in_float = [level.float() for level in features]
        (anchors,) = self.anchor_generator(ImageList(images, [size]), in_float)
        per_cell = self.anchor_generator.num_anchors_per_location()
        counts = [
            level.shape[-2] * level.shape[-1] * number
            for level, number in zip(features, per_cell, strict=True)
        ]
        return outputs["cls_logits"].float(), outputs["bbox_regression"].float(), anchors, counts

    def _match(self, anchors: Tensor, target: Objects) -> Tensor:
        """The object of each anchor, int64; -1: background; -2: neither, so it has no loss."""
        if not len(target.boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        matched: Tensor = self.proposal_matcher(box_iou(target.boxes, anchors))
        return matched

    def _class_loss(
        self, logits: Tensor, wanted: Tensor, found: Tensor, background: Tensor
    ) -> Tensor:
        """The sum of the loss of the classes; ``found`` and ``background`` are bool [B, A]."""
        if self.loss == "focal":
            known = found | background
            loss: Tensor = sigmoid_focal_loss(logits[known], wanted[known], reduction="sum")
            return loss
        losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        of_anchors = losses.sum(dim=2)
        # Of the whole batch, so that photos without an object teach what is none.
        most = _NEGATIVES * max(int(found.sum()), len(logits))
        hardest = of_anchors[background].topk(min(most, int(background.sum()))).values
        return of_anchors[found].sum() + hardest.sum()
