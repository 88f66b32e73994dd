"""Image folders with ``metadata.jsonl``, as `datasets.load_dataset("imagefolder")` reads them."""

import json
from collections.abc import Sequence
from pathlib import Path

from models.data.files import write_atomic
from tasks.export.rows import CLASSES, Rows, copy_images, describe_objects


def write_huggingface(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``<split>/<image>`` and ``<split>/metadata.jsonl`` with labels, boxes and masks."""
    for split, listed in rows.items():
        lines = []
        for row, copy in zip(listed, copy_images(listed, to / split), strict=True):
            line = {
                "file_name": copy.name,
                "label": row.label,
                "class_index": classes.index(row.label),
                "sample": row.name,
                # A list of objects that is empty in a whole split would have no type of its own.
                "objects": json.dumps(describe_objects(row)),
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        write_atomic(to / split / "metadata.jsonl", "".join(lines).encode())
    write_atomic(to / CLASSES, "".join(f"{label}\n" for label in classes).encode())
