"""Detectors on the embedded backbone: what they find, what they learn from, and what stays."""

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from models.embedding.weights import embedded_tensors
from models.training.detection.anchor_detector import AnchorDetector
from models.training.detection.detector import Objects
from models.training.detection.module import DetectionModule
from models.training.detection.networks import build_anchors, build_detector
from models.training.detection.settings import DetectionParameters

SIDE = 64
TARGETS = [
    Objects(torch.tensor([[8.0, 8, 40, 40], [30, 30, 60, 50]]), torch.tensor([0, 2])),
    Objects(torch.empty(0, 4), torch.empty(0, dtype=torch.int64)),
]


def _build(**changes: object) -> AnchorDetector:
    settings = DetectionParameters.model_validate({"image_size": SIDE, **changes})
    torch.manual_seed(0)
    network = build_detector(settings.network, 3, settings, settings)
    assert isinstance(network, AnchorDetector)
    return network


@pytest.fixture(scope="module")
def ssdlite() -> AnchorDetector:
    return _build()


def test_a_new_network_finds_at_most_100_objects_in_the_square(ssdlite: AnchorDetector) -> None:
    ssdlite.score_thresh = 0.0
    found, other = ssdlite.eval().detect(torch.rand(2, 3, SIDE, SIDE))
    assert found.boxes.shape == (100, 4)
    assert len(other.boxes) == 100
    assert set(found.labels.tolist()) <= {0, 1, 2}
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= SIDE


@pytest.mark.parametrize("network", ["ssdlite_efficientnet_lite0", "retinanet_efficientnet_lite0"])
@pytest.mark.parametrize("loss", ["focal", "cross_entropy"])
def test_a_photo_without_an_object_teaches_the_head_but_not_the_first_layers(
    network: str, loss: str
) -> None:
    detector = _build(network=network, loss=loss).train()
    empty = detector.losses(torch.rand(2, 3, SIDE, SIDE), [TARGETS[1]] * 2)
    assert empty["classes"] > 0
    assert empty["boxes"] == 0
    empty["classes"].backward()
    named = dict(detector.named_parameters())
    assert named["backbone.body.conv_stem.weight"].grad is None
    moved = [name for name, weights in named.items() if weights.grad is not None]
    for prefix in ("head.classification_head", "backbone.fpn", "backbone.body.blocks.2."):
        assert any(name.startswith(prefix) for name in moved)
    losses = detector.losses(torch.rand(2, 3, SIDE, SIDE), TARGETS)
    assert losses["boxes"] > 0


def test_first_layers_and_statistics_stay_as_published(ssdlite: AnchorDetector) -> None:
    module = DetectionModule(ssdlite, ("a", "b", "c"), DetectionParameters())
    module.train()
    module._freeze_body(False)
    ssdlite.losses(torch.rand(2, 3, SIDE, SIDE), TARGETS)
    published = embedded_tensors()
    for name in ("conv_stem.weight", "blocks.4.1.bn2.running_mean"):
        assert torch.equal(ssdlite.state_dict()[f"backbone.body.{name}"], published[name])
    assert not ssdlite.backbone.body.conv_stem.weight.requires_grad
    assert ssdlite.head.classification_head.training
    own = _build(pretrained=False).train()
    assert any(
        layer.training for layer in own.backbone.body.modules() if isinstance(layer, nn.BatchNorm2d)
    )


def test_some_anchor_is_like_each_object_of_a_usual_size(ssdlite: AnchorDetector) -> None:
    _, _, anchors, counts = ssdlite._score(torch.zeros(1, 3, SIDE, SIDE))
    assert sum(counts) == len(anchors) == 12 * (64 + 16 + 4 + 1)
    for side in (12.0, 20.0, 45.0, 60.0):
        box = torch.tensor([[2.0, 2, 2 + side, 2 + side]])
        assert box_iou(box, anchors).max() > 0.4
    assert build_anchors(1.0).sizes[0][0] == 8
