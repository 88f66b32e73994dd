"""Photos with the boxes of their objects for a training loop: square, uint8, repeatable order.

Photos are scaled to fit a square and padded right and below, so that one factor maps boxes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.data.photo_colours import PhotoRejectedError
from models.data.pixels import Floats, Pixels, resize
from models.data.read_photo import read_photo
from models.data.square import GREY, read_bytes
from models.training.detection.augment import augment_boxes, keep_visible
from models.training.detection.detector import Objects
from models.training.detection.settings import DetectionAugmentation
from models.training.task import LabelledImages, ObjectTruth


@dataclass(frozen=True)
class BoxedImages:
    """Photos with their objects, all of which have a box. A photo may have none."""

    files: tuple[Path, ...]
    objects: tuple[tuple[ObjectTruth, ...], ...]


@dataclass(frozen=True)
class Square:
    """A photo in a square of the network's size.

    ``scale``: px of the square per px of the photo. ``size``: width and height of the photo in px.
    """

    pixels: Pixels
    scale: float
    size: tuple[int, int]


def with_boxes(images: LabelledImages, truth: Mapping[Path, Sequence[ObjectTruth]]) -> BoxedImages:
    """The photos with their objects; an object without a box is none.

    Raises:
        ValueError: nothing is known of the objects of a photo; the line names it.
    """
    for path, _ in images:
        if path not in truth:
            raise ValueError(f"{path}: its objects are not known; detection needs their boxes")
    return BoxedImages(
        tuple(path for path, _ in images),
        tuple(tuple(found for found in truth[path] if found.box is not None) for path, _ in images),
    )


def class_pools(images: BoxedImages, groups: Sequence[int] = ()) -> list[list[int]]:
    """The photos that show each class, and those without an object, as numbers of photos.

    Sampling them in turn is class-aware sampling (Shen et al. 2016, section 3.2,
    https://arxiv.org/abs/1512.05830). With groups there is a pool for each class of a group.
    """
    pools: dict[tuple[int, int], list[int]] = {}
    for number, objects in enumerate(images.objects):
        group = groups[number] if groups else 0
        for label in sorted({found.label for found in objects}) or [-1]:
            pools.setdefault((label, group), []).append(number)
    return [pools[key] for key in sorted(pools)]


def read_padded(path: Path, size: int) -> Square:
    """Read a photo as an RGB square of ``size`` px, with grey at the right and below.

    Raises:
        ValueError: the file is missing or not a photo; the message names it.
    """
    try:
        photo = read_photo(read_bytes(path), max_side=2 * size, min_side=1)
    except PhotoRejectedError as reason:
        raise ValueError(f"{path}: {reason}") from None
    height, width = photo.pixels.shape[:2]
    fitting = size / max(height, width)
    inner = max(1, round(width * fitting)), max(1, round(height * fitting))
    square = np.full((size, size, 3), GREY, np.uint8)
    square[: inner[1], : inner[0]] = resize(photo.pixels, *inner, scale=fitting)
    return Square(square, size / max(photo.file_size), photo.file_size)


def scale_boxes(objects: Sequence[ObjectTruth], scale: float) -> Floats:
    """The objects as float32 [N, 5]: left, top, right, bottom in px of a square, and the class."""
    rows = [
        (*(np.array((x, y, x + width, y + height)) * scale), found.label)
        for found in objects
        if found.box is not None
        for x, y, width, height in [found.box]
    ]
    return np.array(rows, np.float32).reshape(-1, 5)


def digest_boxed(images: BoxedImages) -> str:
    """A digest of the bytes of the photos and of all boxes and labels, in their order."""
    total = hashlib.blake2b(digest_size=16)
    for path, objects in zip(images.files, images.objects, strict=True):
        total.update(hashlib.blake2b(read_bytes(path), digest_size=16).digest())
        for found in objects:
            total.update(repr((found.label, found.box)).encode())
        total.update(b"|")
    return total.hexdigest()


def unpack_objects(rows: Tensor) -> list[Objects]:
    """The objects of each image of a batch float32 [B, N, 5]; a row of class -1 is none."""
    return [
        Objects(boxes=image[known, :4], labels=image[known, 4].long())
        for image in rows
        for known in [image[:, 4] >= 0]
    ]


class BoxedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Photos as uint8 tensors HxWx3 with objects as float32 [N, 5], equally many for all photos.

    An item is ``(index, draw)``: the draw's number decides the augmentation. A plain index gives
    the photo without augmentation. Photos are kept decoded where ``memory_mb`` allows.
    """

    def __init__(
        self, images: BoxedImages, size: int, memory_mb: int = 0, processes: int = 1
    ) -> None:
        self.images, self.size, self.seed = images, size, 0
        self.augmentation: DetectionAugmentation = "none"
        self.most = max((len(objects) for objects in images.objects), default=0)
        fits = processes * len(images.files) * size * size * 3 <= memory_mb * 2**20
        self.decoded = [self._decode(index) for index in range(len(self))] if fits else None

    def __len__(self) -> int:
        return len(self.images.files)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, draw = item if isinstance(item, tuple) else (item, None)
        square = self._decode(index) if self.decoded is None else self.decoded[index]
        photo, objects = square.pixels, scale_boxes(self.images.objects[index], square.scale)
        objects = keep_visible(objects, self.size)
        if draw is not None:
            rng = np.random.default_rng([self.seed, draw])
            photo, objects = augment_boxes(photo, objects, self.augmentation, rng)
        rows = np.full((self.most, 5), -1, np.float32)
        rows[: len(objects)] = objects
        return torch.from_numpy(np.ascontiguousarray(photo)), torch.from_numpy(rows)

    def _decode(self, index: int) -> Square:
        return read_padded(self.images.files[index], self.size)
