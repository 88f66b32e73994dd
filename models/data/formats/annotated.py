"""Images with boxes and masks, as every annotation format reads and writes them."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from models.data import read_photo
from models.data.formats.polygons import encode_runs
from models.data.names import comparable
from models.data.pixels import Bools

Box = tuple[float, float, float, float]
# Text formats keep boxes to a millionth of a px.
ROUNDING_PX = 1e-6


class AnnotationError(ValueError):
    """An annotation can't be read or written; the message names file, element and reason."""


class ObjectAnnotation:
    """One object of an image.

    ``box`` is x, y, width, height in px from the top left corner of the image. ``runs`` are the
    COCO run lengths of its mask; ``mask`` is that mask, bool HxW of the whole image, made when it
    is read. Readers fill the box from the mask where the file has a mask alone. ``border_runs``
    are the px that a trimap calls border, in the mask or next to it; None without a trimap.
    """

    def __init__(
        self,
        label: str,
        box: Box | None = None,
        mask: Bools | None = None,
        border: Bools | None = None,
    ) -> None:
        self.label, self.box = label, box
        self.runs = None if mask is None else encode_runs(mask)
        self.border_runs = None if border is None else encode_runs(border)

    @property
    def mask(self) -> Bools | None:
        return None if self.runs is None else np.asarray(coco_mask.decode(self.runs), np.bool_)

    def replaced(self, label: str, box: Box | None) -> "ObjectAnnotation":
        """The object with another label and box and the same mask."""
        changed = ObjectAnnotation(label, box)
        changed.runs, changed.border_runs = self.runs, self.border_runs
        return changed


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image file with its objects; ``width`` and ``height`` are those of the upright image.

    A reader that is called with ``labels_only`` opens no image: it gives objects without box and
    mask, and a width and height of 0. So does an image that can't be read; ``problem`` says why.
    """

    file: Path
    width: int
    height: int
    objects: tuple[ObjectAnnotation, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class AnnotatedDataset:
    """What a reader returns.

    ``splits``: images per split ("train", "val", "test"), or all under "" where the files name no
    splits. ``classes``: all classes, in the order of the files. ``notes``: what was left out.
    ``has_objects``: whether objects have boxes or masks; if not, they are the classes of photos.
    ``has_class_folders``: whether the folder of a photo, below its split, is its class.
    """

    splits: dict[str, list[AnnotatedImage]]
    classes: list[str]
    notes: tuple[str, ...] = ()
    has_objects: bool = True
    has_class_folders: bool = False


def box_of_mask(mask: Bools) -> tuple[int, int, int, int] | None:
    """The smallest box (x, y, width, height in px) around a mask; None for an empty mask."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (x, y, width, height) if width else None


def fit_box(box: Box, width: int, height: int, where: str) -> Box:
    """The box, clipped where it exceeds the image by less than 1 px and more than rounding does.

    Raises:
        AnnotationError: a side is not above 0, or the box exceeds the image by 1 px or more.
    """
    x, y, w, h = box
    if not all(map(math.isfinite, box)) or w <= 0 or h <= 0:
        raise AnnotationError(f"{where}: the box {_shown(box)} needs a width and height above 0")
    excess = max(-x, -y, x + w - width, y + h - height)
    if excess <= ROUNDING_PX:
        return box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if excess >= 1 or right <= left or bottom <= top:
        raise AnnotationError(
            f"{where}: the box {_shown(box)} lies outside the {width}x{height} px image"
        )
    return left, top, right - left, bottom - top


def read_object(
    label: str, box: Box | None, mask: Bools | None, size: tuple[int, int], where: str
) -> ObjectAnnotation:
    """The object with its box clipped to the image, or taken from the mask.

    Raises:
        AnnotationError: the box or mask can't be used, or both are missing.
    """
    if mask is not None and not mask.any():
        raise AnnotationError(f"{where}: the mask has no pixel")
    if box is not None:
        return ObjectAnnotation(label, fit_box(box, *size, where), mask)
    tight = box_of_mask(mask) if mask is not None else None
    if tight is None:
        raise AnnotationError(f"{where}: has neither box nor mask")
    x, y, width, height = map(float, tight)
    return ObjectAnnotation(label, (x, y, width, height), mask)


def read_size(file: Path, stated: tuple[int, int] | None, where: str) -> tuple[int, int]:
    """Width and height of an image file after its EXIF orientation is applied, in px.

    Args:
        stated: the size that the annotation file gives, if any.
        where: the annotation file and its element, for the message.

    Raises:
        AnnotationError: the image is missing or has another size than ``stated``.
        PhotoRejectedError: the file can't be read as an image.
    """
    require_file(file, where)
    size = read_photo.read_size(file)
    if stated is not None and stated != size:
        fix = "; save the image upright, without EXIF orientation" if stated == size[::-1] else ""
        raise AnnotationError(
            f"{where}: the size {stated[0]}x{stated[1]} px is not that of {file.name},"
            f" {size[0]}x{size[1]} px{fix}"
        )
    return size


def require_file(file: Path, where: str) -> None:
    """Raise AnnotationError if the image file is missing."""
    if not file.is_file():
        raise AnnotationError(f"{where}: the image {file} is missing")


def check_image(image: AnnotatedImage, classes: Sequence[str]) -> None:
    """Check that an image can be written.

    Raises:
        AnnotationError: an object has an unknown class, a box outside the image, an empty mask, a
            mask of another size, or neither box nor mask.
    """
    size = (image.width, image.height)
    for number, item in enumerate(image.objects, 1):
        where = f"{image.file.name}: object {number}"
        if item.label not in classes:
            raise AnnotationError(f"{where}: the class {item.label!r} is not among the classes")
        if item.mask is not None and item.mask.shape != size[::-1]:
            raise AnnotationError(f"{where}: the mask is {item.mask.shape}, the image {size[::-1]}")
        read = read_object(item.label, item.box, item.mask, size, where)
        if item.box is not None and read.box != item.box:
            raise AnnotationError(f"{where}: the box {_shown(item.box)} exceeds the image")


def check_splits(splits: Mapping[str, Sequence[AnnotatedImage]], where: str) -> None:
    """Check that no image file is in two splits, or twice in one.

    Raises:
        AnnotationError: names the file and its splits.
    """
    places: dict[Path, str] = {}
    for split, images in splits.items():
        for image in images:
            other = places.setdefault(image.file.resolve(), split)
            if other != split:
                raise AnnotationError(
                    f"{where}: the image {image.file} is in {other} and in {split}; keep it in one"
                )
        for file, number in Counter(image.file for image in images).items():
            if number > 1:
                raise AnnotationError(f"{where}: the image {file} is listed {number} times")


def flat_names(files: Sequence[Path]) -> list[str]:
    """A file name for each file in one common folder.

    Where two would have the same stem but for case and accents, the names of their folders are put
    in front until they differ: ``mug_1.jpg``. Where that is not enough, they get numbers.
    """
    depths = [1] * len(files)
    while True:
        names = ["_".join(_named_parts(f)[-n:]) for f, n in zip(files, depths, strict=True)]
        stems = [comparable(Path(name).stem) for name in names]
        count = Counter(stems)
        deeper = [
            number
            for number, stem in enumerate(stems)
            if count[stem] > 1 and depths[number] < len(_named_parts(files[number]))
        ]
        if not deeper:
            return _numbered(names)
        for number in deeper:
            depths[number] += 1


def _numbered(names: Sequence[str]) -> list[str]:
    """The names with ``-2``, ``-3`` where an earlier one has the same stem."""
    taken: set[str] = set()
    numbered = []
    for name in map(Path, names):
        tails = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        stem = next(s for tail in tails if comparable(s := f"{name.stem}{tail}") not in taken)
        taken.add(comparable(stem))
        numbered.append(f"{stem}{name.suffix}")
    return numbered


def _named_parts(file: Path) -> tuple[str, ...]:
    return file.parts[1:] if file.anchor else file.parts


def _shown(box: Box) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
