"""The numbers that the published program computed, and networks with its weights."""

import json
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.diffusion.ddpm.classifier import ClassifierConfig, NoisyClassifier
from models.diffusion.ddpm.config import UnetConfig
from models.diffusion.ddpm.process import Predict
from models.diffusion.ddpm.unet import Unet
from tests.conftest import SHARED

FOLDER = SHARED / "golden" / "guided_diffusion"
CHAINS = "unet_a.samples"


def skip_without_goldens() -> None:
    if not FOLDER.is_dir():
        pytest.skip("needs ../shared/golden/guided_diffusion: numbers of the published program")


@cache
def numbers(name: str) -> dict[str, Tensor]:
    skip_without_goldens()
    suffix = "" if name == CHAINS or name == "schedules" else ".vectors"
    return load_file(FOLDER / f"{name}{suffix}.safetensors")


def config_of(about: dict[str, Any]) -> UnetConfig:
    """Our config of the published program's arguments."""
    return UnetConfig(
        image_size=about["image_size"],
        channels=about["model_channels"],
        multipliers=tuple(about["channel_mult"]),
        residual_blocks=about["num_res_blocks"],
        attention_factors=tuple(about["attention_resolutions"]),
        head_channels=about.get("num_head_channels"),
        heads=about.get("num_heads", 1),
        qkv_first=about.get("use_new_attention_order", False),
        scale_shift_norm=about["use_scale_shift_norm"],
        resample_in_blocks=about["resblock_updown"],
        classes=about.get("num_classes"),
    )


def published_unet(name: str) -> Unet:
    skip_without_goldens()
    about = json.loads((FOLDER / f"{name}.json").read_text())
    network = Unet(config_of(about["unet"]))
    network.load_state_dict(load_file(FOLDER / f"{name}.weights.safetensors"), strict=True)
    assert sum(weight.numel() for weight in network.parameters()) == about["params"]
    return network.eval()


def published_classifier() -> NoisyClassifier:
    skip_without_goldens()
    about = json.loads((FOLDER / "unet_a.json").read_text())["classifier"]
    shape = config_of(about).model_dump() | {"classes": about["out_channels"]}
    network = NoisyClassifier(ClassifierConfig(**shape))
    network.load_state_dict(load_file(FOLDER / "classifier.weights.safetensors"), strict=True)
    return network.eval().requires_grad_(False)


def predict_with(network: Unet, classes: Tensor | None = None, channels: int = 6) -> Predict:
    def predict(images: Tensor, times: Tensor) -> Tensor:
        return network(images, times, classes)[:, :channels]

    return predict


def assert_close(result: Tensor, expected: Tensor, tolerance: float) -> None:
    assert result.shape == expected.shape
    assert result.dtype == torch.float32
    assert (result - expected).abs().max() <= tolerance
