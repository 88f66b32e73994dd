"""Compare the checkpoints on this machine with their manifests: every file is hashed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints.local import (
    MANIFEST,
    Manifest,
    folder_of,
    manifests,
    pinned,
    read_manifest,
    revisions,
    split,
)

CHUNK_BYTES = 1 << 20

# Receives the bytes done, the bytes of all files, and what is being done.
ProgressCallback = Callable[[int, int, str], None]


@dataclass(frozen=True)
class CheckedCheckpoint:
    """The result of a check: ``damage`` has a line per file that is missing or has other bytes."""

    id: str
    revision: str
    size: int = 0
    damage: tuple[str, ...] = ()


def check(references: Sequence[str], progress: ProgressCallback) -> list[CheckedCheckpoint]:
    """Hash every file of the named checkpoints; of all that are here if none is named.

    Raises:
        CheckpointMissingError: a reference is unknown.
    """
    if references:
        named = [split(pinned(reference)) for reference in references]
    else:
        present = [(manifest.id, manifest.revision) for manifest in manifests()]
        named = list(dict.fromkeys([*present, *revisions().items()]))
    return [_check(checkpoint, str(revision), progress) for checkpoint, revision in named]


def damaged_files(folder: Path, manifest: Manifest, progress: ProgressCallback) -> tuple[str, ...]:
    """A line for each file that differs from the manifest."""
    damage, done = [], 0
    for name, file in manifest.files.items():
        progress(done, manifest.size, f"verifying {name}")
        path = folder / name
        if not path.is_file():
            damage.append(f"{name} is missing")
        elif path.stat().st_size != file.size:
            damage.append(f"{name} has {path.stat().st_size} bytes instead of {file.size}")
        elif checksum_of(path) != file.sha256:
            damage.append(f"{name} has another sha256 than its manifest states")
        done += file.size
    return tuple(damage)


def checksum_of(path: Path, git_blob: bool = False) -> str:
    """The sha256 of a file in hex, or the sha1 that git gives it as a blob."""
    digest = hashlib.sha1(usedforsecurity=False) if git_blob else hashlib.sha256()
    if git_blob:
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check(checkpoint: str, revision: str, progress: ProgressCallback) -> CheckedCheckpoint:
    folder = folder_of(checkpoint, revision)
    manifest = read_manifest(folder)
    if manifest is None:
        return CheckedCheckpoint(checkpoint, revision, damage=(f"no {MANIFEST} in {folder}",))
    damage = damaged_files(folder, manifest, progress)
    return CheckedCheckpoint(checkpoint, revision, manifest.size, damage)
