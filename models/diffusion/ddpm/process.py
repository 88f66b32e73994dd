"""The reverse process of a diffusion model: from a noisy image to a slightly less noisy one.

Sources: Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020; Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models", ICML 2021 (learned variance); Song et al.,
"Denoising Diffusion Implicit Models", ICLR 2021; Dhariwal and Nichol, "Diffusion Models Beat GANs
on Image Synthesis", NeurIPS 2021, algorithms 1 and 2 (guidance by a classifier).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.diffusion.ddpm.schedule import NoiseSchedule, at

# From noisy images [B, 3, H, W] and times [B], what the network predicts: [B, 3 or 6, H, W].
Predict = Callable[[Tensor, Tensor], Tensor]
# From noisy images and times, the gradient of what guides the images, [B, 3, H, W].
Gradient = Callable[[Tensor, Tensor], Tensor]
# The variance of a step: learned between both bounds, or one of the bounds.
Variance = Literal["learned", "large", "small"]
# What the network's first three channels are: the noise in the images, or the images without it.
Target = Literal["noise", "image"]


@dataclass(frozen=True)
class Estimate:
    """What the model knows of a step: all float32 [B, 3, H, W].

    ``image`` is the predicted image without noise, ``noise`` the noise that goes with it, ``mean``
    and ``log_variance`` are of the images one step before.
    """

    image: Tensor
    noise: Tensor
    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class ReverseProcess:
    """Steps from noise to images.

    Args:
        predict: the network; see `Predict`.
        schedule: the steps, maybe fewer than in the training.
        variance: of a step; "learned" needs a network that predicts it.
        clip: keep predicted images in -1..1.
        gradient: guides the images, see `classifier_gradient`; None: nothing does.
        target: what the network predicts.
    """

    predict: Predict
    schedule: NoiseSchedule
    variance: Variance = "learned"
    clip: bool = True
    gradient: Gradient | None = None
    target: Target = "noise"

    def estimate(self, noisy: Tensor, steps: Tensor) -> Estimate:
        """What the network says of noisy images [B, 3, H, W] after steps [B], without guidance."""
        output = self.predict(noisy, self._times(steps))
        image = output[:, :3]
        if self.target == "noise":
            image = image_of_noise(self.schedule, noisy, image, steps)
        if self.clip:
            image = image.clamp(-1, 1)
        log_variance = step_log_variance(self.schedule, self.variance, output, steps)
        return self._estimate_of(image, noisy, steps, log_variance)

    def ddpm_step(self, noisy: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Images one step before; ``noise`` [B, 3, H, W] counts for all but the first step."""
        estimate = self.estimate(noisy, steps)
        mean = estimate.mean
        if self.gradient is not None:
            mean = mean + estimate.log_variance.exp() * self.gradient(noisy, self._times(steps))
        is_noisy = (steps > 0).to(noise).reshape(-1, 1, 1, 1)
        return mean + is_noisy * (0.5 * estimate.log_variance).exp() * noise

    def ddim_step(self, noisy: Tensor, steps: Tensor, noise: Tensor, eta: float = 0.0) -> Tensor:
        """Images one step before; without ``noise`` if ``eta`` is 0, as DDPM's if it is 1."""
        estimate = self.guided_estimate(noisy, steps)
        kept, before = at(self.schedule.kept, steps), at(self.schedule.kept_before, steps)
        sigma = eta * ((1 - before) / (1 - kept) * (1 - kept / before)).sqrt()
        direction = (1 - before - sigma**2).sqrt()
        is_noisy = (steps > 0).to(noise).reshape(-1, 1, 1, 1)
        cleaner = before.sqrt().float() * estimate.image + direction.float() * estimate.noise
        return cleaner + is_noisy * sigma.float() * noise

    def guided_estimate(self, noisy: Tensor, steps: Tensor) -> Estimate:
        """As `estimate`, with the guidance in the predicted noise (algorithm 2)."""
        estimate = self.estimate(noisy, steps)
        if self.gradient is None:
            return estimate
        spread = (1 - at(self.schedule.kept, steps)).sqrt().float()
        noise = estimate.noise - spread * self.gradient(noisy, self._times(steps))
        image = image_of_noise(self.schedule, noisy, noise, steps)
        return self._estimate_of(image, noisy, steps, estimate.log_variance)

    def _estimate_of(
        self, image: Tensor, noisy: Tensor, steps: Tensor, log_variance: Tensor
    ) -> Estimate:
        mean = self.schedule.posterior_mean(image, noisy, steps)
        return Estimate(
            image, noise_of_image(self.schedule, noisy, image, steps), mean, log_variance
        )

    def _times(self, steps: Tensor) -> Tensor:
        return at(self.schedule.times, steps).flatten().float()


def image_of_noise(schedule: NoiseSchedule, noisy: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """The image that noise [B, 3, H, W] and noisy images of steps [B] imply."""
    kept = at(schedule.kept, steps)
    return (1 / kept).sqrt().float() * noisy - (1 / kept - 1).sqrt().float() * noise


def noise_of_image(schedule: NoiseSchedule, noisy: Tensor, image: Tensor, steps: Tensor) -> Tensor:
    """The noise that images [B, 3, H, W] and noisy images of steps [B] imply."""
    kept = at(schedule.kept, steps)
    return ((1 / kept).sqrt().float() * noisy - image) / (1 / kept - 1).sqrt().float()


def step_log_variance(
    schedule: NoiseSchedule, variance: Variance, output: Tensor, steps: Tensor
) -> Tensor:
    """Logarithm of the variance of steps [B], [B, 3, H, W].

    A learned one lies between its bounds where the network's last three channels are in -1..1; they
    are not clipped.
    """
    small = at(schedule.posterior_log_variance, steps).float().expand_as(output[:, :3])
    if variance == "small":
        return small
    if variance == "large":
        first = schedule.posterior_variance[1]
        large = np.log(np.append(first, schedule.betas[1:]))
        return at(large, steps).float().expand_as(small)
    upper = at(np.log(schedule.betas), steps).float()
    share = (output[:, 3:] + 1) / 2
    return share * upper + (1 - share) * small


def classifier_gradient(
    classify: Callable[[Tensor, Tensor], Tensor], classes: Tensor, scale: float
) -> Gradient:
    """A gradient that leads images to classes.

    Args:
        classify: from noisy images [B, 3, H, W] and times [B], logits [B, classes].
        classes: the wanted class of each image, [B].
        scale: strength; 1 follows the classifier's own probabilities.
    """

    def gradient(noisy: Tensor, times: Tensor) -> Tensor:
        with torch.inference_mode(mode=False), torch.enable_grad():
            images = noisy.detach().clone().requires_grad_(True)
            # Copies, because tensors of inference mode can't take part in a gradient.
            chances = functional.log_softmax(classify(images, times.clone()), dim=-1)
            total = chances.gather(1, classes[:, None].clone()).sum()
            (result,) = torch.autograd.grad(total, images)
        return scale * result

    return gradient
