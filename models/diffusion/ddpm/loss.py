"""The loss of a diffusion model: the simple loss, and a share of the variational bound.

Source: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", ICML 2021,
section 3.1: the simple loss trains the noise, the bound trains the variance; Salimans and Ho,
"Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, for the velocity.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.ddpm.process import (
    Predict,
    image_of_noise,
    step_log_variance,
)
from models.diffusion.ddpm.schedule import NoiseSchedule, at

# Half of the distance of two grey levels in -1..1, and the least probability of a level.
HALF_LEVEL = 1 / 255
LEAST = 1e-12
# Beyond these values the first and the last grey level reach to infinity.
EDGE = 0.999


@dataclass(frozen=True)
class Losses:
    """Per image, [B]: the mean squared error of the noise, one term of the bound, and their sum."""

    simple: Tensor
    bound: Tensor | None
    total: Tensor


def diffusion_loss(
    predict: Predict,
    schedule: NoiseSchedule,
    images: Tensor,
    noise: Tensor,
    steps: Tensor,
    bound_weight: float = 0.001,
    *,
    of_velocity: bool = False,
) -> Losses:
    """The loss L_simple + bound_weight * L_vlb of images at steps.

    L_vlb is the sum over all steps, estimated by the number of steps times the term of one. It
    leaves the noise as it is. A network without learned variance has L_simple alone.

    Args:
        predict: the network.
        schedule: of the training.
        images: -1..1, [B, 3, H, W].
        noise: Gaussian, [B, 3, H, W].
        steps: [B].
        bound_weight: the paper's lambda.
        of_velocity: L_simple is the error of the velocity and not of the noise, so that steps with
            much noise count more; for networks that predict the velocity.
    """
    noisy = schedule.add_noise(images, noise, steps)
    output = predict(noisy, at(schedule.times, steps).flatten().float())
    simple = mean_per_image((noise - output[:, :3]) ** 2)
    if of_velocity:
        simple = simple / at(schedule.kept, steps).flatten().float()
    if output.shape[1] == 3:
        return Losses(simple, None, simple)
    fixed_noise = torch.cat([output[:, :3].detach(), output[:, 3:]], dim=1)
    bound = bound_term(schedule, fixed_noise, images, noisy, steps)
    return Losses(simple, bound, simple + bound_weight * schedule.steps * bound)


def bound_term(
    schedule: NoiseSchedule, output: Tensor, images: Tensor, noisy: Tensor, steps: Tensor
) -> Tensor:
    """The term of the variational bound at steps [B], in bits per number of an image: [B].

    Args:
        output: what the network predicts of ``noisy``, [B, 6, H, W].
        images, noisy: without noise and after the steps, [B, 3, H, W].
    """
    image = image_of_noise(schedule, noisy, output[:, :3], steps)
    mean = schedule.posterior_mean(image, noisy, steps)
    log_variance = step_log_variance(schedule, "learned", output, steps)
    true_mean = schedule.posterior_mean(images, noisy, steps)
    true_log_variance = at(schedule.posterior_log_variance, steps).float()
    divergence = _divergence(true_mean, true_log_variance, mean, log_variance)
    first = _level_likelihood(images, mean, log_variance)
    nats = torch.where(steps == 0, -mean_per_image(first), mean_per_image(divergence))
    return nats / math.log(2)


def mean_per_image(values: Tensor) -> Tensor:
    """The mean of all but the first axis."""
    return values.flatten(1).mean(dim=1)


def _divergence(mean: Tensor, log_variance: Tensor, other: Tensor, other_log: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two Gaussians, in nats."""
    ratio = torch.exp(log_variance - other_log)
    distance = (mean - other) ** 2 * torch.exp(-other_log)
    return 0.5 * (other_log - log_variance - 1 + ratio + distance)


def _level_likelihood(images: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of the probability of each number's grey level under a Gaussian."""
    centred, precision = images - mean, torch.exp(-0.5 * log_variance)
    up_to = _normal_share((centred + HALF_LEVEL) * precision)
    below = _normal_share((centred - HALF_LEVEL) * precision)
    share = torch.where(images > EDGE, 1 - below, up_to - below)
    share = torch.where(images < -EDGE, up_to, share)
    return share.clamp(min=LEAST).log()


def _normal_share(values: Tensor) -> Tensor:
    """Share of a standard Gaussian below values, approximated as the published program does."""
    inner = math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)
    return 0.5 * (1 + inner.tanh())
