"""Classes of box sizes, and a classifier that finds them in noisy images and guides the drawing.

Source of the guidance: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis",
NeurIPS 2021, section 4.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models.diffusion.ddpm.classifier import NoisyClassifier
from models.diffusion.ddpm.fit.crops import Crops
from models.diffusion.ddpm.schedule import noise_schedule
from models.diffusion.finetuning.loop import Schedule, random_of, repeatable, train_weights
from models.runtime.batching import device_of

# Class 0 is a box of less than a tenth of the crop, class 10 one that fills it.
SIZE_CLASSES = 11


def size_class(height: float, width: float, side: int) -> int:
    """The class 0..10 of a box: floor(10 (height + width) / (2 side)).

    Args:
        height, width: of the box in px of its crop, at most ``side``.
        side: of the crop, px.
    """
    return int(10 * (height + width) / (2 * side))


def train_classifier(
    network: NoisyClassifier,
    crops: Crops,
    classes: Sequence[int],
    schedule: Schedule,
    *,
    batch: int,
    seed: int,
    folder: Path,
    on_step: Callable[[Sequence[float]], None] = lambda _: None,
) -> list[float]:
    """Train a classifier in place on crops with noise of all steps; return the loss of every step.

    A training that was stopped continues after the last saved step.

    Args:
        network: in float32.
        crops: in the network's size.
        classes: one per crop.
        schedule: steps and learning rate.
        batch: crops per loss.
        seed: 0 .. 2**62 - 1.
        folder: of this training alone; holds its state.
        on_step: called after each step with the losses of all steps so far; an exception that it
            raises stops the training.

    Raises:
        ValueError: the number of classes is not that of the crops.
    """
    if len(classes) != len(crops.images):
        raise ValueError(
            f"classes: {len(classes)} for {len(crops.images)} crops; give one for each"
        )
    config, device = network.config, device_of(network)
    noise_levels = noise_schedule(config.curve, config.steps)
    wanted = torch.tensor(classes)

    def loss_of(draw: int) -> Tensor:
        random = random_of(seed, draw)
        images, _ = crops.batch(seed, draw, batch)
        noise = torch.randn(images.shape, generator=random)
        steps = torch.randint(config.steps, (len(images),), generator=random)
        noisy = noise_levels.add_noise(images, noise, steps).to(device)
        logits = network(noisy, steps.to(device))
        chosen = wanted[crops.chosen(seed, draw, batch)]
        return functional.cross_entropy(logits, chosen.to(device))

    with repeatable(seed):
        network.train().requires_grad_(True)
        losses = train_weights(list(network.parameters()), loss_of, schedule, folder, on_step)
        network.eval().requires_grad_(False)
    return losses
