"""Which layout a photo folder has, and the reader for it."""

from pathlib import Path
from typing import Literal, Protocol

from models.data.formats.annotated import AnnotatedDataset, AnnotationError
from models.data.formats.coco import find_coco_files, read_coco
from models.data.formats.defects import find_defects, read_defects
from models.data.formats.food101 import FOOD101, read_food101
from models.data.formats.oxford_pets import PETS, read_pets
from models.data.formats.published import find_published
from models.data.formats.voc import find_voc_folders, read_voc
from models.data.formats.yolo import CONFIG, read_yolo

Layout = Literal["folders", "coco", "voc", "yolo", "oxford-iiit-pet", "food-101", "defects"]


class Reader(Protocol):
    """A function that reads a folder; with ``labels_only`` it opens no image."""

    def __call__(self, folder: Path, /, *, labels_only: bool = False) -> AnnotatedDataset: ...


READERS: dict[str, Reader] = {
    "coco": read_coco,
    "voc": read_voc,
    "yolo": read_yolo,
    "oxford-iiit-pet": read_pets,
    "food-101": read_food101,
    "defects": read_defects,
}


def detect_format(folder: Path) -> Layout:
    """The layout of a photo folder; class folders ("folders") if it has no annotation files.

    Raises:
        AnnotationError: the folder has annotation files of two formats, or does not exist.
    """
    if not folder.is_dir():
        raise AnnotationError(f"the photo folder {folder} does not exist; name a folder")
    found: list[Layout] = []
    if find_coco_files(folder):
        found.append("coco")
    if find_voc_folders(folder):
        found.append("voc")
    if (folder / CONFIG).is_file():
        found.append("yolo")
    if find_published(folder, PETS):
        found.append("oxford-iiit-pet")
    if find_published(folder, FOOD101):
        found.append("food-101")
    if find_defects(folder):
        found.append("defects")
    if len(found) > 1:
        raise AnnotationError(
            f"{folder}: holds annotations of {' and '.join(found)}; keep those of one format"
        )
    return found[0] if found else "folders"
