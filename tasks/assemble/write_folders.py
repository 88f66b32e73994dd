"""Folders: datasets written below ``--out`` as image folders with metadata, exactly and no more.

A folder's ``metadata.jsonl`` is its last file to be written; the list of files about to be written
is put beside it first. So a killed run leaves only files that the next run knows as its own, and
nothing of the user's is ever overwritten or removed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from models.data.records import METADATA, Artifact, Sample
from tasks.engine.integrity import verify_inputs_on_error
from tasks.store.store import Store

PLANNED = ".metadata.jsonl.planned"
WRITING = ".writing"


class ForeignFolder(ValueError):
    """A folder to be written holds files that no run of synthset made."""


def refuse_foreign(datasets: Path) -> None:
    """Return if all files of the datasets below a folder, which need not be there, are a run's.

    Raises:
        ForeignFolder: one is not; the line names it.
    """
    for folder in (datasets / "test", *datasets.glob("*/train"), *datasets.glob("*/val")):
        _refuse_foreign(folder, _owned(folder))


def write_split(store: Store, samples: Sequence[Sample], folder: Path, masks: Path) -> int:
    """Write one split of a dataset; how many files were new or changed.

    Args:
        store: where the JPEGs and masks are.
        samples: accepted samples.
        folder: ``datasets/<arm>/<split>``; images go to ``<class>/<name>.jpg`` below it.
        masks: ``datasets/<arm>/masks/<split>``, for those samples that have a mask.

    Raises:
        ForeignFolder: the folder holds files that are not a run's.
        Corrupt, Missing: an image is damaged or gone; run again to make it anew.
    """
    rows = [_row(sample, folder, masks) for sample in sorted(samples, key=lambda one: one.name)]
    for row in rows:
        if not _stays_inside(row["file_name"]):
            raise ForeignFolder(
                f"{folder}: the store has a sample called {row['source']!r}, which would be "
                "written outside of it; it was forged: use another store"
            )
    files = [(folder / row["file_name"], one.image) for row, one in _pairs(rows, samples)]
    files += [
        (folder / row["mask"], one.mask)
        for row, one in _pairs(rows, samples)
        if one.mask is not None
    ]
    owned = _owned(folder)
    _refuse_foreign(folder, owned)
    _sweep((folder, masks), folder, owned | {_key(path, folder) for path, _ in files})
    text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    if _is_finished(folder, text):
        planned = None
    else:
        planned = "\n".join(sorted(owned | {_key(path, folder) for path, _ in files}))
        _write(folder / PLANNED, planned.encode())
    with verify_inputs_on_error(store, (artifact for _, artifact in files)):
        changed = sum(_copy(store, artifact, path) for path, artifact in files)
    if planned is not None:
        for stale in owned - {_key(path, folder) for path, _ in files}:
            _remove(folder / stale, below=folder.parent)
        _write(folder / METADATA, text.encode())
        (folder / PLANNED).unlink(missing_ok=True)
    return changed


def _is_finished(folder: Path, text: str) -> bool:
    """Whether the metadata says this, and no killed run had other plans or did not tidy up."""
    metadata = folder / METADATA
    told = metadata.is_file() and metadata.read_text("utf-8") == text
    return told and not (folder / PLANNED).exists()


def _row(sample: Sample, folder: Path, masks: Path) -> dict[str, Any]:
    mask = masks / f"{sample.name}.png" if sample.mask else None
    return {
        "file_name": f"{sample.name}.jpg",
        "label": sample.label,
        "digest": sample.image.digest,
        "key": sample.image.id,
        "origin": sample.origin,
        "source": sample.source,
        "mask": Path(os.path.relpath(mask, folder)).as_posix() if mask else None,
        "boxes": [list(box) for box in sample.boxes],
    }


def _pairs(
    rows: Sequence[dict[str, Any]], samples: Sequence[Sample]
) -> Iterable[tuple[dict[str, Any], Sample]]:
    return zip(rows, sorted(samples, key=lambda one: one.name), strict=True)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _owned(folder: Path) -> set[str]:
    """Files, relative to the folder, that a run made or was about to make."""
    owned: set[str] = set()
    if (folder / METADATA).is_file():
        for line in (folder / METADATA).read_text("utf-8").splitlines():
            row = json.loads(line)
            owned |= {name for name in (row["file_name"], row["mask"]) if name}
    if (folder / PLANNED).is_file():
        owned |= set((folder / PLANNED).read_text("utf-8").splitlines())
    return owned


def _refuse_foreign(folder: Path, owned: set[str]) -> None:
    for path in _files(folder):
        if _key(path, folder) not in owned:
            raise ForeignFolder(
                f"{path} was not made by synthset; choose another --out or move it away"
            )


def _sweep(places: Iterable[Path], folder: Path, ours: set[str]) -> None:
    """Remove what a killed run left of files that it was writing."""
    for left in (path for place in places for path in place.rglob(f"*{WRITING}")):
        whole = left.with_name(left.name.rsplit(".", 2)[0])
        if whole.name in {METADATA, PLANNED} or _key(whole, folder) in ours:
            left.unlink(missing_ok=True)


def _files(folder: Path) -> Iterable[Path]:
    ours = {METADATA, PLANNED}
    return (
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ours and not path.name.endswith(WRITING)
    )


def _key(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _copy(store: Store, artifact: Artifact, path: Path) -> bool:
    """Put the artifact's bytes at ``path`` unless they are there already; True if they were not."""
    there = path.is_file() and path.stat().st_size == artifact.size
    if there and hashlib.sha256(path.read_bytes()).hexdigest() == artifact.digest:
        return False
    _write(path, store.read(artifact))
    return True


def _remove(path: Path, below: Path) -> None:
    """Remove a file that a run made; a name that leads out of the dataset is not one of them."""
    if path.resolve().is_relative_to(below.resolve()):
        path.unlink(missing_ok=True)


def _write(path: Path, blob: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f"{path.name}.{os.getpid()}{WRITING}")
    writing.write_bytes(blob)
    writing.replace(path)
