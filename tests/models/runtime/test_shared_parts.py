"""Background and baseline use the same SDXL: its networks are loaded once, but for few steps."""

from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import pytest
import torch
from torch import nn

from models.diffusion.safety import SafetyChecker
from models.diffusion.sdxl.depth_controlnet import SdxlBackground, SdxlBackgroundRequest
from models.diffusion.sdxl.image_to_image import SdxlImg2Img, SdxlImg2ImgRequest
from models.runtime.hardware import Machine
from models.runtime.network_pool import Network, NetworkPool
from tests.checkpoints import sdxl

pytest.importorskip("compel")
BASE, CONTROLNET, VAE, LIGHTNING = "base", "controlnet", "vae", "lightning"
PHOTO = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
REDRAWN = SdxlImg2ImgRequest("a car", "blurry", seed=1, steps=2, image=PHOTO)
DEPTH = np.full((64, 64), 40000, np.uint16)
SCENE = SdxlBackgroundRequest("a car", "blurry", 1, steps=2, depth=DEPTH, width=64, height=64)
FEW_STEPS = SdxlBackgroundRequest(
    "a car", "", 1, steps=4, few_step=True, depth=DEPTH, width=64, height=64
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    sdxl.build(root / BASE)
    sdxl.build_controlnet(root / CONTROLNET)
    sdxl.build_vae(root / VAE)
    sdxl.build_lightning(root / LIGHTNING)
    sdxl.build_safety_checker(root / "checker")
    return root


@pytest.fixture
def pool(root: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkPool:
    monkeypatch.setattr("models.runtime.network_pool.locate", lambda reference: root / reference)
    return NetworkPool(Machine(torch.device("cpu"), torch.float32))


def parts_of(pool: NetworkPool, kind: type[Network]) -> set[nn.Module]:
    (network,) = [one.network for (its, _), one in pool._loaded.items() if its is kind]
    return set(network.modules)


def bytes_of(parts: set[nn.Module]) -> int:
    tensors = [one for part in parts for one in (*part.parameters(), *part.buffers())]
    return sum(one.numel() * one.element_size() for one in tensors)


def test_both_uses_of_sdxl_have_the_same_networks(pool: NetworkPool) -> None:
    pool.infer(SdxlBackground, [BASE, CONTROLNET, VAE], [SCENE])
    alone = pool.on_device
    pool.infer(SdxlImg2Img, [BASE, VAE], [REDRAWN])
    background, baseline = (parts_of(pool, one) for one in (SdxlBackground, SdxlImg2Img))
    assert baseline < background
    assert len(background) == 5
    assert pool.on_device == alone == bytes_of(background)


def test_another_vae_is_another_network(pool: NetworkPool) -> None:
    pool.infer(SdxlBackground, [BASE, CONTROLNET, VAE], [SCENE])
    pool.infer(SdxlImg2Img, [BASE, f"{BASE}/vae"], [REDRAWN])
    background, baseline = (parts_of(pool, one) for one in (SdxlBackground, SdxlImg2Img))
    assert len(background & baseline) == 3


def test_few_steps_leave_the_baseline_as_it_is(pool: NetworkPool) -> None:
    (before,) = pool.infer(SdxlImg2Img, [BASE, VAE], [REDRAWN])
    pool.infer(SdxlBackground, [BASE, CONTROLNET, VAE, LIGHTNING], [FEW_STEPS])
    (after,) = pool.infer(SdxlImg2Img, [BASE, VAE], [REDRAWN])
    assert np.array_equal(before.image, after.image)
    background, baseline = (parts_of(pool, one) for one in (SdxlBackground, SdxlImg2Img))
    assert len(background & baseline) == 3
    assert pool.on_device == bytes_of(background | baseline)


def test_the_safety_checker_is_one_network(root: Path) -> None:
    machine = Machine(torch.device("cpu"), torch.float32, parts=WeakValueDictionary())
    one, other = (SafetyChecker.load(root / "checker", machine=machine) for _ in range(2))
    assert one.modules == other.modules
