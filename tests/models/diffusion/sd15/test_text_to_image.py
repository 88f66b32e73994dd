"""Stable Diffusion 1.5 from text and with a ControlNet, at tiny size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sd15.parts import load_sd15
from models.diffusion.sd15.text_to_image import (
    Sd15ControlNet,
    Sd15ControlRequest,
    Sd15Request,
    Sd15TextToImage,
)
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sd2_inpaint, sd15, sdxl

CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    sd15.build(root / "sd15")
    sd15.build_controlnet(root / "control")
    return root / "sd15", root / "control"


@pytest.fixture(scope="module")
def from_text(folders: tuple[Path, Path]) -> Sd15TextToImage:
    return Sd15TextToImage.load(folders[0], machine=CPU)


@pytest.fixture(scope="module")
def controlled(folders: tuple[Path, Path]) -> Sd15ControlNet:
    return Sd15ControlNet.load(*folders, machine=CPU)


def a_request(seed: int = 5, width: int = 64, height: int = 128, **fields: Any) -> Sd15Request:
    return Sd15Request(
        **{
            "prompt": "a photo of whole apple",
            "negative": "sliced",
            "seed": seed,
            "steps": 4,
            "width": width,
            "height": height,
            **fields,
        }
    )


def a_controlled_request(seed: int = 5, **fields: Any) -> Sd15ControlRequest:
    edges = np.zeros((128, 64, 3), np.uint8)
    edges[30:90, 20:22] = 255
    base = a_request(seed)
    return Sd15ControlRequest(**{**vars(base), "condition": edges, **fields})


def image_of(network: Sd15TextToImage, request: Sd15Request) -> Pixels:
    (result,) = network.compute([request])
    assert isinstance(result, SafeImage)
    return result.image


def pipeline_of(folders: tuple[Path, Path], name: str, **networks: Any) -> Any:
    """A pipeline as diffusers loads it from the folder."""
    import diffusers

    kind = getattr(diffusers, name)
    pipeline = kind.from_pretrained(folders[0], local_files_only=True, **networks)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def public_image(pipeline: Any, request: Sd15Request, **arguments: Any) -> Pixels:
    image = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        width=request.width,
        height=request.height,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type="np",
        **arguments,
    ).images[0]
    return np.asarray(np.rint(image * 255), np.uint8)


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_gives_the_same_image_as_diffusers(
    folders: tuple[Path, Path], from_text: Sd15TextToImage, guidance: float
) -> None:
    """The published sampler, the same noise from the same seed, and brackets read as text."""
    request = a_request(prompt="a photo of (red) apple", guidance_scale=guidance)
    expected = public_image(pipeline_of(folders, "StableDiffusionPipeline"), request)
    difference = image_of(from_text, request).astype(int) - expected
    assert np.abs(difference).max() <= 1
    assert expected.std() > 10


def test_a_controlnet_gives_the_same_image_as_diffusers(
    folders: tuple[Path, Path], controlled: Sd15ControlNet
) -> None:
    from diffusers import ControlNetModel

    request = a_controlled_request(control_scale=0.8, control_end=0.6)
    network = ControlNetModel.from_pretrained(folders[1], local_files_only=True)
    pipeline = pipeline_of(folders, "StableDiffusionControlNetPipeline", controlnet=network)
    expected = public_image(
        pipeline,
        request,
        image=torch.from_numpy(request.condition).permute(2, 0, 1)[None] / 255,
        controlnet_conditioning_scale=0.8,
        control_guidance_end=0.6,
    )
    difference = image_of(controlled, request).astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_an_image_does_not_depend_on_its_batch(folders: tuple[Path, Path]) -> None:
    """Up to one grey level."""
    batched = Sd15TextToImage.load(folders[0], machine=replace(CPU, batch=3))
    alone = Sd15TextToImage(batched._parts, CPU)
    requests = [
        a_request(1),
        a_request(2, prompt="a photo of whole banana"),
        a_request(3, 128, 64),
        replace(a_request(4), steps=6),
    ]
    for request, result in zip(requests, batched.compute(requests), strict=True):
        assert isinstance(result, SafeImage)
        difference = result.image.astype(int) - image_of(alone, request)
        assert np.abs(difference).max() <= 1


def test_the_image_depends_on_every_field_of_the_request(controlled: Sd15ControlNet) -> None:
    base = a_controlled_request()
    reference = image_of(controlled, base)
    changes: list[dict[str, Any]] = [
        {"seed": 6},
        {"prompt": "a dog"},
        {"negative": "sharp"},
        {"guidance_scale": 2.0},
        {"scheduler": "unipc"},
        {"steps": 5},
        {"condition": base.condition[::-1].copy()},
        {"control_scale": 0.3},
        {"control_end": 0.3},
    ]
    for change in changes:
        assert (image_of(controlled, replace(base, **change)) != reference).any(), change


def test_flagged_images_are_drawn_again_with_the_next_seed(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    sdxl.build_safety_checker(tmp_path / "checker", threshold=-2.0)
    network = Sd15TextToImage.load(folders[0], tmp_path / "checker", machine=CPU)
    assert list(network.compute([replace(a_request(), nsfw_retries=2)])) == [
        UnsafeImage("flagged as not safe for work 3 times", 2)
    ]


def test_refuses_other_checkpoints_and_sizes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    sd2_inpaint.build(tmp_path / "inpaint")
    with pytest.raises(WrongCheckpointError, match="9 input channels"):
        load_sd15(tmp_path / "inpaint", CPU)
    sdxl.build(tmp_path / "sdxl")
    with pytest.raises(WrongCheckpointError, match="an SDXL checkpoint; use model sdxl"):
        load_sd15(tmp_path / "sdxl", CPU)
    sdxl.build_controlnet(tmp_path / "depth")
    with pytest.raises(WrongCheckpointError, match="a ControlNet for texts of"):
        Sd15ControlNet.load(folders[0], tmp_path / "depth", machine=CPU)
    with pytest.raises(ValueError, match="size 100x64: give multiples of 64"):
        a_request(width=100, height=64)
    with pytest.raises(ValueError, match="a condition of shape"):
        a_controlled_request(height=64)
