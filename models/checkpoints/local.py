"""Where checkpoints lie on this machine, which revision of each is meant, and under what terms.

The models folder ($SYNTHSET_MODELS, or ~/.cache/synthset/models) holds
``<id>/<revision>/<files>`` with a manifest ``checkpoint.json`` that was written last;
``revisions.json``: the revisions that this folder settled on where the catalog has none, or where
an import replaces the catalog's; and ``sums.json`` (models/checkpoints/pull_record.py). Nothing
here hashes,
fetches or writes weights; models/checkpoints/pulling.py does.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from models.checkpoints.catalog import entry as entry
from models.checkpoints.catalog import near, successor
from models.data.file_lock import file_lock
from models.data.records import Record

MANIFEST = "checkpoint.json"
REVISIONS = "revisions.json"
LOCK = ".revisions.lock"
PULL = "synthset models pull"
# How the revision of files begins that are not known to be a published one.
LOCAL = "local-"
_ID = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+")
_REVISION = re.compile(r"(?!\.)[\w.-]+")


class CheckpointMissing(ValueError):
    """A checkpoint is unknown or not on this machine; the line names the command that mends it."""


class Origin(Record):
    """The published file that a converted one was made from."""

    path: str
    size: int
    sha256: str


class KeptFile(Record):
    """A file of a checkpoint as it lies in the models folder."""

    size: int
    sha256: str
    converted_from: Origin | None = None


class Manifest(Record):
    """What a revision's folder holds, and where it came from. ``digest`` names all of its files."""

    id: str
    revision: str
    source: str
    files: dict[str, KeptFile]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def models_folder() -> Path:
    """The folder that holds all checkpoints; it need not exist."""
    given = os.environ.get("SYNTHSET_MODELS")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "synthset" / "models"


def split(reference: str) -> tuple[str, str | None]:
    """The id and the revision, if any, of ``id`` or ``id@revision``.

    Raises:
        CheckpointMissing: it is not written so.
    """
    checkpoint, at, revision = reference.partition("@")
    if not _ID.fullmatch(checkpoint) or (at and not _REVISION.fullmatch(revision)):
        raise CheckpointMissing(
            f"checkpoint {reference!r}: write owner/name or owner/name@revision"
        )
    return checkpoint, revision or None


def pinned(reference: str) -> str:
    """``id@revision`` of a checkpoint: the revision given, else the one that the models folder
    settled on, else the catalog's. The weights need not be here.

    Raises:
        CheckpointMissing: the id is unknown, or no revision of it is known yet.
    """
    checkpoint, revision = split(reference)
    locked = revisions()
    revision = revision or locked.get(checkpoint)
    if revision is None:
        known = entry(checkpoint)
        if known is None:
            raise CheckpointMissing(unknown(checkpoint))
        revision = known.revision
    if revision is None:
        raise CheckpointMissing(
            f"checkpoint {checkpoint}: its revision is settled by the first pull:"
            f" {PULL} {checkpoint}"
        )
    return f"{checkpoint}@{revision}"


def locate(reference: str, needed: Sequence[str] = ()) -> Path:
    """The folder of a checkpoint whose files are all there, with the right sizes.

    Args:
        reference: ``id`` or ``id@revision``.
        needed: files that must be among them, where a revision may be here without.

    Raises:
        CheckpointMissing: it is unknown or not whole; the line names the first file that is absent
            or cut short, and what to run.
    """
    checkpoint, revision = split(pinned(reference))
    assert revision is not None
    folder = folder_of(checkpoint, revision)
    absent = first_absent(folder, needed)
    if absent is None:
        return folder
    command = command_for(checkpoint, revision)
    raise CheckpointMissing(f"checkpoint {checkpoint}@{revision}: {absent}; fetch it: {command}")


def command_for(checkpoint: str, revision: str) -> str:
    """The command that fetches a revision of a checkpoint, or fetches it again."""
    known = entry(checkpoint)
    if known is None or revision.startswith(LOCAL):
        return f"{PULL} {checkpoint} --from FOLDER"
    if revision == known.revision:
        return f"{PULL} {checkpoint}"
    return f"{PULL} {checkpoint} --revision {revision}"


def first_absent(folder: Path, needed: Sequence[str] = ()) -> str | None:
    """What is wrong with a revision's folder, as ``no FILE in FOLDER``; None if nothing is."""
    manifest = read_manifest(folder)
    if manifest is None:
        return f"no {MANIFEST} in {folder}"
    for name, file in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"no {name} in {folder}"
        if path.stat().st_size != file.size:
            return f"{name} in {folder} has {path.stat().st_size} bytes instead of {file.size}"
    return next((f"no {name} in {folder}" for name in needed if name not in manifest.files), None)


def licence_of(reference: str) -> str:
    """The licence of a checkpoint's weights, ``none stated`` where the catalog knows none."""
    known = entry(split(reference)[0])
    return known.licence if known else "none stated"


def is_commercial(reference: str) -> bool | None:
    """Whether a checkpoint's weights may be used commercially; None where nothing is stated."""
    known = entry(split(reference)[0])
    return known.is_commercial if known else None


def revisions() -> dict[str, str]:
    """The revisions that the models folder settled on, by id.

    Raises:
        CheckpointMissing: its revisions.json is not readable as such.
    """
    path = models_folder() / REVISIONS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(one): str(revision) for one, revision in content.items()}
    except (ValueError, AttributeError):
        raise CheckpointMissing(
            f"{path} is no JSON object of revisions; mend it, or remove it and pull again"
        ) from None


def settle(checkpoint: str, revision: str | None) -> None:
    """Make a revision the one that the models folder uses; None: go back to the catalog's."""
    if revisions().get(checkpoint) == revision:
        return
    with file_lock(models_folder() / LOCK):
        settled = revisions()
        settled.pop(checkpoint, None)
        if revision is not None:
            settled[checkpoint] = revision
        text = json.dumps(dict(sorted(settled.items())), indent=1)
        write_whole(models_folder() / REVISIONS, text)


def manifests() -> Iterator[Manifest]:
    """Every checkpoint in the models folder, by id and revision."""
    for path in sorted(models_folder().glob(f"*/*/*/{MANIFEST}")):
        manifest = read_manifest(path.parent)
        if manifest is not None and not path.parent.parent.name.startswith("."):
            yield manifest


def folder_of(checkpoint: str, revision: str) -> Path:
    """Where a revision of a checkpoint lies, or would lie."""
    return models_folder() / checkpoint / revision


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a revision's folder; None if there is none that can be read."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def digest_of(files: dict[str, KeptFile]) -> str:
    """One sha256 for a set of files: of their names and of the sums of what was published."""
    lines = (
        f"{(file.converted_from or file).sha256}  {name}\n" for name, file in sorted(files.items())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def unknown(checkpoint: str) -> str:
    """The line for an id that neither the catalog nor the models folder knows."""
    instead = successor(checkpoint)
    if instead:
        return f"checkpoint {checkpoint} was withdrawn by its publisher; use {instead}"
    found = near(checkpoint, tuple(revisions()))
    meant = f"did you mean {' or '.join(found)}? " if found else ""
    return f"checkpoint {checkpoint} is not in the catalog; {meant}(synthset models list)"


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and rename it, so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)
