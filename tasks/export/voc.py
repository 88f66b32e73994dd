"""Pascal VOC folders with boxes, or with boxes and masks."""

from collections.abc import Sequence
from pathlib import Path

from models.data.formats.voc import write_voc
from tasks.export.rows import Rows, require_objects


def write_voc_boxes(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write boxes and no masks.

    Raises:
        ValueError: an image has no object.
    """
    _write(rows, classes, to, masks=False)


def write_voc_masks(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write boxes and masks.

    Raises:
        ValueError: an image has no object, or masks that overlap.
    """
    _write(rows, classes, to, masks=True)


def _write(rows: Rows, classes: Sequence[str], to: Path, masks: bool) -> None:
    require_objects(rows, "voc")
    splits = {split: [row.annotated for row in listed] for split, listed in rows.items()}
    write_voc(to, splits, classes, masks)
