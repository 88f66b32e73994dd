"""Exports of a finished dataset to the layouts that other tools read."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from models.data.files import PART_SUFFIX
from tasks.export.coco import write_coco_dataset
from tasks.export.huggingface import write_huggingface
from tasks.export.imagefolder import write_imagefolder
from tasks.export.rows import Rows, read_classes, read_dataset
from tasks.export.voc import write_voc_boxes, write_voc_masks
from tasks.export.webdataset import write_webdataset
from tasks.export.yolo import write_yolo_boxes, write_yolo_polygons

FORMATS: dict[str, Callable[[Rows, Sequence[str], Path], None]] = {
    "imagefolder": write_imagefolder,
    "coco": write_coco_dataset,
    "voc": write_voc_boxes,
    "voc-masks": write_voc_masks,
    "yolo": write_yolo_boxes,
    "yolo-polygons": write_yolo_polygons,
    "huggingface": write_huggingface,
    "webdataset": write_webdataset,
}


def export_dataset(out: Path, dataset: str, to: Path, form: str) -> dict[str, int]:
    """Write a dataset of a finished run to a new folder; returns the number of images per split.

    Args:
        out: the folder of the run.
        dataset: the name of the dataset, such as "synthetic".
        to: a folder that does not exist yet or is empty. It is written whole or not at all.
        form: a key of `FORMATS`.

    Raises:
        ValueError: an argument is wrong, or the format can't hold the dataset.
    """
    if form not in FORMATS:
        raise ValueError(f"--format {form}: is unknown; choose one of {', '.join(FORMATS)}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"--to {to}: is not empty; name a new folder")
    classes = read_classes(out)
    rows = read_dataset(out, dataset)
    for split, listed in rows.items():
        for row in listed:
            if row.label not in classes:
                raise ValueError(f"{split} image {row.name}: class {row.label!r} is not in {out}")
    temporary = to.with_name(f".{secrets.token_hex(8)}{PART_SUFFIX}")
    temporary.mkdir(parents=True)
    try:
        FORMATS[form](rows, classes, temporary)
        if to.exists():
            to.rmdir()
        temporary.replace(to)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return {split: len(listed) for split, listed in rows.items()}
