"""The noise schedule of Zero123++: its steps, its Euler ancestral update, and where noise is from.

The update is the ancestral sampler of Karras et al. (arXiv 2206.00364) with eta 1 for a network
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

# The draws for the grey reference, which all images of a batch share. No image has this seed but
# by a chance of 2**-63.
GREY_SEED = 2**63 - 1


@dataclass(frozen=True)
class Level:
    """One step: the time the network is told, the noise level it starts at and the next one."""

    time: float
    sigma: float
    next_sigma: float


def levels(config: Mapping[str, Any], steps: int, spacing: Spacing) -> list[Level]:
    """The steps of a run, from the highest noise level to none.

    Args:
        config: the published scheduler_config.json. Its own spacing is not used: it says linspace,
            and every example of the authors sets trailing.
        steps: 1 or more.
        spacing: how the steps lie in the training's 1000.
    """
    scheduler = new_scheduler("EulerAncestralDiscreteScheduler", config, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    sigmas: list[float] = scheduler.sigmas.tolist()
    times: list[float] = scheduler.timesteps.tolist()
    return [Level(*one) for one in zip(times, sigmas[:-1], sigmas[1:], strict=True)]


def scaled(latents: Tensor, sigma: float) -> Tensor:
    """Latents at a noise level, brought to the unit variance that the network expects."""
    return latents / math.sqrt(sigma**2 + 1)


def ancestral_step(latents: Tensor, v: Tensor, level: Level, noise: Tensor) -> Tensor:
    """Latents at the next noise level.

    Args:
        latents: [B, C, H, W] at ``level.sigma``.
        v: the network's output for them, guided, same shape.
        noise: standard gaussian, same shape; of no effect where the next level is 0.
    """
    sigma, following = level.sigma, level.next_sigma
    variance = sigma**2 + 1
    clean = latents / variance - v * (sigma / math.sqrt(variance))
    up = math.sqrt(following**2 * (sigma**2 - following**2) / sigma**2)
    down = math.sqrt(following**2 - up**2)
    return latents + (latents - clean) * ((down - sigma) / sigma) + noise * up


class Noise(Protocol):
    """Where the gaussian draws of a batch come from, each in float32 on the CPU."""

    def own(self, shape: Sequence[int]) -> Tensor:
        """A draw for every image of the batch, [B, *shape]."""

    def grey(self, shape: Sequence[int]) -> Tensor:
        """A draw for the grey reference, [1, *shape]."""


class SeededNoise:
    """Draws from one generator per image, and one of its own for the grey reference.

    The official program draws the noise of references from torch's global generator and the rest
    from a given one; a result of it can therefore not be had again from a seed alone. The grey
    reference is drawn once for all images: an image alone then gets what it gets in a batch, and
    its write pass is computed once per batch.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._own = [generator(seed) for seed in seeds]
        self._grey = generator(GREY_SEED)

    def own(self, shape: Sequence[int]) -> Tensor:
        """A draw from every image's generator, [B, *shape]."""
        return torch.stack([torch.randn(tuple(shape), generator=one) for one in self._own])

    def grey(self, shape: Sequence[int]) -> Tensor:
        """A draw from the grey reference's generator, [1, *shape]."""
        return torch.randn((1, *shape), generator=self._grey)
