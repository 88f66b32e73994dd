"""Networks that give each pixel a class: DeepLabV3 of the study, and a light one for laptops."""

from typing import Any

import timm
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation import deeplabv3_resnet101
from torchvision.models.segmentation.lraspp import LRASPPHead

from models.checkpoints.local import locate
from models.embedding.weights import NETWORK
from models.training.pretrained import load_weights_file, published_settings, published_weights
from models.training.segmentation.settings import SegmentationParameters

# The file of the checkpoint, as the catalog names it.
DEEPLAB_FILE = "deeplabv3_resnet101_coco.safetensors"
# Features of the backbone, by their number: a quarter and a sixteenth of the image's side.
_LOW, _HIGH = 1, 3


class DeepLabV3(nn.Module):
    """DeepLabV3 with ResNet-101 (Chen et al. 2017, https://arxiv.org/abs/1706.05587)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        network = deeplabv3_resnet101(
            weights=None, weights_backbone=None, num_classes=classes, aux_loss=False
        )
        self.backbone, self.classifier = network.backbone, network.classifier
        self.pretrained_cfg: dict[str, Any] = {"classifier": "classifier"}

    def forward(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Logits (batch, classes, height, width)."""
        logits: Tensor = self.classifier(self.backbone(images_BCHW)["out"])
        return _enlarge(logits, images_BCHW)


class LiteRASPP(nn.Module):
    """The embedded backbone with the LR-ASPP head (Howard et al. 2019, section 6.4).

    The low features have a quarter of the image's side, so that outlines are finer than in the
    paper, https://arxiv.org/abs/1905.02244.
    """

    def __init__(self, classes: int, start: SegmentationParameters | None) -> None:
        super().__init__()
        settings: dict[str, Any] = {"features_only": True, "out_indices": (_LOW, _HIGH)}
        if start is not None and start.pretrained and start.weights_file is None:
            overlay = {**published_weights(NETWORK, start.revision), "custom_load": False}
            settings |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        backbone = timm.create_model(NETWORK, **settings)
        info: Any = backbone.feature_info
        low, high = info.channels()
        self.backbone = backbone
        self.head = LRASPPHead(low, high, classes, 128)
        published = published_settings(NETWORK)
        self.pretrained_cfg: dict[str, Any] = {
            "classifier": "head",
            "mean": published.mean,
            "std": published.std,
        }

    def forward(self, images_BCHW: Tensor) -> Tensor:  # noqa: N803
        """Logits (batch, classes, height, width)."""
        low, high = self.backbone(images_BCHW)
        logits: Tensor = self.head({"low": low, "high": high})
        return _enlarge(logits, images_BCHW)


def build_segmentation_network(
    name: str, classes: int, start: SegmentationParameters | None = None
) -> nn.Module:
    """A network with a new head for ``classes``, and the weights that ``start`` names.

    Without ``start`` all weights are random, and come from torch's global generator.

    Raises:
        WeightsMissingError: the embedded backbone, or another revision of it, is not here.
        CheckpointMissingError: the published weights of DeepLabV3 are not on this machine.
        ValueError: the weights file is of another network.
    """
    if name != "deeplabv3_resnet101":
        network: nn.Module = LiteRASPP(classes, start)
    else:
        network = DeepLabV3(classes)
        for reference in start.checkpoints if start is not None else ():
            load_weights_file(network, locate(reference) / DEEPLAB_FILE)
    if start is not None and start.weights_file is not None:
        load_weights_file(network, start.weights_file)
    return network


def _enlarge(logits: Tensor, images: Tensor) -> Tensor:
    return functional.interpolate(
        logits, size=images.shape[-2:], mode="bilinear", align_corners=False
    )
