"""SDXL with a depth ControlNet at tiny size: what an image depends on, and what it does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.data.pixels import Pixels
from models.diffusion.safety import SafeImage, UnsafeImage
from models.diffusion.sdxl.depth_controlnet import (
    SdxlBackground,
    SdxlBackgroundRequest,
)
from models.diffusion.sdxl.parts import load_sdxl
from models.diffusion.sdxl.text import Embedding
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.checkpoints import sdxl

pytest.importorskip("compel")
CPU = Machine(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    sdxl.build(root / "base")
    sdxl.build(root / "half", variant="fp16")
    sdxl.build_controlnet(root / "controlnet")
    sdxl.build_vae(root / "vae")
    sdxl.build_lightning(root / "lightning", steps=(4, 8))
    sdxl.build_safety_checker(root / "lenient")
    sdxl.build_safety_checker(root / "strict", threshold=-2.0)
    return {folder.name: folder for folder in root.iterdir()}


def load(
    folders: dict[str, Path], *more: str, base: str = "base", machine: Machine = CPU
) -> SdxlBackground:
    names = (base, "controlnet", "vae", *more)
    return SdxlBackground.load(*(folders[name] for name in names), machine=machine)


@pytest.fixture(scope="module")
def network(folders: dict[str, Path]) -> SdxlBackground:
    return load(folders)


def a_request(seed: int = 5, width: int = 64, height: int = 128) -> SdxlBackgroundRequest:
    depth = np.zeros((height, width), np.uint16)
    depth[height // 2 :, 16:48] = np.linspace(20000, 65535, 32).astype(np.uint16)
    return SdxlBackgroundRequest(
        "a (red)1.3 car", "blurry", seed, steps=3, depth=depth, width=width, height=height
    )


def compute(network: SdxlBackground, *requests: SdxlBackgroundRequest) -> list[SafeImage]:
    results = list(network.compute(requests))
    assert all(isinstance(result, SafeImage) for result in results), results
    return results  # type: ignore[return-value]


def image_of(network: SdxlBackground, request: SdxlBackgroundRequest) -> Pixels:
    return compute(network, request)[0].image


def mean_difference(first: Pixels, second: Pixels) -> float:
    """Mean difference in grey levels."""
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def test_the_same_request_gives_the_same_bytes(
    network: SdxlBackground, no_network: list[str]
) -> None:
    torch.manual_seed(1)
    first = image_of(network, a_request())
    torch.manual_seed(2)
    assert (first == image_of(network, a_request())).all()
    assert (first.shape, first.dtype) == ((128, 64, 3), np.uint8)
    assert first.std() > 5
    assert not no_network


def test_gives_the_same_image_as_diffusers(
    folders: dict[str, Path], network: SdxlBackground
) -> None:
    """With one generator per image diffusers draws the same noise; it encodes prompts itself."""
    from diffusers import (
        ControlNetModel,
        StableDiffusionXLControlNetPipeline,
        UniPCMultistepScheduler,
    )

    parts = load_sdxl(folders["base"], folders["vae"], CPU)
    pipeline = StableDiffusionXLControlNetPipeline(
        **parts.components,
        controlnet=ControlNetModel.from_pretrained(folders["controlnet"], local_files_only=True),
        add_watermarker=False,
    )
    pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    request = replace(a_request(), prompt="a red car", control_scale=0.7, control_end=0.7)
    expected = pipeline(
        prompt=request.prompt,
        negative_prompt=request.negative,
        image=torch.from_numpy(request.depth.astype(np.float32) / 65535).expand(1, 3, -1, -1),
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        controlnet_conditioning_scale=request.control_scale,
        control_guidance_end=request.control_end,
        generator=[torch.Generator("cpu").manual_seed(request.seed)],
        output_type="np",
    ).images[0]
    difference = image_of(network, request) - np.rint(expected * 255)
    assert np.abs(difference).max() <= 1


def test_an_image_does_not_depend_on_its_batch(
    folders: dict[str, Path], network: SdxlBackground
) -> None:
    """Up to one grey level, because a batch of four adds in another order than a batch of one.

    Requests with long prompts or other sizes between them have no effect.
    """
    batched = load(folders, machine=replace(CPU, batch=4))
    requests = [
        a_request(1),
        replace(a_request(2), prompt="a car on a very long road, " * 5),
        a_request(3, width=128, height=64),
        replace(a_request(4), steps=2),
        replace(a_request(5), prompt="(a dog)0.7"),
        replace(a_request(6), negative="a long list of what is not wanted, " * 3),
    ]
    for request, result in zip(requests, compute(batched, *requests), strict=True):
        alone = image_of(network, request)
        assert result.image.shape == (request.height, request.width, 3)
        assert np.abs(result.image.astype(int) - alone.astype(int)).max() <= 1


def test_the_image_depends_on_every_field_of_the_request(network: SdxlBackground) -> None:
    base = a_request()
    reference = image_of(network, base)
    others = {
        "seed": replace(base, seed=6),
        "prompt": replace(base, prompt="a dog"),
        "weight": replace(base, prompt="a (red)0.5 car"),
        "negative": replace(base, negative="sharp"),
        "depth": replace(base, depth=base.depth[::-1].copy()),
        "control_scale": replace(base, control_scale=0.3),
        "control_end": replace(base, control_end=0.4),
        "guidance_scale": replace(base, guidance_scale=9.0),
        "steps": replace(base, steps=5),
        "scheduler": replace(base, scheduler="euler"),
    }
    changed = {
        name: mean_difference(reference, image_of(network, request))
        for name, request in others.items()
    }
    assert min(changed.values()) > 0, changed
    assert min(changed["seed"], changed["depth"]) > 1, changed


def test_both_halves_of_the_guidance_get_the_depth(
    network: SdxlBackground, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls: list[torch.Tensor] = []
    forward = network._pipeline.controlnet.forward

    def spy(*arguments: object, **named: object) -> object:
        controls.append(named["controlnet_cond"])  # type: ignore[arg-type]
        return forward(*arguments, **named)

    monkeypatch.setattr(network._pipeline.controlnet, "forward", spy)
    request = a_request()
    image_of(network, request)
    expected = torch.from_numpy(request.depth.astype(np.float32) / 65535).expand(2, 3, -1, -1)
    assert len(controls) == request.steps
    assert all(torch.allclose(control, expected, atol=1e-6) for control in controls)


@pytest.mark.parametrize("scheduler", ["unipc", "dpm++", "euler", "ddim"])
def test_every_sampler_gives_an_image(network: SdxlBackground, scheduler: str) -> None:
    request = replace(a_request(), scheduler=scheduler)  # type: ignore[arg-type]
    assert image_of(network, request).std() > 5


def test_encodes_each_prompt_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load(folders)
    prompts: list[str] = []
    encode = network._parts.text._encode

    def counted(prompt: str) -> Embedding:
        prompts.append(prompt)
        return encode(prompt)

    monkeypatch.setattr(network._parts.text, "_encode", counted)
    list(network.compute([a_request(1), a_request(2)]))
    list(network.compute([a_request(3)]))
    assert sorted(prompts) == ["a (red)1.3 car", "blurry"]


@pytest.mark.parametrize(("width", "height"), [(100, 128), (64, 72), (96, 64)])
def test_rejects_sizes_that_are_no_multiples_of_64(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"size {width}x{height}: give multiples of 64"):
        a_request(width=width, height=height)


def test_rejects_a_depth_of_another_type() -> None:
    with pytest.raises(ValueError, match=r"depth of uint8 .*: give uint16 of \(128, 64\)"):
        replace(a_request(), depth=np.zeros((128, 64), np.uint8))  # type: ignore[arg-type]


def test_few_step_requests_use_the_unet_for_their_steps(
    folders: dict[str, Path], network: SdxlBackground
) -> None:
    fast = load(folders, "lightning")
    four = replace(a_request(), few_step=True, steps=4)
    first = image_of(fast, four)
    eight = image_of(fast, replace(four, steps=8))
    assert mean_difference(first, eight) > 1
    assert (image_of(fast, four) == first).all()
    assert (image_of(fast, replace(four, negative="sharp", guidance_scale=9.0)) == first).all()
    with pytest.raises(WrongCheckpointError, match=r"no U-Net for 2 steps; set steps to .* 4, 8"):
        list(fast.compute([replace(four, steps=2)]))
    with pytest.raises(WrongCheckpointError, match="no few-step checkpoint: no U-Net for 4 steps"):
        list(network.compute([four]))
    with pytest.raises(ValueError, match="loaded for few steps"):
        list(fast.compute([a_request()]))


def test_flagged_images_are_generated_again(
    network: SdxlBackground, folders: dict[str, Path]
) -> None:
    """The stub flags the images of the first two seeds of the second request."""
    requests = [a_request(10), a_request(20), a_request(30)]
    bad = [image_of(network, a_request(seed)) for seed in (20, 21)]
    counts: list[int] = []

    def flags(images: Sequence[Pixels]) -> list[bool]:
        counts.append(len(images))
        return [any((image == other).all() for other in bad) for image in images]

    checked = SdxlBackground(
        network._parts,
        network._pipeline.controlnet,
        CPU,
        checker=SimpleNamespace(flags=flags, modules=()),
    )
    results = compute(checked, *requests)
    assert [result.retries for result in results] == [0, 2, 0]
    assert counts == [3, 1, 1]
    assert (results[1].image == image_of(network, a_request(22))).all()
    assert (results[2].image == image_of(network, requests[2])).all()
    (unsafe,) = checked.compute([replace(requests[1], nsfw_retries=1)])
    assert unsafe == UnsafeImage("flagged as not safe for work 2 times", 1)


def test_uses_the_safety_checker(folders: dict[str, Path]) -> None:
    strict = load(folders, "strict")
    assert list(strict.compute([replace(a_request(), nsfw_retries=1)])) == [
        UnsafeImage("flagged as not safe for work 2 times", 1)
    ]
    both = load(folders, "lenient", "lightning")
    few = replace(a_request(), few_step=True, steps=4)
    assert compute(both, few)[0].retries == 0
    assert len(both.modules) == 6


def test_results_that_are_not_finite_are_invalid(folders: dict[str, Path]) -> None:
    network = load(folders)
    with torch.no_grad():
        network._parts.unet.conv_out.bias.fill_(float("nan"))
    (result,) = network.compute([a_request()])
    assert result == UnsafeImage("the network gave no finite numbers")


def test_half_precision_is_close_to_full_precision(
    folders: dict[str, Path], network: SdxlBackground
) -> None:
    half = load(folders, base="half", machine=replace(CPU, dtype=torch.bfloat16, batch=2))
    assert all(next(module.parameters()).dtype is torch.bfloat16 for module in half.modules)
    for request in (a_request(1), a_request(2)):
        assert mean_difference(image_of(half, request), image_of(network, request)) < 8


def test_decodes_in_float32_with_a_vae_that_overflows(folders: dict[str, Path]) -> None:
    """The settings of the base's own VAE require it; its weights are float16 again afterwards."""
    from models.diffusion.vae import decode

    half = replace(CPU, dtype=torch.float16)
    parts = load_sdxl(folders["half"], None, half)
    images = decode(parts.vae, torch.zeros(5, 4, 8, 8, dtype=torch.float16))
    assert len(images) == 5
    assert {image.dtype for image in images} == {torch.float32}
    assert next(parts.vae.parameters()).dtype is torch.float16


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "no config.json with safetensors weights"),
        ("text_encoder_2/config.json", "no config.json with safetensors weights"),
    ],
)
def test_names_a_missing_part(
    folders: dict[str, Path], tmp_path: Path, broken: str, complaint: str
) -> None:
    import shutil

    copy = Path(shutil.copytree(folders["base"], tmp_path / "base"))
    (copy / broken).unlink()
    with pytest.raises(WrongCheckpointError, match=f"{broken.partition('/')[0]}: {complaint}"):
        load({**folders, "base": copy})
