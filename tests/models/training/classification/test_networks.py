import pytest
import torch

from models.training.classification.networks import (
    build_network,
    check_network,
)
from models.training.pretrained import count_parameters


@pytest.mark.parametrize(("name", "size"), [("small_cnn", 96), ("test_vit", 96), ("resnet10t", 64)])
def test_networks_take_any_size_and_repeat_for_a_seed(name: str, size: int) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build_network(name, 4, size).eval())
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        first, second = (network(images) for network in networks)
    assert first.shape == (2, 4)
    assert torch.equal(first, second)


def test_small_network_is_small() -> None:
    assert count_parameters(build_network("small_cnn", 5, 96)) == 559_693


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_b33", "timm has no 'efficientnet_b33'; use efficientnet_b3"),
        ("resnet18.nope", "use resnet18 or resnet18"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm has no 'hf-hub:"),
        ("../weights", "timm has no"),
    ],
)
def test_rejects_unknown_networks(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_network(name)
