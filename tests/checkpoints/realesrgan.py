"""Tiny random Real-ESRGAN networks, as one file each with the published keys."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

GROWTH = 32


def build_x2(folder: Path) -> None:
    """The x2 network (12 input channels) as ``RealESRGAN_x2plus.safetensors``."""
    _write(folder / "RealESRGAN_x2plus.safetensors", inputs=12)


def build_x4(folder: Path) -> None:
    """The x4 network as ``RealESRGAN_x4plus.safetensors``."""
    _write(folder / "RealESRGAN_x4plus.safetensors", inputs=3)


def tensors(
    inputs: int, features: int = 8, blocks: int = 1, gain: float = 1.0
) -> dict[str, Tensor]:
    """Weights whose output stays near mid grey for any input; seeded.

    ``gain`` is how strongly a convolution answers; 1 keeps the variance of its input.
    """
    shapes = {"conv_first": (features, inputs)}
    for block in range(blocks):
        for part in (1, 2, 3):
            for conv in (1, 2, 3, 4, 5):
                outputs = features if conv == 5 else GROWTH
                name = f"body.{block}.rdb{part}.conv{conv}"
                shapes[name] = (outputs, features + (conv - 1) * GROWTH)
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        shapes[name] = (features, features)
    shapes["conv_last"] = (3, features)
    made: dict[str, Tensor] = {}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for name, (outputs, width) in shapes.items():
            strength = gain * (width * 9) ** -0.5
            made[f"{name}.weight"] = torch.randn(outputs, width, 3, 3) * strength
            made[f"{name}.bias"] = torch.zeros(outputs)
    made["conv_last.bias"] = torch.full((3,), 0.5)
    return made


def _write(path: Path, inputs: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors(inputs), path)
