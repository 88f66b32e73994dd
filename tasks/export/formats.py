"""Exports of a finished dataset to the layouts that other tools read."""

import io
import json
import secrets
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from models.data.files import PART_SUFFIX, write_atomic
from models.data.formats.annotated import AnnotatedImage
from models.data.formats.coco import write_coco
from models.data.formats.voc import write_voc
from models.data.formats.yolo import write_yolo
from models.data.records import NO_OBJECT_LABEL
from tasks.export.rows import (
    CLASSES,
    ExportRow,
    Rows,
    copy_images,
    describe_objects,
    index_of,
    read_classes,
    read_dataset,
    require_class,
    require_objects,
)

IMAGES_PER_SHARD = 1000


def write_imagefolder(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``<split>/<class>/<image>`` and ``classes.txt``, as torchvision reads them.

    Every split has a folder for every class, so that a class has the same index everywhere.
    ``README.md`` tells `datasets.load_dataset` the splits, whatever the classes are called.

    Raises:
        ValueError: an image has no class.
    """
    require_class(rows, "imagefolder")
    for split, listed in rows.items():
        for label in classes:
            copy_images([row for row in listed if row.label == label], to / split / label)
    _write_classes(classes, to)
    _write_card(rows, to, {"drop_labels": False})


def write_coco_dataset(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``images/<split>/`` and ``annotations/instances_<split>.json``.

    An image entry names its ``label``, so that an image without a box keeps its class.
    """
    for split, listed in rows.items():
        folder = to / "images" / split
        copies = copy_images(listed, folder)
        images = [replace(r.annotated, file=c) for r, c in zip(listed, copies, strict=True)]
        extra = [{"label": row.label, "sample": row.name} for row in listed]
        file = to / "annotations" / f"instances_{split}.json"
        write_coco(file, images, classes, root=folder, extra=extra)


def write_huggingface(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write image folders with ``metadata.jsonl``, as `datasets.load_dataset` reads them."""
    for split, listed in rows.items():
        lines = []
        for row, copy in zip(listed, copy_images(listed, to / split), strict=True):
            line = {
                "file_name": copy.name,
                "label": row.label,
                "class_index": index_of(row.label, classes),
                "sample": row.name,
                # A list of objects that is empty in a whole split would have no type of its own.
                "objects": json.dumps(describe_objects(row)),
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        write_atomic(to / split / "metadata.jsonl", "".join(lines).encode())
    _write_classes(classes, to)
    _write_card(rows, to, {})


def write_webdataset(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``<split>-000000.tar``, ...: per image ``<key>.jpg``, ``<key>.json``, ``<key>.cls``.

    The same images always give the same bytes.
    """
    for split, listed in rows.items():
        for start in range(0, len(listed), IMAGES_PER_SHARD):
            shard = to / f"{split}-{start // IMAGES_PER_SHARD:06d}.tar"
            with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
                for index in range(start, min(start + IMAGES_PER_SHARD, len(listed))):
                    _add_row(tar, f"{index:08d}", listed[index], classes)


def _add_row(tar: tarfile.TarFile, key: str, row: ExportRow, classes: Sequence[str]) -> None:
    record = {
        "name": row.name,
        "label": row.label,
        "width": row.annotated.width,
        "height": row.annotated.height,
        "objects": describe_objects(row),
    }
    members = {
        row.file.suffix.lower(): row.file.read_bytes(),
        ".json": json.dumps(record, ensure_ascii=False).encode(),
        ".cls": str(index_of(row.label, classes)).encode(),
    }
    for suffix, data in members.items():
        member = tarfile.TarInfo(key + suffix)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _write_classes(classes: Sequence[str], to: Path) -> None:
    write_atomic(to / CLASSES, "".join(f"{label}\n" for label in classes).encode())


def _write_card(rows: Rows, to: Path, settings: Mapping[str, Any]) -> None:
    """Write a dataset card that declares the splits. Otherwise, `datasets` guesses them from names:
    it takes each image in a class folder ``train`` for a train image."""
    names = {"val": "validation"}
    files = [
        {"split": names.get(split, split), "path": f"{split}/**"}
        for split, listed in rows.items()
        if listed
    ]
    head = {"configs": [{"config_name": "default", "data_files": files, **settings}]}
    text = yaml.safe_dump(head, sort_keys=False)
    order = "The index of a class is its line in `classes.txt`, from 0.\n"
    write_atomic(to / "README.md", f"---\n{text}---\n\n{order}".encode())


def _write_objects(
    form: str,
    write: Callable[[Path, Mapping[str, Sequence[AnnotatedImage]], Sequence[str]], None],
    rows: Rows,
    classes: Sequence[str],
    to: Path,
) -> None:
    """Write a format that has objects but no image labels."""
    require_objects(rows, form)
    write(to, {split: [row.annotated for row in listed] for split, listed in rows.items()}, classes)


FORMATS: dict[str, Callable[[Rows, Sequence[str], Path], None]] = {
    "imagefolder": write_imagefolder,
    "coco": write_coco_dataset,
    "voc": partial(_write_objects, "voc", write_voc),
    "voc-masks": partial(_write_objects, "voc", partial(write_voc, masks=True)),
    "yolo": partial(_write_objects, "yolo", partial(write_yolo, boxes_only=True)),
    "yolo-polygons": partial(_write_objects, "yolo", write_yolo),
    "huggingface": write_huggingface,
    "webdataset": write_webdataset,
}


def export_dataset(out: Path, dataset: str, to: Path, form: str) -> dict[str, int]:
    """Write a dataset of a finished run to a new folder; returns the number of images per split.

    Args:
        dataset: the name of the dataset, such as "synthetic".
        to: a folder that does not exist yet or is empty. It is written whole or not at all.

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
            if row.label not in (*classes, NO_OBJECT_LABEL):
                raise ValueError(
                    f"{split} image {row.name}: class {row.label!r} is not in {out}; run it again"
                )
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
