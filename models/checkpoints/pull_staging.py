"""The folder beside a checkpoint's own in which a pull gathers its files, until all are there."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.checkpoints.local import MANIFEST, Manifest, folder_of, write_whole
from models.checkpoints.pull_source import PullFailed
from models.data.file_lock import file_lock

# What is there already, by name, with sums.
PROGRESS = ".pulled.json"


def put_beside(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the disk knows no second names."""
    if target.exists() or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        beside = target.with_name(f"{target.name}.writing")
        shutil.copy2(source, beside)
        beside.replace(target)


def install(staging: Path, manifest: Manifest) -> Path:
    """Give a complete folder its name, in place of what has that name now."""
    final = folder_of(manifest.id, manifest.revision)
    (staging / PROGRESS).unlink(missing_ok=True)
    for stray in [path for path in staging.rglob("*") if path.is_file()]:
        if stray.relative_to(staging).as_posix() not in manifest.files:
            stray.unlink()
    write_whole(staging / MANIFEST, manifest.model_dump_json(indent=1, exclude_none=True))
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = staging.with_name(f"{staging.name}.old")
    if final.exists():
        final.replace(aside)
    staging.replace(final)
    shutil.rmtree(aside, ignore_errors=True)
    return final


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other pulls of the same revision away."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path, wait=False))
        except BlockingIOError:
            raise PullFailed(
                f"another pull of the same checkpoint is at work in {path.parent}; wait for it"
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
