"""Random changes of train images: a policy by name, and the generator that all numbers come from.

The copies of an image depend on the policy, its ranges and the generator alone.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torchvision.transforms import v2 as transforms

from models.data.pixels import Pixels
from models.data.specs import Augmentation
from models.data.square import GREY
from models.training.policy_settings import RANGED_POLICIES, PolicyRanges

_FILL = [float(GREY)] * 3
_POLICIES: dict[str, Callable[..., transforms.Transform]] = {
    "randaugment": transforms.RandAugment,
    "autoaugment": transforms.AutoAugment,
    "trivial": transforms.TrivialAugmentWide,
}


def augment(
    pixels: Pixels,
    augmentation: Augmentation,
    rng: np.random.Generator,
    ranges: PolicyRanges | None = None,
) -> Pixels:
    """Augment a square RGB uint8 image; the copy has the same size.

    ``flip`` mirrors half of the images. ``crop`` also zooms, shifts and changes the light.
    ``custom`` and ``rotate_blur_flip`` do what ``ranges`` says. The others mirror, then apply
    RandAugment (Cubuk et al. 2020), the ImageNet AutoAugment policy (Cubuk et al. 2019) or
    TrivialAugment (Müller and Hutter 2021) of torchvision. What enters an image is grey.
    """
    if augmentation == "none":
        return pixels
    if augmentation in RANGED_POLICIES:
        with_colours = augmentation == "custom"
        return _apply(_ranged_policy(ranges or PolicyRanges(), with_colours), pixels, rng)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if augmentation == "flip":
        return pixels
    if augmentation == "crop":
        return _zoom_and_light(np.ascontiguousarray(pixels), rng)
    return _apply(_POLICIES[augmentation](fill=_FILL), pixels, rng)


def _apply(policy: transforms.Transform, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Seed torch's global generator, which policies and dropout draw from, for one image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed = policy(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    return np.asarray(changed.numpy().transpose(1, 2, 0), np.uint8)


def _ranged_policy(ranges: PolicyRanges, with_colours: bool) -> transforms.Transform:
    """Flip, colour jitter, blur and rotation, in this order; without colours both flips."""
    jitter = transforms.ColorJitter(
        ranges.brightness, ranges.contrast, ranges.saturation, ranges.hue
    )
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(ranges.flip),
            jitter if with_colours else transforms.RandomVerticalFlip(ranges.flip),
            transforms.GaussianBlur(ranges.blur_kernel, (ranges.blur_min, ranges.blur_max)),
            transforms.RandomRotation(
                ranges.rotation, transforms.InterpolationMode.BILINEAR, fill=_FILL
            ),
        ]
    )


def _zoom_and_light(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Zoom 0.9 to 1.4, shift up to 1/8 of the side, contrast and brightness up to 25 %."""
    size = pixels.shape[0]
    zoom = rng.uniform(0.9, 1.4)
    shift = rng.uniform(-0.125, 0.125, 2) * size + (1 - zoom) * (size - 1) / 2
    matrix = np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])
    moved = cv2.warpAffine(pixels, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    contrast, brightness = rng.uniform(0.75, 1.25), rng.uniform(-32.0, 32.0)
    levels = (np.arange(256, dtype=np.float64) - GREY) * contrast + GREY + brightness
    return np.asarray(cv2.LUT(moved, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), np.uint8)
