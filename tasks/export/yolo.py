"""YOLO folders with boxes, or with polygons."""

from collections.abc import Sequence
from pathlib import Path

from models.data.formats.yolo import write_yolo
from tasks.export.rows import Rows, require_objects


def write_yolo_boxes(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write a detection set: boxes and no masks.

    Raises:
        ValueError: an image has no object.
    """
    _write(rows, classes, to, boxes_only=True)


def write_yolo_polygons(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write a segmentation set: a polygon for each mask.

    Raises:
        ValueError: an image has no object, or a mask with a hole.
    """
    _write(rows, classes, to, boxes_only=False)


def _write(rows: Rows, classes: Sequence[str], to: Path, boxes_only: bool) -> None:
    require_objects(rows, "yolo")
    splits = {split: [row.annotated for row in listed] for split, listed in rows.items()}
    write_yolo(to, splits, classes, boxes_only)
