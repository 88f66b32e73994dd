"""Inpainting: the published pipelines' steps, batches, prompts and masks, and wrong checkpoints."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.diffusion.inpaint.request import InpaintRequest
from models.diffusion.safety import SafeImage
from models.diffusion.sd15.inpaint import Sd15Inpaint
from models.diffusion.sdxl.inpaint import SdxlInpaint
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sd15, sdxl

CPU_2 = Machine(torch.device("cpu"), torch.float32, batch=2)
SIDE = 64


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inpainting")
    sd15.build_inpainting(folder / "sd15")
    sdxl.build_inpainting(folder / "sdxl")
    sdxl.build_vae(folder / "vae")
    return {
        "sd15": Sd15Inpaint.load(folder / "sd15", machine=CPU_2),
        "sdxl": SdxlInpaint.load(folder / "sdxl", folder / "vae", machine=CPU_2),
    }


def request_of(seed: int = 0, **changed: Any) -> InpaintRequest:
    image = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[16:48, 24:56] = True
    request = InpaintRequest(
        prompt="a cup", negative="", seed=seed, steps=2, scheduler="ddim", image=image, mask=mask
    )
    return replace(request, **changed)


def image_of(network: Any, request: InpaintRequest) -> np.ndarray:
    (result,) = network.compute([request])
    assert isinstance(result, SafeImage)
    return result.image.astype(int)


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_batch_gives_the_single_images_in_order(networks: dict[str, Any], name: str) -> None:
    network = networks[name]
    requests = [request_of(seed) for seed in range(3)]
    batched = [result.image.astype(int) for result in network.compute(requests)]
    for request, image in zip(requests, batched, strict=True):
        assert image.shape == (SIDE, SIDE, 3)
        assert np.abs(image - image_of(network, request)).max() <= 1
    assert np.abs(batched[0] - batched[1]).mean() > 1


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_prompt_mask_known_part_and_strength_count(networks: dict[str, Any], name: str) -> None:
    network, request = networks[name], request_of()
    first = image_of(network, request)
    other = request.image.copy()
    other[:8] = 255 - other[:8]
    for changed in (
        {"prompt": "a red car"},
        {"mask": ~request.mask},
        {"image": other},
        {"strength": 0.5},
        {"guidance_scale": 1.0},
    ):
        assert np.abs(image_of(network, replace(request, **changed)) - first).max() > 1
    # What lies under the mask is not seen.
    hidden = request.image.copy()
    hidden[request.mask] = 0
    assert np.abs(image_of(network, replace(request, image=hidden)) - first).max() <= 1


@pytest.mark.parametrize(
    ("build", "load", "fault"),
    [
        (sd15.build, Sd15Inpaint.load, "4 input channels where inpainting has 9"),
        (sdxl.build_inpainting, Sd15Inpaint.load, "an SDXL checkpoint"),
        (sdxl.build, SdxlInpaint.load, "4 input channels where inpainting has 9"),
    ],
)
def test_other_checkpoints_are_refused(
    build: Callable[[Path], None], load: Callable[..., Any], fault: str, tmp_path: Path
) -> None:
    build(tmp_path / "base")
    folders = [tmp_path / "base"]
    if load == SdxlInpaint.load:
        sdxl.build_vae(tmp_path / "vae")
        folders.append(tmp_path / "vae")
    with pytest.raises(WrongCheckpointError, match=fault):
        load(*folders, machine=CPU_2)


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="leaves none"):
        request_of(strength=0.2)
    with pytest.raises(ValueError, match="64"):
        request_of(image=np.zeros((SIDE, 50, 3), np.uint8))
