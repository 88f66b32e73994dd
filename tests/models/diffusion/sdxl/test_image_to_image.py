"""SDXL from image to image at tiny size."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sdxl.generator import SdxlGenerator
from models.diffusion.sdxl.image_to_image import SdxlImg2Img, SdxlImg2ImgRequest
from models.diffusion.sdxl.parts import load_sdxl
from models.runtime.hardware import Machine
from tests.checkpoints import sdxl

pytest.importorskip("compel")
CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    sdxl.build(root / "base")
    sdxl.build_vae(root / "vae")
    return root / "base", root / "vae"


@pytest.fixture(scope="module")
def network(folders: tuple[Path, Path]) -> SdxlImg2Img:
    return SdxlImg2Img.load(*folders, machine=CPU)


def a_request(seed: int = 5, width: int = 64, height: int = 128) -> SdxlImg2ImgRequest:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[height // 4 : height // 2] = (250, 40, 30)
    return SdxlImg2ImgRequest("a (red)1.3 car", "blurry", seed, steps=4, image=photo)


def image_of(network: SdxlImg2Img, request: SdxlImg2ImgRequest) -> Pixels:
    (result,) = network.compute([request])
    assert isinstance(result, SafeImage)
    return result.image


def mean_difference(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def test_the_same_request_gives_the_same_bytes(network: SdxlImg2Img, no_network: list[str]) -> None:
    torch.manual_seed(1)
    first = image_of(network, a_request())
    torch.manual_seed(2)
    assert (first == image_of(network, a_request())).all()
    assert (first.shape, first.dtype) == ((128, 64, 3), np.uint8)
    assert not no_network


def test_an_image_does_not_depend_on_its_batch(
    folders: tuple[Path, Path], network: SdxlImg2Img
) -> None:
    """Up to one grey level."""
    batched = SdxlImg2Img.load(*folders, machine=replace(CPU, batch=3))
    requests = [a_request(1), a_request(2, 128, 64), a_request(3), replace(a_request(4), steps=6)]
    for request, result in zip(requests, batched.compute(requests), strict=True):
        assert isinstance(result, SafeImage)
        difference = result.image.astype(int) - image_of(network, request).astype(int)
        assert np.abs(difference).max() <= 1


def test_the_image_depends_on_every_field_of_the_request(network: SdxlImg2Img) -> None:
    base = a_request()
    reference = image_of(network, base)
    others = {
        "seed": replace(base, seed=6),
        "prompt": replace(base, prompt="a dog"),
        "negative": replace(base, negative="sharp"),
        "image": replace(base, image=base.image[::-1].copy()),
        "strength": replace(base, strength=0.8),
        "guidance_scale": replace(base, guidance_scale=1.0),
        "scheduler": replace(base, scheduler="unipc"),
    }
    changed = {
        name: mean_difference(reference, image_of(network, request))
        for name, request in others.items()
    }
    assert min(changed.values()) > 0, changed
    assert changed["seed"] > 1


def test_gives_the_same_image_as_diffusers(
    folders: tuple[Path, Path], network: SdxlImg2Img
) -> None:
    """With one generator per image diffusers draws the same noise in the same order."""
    from diffusers import StableDiffusionXLImg2ImgPipeline

    parts = load_sdxl(*folders, CPU)
    pipeline = StableDiffusionXLImg2ImgPipeline(**parts.components, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    request = replace(a_request(), prompt="a red car")
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative,
        image=torch.from_numpy(request.image).permute(2, 0, 1)[None] / 255,
        strength=request.strength,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        generator=[torch.Generator("cpu").manual_seed(request.seed)],
        output_type="np",
    ).images[0]
    difference = image_of(network, request) - np.rint(expected * 255)
    assert np.abs(difference).max() <= 1


def test_rejects_wrong_sizes_and_too_few_steps() -> None:
    with pytest.raises(ValueError, match="size 100x64: give multiples of 64"):
        replace(a_request(), image=np.zeros((64, 100, 3), np.uint8))
    with pytest.raises(ValueError, match=r"strength 0\.2 of 4 steps leaves none"):
        replace(a_request(), strength=0.2)


def test_results_that_are_not_finite_are_invalid(folders: tuple[Path, Path]) -> None:
    network = SdxlImg2Img.load(*folders, machine=CPU)
    with torch.no_grad():
        network._parts.vae.decoder.conv_out.bias.fill_(float("nan"))
    assert list(network.compute([a_request()])) == [
        UnsafeImage("the network gave no finite numbers")
    ]


def test_flagged_images_are_generated_again_with_the_next_seed(
    folders: tuple[Path, Path], network: SdxlImg2Img
) -> None:
    """The stub flags the image of the first seed."""
    bad = image_of(network, a_request(20))
    checked = SdxlImg2Img(
        network._parts,
        CPU,
        SimpleNamespace(
            flags=lambda photos: [bool((photo == bad).all()) for photo in photos], modules=()
        ),
    )
    first, second = checked.compute([a_request(10), a_request(20)])
    assert isinstance(second, SafeImage)
    assert (first.retries, second.retries) == (0, 1)
    assert (second.image == image_of(network, a_request(21))).all()


def test_a_safety_checker_s_folder_may_follow(folders: tuple[Path, Path], tmp_path: Path) -> None:
    sdxl.build_safety_checker(tmp_path, -2.0)
    strict = SdxlImg2Img.load(*folders, tmp_path, machine=CPU)
    (flagged,) = strict.compute([replace(a_request(), nsfw_retries=1)])
    assert flagged == UnsafeImage("flagged as not safe for work 2 times", 1)
    assert len(strict.modules) == len(SdxlImg2Img.load(*folders, machine=CPU).modules) + 1


def test_a_generator_must_say_how_it_runs_a_batch() -> None:
    with pytest.raises(TypeError, match="_run"):
        SdxlGenerator(None, None, None, None)  # type: ignore[abstract, arg-type]
