"""COCO detection and segmentation files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.data.formats.coco import write_coco
from tasks.export.rows import Rows, copy_images


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
