"""Whether the checkpoints that are here are what was pulled: every file is hashed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.checkpoints.catalog import entry
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
from models.checkpoints.pull_transfer import Progress, Told, sums_of


@dataclass(frozen=True)
class Checked:
    """A checkpoint after a check: what is wrong with which of its files, and which of those that
    a recipe may choose are not here.
    """

    id: str
    revision: str
    size: int = 0
    damage: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


def check(references: Sequence[str], told: Told) -> list[Checked]:
    """Hash every file of checkpoints that are here; of all of them if none is named.

    Raises:
        CheckpointMissing: a reference is unknown.
    """
    if references:
        named = [split(pinned(one)) for one in references]
    else:
        here = [(one.id, one.revision) for one in manifests()]
        named = list(dict.fromkeys([*here, *revisions().items()]))
    kept = [
        (one, str(revision), read_manifest(folder_of(one, str(revision))))
        for one, revision in named
    ]
    progress = Progress(sum(manifest.size for _, _, manifest in kept if manifest), told)
    checked = []
    for checkpoint, revision, manifest in kept:
        if manifest is None:
            checked.append(Checked(checkpoint, revision, damage=(f"no {MANIFEST}: not here",)))
            continue
        damage = tuple(damage_of(folder_of(checkpoint, revision), manifest, progress))
        checked.append(Checked(checkpoint, revision, manifest.size, damage, lacks_of(manifest)))
    return checked


def lacks_of(manifest: Manifest) -> tuple[str, ...]:
    """The catalog's alternatives for a recipe that a checkpoint is here without."""
    known = entry(manifest.id)
    paths = [one.path for one in known.weights if one.alternative] if known else []
    return tuple(path for path in paths if path not in manifest.files)


def damage_of(folder: Path, manifest: Manifest, progress: Progress) -> Iterator[str]:
    """What is wrong with each file that differs from the manifest."""
    for name, file in manifest.files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone"
        elif path.stat().st_size != file.size:
            yield f"{name} has {path.stat().st_size} bytes instead of {file.size}"
        elif sums_of(path)[0] != file.sha256:
            yield f"{name} is damaged"
        progress.add(file.size, name)
