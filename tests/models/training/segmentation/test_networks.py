"""DeepLabV3 starts from weights in torchvision's layout, learns, is saved and resumes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.deeplabv3 import DeepLabV3 as Published
from torchvision.models.segmentation.fcn import FCNHead

from models.checkpoints.errors import CheckpointMissingError
from models.training.lightning_trainer import LAST
from models.training.segmentation import networks, train
from models.training.segmentation.networks import DEEPLAB_FILE, build_segmentation_network
from models.training.segmentation.settings import SegmentationParameters
from models.training.segmentation.train import check_ready, predict_maps, train_segmentation
from tests.models.training.segmentation.cases import SIDE, draw, masked_images

SETTINGS = SegmentationParameters(
    network="deeplabv3_resnet101", image_size=SIDE, epochs=2, steps_per_epoch=2, batch_size=2,
    threads=1, loggers=(),
)  # fmt: skip


class Backbone(nn.Module):
    """Features of an eighth of the side, as those of ResNet-101; much smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 9, stride=8, padding=4)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = self.norm(self.conv(images))
        return {"out": found, "aux": found}


def _tiny(num_classes: int, aux_loss: bool, **weights: Any) -> Published:
    assert weights == {"weights": None, "weights_backbone": None}, "torchvision must not download"
    auxiliary = FCNHead(8, num_classes) if aux_loss else None
    return Published(Backbone(), DeepLabHead(8, num_classes), auxiliary)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Tensor]:
    """The weights of a tiny network with the 21 classes and the auxiliary head of torchvision."""
    monkeypatch.setattr(networks, "deeplabv3_resnet101", _tiny)
    for module in (networks, train):
        monkeypatch.setattr(module, "locate", lambda reference: tmp_path)
    torch.manual_seed(0)
    weights = dict(_tiny(21, True, weights=None, weights_backbone=None).state_dict())
    save_file(weights, tmp_path / DEEPLAB_FILE)
    return weights


def test_starts_from_published_weights_with_a_new_last_layer(published: dict[str, Tensor]) -> None:
    network = build_segmentation_network("deeplabv3_resnet101", 3, SETTINGS)
    loaded = network.state_dict()
    assert torch.equal(loaded["backbone.conv.weight"], published["backbone.conv.weight"])
    pooled = "classifier.0.convs.1.0.weight"
    assert torch.equal(loaded[pooled], published[pooled])
    assert loaded["classifier.4.weight"].shape[0] == 3
    assert not [name for name in loaded if name.startswith("aux")]
    assert network(torch.zeros(2, 3, SIDE, 48)).shape == (2, 3, SIDE, 48)


def test_learns_is_saved_and_resumes_exactly(published: dict[str, Tensor], tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path, number)
    first, val = (masked_images(tmp_path, part, SETTINGS) for part in (range(4), range(4, 6)))

    class KilledError(Exception):
        pass

    def kill(epoch: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train_segmentation(first, val, SETTINGS, 0, tmp_path / "killed", progress=kill)
    resumed = train_segmentation(first, val, SETTINGS, 0, tmp_path / "killed")
    whole = train_segmentation(first, val, SETTINGS, 0, tmp_path / "whole")
    left, right = (
        torch.load(tmp_path / name / LAST, weights_only=True)["state_dict"]
        for name in ("killed", "whole")
    )
    assert resumed.history == whole.history
    assert all(torch.equal(left[name], right[name]) for name in right)
    name = "network.backbone.conv.weight"
    assert not torch.equal(right[name], published["backbone.conv.weight"])
    assert [found.class_map.shape for found in predict_maps(whole.checkpoint, val, SETTINGS)] == [
        (48, SIDE)
    ] * 2


def test_names_the_command_that_fetches_missing_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_MODELS", str(tmp_path))
    command = "fetch it: synthset models pull pytorch/deeplabv3_resnet101_coco"
    with pytest.raises(CheckpointMissingError, match=command):
        check_ready(SETTINGS)
    check_ready(SETTINGS.model_copy(update={"pretrained": False}))
