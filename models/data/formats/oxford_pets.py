"""Oxford-IIIT Pet (Parkhi et al., "Cats and Dogs", CVPR 2012), read by torchvision's loader."""

from pathlib import Path

import numpy as np
from PIL import Image

from models.data import read_photo, trimaps
from models.data.formats.annotated import (
    AnnotatedDataset,
    AnnotatedImage,
    ObjectAnnotation,
    box_of_mask,
    check_splits,
)
from models.data.formats.published import Location, Published, locate, malformed
from models.data.photo_colours import PhotoRejectedError
from models.data.pixels import Pixels

PETS = Published(
    "oxford-iiit-pet",
    ("images", "annotations/trainval.txt", "annotations/test.txt", "annotations/trimaps"),
    ("annotations/trainval.txt", "annotations/trimaps"),
)
# Levels of a trimap.
_PET, _BACKGROUND, _BORDER = 1, 2, 3
# The values of these levels in the project's masks.
_VALUES = np.array(
    [trimaps.BACKGROUND, trimaps.OBJECT, trimaps.BACKGROUND, trimaps.BORDER], np.uint8
)


def read_pets(folder: Path, *, labels_only: bool = False) -> AnnotatedDataset:
    """The photos of Oxford-IIIT Pet with the masks of their trimaps.

    The official trainval is "train", and the official test is "test". The classes are the breeds,
    as the loader writes them. Masks end in the middle of the border. A photo without a sound
    trimap can't be used; ``problem`` says why. A photo whose file is missing has no object.

    Args:
        labels_only: give labels without boxes and masks, and open no photo.

    Raises:
        AnnotationError: a folder or list is missing or malformed.
    """
    location = locate(folder, PETS)
    splits: dict[str, list[AnnotatedImage]] = {}
    classes: set[str] = set()
    for split, official in (("train", "trainval"), ("test", "test")):
        rows = _list_photos(location, official)
        classes |= {label for _, _, label in rows}
        splits[split] = [
            AnnotatedImage(photo, 0, 0, (ObjectAnnotation(label),))
            if labels_only
            else _read_photo(photo, trimap, label)
            for photo, trimap, label in rows
        ]
    check_splits(splits, str(location.base))
    return AnnotatedDataset(splits, sorted(classes))


def _list_photos(location: Location, official: str) -> list[tuple[Path, Path, str]]:
    """Photo, trimap and class of each row of an official split."""
    from torchvision.datasets import OxfordIIITPet

    listed = location.base / "annotations" / f"{official}.txt"
    try:
        found = OxfordIIITPet(location.named.parent, official, "segmentation")
        # The loader has no public list of its files: its items are decoded photos. It sorts the
        # classes that occur by their numbers.
        numbers = sorted(set(found._labels))
        label_of = dict(zip(numbers, found.classes, strict=True))
        rows = list(zip(found._images, found._segs, found._labels, strict=True))
    except (OSError, ValueError, RuntimeError) as error:
        raise malformed(listed, error) from error
    return [
        (location.place(photo, listed), location.place(trimap, listed), label_of[number])
        for photo, trimap, number in rows
    ]


def _read_photo(photo: Path, trimap: Path, label: str) -> AnnotatedImage:
    if not photo.is_file():
        return AnnotatedImage(photo, 0, 0)
    try:
        size = read_photo.read_size(photo)
        levels = _read_trimap(trimap, size)
    except PhotoRejectedError as error:
        return AnnotatedImage(photo, 0, 0, problem=str(error))
    mask, border = trimaps.solid_mask(_VALUES[levels]), levels == _BORDER
    box = box_of_mask(mask)
    assert box is not None
    x, y, width, height = map(float, box)
    item = ObjectAnnotation(label, (x, y, width, height), mask, border if border.any() else None)
    return AnnotatedImage(photo, *size, (item,))


def _read_trimap(file: Path, size: tuple[int, int]) -> Pixels:
    """The levels of a trimap, uint8 HxW: 1 pet, 2 background, 3 border.

    Raises:
        PhotoRejectedError: it can't be read, has another size than the photo, or shows no pet.
    """
    try:
        with Image.open(file, formats=["PNG"]) as image:
            levels = np.asarray(image, np.uint8)
    except FileNotFoundError as error:
        raise PhotoRejectedError("its trimap is missing") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise PhotoRejectedError("its trimap is no sound PNG") from error
    if levels.shape != (size[1], size[0]):
        shape = "x".join(str(side) for side in (*levels.shape[1::-1], *levels.shape[2:]))
        raise PhotoRejectedError(f"its trimap is {shape} px, the photo {size[0]}x{size[1]} px")
    if not np.isin(levels, (_PET, _BACKGROUND, _BORDER)).all():
        raise PhotoRejectedError("its trimap has other values than 1, 2 and 3")
    if not (levels == _PET).any():
        raise PhotoRejectedError("its trimap shows no pet")
    return levels
