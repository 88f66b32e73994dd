"""Masks of Pascal VOC: an image whose pixel values are object or class numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.formats.annotated import AnnotatedImage, AnnotationError, read_size
from models.data.photo_colours import PhotoRejectedError
from models.data.pixels import Bools, Pixels

_BORDER = 255  # pixels that belong to no object


def read_masks(file: Path, count: int, size: tuple[int, int]) -> dict[int, Bools]:
    """The mask per object number of a ``SegmentationObject`` file; none if there is no file.

    Raises:
        AnnotationError: the image has another size, or a value above ``count``.
    """
    if not file.is_file():
        return {}
    try:
        read_size(file, size, str(file))
    except PhotoRejectedError as error:
        raise AnnotationError(f"{file}: {error}") from error
    with Image.open(file) as image:
        if image.mode not in ("P", "L", "1"):
            raise AnnotationError(f"{file}: the colour mode {image.mode} has no object numbers")
        values = np.asarray(image, np.uint8)
    numbers = [int(value) for value in np.unique(values) if value not in (0, _BORDER)]
    if numbers and max(numbers) > count:
        raise AnnotationError(f"{file}: value {max(numbers)} names no object; the XML has {count}")
    return {number: values == number for number in numbers}


def masks_to_pixels(image: AnnotatedImage, classes: Sequence[str]) -> dict[str, Pixels]:
    """Object numbers and class numbers (from 1) per pixel, by the folder they belong in.

    Raises:
        AnnotationError: two masks overlap, or there are more than 254 objects or classes.
    """
    numbers = np.zeros((image.height, image.width), np.uint8)
    kinds = numbers.copy()
    if max(len(image.objects), len(classes)) >= _BORDER:
        raise AnnotationError(f"{image.file.name}: VOC masks hold at most 254 objects and classes")
    for number, item in enumerate(image.objects, 1):
        if (mask := item.mask) is not None:
            if numbers[mask].any():
                raise AnnotationError(
                    f"{image.file.name}: object {number}: its mask overlaps another, which VOC"
                    " can't hold; write boxes only, or COCO"
                )
            numbers[mask] = number
            kinds[mask] = classes.index(item.label) + 1
    return {"SegmentationObject": numbers, "SegmentationClass": kinds}
