"""Detectors on the embedded backbone: its features, a feature pyramid, and a head of torchvision.

The pyramid is that of Lin et al. 2017 (https://arxiv.org/abs/1612.03144); small objects need it.
"""

import math
from functools import partial
from typing import Any, cast

import timm
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from models.embedding.weights import NETWORK
from models.training.detection.anchor_detector import AnchorDetector
from models.training.detection.published.detr import build_detr
from models.training.detection.published.names import DETR_NETWORKS
from models.training.detection.settings import DetectionParameters
from models.training.pretrained import load_weights_file, published_settings, published_weights

# Features of the backbone, by their number: an 8th, a 16th and a 32nd of the image's side.
_LEVELS = (2, 3, 4)
_STRIDES = (8, 16, 32, 64)
_CHANNELS = 96
# Layers that keep their published weights: up to a quarter of the image's side.
_FIXED = ("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")
_RATIOS = (0.5, 1.0, 2.0)
# Neighbouring levels share two sizes, so that an object is taught at two of them.
_SIZES = 4
# First score of every class, so that the many background anchors do not dominate the loss.
_PRIOR = 0.01
# Groups of channels do not depend on the batch, so that one norm suits all levels.
_NORM = partial(nn.GroupNorm, 8)


class PyramidBackbone(nn.Module):
    """The embedded backbone with a feature pyramid of four levels, 96 channels each.

    With published weights, the first layers and all statistics of batch normalisation stay as they
    are: batches of detection are small, and these layers are the most costly ones to train.
    """

    def __init__(self, settings: DetectionParameters, start: DetectionParameters | None) -> None:
        super().__init__()
        options: dict[str, Any] = {"features_only": True, "out_indices": _LEVELS}
        if start is not None and start.pretrained and start.weights_file is None:
            overlay = {**published_weights(NETWORK, start.revision), "custom_load": False}
            options |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
        self.body = timm.create_model(NETWORK, **options)
        self.keeps_statistics = settings.pretrained
        self.out_channels = _CHANNELS
        if settings.pretrained:
            for name, weights in self.body.named_parameters():
                weights.requires_grad_(not name.startswith(_FIXED))
        info: Any = self.body.feature_info
        self.fpn = FeaturePyramidNetwork(
            info.channels(),
            _CHANNELS,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=_NORM,
        )

    def train(self, mode: bool = True) -> "PyramidBackbone":
        """Set the mode of all layers but batch normalisation with published statistics."""
        super().train(mode)
        if self.keeps_statistics:
            for layer in self.body.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of each level by name, the finest first."""
        levels = self.body(images)
        named = {str(number): level for number, level in enumerate(levels)}
        return cast(dict[str, Tensor], self.fpn(named))


def build_anchors(scale: float) -> AnchorGenerator:
    """Anchors of twelve shapes per cell; the smallest of a level are ``scale`` cells wide."""
    sizes = tuple(
        tuple(scale * stride * 2 ** (step / 2) for step in range(_SIZES)) for stride in _STRIDES
    )
    return AnchorGenerator(sizes, (_RATIOS,) * len(sizes))


def build_detector(
    name: str,
    classes: int,
    settings: DetectionParameters,
    start: DetectionParameters | None = None,
) -> nn.Module:
    """A `Detector` with a new head for ``classes``, and the weights that ``start`` names.

    Without ``start`` all weights are random, and come from torch's global generator.

    Raises:
        WeightsMissingError: the embedded backbone, or another revision of it, is not here.
        CheckpointMissingError: the checkpoint of a published detector is not on this machine.
        WrongCheckpointError: that checkpoint is of another network.
        ValueError: the weights file is of another network.
    """
    if name in DETR_NETWORKS:
        (reference,) = settings.checkpoints
        return build_detr(
            name, classes, reference, is_new=start is not None, min_score=settings.score_threshold
        )
    backbone = PyramidBackbone(settings, start)
    anchors = build_anchors(settings.anchor_scale)
    per_cell = anchors.num_anchors_per_location()
    if name == "ssdlite_efficientnet_lite0":
        head: nn.Module = SSDLiteHead([_CHANNELS] * len(per_cell), per_cell, classes, _NORM)
        _start_as_background(head)
    else:
        head = RetinaNetHead(_CHANNELS, per_cell[0], classes, norm_layer=_NORM)
    published = published_settings(NETWORK)
    network = AnchorDetector(backbone, head, anchors, settings, published.mean, published.std)
    if start is not None and start.weights_file is not None:
        load_weights_file(network, start.weights_file)
    return network


def _start_as_background(head: SSDLiteHead) -> None:
    """Let the last layers of the class logits begin as those of RetinaNet do (section 4.1)."""
    for block in head.classification_head.module_list:
        nn.init.constant_(block[-1].bias, -math.log((1 - _PRIOR) / _PRIOR))
