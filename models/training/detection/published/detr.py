"""Detectors without anchors that transformers brings: RT-DETRv2, D-FINE and RF-DETR.

Each has a fixed number of queries, and the loss assigns objects to queries (Carion et al. 2020,
https://arxiv.org/abs/2005.12872). Papers: https://arxiv.org/abs/2407.17140 (RT-DETRv2),
https://arxiv.org/abs/2410.13842 (D-FINE), https://arxiv.org/abs/2511.09554 (RF-DETR).
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image

from models.checkpoints.local import locate
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError, load_strictly, read_json
from models.training.detection.detector import Detections, Objects
from models.training.detection.published.names import DETR_NETWORKS, PublishedDetector

CPU = Machine(torch.device("cpu"), torch.float32)
MOST_OBJECTS = 100


class DetrDetector(nn.Module):
    """A detector of transformers with random weights, as a ``Detector``.

    Args:
        name: which of ``DETR_NETWORKS``.
        configuration: the architecture, as the library describes it.
        min_score: objects with a lower score are not reported.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, configuration: Any, min_score: float = 0.0) -> None:
        super().__init__()
        self.min_score = min_score
        published = DETR_NETWORKS[name]
        self.network = _class_of(name)(configuration)
        self.pretrained_cfg = {
            "classifier": tuple(f"network.{head}".rstrip(".") for head in published.heads),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
        }
        mean, deviation = _normalisation(published)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def losses(self, images: Tensor, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """The library's weighted sum of all parts as ``loss``; see ``Detector``."""
        side = images.shape[-1]
        labels = [
            {
                "class_labels": target.labels,
                "boxes": box_convert(target.boxes, "xyxy", "cxcywh") / side,
            }
            for target in targets
        ]
        settings = self.network.config
        groups = getattr(settings, "group_detr", 1)
        if not self.training and groups > 1:
            # RF-DETR has several groups of queries in training alone; its loss always splits them.
            settings.group_detr = 1
        try:
            return {"loss": self.network(self._normalise(images), labels=labels).loss}
        finally:
            if groups > 1:
                settings.group_detr = groups

    def detect(self, images: Tensor) -> list[Detections]:
        """The 100 pairs of query and class with the highest scores; see ``Detector``."""
        found = self.network(self._normalise(images))
        scores = found.logits.float().sigmoid()
        classes, side = scores.shape[-1], images.shape[-1]
        best, places = scores.flatten(1).topk(min(MOST_OBJECTS, scores[0].numel()))
        corners = box_convert(found.pred_boxes.float(), "cxcywh", "xyxy") * side
        return [
            Detections(
                boxes=clip_boxes_to_image(boxes[kept // classes], (side, side)),
                labels=kept % classes,
                scores=score[score >= self.min_score],
            )
            for boxes, place, score in zip(corners, places, best, strict=True)
            for kept in [place[score >= self.min_score]]
        ]

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation


def check_detr(reference: str) -> None:
    """Check that this machine has transformers and a published detector.

    Raises:
        CheckpointMissingError: its files are not on this machine.
        ValueError: transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(
            "network: this detector needs transformers; run: pip install 'synthset[diffusion]'"
        )
    locate(reference)


def build_detr(
    name: str, classes: int, reference: str, *, is_new: bool, min_score: float = 0.0
) -> DetrDetector:
    """A detector with new heads for ``classes``; random heads come from torch's global generator.

    The architecture is that of the checkpoint's ``config.json``.

    Args:
        name: which of ``DETR_NETWORKS``.
        reference: its checkpoint, ``id`` or ``id@revision``.
        is_new: start from the published weights. If not, all weights are random, because the
            caller loads its own.
        min_score: objects with a lower score are not reported.

    Raises:
        CheckpointMissingError: the checkpoint is not on this machine.
        WrongCheckpointError: the checkpoint is of another network.
    """
    from transformers import AutoConfig

    folder, kind = locate(reference), _class_of(name)
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type != kind.config_class.model_type:
        raise WrongCheckpointError(
            f"{folder}: config.json is of {model_type}, not of {kind.config_class.model_type}; "
            "fetch it again"
        )
    configuration = AutoConfig.from_pretrained(folder, local_files_only=True)
    configuration.num_labels = classes
    detector = DetrDetector(name, configuration, min_score)
    if is_new:
        published = load_strictly(kind, folder, CPU)
        heads = DETR_NETWORKS[name].heads
        body = {
            key: tensor
            for key, tensor in published.state_dict().items()
            if not key.startswith(heads)
        }
        detector.network.load_state_dict({**detector.network.state_dict(), **body})
    return detector


def _normalisation(published: PublishedDetector) -> tuple[Tensor, Tensor]:
    """Channel means and deviations, 1x3x1x1 each."""
    statistics: tuple[Sequence[float], Sequence[float]] = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if published.is_normalised:
        statistics = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)
    return mean, deviation


def _class_of(name: str) -> Any:
    import transformers

    return getattr(transformers, DETR_NETWORKS[name].kind)
