"""Tiny checkpoints, and their networks as a training gets them."""

from pathlib import Path

import pytest
import torch

from models.diffusion.finetuning.denoiser import Denoiser, load_denoiser
from models.runtime.hardware import Machine
from tests.checkpoints import sd15, sdxl

CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints ``sd15``, ``sdxl`` and ``vae``."""
    folder = tmp_path_factory.mktemp("checkpoints")
    sd15.build(folder / "sd15")
    sdxl.build(folder / "sdxl")
    sdxl.build_vae(folder / "vae")
    return folder


@pytest.fixture(scope="package")
def denoiser(root: Path) -> Denoiser:
    """Stable Diffusion 1.5."""
    return load_denoiser(root / "sd15", CPU)


@pytest.fixture(scope="package")
def sdxl_denoiser(root: Path) -> Denoiser:
    """SDXL with the VAE."""
    return load_denoiser(root / "sdxl", CPU, root / "vae")
