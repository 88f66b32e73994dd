"""The images of a finished dataset, as every export format takes them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data.formats.annotated import AnnotatedImage, flat_names
from models.data.formats.coco import read_coco
from models.data.records import NO_OBJECT_LABEL, Split

CLASSES = "classes.txt"
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class ExportRow:
    """One image of a dataset.

    ``file`` is the image on disk, ``name`` its name in the run (``mug/a``), ``label`` its class.
    """

    file: Path
    name: str
    label: str
    annotated: AnnotatedImage


Rows = Mapping[str, Sequence[ExportRow]]


def read_dataset(out: Path, dataset: str) -> dict[str, list[ExportRow]]:
    """The images of a dataset per split: train, val and test.

    Args:
        out: the folder of a finished run; ``annotations/<dataset>/<split>.json`` are COCO files
            whose image entries name ``label`` and ``sample``.

    Raises:
        ValueError: the run has no such dataset, or one of its files is malformed.
    """
    folder = out / "annotations" / dataset
    if Path(dataset).name != dataset or not folder.is_dir():
        found = sorted(p.name for p in (out / "annotations").glob("*") if p.is_dir())
        names = ", ".join(found) or "none, so the run is not finished"
        raise ValueError(f"--dataset {dataset}: {out} has no such dataset; choose one of: {names}")
    return {split: _read_split(folder / f"{split}.json", out) for split in SPLITS}


def read_classes(out: Path) -> list[str]:
    """The classes of a finished run in the order of their indices.

    Raises:
        ValueError: the folder holds no finished run.
    """
    file = out / CLASSES
    if not file.is_file():
        raise ValueError(f"{out}: holds no {CLASSES}; name the --out folder of a finished run")
    return file.read_text("utf-8").splitlines()


def copy_images(rows: Sequence[ExportRow], folder: Path) -> list[Path]:
    """Copies of the images in one folder, whose names are made unique with their class."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = [folder / name for name in flat_names([row.file for row in rows])]
    for row, copy in zip(rows, copies, strict=True):
        shutil.copyfile(row.file, copy)
    return copies


def require_objects(rows: Rows, form: str) -> None:
    """Raise ValueError if an image has a class but no object, as a format without labels needs."""
    for split, listed in rows.items():
        for row in listed:
            if not row.annotated.objects and row.label != NO_OBJECT_LABEL:
                raise ValueError(
                    f"{split} image {row.name}: has the class {row.label!r} but no box or mask,"
                    f" which {form} needs; export as imagefolder, huggingface or webdataset. Boxes"
                    " and masks of real images come from COCO, VOC or YOLO annotations of photos"
                )


def require_class(rows: Rows, form: str) -> None:
    """Raise ValueError if an image shows no class, as a format of class folders can't say."""
    for split, listed in rows.items():
        for row in listed:
            if row.label == NO_OBJECT_LABEL:
                raise ValueError(
                    f"{split} image {row.name}: no object is annotated in it, so that it has no"
                    f" class, which {form} needs; export as coco, voc or yolo"
                )


def index_of(label: str, classes: Sequence[str]) -> int:
    """The index of a class; that of an image without an object is -1."""
    return -1 if label == NO_OBJECT_LABEL else classes.index(label)


def describe_objects(row: ExportRow) -> list[dict[str, Any]]:
    """The objects as JSON: ``label``, ``bbox`` in px and ``segmentation`` as COCO run lengths."""
    return [
        {"label": item.label, "bbox": item.box, "segmentation": item.runs}
        for item in row.annotated.objects
    ]


def _read_split(file: Path, out: Path) -> list[ExportRow]:
    images = [image for listed in read_coco(file, out).splits.values() for image in listed]
    rows = []
    for image, entry in zip(images, json.loads(file.read_bytes())["images"], strict=True):
        name, label = entry.get("sample"), entry.get("label")
        if not isinstance(name, str) or not isinstance(label, str):
            raise ValueError(f"{file}: image {entry['id']}: needs the texts 'sample' and 'label'")
        if image.problem is not None:
            raise ValueError(f"{image.file}: {image.problem}; delete it, and run it again")
        rows.append(ExportRow(image.file, name, label, image))
    return rows
