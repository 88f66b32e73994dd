"""Photos under a fixed camera: a folder ``good``, and a folder with masks for each kind of defect.

Public industrial sets have this layout: ``{train,test}/{good,<defect>}/<stem>.png`` and
``ground_truth/<defect>/<stem>_mask.png``. The levels may be absent, and masks may lie next to their
photos.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.data import read_photo
from models.data.find_photos import SPLIT_NAMES
from models.data.formats.annotated import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotationError,
    ObjectAnnotation,
    box_of_mask,
)
from models.data.names import normal_form
from models.data.photo_colours import PhotoRejectedError
from models.data.photo_file.open_image import SUFFIXES, reject_errors
from models.data.pixels import Bools

GOOD, TRUTH = "good", "ground_truth"
_MASK = "_mask"
_MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
# Parts of a mask that are nearer than this share of the photo's longer side are one defect.
_GAP = 0.01


@dataclass(frozen=True)
class _Folder:
    """The photos of one kind under one level; ``truth`` are folders that may hold their masks."""

    path: Path
    split: str
    truth: tuple[Path, ...]

    @property
    def label(self) -> str:
        return normal_form(self.path.name)

    @property
    def is_good(self) -> bool:
        return self.label.casefold() == GOOD


def find_defects(folder: Path) -> bool:
    """Whether a folder has photos without a defect, and masks of defects."""
    folders = list(_folders(folder))
    if not any(found.is_good for found in folders):
        return False
    return any(
        path.is_dir() for found in folders if not found.is_good for path in found.truth[:-1]
    ) or any(
        path.stem.endswith(_MASK) for found in folders if not found.is_good for path in _in(found)
    )


def read_defects(folder: Path, *, labels_only: bool = False) -> AnnotatedDataset:
    """Photos with a mask and a box per defect; the class is the folder's name.

    Photos of ``good`` have no object. Parts of a mask that are far from one another are defects of
    their own. A photo of a defect whose mask is missing, empty or of another size can't be used;
    ``problem`` says why. ``train`` and ``test`` are the splits if train shows a defect. Otherwise
    they are those of a one-class method, and a note says that they are not used.

    Args:
        labels_only: give labels without boxes and masks, and open no photo.

    Raises:
        AnnotationError: there is no folder ``good``, or none of a defect.
    """
    folders = list(_folders(folder))
    if not any(found.is_good for found in folders) or all(found.is_good for found in folders):
        raise AnnotationError(
            f"{folder}: needs a folder {GOOD} and one per kind of defect, with masks in "
            f"{TRUTH}/<defect>/<stem>{_MASK}.png; add what is missing"
        )
    levels = {found.split for found in folders} - {""}
    trains_defects = any(found.split == "train" and not found.is_good for found in folders)
    notes: tuple[str, ...] = ()
    if levels and not trains_defects:
        notes = (
            f"{', '.join(sorted(levels))}: the train folder shows no defect, so these folders are "
            "not used as splits; the photos are split as the recipe says",
        )
    splits: dict[str, list[AnnotatedImage]] = {}
    for found in folders:
        split = found.split if trains_defects else ""
        read = (_read(found, path, labels_only) for path in _photos(found))
        splits.setdefault(split, []).extend(read)
    classes = sorted({found.label for found in folders if not found.is_good})
    return AnnotatedDataset(splits, classes, notes, has_class_folders=True)


def _folders(root: Path) -> Iterator[_Folder]:
    """The folders of photos, sorted."""
    names = {path.name: path for path in _sorted(root) if path.is_dir()}
    levels = {name: path for name, path in names.items() if name.casefold() in SPLIT_NAMES}
    by_split = levels if GOOD not in {name.casefold() for name in names} else {"": root}
    for name, level in by_split.items():
        for path in _sorted(level):
            if path.is_dir() and path.name.casefold() != TRUTH and not path.name.startswith("."):
                truth = (root / TRUTH / path.name, level / TRUTH / path.name, path)
                yield _Folder(path, SPLIT_NAMES.get(name.casefold(), ""), truth)


def _sorted(folder: Path) -> list[Path]:
    """What a folder holds; nothing if it can't be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _in(found: _Folder) -> list[Path]:
    """The picture files of a folder and of the folders in it, sorted."""
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(found.path)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    )


def _photos(found: _Folder) -> list[Path]:
    """The photos of a folder; masks next to them are none."""
    files = _in(found)
    stems = {path.with_suffix("") for path in files}
    return [
        path
        for path in files
        if not path.stem.endswith(_MASK)
        or path.with_name(path.stem.removesuffix(_MASK)) not in stems
    ]


def _read(found: _Folder, photo: Path, labels_only: bool) -> AnnotatedImage:
    if labels_only:
        objects = () if found.is_good else (ObjectAnnotation(found.label),)
        return AnnotatedImage(photo, 0, 0, objects)
    try:
        size = read_photo.read_size(photo)
        mask = None if found.is_good else _read_mask(found, photo, size)
    except PhotoRejectedError as error:
        return AnnotatedImage(photo, 0, 0, problem=str(error))
    defects = () if mask is None else tuple(_defects(mask, found.label))
    return AnnotatedImage(photo, *size, defects)


def _read_mask(found: _Folder, photo: Path, size: tuple[int, int]) -> Bools:
    """The mask of a photo, bool HxW.

    Raises:
        PhotoRejectedError: it is missing, can't be read, has another size or shows no defect.
    """
    below = photo.relative_to(found.path).parent
    names = [f"{photo.stem}{_MASK}{suffix}" for suffix in _MASK_SUFFIXES]
    plain = [f"{photo.stem}{suffix}" for suffix in _MASK_SUFFIXES]
    places = [folder / below / name for folder in found.truth for name in names]
    places += [folder / below / name for folder in found.truth[:-1] for name in plain]
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        raise PhotoRejectedError(
            f"its mask is missing; add {TRUTH}/{found.path.name}/{photo.stem}{_MASK}.png"
        )
    try:
        with reject_errors(), Image.open(file) as image:
            mask = np.asarray(image.convert("L")) > 0
    except PhotoRejectedError as error:
        raise PhotoRejectedError("its mask is no sound picture") from error
    if mask.shape != (size[1], size[0]):
        shape = f"{mask.shape[1]}x{mask.shape[0]}"
        raise PhotoRejectedError(f"its mask is {shape} px, the photo {size[0]}x{size[1]} px")
    if not mask.any():
        raise PhotoRejectedError("its mask shows no defect")
    return np.asarray(mask)


def _defects(mask: Bools, label: str) -> Iterator[ObjectAnnotation]:
    """An object per defect: parts of the mask that are near one another are one."""
    reach = max(1, round(_GAP * max(mask.shape) / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    count, numbers = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), kernel))
    for number in range(1, count):
        part = np.asarray(mask & (numbers == number))
        box = box_of_mask(part)
        assert box is not None
        x, y, width, height = map(float, box)
        yield ObjectAnnotation(label, (x, y, width, height), part)
