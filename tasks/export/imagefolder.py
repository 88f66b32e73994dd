"""Class folders per split, as `torchvision.datasets.ImageFolder` reads them."""

from collections.abc import Sequence
from pathlib import Path

from models.data.files import write_atomic
from tasks.export.rows import CLASSES, Rows, copy_images


def write_imagefolder(rows: Rows, classes: Sequence[str], to: Path) -> None:
    """Write ``<split>/<class>/<image>`` and ``classes.txt``; boxes and masks have no place here.

    Every split has a folder for every class, so that a class has the same index everywhere.
    """
    for split, listed in rows.items():
        for label in classes:
            copy_images([row for row in listed if row.label == label], to / split / label)
    write_atomic(to / CLASSES, "".join(f"{label}\n" for label in classes).encode())
