import hashlib
import threading
from pathlib import Path

import pytest
import torch
import torchvision

from models.embedding.weights import embedded_tensors
from models.training.classification.networks import build_network
from models.training.pretrained import (
    WeightsMissingError,
    find_in_torch_cache,
    find_published,
    published_settings,
    published_weights,
)
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


def test_weights_of_torchvision_fill_the_body_of_a_resnet(
    no_network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of torchvision with random weights stands for its download in torch's cache."""
    published = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / f"resnet18-{digest}.pth"
    (tmp_path / "weights.pth").rename(path)
    settings = published_settings("resnet18.tv_in1k")
    assert str(settings.url).startswith("https://download.pytorch.org/models/resnet18-")
    renamed = type(settings)(
        **settings.to_dict() | {"url": f"https://download.pytorch.org/models/{path.name}"}
    )
    monkeypatch.setattr("models.training.pretrained.published_settings", lambda name: renamed)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert find_published("resnet18.tv_in1k", None) == path
    for start in (
        TrainingParameters(network="resnet18.tv_in1k"),
        TrainingParameters(network="resnet18", weights_file=path),
    ):
        network = build_network(start.network, 3, 32, start).state_dict()
        assert network["fc.weight"].shape == (3, 512)
        body = [name for name in network if not name.startswith("fc.")]
        assert len(body) == len(published) - 2
        assert all(torch.equal(network[name], published[name]) for name in body)
    assert no_network == []


def test_a_corrupt_file_in_the_cache_of_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    url = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert find_in_torch_cache(url) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"half")
    assert find_in_torch_cache("https://elsewhere.org/resnet18-f37072fd.pth") is None
    with pytest.raises(ValueError, match=r"begins with \w{8}, not f37072fd as its name says"):
        find_in_torch_cache(url)
