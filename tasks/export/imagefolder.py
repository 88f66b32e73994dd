"""Export: a run's dataset in a layout that other tools read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from models.data.records import METADATA


def export_dataset(dataset: Path, out: Path, form: str) -> dict[str, int]:
    """Write a dataset to a new folder; images per split.

    Args:
        dataset: a dataset of a run, such as ``OUT/datasets/synthetic``; the test photos beside it
            are exported too.
        out: a folder that is not there yet, or is empty.
        form: ``imagefolder``: ``<split>/<class>/<image>.jpg``, nothing else.

    Raises:
        ValueError: the dataset, the folder or the format is not as it must be.
    """
    if form not in FORMATS:
        raise ValueError(f"--format {form}: choose one of {', '.join(FORMATS)}")
    splits = {split: dataset / split for split in ("train", "val")}
    splits["test"] = dataset.parent / "test"
    for folder in splits.values():
        if not (folder / METADATA).is_file():
            raise ValueError(
                f"{dataset}: no finished dataset ({folder.name}/{METADATA} is missing)"
            )
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out}: is not empty; name a new folder")
    writing = out.with_name(f"{out.name}.writing")
    shutil.rmtree(writing, ignore_errors=True)
    counts = {split: FORMATS[form](folder, writing / split) for split, folder in splits.items()}
    if out.exists():
        out.rmdir()
    writing.replace(out)
    return counts


def _as_image_folder(source: Path, target: Path) -> int:
    rows = [json.loads(line) for line in (source / METADATA).read_text("utf-8").splitlines()]
    for row in rows:
        image = target / row["file_name"]
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / row["file_name"], image)
    return len(rows)


FORMATS: dict[str, Callable[[Path, Path], int]] = {"imagefolder": _as_image_folder}
