"""SDXL from text at tiny size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.safety import SafeImage
from models.diffusion.sdxl.parts import load_sdxl
from models.diffusion.sdxl.text_to_image import SdxlTextRequest, SdxlTextToImage
from models.runtime.hardware import Machine
from tests.checkpoints import sdxl

pytest.importorskip("compel")
CPU = Machine(torch.device("cpu"), torch.float32)


def test_gives_the_same_image_as_diffusers(tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    sdxl.build(tmp_path / "base")
    sdxl.build_vae(tmp_path / "vae")
    network = SdxlTextToImage.load(tmp_path / "base", tmp_path / "vae", machine=CPU)
    request = SdxlTextRequest(
        "a whole apple", "sliced", 5, steps=4, width=64, height=128, scheduler="euler"
    )
    (result,) = network.compute([request])
    assert isinstance(result, SafeImage)

    parts = load_sdxl(tmp_path / "base", tmp_path / "vae", CPU)
    pipeline = StableDiffusionXLPipeline(**parts.components, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        width=64,
        height=128,
        generator=torch.Generator("cpu").manual_seed(5),
        output_type="np",
    ).images[0]
    assert np.abs(result.image - np.rint(expected * 255)).max() <= 1


def test_refuses_a_size_that_the_pipeline_would_crop() -> None:
    with pytest.raises(ValueError, match="size 100x64: give multiples of 64"):
        SdxlTextRequest("a", "", 1, width=100, height=64)
