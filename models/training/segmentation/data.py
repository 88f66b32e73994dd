"""Photos with their class maps for a training loop: square, uint8, in a repeatable order.

A class map is uint8 HxW: the number of the class of each pixel, or 255 where no class is known.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2 as transforms

from models.data.pixels import Pixels, decode
from models.data.square import read_bytes, read_square
from models.data.trimaps import BORDER as BORDER_LEVEL
from models.data.trimaps import OBJECT as OBJECT_LEVEL
from models.data.trimaps import add_border, is_trimap, solid_mask
from models.training.segmentation.settings import (
    GroundTruth,
    SegmentationAugmentation,
    SegmentationParameters,
)
from models.training.task import LabelledImages, ObjectTruth

UNKNOWN = 255
BACKGROUND, BORDER, OBJECT = "background", "border", "object"
TRIMAP = (BACKGROUND, BORDER, OBJECT)


@dataclass(frozen=True)
class MaskedImages:
    """Photos with their objects; ``classes`` are the names of a class map's numbers.

    ``border`` is the width of the border that a mask without one gets for a trimap, as a share of
    its longer side.
    """

    files: tuple[Path, ...]
    objects: tuple[tuple[ObjectTruth, ...], ...]
    classes: tuple[str, ...]
    ground_truth: GroundTruth
    border: float = 0.0

    def map_of(self, index: int) -> Pixels:
        """The class map of a photo at the size of its masks.

        Raises:
            ValueError: the photo has no mask, or a trimap has other values.
        """
        return draw_class_map(
            self.files[index], self.objects[index], self.ground_truth, self.border
        )


def segment_names(classes: Sequence[str], ground_truth: GroundTruth) -> tuple[str, ...]:
    """The names of a class map's numbers, for images of these classes."""
    return TRIMAP if ground_truth == "trimap" else (BACKGROUND, *classes)


def with_masks(
    images: LabelledImages,
    truth: Mapping[Path, Sequence[ObjectTruth]],
    classes: Sequence[str],
    settings: SegmentationParameters,
) -> MaskedImages:
    """The photos with their objects.

    Raises:
        ValueError: a photo has no mask; the line names it.
    """
    for path, _ in images:
        if path not in truth or any(found.mask is None for found in truth[path]):
            raise ValueError(f"{path}: it has an object without a mask; segmentation needs masks")
    return MaskedImages(
        tuple(path for path, _ in images),
        tuple(tuple(truth[path]) for path, _ in images),
        segment_names(classes, settings.ground_truth),
        settings.ground_truth,
        settings.border,
    )


def draw_class_map(
    photo: Path, objects: Sequence[ObjectTruth], ground_truth: GroundTruth, border: float
) -> Pixels:
    """The class map of a photo's objects; where objects overlap, the smallest is on top.

    A photo without an object is background.

    Args:
        border: width of the border that a mask without one gets for a trimap, as a share of the
            mask's longer side; 0: none.

    Raises:
        ValueError: a mask is missing, or a trimap has other values than 0, 128 and 255.
    """
    masks = [(found.label, _read_mask(photo, found)) for found in objects]
    if not masks:
        return np.zeros(decode(read_bytes(photo)).shape[:2], np.uint8)
    class_map = np.zeros(masks[0][1].shape, np.uint8)
    for label, mask in sorted(masks, key=lambda found: -int(solid_mask(found[1]).sum())):
        if ground_truth == "classes":
            class_map[solid_mask(mask)] = label + 1
            continue
        trimap = _require_trimap(photo, mask, border * max(mask.shape))
        class_map[trimap == BORDER_LEVEL] = TRIMAP.index(BORDER)
        class_map[trimap == OBJECT_LEVEL] = TRIMAP.index(OBJECT)
    return class_map


def _require_trimap(photo: Path, mask: Pixels, border: float) -> Pixels:
    """The mask if it is a trimap, or one with a border of so many px along its outline."""
    if is_trimap(mask):
        return mask
    if not np.isin(mask, (0, OBJECT_LEVEL)).all():
        raise ValueError(f"{photo}: its mask is no trimap; give the values 0, 128 and 255")
    return add_border(mask == OBJECT_LEVEL, border)


def _read_mask(photo: Path, found: ObjectTruth) -> Pixels:
    if found.mask is None:
        raise ValueError(f"{photo}: it has an object without a mask; segmentation needs masks")
    mask: Pixels = decode(read_bytes(found.mask))
    return mask if mask.ndim == 2 else mask[..., 0]


def letterbox_map(class_map: Pixels, size: int) -> Pixels:
    """A class map in a square of ``size`` px, as `letterbox` places its photo; around it 255."""
    top, left, height, width = inner_box(class_map.shape[0], class_map.shape[1], size)
    square = np.full((size, size), UNKNOWN, np.uint8)
    rows = (np.arange(height) + 0.5) * class_map.shape[0] / height
    columns = (np.arange(width) + 0.5) * class_map.shape[1] / width
    inner = class_map[rows.astype(int)[:, None], columns.astype(int)[None]]
    square[top : top + height, left : left + width] = inner
    return square


def inner_box(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Where `letterbox` puts a photo of these sides: top, left, height, width in px."""
    scale = size / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    return (size - inner[0]) // 2, (size - inner[1]) // 2, *inner


def digest_masked(images: MaskedImages) -> str:
    """A digest of the bytes of photos and masks and of all labels, in their order."""
    total = hashlib.blake2b(digest_size=16)
    for path, objects in zip(images.files, images.objects, strict=True):
        total.update(hashlib.blake2b(read_bytes(path), digest_size=16).digest())
        for found in objects:
            assert found.mask is not None
            total.update(hashlib.blake2b(read_bytes(found.mask), digest_size=16).digest())
            total.update(found.label.to_bytes(4, "little"))
        total.update(b"|")
    return total.hexdigest()


class MaskedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Photos as uint8 tensors HxWx3 with class maps int64 HxW.

    An item is ``(index, draw)``: the draw's number decides the augmentation. A plain index gives
    the photo without augmentation. Photos are kept decoded where ``memory_mb`` allows.
    """

    def __init__(
        self, images: MaskedImages, size: int, memory_mb: int = 0, processes: int = 1
    ) -> None:
        self.images, self.size, self.seed = images, size, 0
        self.augmentation: SegmentationAugmentation = "none"
        fits = processes * len(images.files) * size * size * 4 <= memory_mb * 2**20
        self.decoded = [self._decode(index) for index in range(len(self))] if fits else None

    def __len__(self) -> int:
        return len(self.images.files)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, draw = item if isinstance(item, tuple) else (item, None)
        photo, class_map = self._decode(index) if self.decoded is None else self.decoded[index]
        if draw is not None:
            rng = np.random.default_rng([self.seed, draw])
            photo, class_map = augment_together(photo, class_map, self.augmentation, rng)
        target = torch.from_numpy(np.ascontiguousarray(class_map)).long()
        return torch.from_numpy(np.ascontiguousarray(photo)), target

    def _decode(self, index: int) -> tuple[Pixels, Pixels]:
        photo = read_square(self.images.files[index], self.size)
        return photo, letterbox_map(self.images.map_of(index), self.size)


def augment_together(
    photo: Pixels,
    class_map: Pixels,
    augmentation: SegmentationAugmentation,
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels]:
    """The same random change of a square photo and its class map, by torchvision's transforms.

    ``flip`` mirrors half of them. ``crop`` also cuts out 40 to 100 % of the area and changes
    brightness, contrast, saturation and hue of the photo.
    """
    if augmentation == "none":
        return photo, class_map
    steps: list[transforms.Transform] = [transforms.RandomHorizontalFlip()]
    if augmentation == "crop":
        steps += [
            transforms.RandomResizedCrop(photo.shape[:2], scale=(0.4, 1.0), ratio=(0.8, 1.25)),
            transforms.ColorJitter(0.3, 0.1, 0.2, 0.1),
        ]
    # The transforms draw from torch's global generator, which dropout draws from as well.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        changed, target = transforms.Compose(steps)(
            tv_tensors.Image(torch.from_numpy(photo.transpose(2, 0, 1).copy())),
            tv_tensors.Mask(torch.from_numpy(class_map.copy())),
        )
    return changed.numpy().transpose(1, 2, 0), target.numpy()
