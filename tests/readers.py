"""The classes and indices that other libraries read from a folder of class folders."""

import tempfile
from pathlib import Path
from typing import Any

Indices = list[tuple[str, int]]


def listed(folder: Path, classes: list[str]) -> Indices:
    """What every reader must find below a split's folder: ``<class>/<image>`` and the index."""
    files = (path for path in folder.rglob("*.jpg"))
    return sorted((f"{p.parent.name}/{p.name}", classes.index(p.parent.name)) for p in files)


def indices_of_torchvision(folder: Path) -> Indices:
    """What `torchvision.datasets.ImageFolder` reads from the folder of a split."""
    from torchvision.datasets import ImageFolder

    return _sorted(ImageFolder(str(folder), allow_empty=True).samples)


def indices_of_timm(folder: Path, class_map: Path) -> Indices:
    """What timm reads from the folder of a split with the class file of the run."""
    from timm.data import create_dataset

    dataset = create_dataset("", str(folder.parent), split=folder.name, class_map=str(class_map))
    return _sorted(dataset.reader.samples)


def indices_of_datasets(
    folder: Path, config: str | None = None, column: str = "label"
) -> dict[str, Indices]:
    """What `datasets.load_dataset` reads from a folder with a card, per split.

    Args:
        column: the column with the index of the class.
    """
    from datasets import Image, load_dataset

    with tempfile.TemporaryDirectory() as cache:
        splits = load_dataset(str(folder), config, cache_dir=cache)
        found = {}
        for name, rows in splits.items():
            pairs = [
                (row["image"]["path"], row[column])
                for row in rows.cast_column("image", Image(decode=False))
            ]
            found["val" if name == "validation" else str(name)] = _sorted(pairs)
    return found


def _sorted(samples: Any) -> Indices:
    pairs = [(Path(file), index) for file, index in samples]
    return sorted((f"{file.parent.name}/{file.name}", int(index)) for file, index in pairs)
