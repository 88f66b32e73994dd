"""Whole chains of a reverse process: images from pure noise.

Sources: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, algorithm 2; Song et
al., "Denoising Diffusion Implicit Models", ICLR 2021.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from models.data.pixels import Pixels
from models.diffusion.ddpm.process import ReverseProcess

# Draws Gaussian noise for all images of a batch, [B, 3, H, W].
Draw = Callable[[], Tensor]
Method = Literal["ddpm", "ddim"]


def draw_images(
    process: ReverseProcess, draw: Draw, method: Method = "ddpm", eta: float = 0.0
) -> Tensor:
    """Images in about -1..1, float32 [B, 3, H, W].

    Args:
        process: the steps.
        draw: called once for the first images, then once per step.
        method: "ddpm" adds noise in every step; "ddim" needs fewer steps.
        eta: noise of "ddim", 0 (none) to 1.
    """
    noisy = draw()
    for number in reversed(range(process.schedule.steps)):
        steps = torch.full((len(noisy),), number, device=noisy.device)
        if method == "ddpm":
            noisy = process.ddpm_step(noisy, steps, draw())
        else:
            noisy = process.ddim_step(noisy, steps, draw(), eta)
    return noisy


def as_levels(image: Tensor) -> Pixels:
    """An image [3, H, W] in -1..1 as uint8 HxWx3; levels are cut off as published, not rounded."""
    levels = ((image + 1) * 127.5).clamp(0, 255).to(torch.uint8)
    pixels: Pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels


def as_signed(image: Pixels) -> Tensor:
    """A uint8 HxWx3 image as float32 [3, H, W] in -1..1."""
    return torch.tensor(image).permute(2, 0, 1).float() / 127.5 - 1
