"""The U-Net loads published weights strictly, and computes what the published program does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.diffusion.ddpm.config import IMAGENET_256
from models.diffusion.ddpm.load import load_unet
from models.diffusion.ddpm.schedule import noise_schedule
from models.diffusion.ddpm.unet import Unet
from models.runtime.hardware import Machine
from models.runtime.loading import WrongCheckpointError
from tests.models.diffusion.ddpm.published import assert_close, numbers, published_unet
from tests.models.diffusion.ddpm.tiny import TINY, tiny_unet

CPU = Machine(torch.device("cpu"), torch.float32)
HALF = Machine(torch.device("cpu"), torch.bfloat16)


@pytest.mark.parametrize("name", ["unet_a", "unet_b"])
def test_predicts_what_the_published_program_does(name: str) -> None:
    network, expected = published_unet(name), numbers(name)
    with torch.inference_mode():
        result = network(expected["x"], expected["t"], expected.get("y"))
        between = network(expected["x"], expected["t"] + 0.25, expected.get("y"))
    assert_close(result, expected["y_out"], 5e-5)
    assert_close(between, expected["y_out_fractional_t"], 5e-5)
    # Weights of one layout of attention give another result in the other.
    for block in network.modules():
        if hasattr(block, "qkv_first"):
            block.qkv_first = not block.qkv_first
    with torch.inference_mode():
        other = network(expected["x"], expected["t"], expected.get("y"))
    assert (other - expected["y_out"]).abs().max() > 1e-3


def test_the_network_for_imagenet_has_the_published_size_and_keys() -> None:
    with torch.device("meta"):
        network = Unet(IMAGENET_256)
    assert sum(weight.numel() for weight in network.parameters()) == 552_814_086
    keys = set(network.state_dict())
    assert {
        "input_blocks.3.0.in_layers.2.weight",
        "input_blocks.10.1.qkv.weight",
        "middle_block.1.proj_out.bias",
        "output_blocks.2.2.out_layers.3.weight",
        "output_blocks.17.0.skip_connection.weight",
        "out.2.weight",
    } <= keys
    assert network.get_parameter("input_blocks.13.1.qkv.weight").shape == (3072, 1024, 1)


def write(folder: Path, config: Any = None) -> dict[str, torch.Tensor]:
    weights = Unet(TINY).state_dict()
    save_file(weights, folder / "256x256_diffusion_uncond.safetensors")
    text = TINY.model_dump_json() if config is None else json.dumps(config)
    (folder / "config.json").write_text(text)
    return weights


def test_loads_a_folder_frozen_in_the_machines_precision(tmp_path: Path) -> None:
    weights = write(tmp_path)
    full, half = load_unet(tmp_path, CPU), load_unet(tmp_path, HALF)
    assert all(torch.equal(full.state_dict()[name], value) for name, value in weights.items())
    assert not any(weight.requires_grad for weight in full.parameters())
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


def test_half_precision_is_close_to_full() -> None:
    network, expected = published_unet("unet_a"), numbers("unet_a")
    with torch.inference_mode():
        result = network.to(torch.bfloat16)(expected["x"], expected["t"])
    assert result.dtype == torch.float32
    difference = (result - expected["y_out"]).abs().mean() / expected["y_out"].abs().mean()
    assert 0 < difference < 0.02


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"image_size": 16}, "channels Field required"),
        (TINY.model_dump() | {"channels": 64}, "weights of another network"),
        (TINY.model_dump() | {"residual_blocks": 2}, "weights of another network"),
        (TINY.model_dump() | {"multipliers": [0.5]}, "a level has 16 channels"),
        (TINY.model_dump() | {"multipliers": [1] * 6}, "16 is no multiple of 32"),
        ([], "no JSON object"),
    ],
)
def test_a_wrong_folder_is_refused_in_one_line(tmp_path: Path, config: Any, fault: str) -> None:
    write(tmp_path, config)
    with pytest.raises(WrongCheckpointError, match=fault) as caught:
        load_unet(tmp_path, CPU)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recomputing_features_gives_the_same_gradients_with_frozen_blocks() -> None:
    network = tiny_unet().requires_grad_(False)
    trained = network.get_parameter("input_blocks.3.1.qkv.weight").requires_grad_(True)
    images, gradients = torch.linspace(-1, 1, 768).reshape(1, 3, 16, 16), []
    for recompute in (False, True):
        network.recompute = recompute
        network(images, torch.tensor([5])).square().sum().backward()
        assert trained.grad is not None
        gradients.append(trained.grad.clone())
        trained.grad = None
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_network_of_the_velocity_gives_the_noise() -> None:
    config = TINY.model_copy(update={"prediction": "velocity"})
    plain, network = tiny_unet(), tiny_unet(config=config)
    random = torch.Generator().manual_seed(0)
    image, noise = torch.randn(2, 2, 3, 16, 16, generator=random)
    steps = torch.tensor([100, 900])
    schedule = noise_schedule(config.curve, config.steps)
    noisy = schedule.add_noise(image, noise, steps)
    kept = torch.tensor(schedule.kept[steps.numpy()]).float().reshape(2, 1, 1, 1)
    with torch.no_grad():
        velocity, found = plain(noisy, steps), network(noisy, steps)
    expected = kept.sqrt() * velocity[:, :3] + (1 - kept).sqrt() * noisy
    torch.testing.assert_close(found[:, :3], expected)
    assert torch.equal(found[:, 3:], velocity[:, 3:])
