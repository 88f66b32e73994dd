import threading
from pathlib import Path

import pytest
import torch

from models.embedding.weights import embedded_tensors
from models.training.classification.networks import build_network
from models.training.pretrained import WeightsMissingError, find_published, published_weights
from models.training.settings import TrainingParameters


def test_rejects_weights_files_of_other_networks_and_with_code(tmp_path: Path) -> None:
    other = build_network("test_resnet", 3, 32)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"fits 0 of the network's \d+ tensors"):
        build_network("small_cnn", 3, 32, TrainingParameters(weights_file=tmp_path / "other.pth"))
    torch.save({"weights": threading.Lock}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="no checkpoint that loads as plain tensors"):
        build_network("small_cnn", 3, 32, TrainingParameters(weights_file=tmp_path / "code.pth"))
    with pytest.raises(ValueError, match=r"gone\.pth does not exist"):
        build_network("small_cnn", 3, 32, TrainingParameters(weights_file=tmp_path / "gone.pth"))


def test_the_embedded_backbone_is_pretrained_without_network(no_network: list[str]) -> None:
    start = TrainingParameters(network="tf_efficientnet_lite0")
    network = build_network("tf_efficientnet_lite0.in1k", 3, 64, start).state_dict()
    published = embedded_tensors()
    assert published["classifier.weight"].shape == (1000, 1280)
    for name, tensor in network.items():
        if name.startswith("classifier."):
            assert tensor.shape[0] == 3
        else:
            assert torch.equal(tensor, published[name])
    assert no_network == []


def test_missing_weights_are_replaced_by_the_embedded_ones_in_one_line(
    no_network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.pretrained.try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr("models.training.pretrained.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsMissingError) as caught:
        find_published("efficientnet_b3.ra2_in1k", None)
    assert "--set train.network=tf_efficientnet_lite0" in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(WeightsMissingError):
        published_weights("tf_efficientnet_lite0", "0123abc")
