import threading
from pathlib import Path

import pytest
import torch

from models.training.classification.networks import build_network
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
