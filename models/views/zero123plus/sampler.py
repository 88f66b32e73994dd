"""The noise schedule of Zero123++: its steps, its Euler ancestral update and its noise.

The update is the ancestral sampler of Karras et al. (arXiv 2206.00364) with eta 1, for a network
that predicts v (Salimans and Ho, arXiv 2202.00512), in variance-exploding terms: x = x0 + sigma*e.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from models.diffusion.schedulers import new_scheduler
from models.runtime.batching import generator

Spacing = Literal["trailing", "linspace"]

# Seed of the noise that the images of a batch share. No image has it but by a chance of 2**-63.
SHARED_SEED = 2**63 - 1


@dataclass(frozen=True)
class SamplerStep:
    """One denoising step: the network's time input, the noise level and the next noise level."""

    time: float
    sigma: float
    next_sigma: float


def sampler_steps(config: Mapping[str, Any], steps: int, spacing: Spacing) -> list[SamplerStep]:
    """Return the denoising steps, from the highest noise level to none.

    Args:
        config: the published scheduler_config.json. Its spacing is ignored: it says linspace, but
            every example of the authors sets trailing.
        steps: 1 or more.
        spacing: how the steps lie in the 1000 steps of training.
    """
    scheduler = new_scheduler("EulerAncestralDiscreteScheduler", config, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    sigmas: list[float] = scheduler.sigmas.tolist()
    times: list[float] = scheduler.timesteps.tolist()
    return [
        SamplerStep(time, sigma, next_sigma)
        for time, sigma, next_sigma in zip(times, sigmas[:-1], sigmas[1:], strict=True)
    ]


def scale_latents(latents: Tensor, sigma: float) -> Tensor:
    """Scale latents of a noise level to the unit variance that the network expects."""
    return latents / math.sqrt(sigma**2 + 1)


def ancestral_step(latents: Tensor, v: Tensor, step: SamplerStep, noise: Tensor) -> Tensor:
    """Return latents at the next noise level.

    Args:
        latents: [B, C, H, W] at ``step.sigma``.
        v: the network's guided output for them, same shape.
        step: the current step.
        noise: standard Gaussian, same shape; without effect where the next level is 0.
    """
    sigma, following = step.sigma, step.next_sigma
    variance = sigma**2 + 1
    clean = latents / variance - v * (sigma / math.sqrt(variance))
    up = math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
    down = math.sqrt(following**2 - up**2)
    return latents + (latents - clean) * ((down - sigma) / sigma) + noise * up


class Noise(Protocol):
    """Source of a batch's Gaussian noise, float32 on the CPU."""

    def per_image(self, shape: Sequence[int]) -> Tensor:
        """Return noise of its own for every image of the batch, [B, *shape]."""

    def shared(self, shape: Sequence[int]) -> Tensor:
        """Return noise for the grey reference, which all images share, [1, *shape]."""


class SeededNoise:
    """Noise from one generator per image, and from one for the grey reference.

    The official program draws the references' noise from torch's global generator, so a seed alone
    does not reproduce its results. Here the grey reference is drawn once for all images. An image
    then gets the same result alone and in a batch, and the batch needs one grey write pass.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._per_image = [generator(seed) for seed in seeds]
        self._shared = generator(SHARED_SEED)

    def per_image(self, shape: Sequence[int]) -> Tensor:
        """Return noise from every image's generator, [B, *shape]."""
        draws = [torch.randn(tuple(shape), generator=source) for source in self._per_image]
        return torch.stack(draws)

    def shared(self, shape: Sequence[int]) -> Tensor:
        """Return noise from the shared generator, [1, *shape]."""
        return torch.randn((1, *shape), generator=self._shared)
