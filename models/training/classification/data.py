"""Labelled photos for a training loop: square, uint8, in memory, in a repeatable order.

Each photo is decoded once, scaled to fit a square with its proportions kept, and padded with grey.
The augmentation of a draw depends on the seed and the draw's number alone. So neither the number
of loader processes nor an interruption changes what the network sees.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2 as transforms

from models.data.pixels import Pixels
from models.data.specs import Augmentation
from models.data.square import GREY, read_bytes, read_square
from models.training.task import LabelledImages

# Decoding releases the interpreter lock; more threads than this wait for the disk.
DECODERS = 4
_POLICIES: dict[str, Callable[..., transforms.Transform]] = {
    "randaugment": transforms.RandAugment,
    "autoaugment": transforms.AutoAugment,
    "trivial": transforms.TrivialAugmentWide,
}


def digest_images(images: LabelledImages) -> str:
    """A digest of the photos' bytes and labels in their order; file names do not count.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    total = hashlib.blake2b(digest_size=16)
    for path, label in images:
        content = hashlib.blake2b(read_bytes(path), digest_size=16).digest()
        total.update(content + label.to_bytes(4, "little"))
    return total.hexdigest()


class LetterboxedDataset(Dataset[tuple[Tensor, int]]):
    """Photos as uint8 tensors HxWx3 with their class index, kept decoded where memory allows.

    An item is ``(index, draw)``: the draw's number decides the augmentation. A plain index gives
    the photo without augmentation.

    Args:
        memory_mb: MiB that the decoded photos may take in all processes together.
        processes: number of processes that hold a copy of this set.
    """

    def __init__(
        self, images: LabelledImages, size: int, memory_mb: int, processes: int = 1
    ) -> None:
        self.images = [(Path(path), int(label)) for path, label in images]
        self.size = size
        self.augmentation: Augmentation = "none"
        self.seed = 0
        self.decoded: Pixels | None = None
        if processes * len(self.images) * size * size * 3 <= memory_mb * 2**20:
            self.decoded = self._decode_all()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, int]:
        index, draw = item if isinstance(item, tuple) else (item, None)
        path, label = self.images[index]
        square = read_square(path, self.size) if self.decoded is None else self.decoded[index]
        if draw is not None:
            square = augment(square, self.augmentation, np.random.default_rng([self.seed, draw]))
        return torch.from_numpy(np.ascontiguousarray(square)), label

    def _decode_all(self) -> Pixels:
        decoded = np.empty((len(self.images), self.size, self.size, 3), np.uint8)
        with ThreadPoolExecutor(DECODERS) as pool:
            squares = pool.map(lambda image: read_square(image[0], self.size), self.images)
            for index, square in enumerate(squares):
                decoded[index] = square
        return decoded


def augment(pixels: Pixels, augmentation: Augmentation, rng: np.random.Generator) -> Pixels:
    """Augment a square RGB uint8 image; the copy has the same size.

    ``flip`` mirrors half of the images. ``crop`` also zooms, shifts and changes the light. The
    others mirror, then apply RandAugment (Cubuk et al. 2020), the ImageNet AutoAugment policy
    (Cubuk et al. 2019) or TrivialAugment (Müller and Hutter 2021) of torchvision, with grey fill.
    """
    if augmentation == "none":
        return pixels
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if augmentation == "flip":
        return pixels
    if augmentation == "crop":
        return _zoom_and_light(np.ascontiguousarray(pixels), rng)
    policy = _POLICIES[augmentation](fill=[float(GREY)] * 3)
    # The policies draw from torch's global generator, which dropout draws from as well.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed = policy(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    return np.asarray(changed.numpy().transpose(1, 2, 0), np.uint8)


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
