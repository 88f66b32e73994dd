"""Labelled photos for a training loop: square, uint8, in memory, in a repeatable order.

Each photo is decoded once, scaled to fit a square with its proportions kept, and padded with grey.
The augmentation of a draw depends on the seed and the draw's number alone. So neither the number
of loader processes nor an interruption changes what the network sees.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.data.pixels import Pixels
from models.data.specs import Augmentation
from models.data.square import read_bytes, read_square
from models.training.classification.augment import augment
from models.training.policy_settings import PolicyRanges
from models.training.task import LabelledImages

# Decoding releases the interpreter lock; more threads than this wait for the disk.
DECODERS = 4


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
        self.ranges: PolicyRanges | None = None
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
            rng = np.random.default_rng([self.seed, draw])
            square = augment(square, self.augmentation, rng, self.ranges)
        return torch.from_numpy(np.ascontiguousarray(square)), label

    def _decode_all(self) -> Pixels:
        decoded = np.empty((len(self.images), self.size, self.size, 3), np.uint8)
        with ThreadPoolExecutor(DECODERS) as pool:
            squares = pool.map(lambda image: read_square(image[0], self.size), self.images)
            for index, square in enumerate(squares):
                decoded[index] = square
        return decoded
