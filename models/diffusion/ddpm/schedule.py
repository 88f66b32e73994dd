"""The noise schedule of a diffusion process, and the shorter schedules that skip steps.

Sources: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020; Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models", ICML 2021, sections 3.2 and 4; Song et al.,
"Denoising Diffusion Implicit Models", ICLR 2021.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from models.data.pixels import Matrix
from models.diffusion.ddpm.config import Curve

# The largest share of the noise that a step of the cosine schedule adds.
MOST_NOISE = 0.999


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Steps from little noise to pure noise.

    Args:
        betas: variance of the noise that each step adds, float64.
        times: what the network gets as the time of each step.
    """

    betas: Matrix
    times: Matrix

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return len(self.betas)

    @cached_property
    def kept(self) -> Matrix:
        """Share of the image in the variance after each step (the papers' alpha bar)."""
        return np.asarray(np.cumprod(1 - self.betas))

    @cached_property
    def kept_before(self) -> Matrix:
        """`kept` of the step before; 1 for the first."""
        return np.append(1.0, self.kept[:-1])

    @cached_property
    def posterior_variance(self) -> Matrix:
        """Variance of the step before if the image is known."""
        return np.asarray(self.betas * (1 - self.kept_before) / (1 - self.kept))

    @cached_property
    def posterior_log_variance(self) -> Matrix:
        """Logarithm of it; the first step, whose variance is 0, has that of the second."""
        variance = self.posterior_variance
        return np.asarray(np.log(np.append(variance[1], variance[1:])))

    @cached_property
    def posterior_of_image(self) -> Matrix:
        """Factor of the image in the posterior mean."""
        return np.asarray(self.betas * np.sqrt(self.kept_before) / (1 - self.kept))

    @cached_property
    def posterior_of_noisy(self) -> Matrix:
        """Factor of the noisy image in the posterior mean."""
        return np.asarray((1 - self.kept_before) * np.sqrt(1 - self.betas) / (1 - self.kept))

    def add_noise(self, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Images after steps [B]; ``images`` and ``noise`` are [B, 3, H, W]."""
        kept = at(self.kept, steps)
        return _root(kept) * images + _root(1 - kept) * noise

    def posterior_mean(self, images: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Mean of the step before steps [B] if images and noisy images are known."""
        of_image, of_noisy = at(self.posterior_of_image, steps), at(self.posterior_of_noisy, steps)
        return of_image.float() * images + of_noisy.float() * noisy

    def respaced(self, spacing: str) -> "NoiseSchedule":
        """A schedule of fewer steps with the same noise levels at those that are kept.

        Args:
            spacing: see `kept_steps`.

        Raises:
            ValueError: there are fewer steps than the spacing wants.
        """
        steps = kept_steps(self.steps, spacing)
        kept = self.kept[steps]
        return NoiseSchedule(1 - kept / np.append(1.0, kept[:-1]), self.times[steps])


def noise_schedule(curve: Curve, steps: int = 1000, spacing: str = "") -> NoiseSchedule:
    """The schedule of a training with ``steps`` steps.

    Args:
        curve: of the noise: "linear" (Ho et al.) or "cosine" (Nichol and Dhariwal).
        steps: of the training, 2 or more.
        spacing: steps that are kept, see `kept_steps`; empty: all.

    Raises:
        ValueError: there are fewer steps than the spacing wants.
    """
    if curve == "linear":
        scale = 1000 / steps
        betas = np.linspace(scale * 0.0001, scale * 0.02, steps, dtype=np.float64)
    else:
        positions = [(step / steps + 0.008) / 1.008 for step in range(steps + 1)]
        levels = [math.cos(position * math.pi / 2) ** 2 for position in positions]
        betas = np.minimum(1 - np.divide(levels[1:], levels[:-1]), MOST_NOISE)
    whole = NoiseSchedule(betas, np.arange(steps, dtype=np.float64))
    return whole.respaced(spacing) if spacing else whole


def kept_steps(steps: int, spacing: str) -> list[int]:
    """The numbers of the steps that are kept, in rising order.

    Args:
        steps: of the whole schedule.
        spacing: "250" keeps so many evenly spaced ones, the first and the last among them;
            "10,15,20" keeps so many of each third; "ddim25" keeps so many at a whole distance.

    Raises:
        ValueError: there are too few steps, or no whole distance gives that number.
    """
    if spacing.startswith("ddim"):
        count = int(spacing.removeprefix("ddim"))
        for distance in range(1, steps):
            if len(range(0, steps, distance)) == count:
                return list(range(0, steps, distance))
        raise ValueError(
            f"spacing {spacing}: no whole distance keeps so many of {steps} steps; choose another"
        )
    counts = [int(part) for part in spacing.split(",")]
    kept: list[int] = []
    first = 0
    for section, count in enumerate(counts):
        size = steps // len(counts) + (section < steps % len(counts))
        if not 2 <= count <= size:
            raise ValueError(
                f"spacing {spacing}: {count} of {size} steps can't be kept; choose 2 to {size}"
            )
        position, stride = 0.0, (size - 1) / (count - 1)
        # Added up and not multiplied, because the published program rounds these sums.
        for _ in range(count):
            kept.append(first + round(position))
            position += stride
        first += size
    return kept


def at(values: Matrix, steps: Tensor) -> Tensor:
    """The values of steps [B] as float64 [B, 1, 1, 1] on the device of ``steps``."""
    return torch.from_numpy(values).to(steps.device)[steps].reshape(-1, 1, 1, 1)


def _root(values: Tensor) -> Tensor:
    return values.sqrt().float()
