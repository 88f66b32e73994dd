import threading
from pathlib import Path

import pytest
import torch

from models.training.classification.networks import (
    Pretraining,
    build_network,
    check_network,
    count_parameters,
)


@pytest.mark.parametrize(("name", "size"), [("small_cnn", 96), ("test_vit", 96), ("resnet10t", 64)])
def test_networks_take_any_size_and_repeat_by_seed(name: str, size: int) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build_network(name, 4, size, Pretraining()).eval())
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        first, second = (network(images) for network in networks)
    assert first.shape == (2, 4)
    assert torch.equal(first, second)


def test_small_network_is_small() -> None:
    assert count_parameters(build_network("small_cnn", 5, 96, Pretraining())) == 559_693


def test_unfit_weights_files_are_refused(tmp_path: Path) -> None:
    other = build_network("test_resnet", 3, 32, Pretraining())
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"fits 0 of the network's \d+ tensors"):
        build_network("small_cnn", 3, 32, Pretraining(file=tmp_path / "other.pth"))
    torch.save({"weights": threading.Lock}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="no checkpoint that loads as plain tensors"):
        build_network("small_cnn", 3, 32, Pretraining(file=tmp_path / "code.pth"))
    with pytest.raises(ValueError, match=r"gone\.pth does not exist"):
        build_network("small_cnn", 3, 32, Pretraining(file=tmp_path / "gone.pth"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_b33", "timm has no 'efficientnet_b33'; use efficientnet_b3"),
        ("resnet18.nope", "use resnet18 or resnet18"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm has no 'hf-hub:"),
        ("../weights", "timm has no"),
    ],
)
def test_unknown_networks_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_network(name)
