"""Write the datasets of a run below ``--out``: image folders, annotations, masks, classes.

The files are built in a hidden folder and take the place of the earlier ones together, so that old
and new outputs never mix. A run that is killed meanwhile leaves either the old files or the new
ones.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from models.data.records import Artifact, Sample
from tasks.assemble.dataset_files import ForeignFileError, Split, describe_coco, list_files
from tasks.engine.integrity import verify_inputs_on_error
from tasks.store.store import Store

# Folders that a run owns below ``--out``, and files that describe what is in them.
FOLDERS = ("datasets", "annotations", "masks")
CLASSES = "classes.txt"
OWNED = ".synthset-files"
REPORT_FILES = ("report.html", "metrics.json", "predictions.parquet", "manifest.parquet")
_STAGING = ".synthset-writing"
_REPLACED = ".synthset-replaced"
_COMPLETE = "complete"


def refuse_foreign(out: Path) -> None:
    """Return if every file in the folders that a run owns below ``out`` was made by a run.

    Raises:
        ForeignFileError: one was not; the line names it.
    """
    _recover(out)
    owned = set((_read(out / OWNED) or b"").decode().splitlines())
    for folder in FOLDERS:
        for path in (out / folder).rglob("*"):
            if path.is_file() and path.relative_to(out).as_posix() not in owned:
                raise ForeignFileError(
                    f"{path} was not made by synthset; choose another --out, or move the file away"
                )


def write_datasets(
    store: Store,
    out: Path,
    datasets: Mapping[str, Mapping[str, Sequence[Sample]]],
    test: Sequence[Sample],
    classes: Sequence[str],
) -> int:
    """Write all datasets of a run; how many image and mask files were new or changed.

    Args:
        datasets: per dataset, the samples of ``train`` and ``val``.
        classes: all class names, in the order of their indices.

    Raises:
        ForeignFileError: a folder holds a file that no run made.
        UnreadableArtifactError: an image is corrupt or gone; another attempt recomputes it.
    """
    refuse_foreign(out)
    splits = [
        Split(name, split, tuple(sorted(samples, key=lambda sample: sample.name)))
        for name, parts in datasets.items()
        for split, samples in {**parts, "test": test}.items()
    ]
    files = list_files(splits)
    texts = {
        f"annotations/{split.dataset}/{split.name}.json": describe_coco(split, classes)
        for split in splits
    }
    texts[CLASSES] = "".join(f"{name}\n" for name in classes)
    texts[OWNED] = "".join(f"{name}\n" for name in sorted({*files, *texts}))
    changed = [name for name, artifact in files.items() if not _is_file_of(out / name, artifact)]
    if not changed and all(_read(out / name) == text.encode() for name, text in texts.items()):
        return 0
    staging = out / _STAGING
    staging.mkdir(parents=True)
    # An empty folder replaces the files of earlier datasets, such as masks that no image has now.
    folders = {f"{split.folder}/{label}" for split in splits for label in classes}
    for folder in {*FOLDERS, *folders}:
        (staging / folder).mkdir(parents=True, exist_ok=True)
    with verify_inputs_on_error(store, files.values()):
        for name, artifact in files.items():
            _stage_file(store, artifact, out / name, staging / name, name in set(changed))
    for name, text in texts.items():
        _write(staging / name, text.encode())
    (staging / _COMPLETE).touch()
    _recover(out)
    return len(changed)


def _stage_file(
    store: Store, artifact: Artifact, current: Path, staged: Path, is_changed: bool
) -> None:
    staged.parent.mkdir(parents=True, exist_ok=True)
    if not is_changed:
        try:
            os.link(current, staged)
        except OSError:  # a file system without hard links
            shutil.copyfile(current, staged)
        return
    _write(staged, store.read(artifact))


def finish_exchange(out: Path) -> None:
    """Put the files of a run that was killed while it replaced them in their place."""
    if (out / _STAGING / _COMPLETE).exists():
        _recover(out)


def _recover(out: Path) -> None:
    """Put complete staged files in their place, or remove incomplete ones.

    Called before and after writing: a run that was killed while it replaced files had them
    complete.
    """
    staging, replaced = out / _STAGING, out / _REPLACED
    if (staging / _COMPLETE).exists():
        for name in REPORT_FILES:
            if (out / OWNED).exists():
                (out / name).unlink(missing_ok=True)
        for folder in FOLDERS:
            if not (staging / folder).exists():
                continue
            if (out / folder).exists():
                replaced.mkdir(exist_ok=True)
                shutil.rmtree(replaced / folder, ignore_errors=True)
                (out / folder).replace(replaced / folder)
            (staging / folder).replace(out / folder)
        for name in (CLASSES, OWNED):
            if (staging / name).exists():
                (staging / name).replace(out / name)
    shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    for folder in FOLDERS:
        with suppress(OSError):  # absent, or not empty
            (out / folder).rmdir()


def _is_file_of(path: Path, artifact: Artifact) -> bool:
    blob = _read(path)
    return blob is not None and hashlib.sha256(blob).hexdigest() == artifact.digest


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _write(path: Path, blob: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
