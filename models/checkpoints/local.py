"""Where checkpoints lie on this machine, which revision of each is used, and under what terms.

The models folder ($SYNTHSET_MODELS, or ~/.cache/synthset/models) holds ``<id>/<revision>/<files>``
with a manifest ``checkpoint.json``, and ``revisions.json``: the revision in use of each checkpoint
whose revision the catalog does not pin, or that an import replaced. Nothing here downloads.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from models.checkpoints.catalog import entry, similar_ids, successor
from models.checkpoints.errors import CheckpointMissingError
from models.data.file_lock import file_lock
from models.data.files import write_atomic
from models.data.records import Record
from models.data.settings import settings

MANIFEST = "checkpoint.json"
REVISIONS = "revisions.json"
LOCK = ".revisions.lock"
PULL = "synthset models pull"
# Prefix of the revision of files that are not known to be published ones.
LOCAL = "local-"
_ID = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+")
_REVISION = re.compile(r"(?!\.)[\w.-]+")


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
    """The files of a revision's folder and their source.

    ``digest`` is computed from names and checksums of all files.
    """

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
    """The folder of all checkpoints; it need not exist.

    Raises:
        SettingsError: a SYNTHSET_* variable has a bad value.
    """
    return settings().models


def split(reference: str) -> tuple[str, str | None]:
    """The id and the revision, if any, of ``id`` or ``id@revision``.

    Raises:
        CheckpointMissingError: the reference has another form.
    """
    checkpoint, at, revision = reference.partition("@")
    if not _ID.fullmatch(checkpoint) or (at and not _REVISION.fullmatch(revision)):
        raise CheckpointMissingError(
            f"checkpoint {reference!r}: write owner/name or owner/name@revision"
        )
    return checkpoint, revision or None


def pinned(reference: str) -> str:
    """``id@revision`` of a checkpoint; the weights need not be on this machine.

    The revision is that of the reference, else that of revisions.json, else the catalog's.

    Raises:
        CheckpointMissingError: the id is unknown, or no revision of it is known yet.
    """
    checkpoint, revision = split(reference)
    revision = revision or revisions().get(checkpoint)
    if revision is None:
        known = entry(checkpoint)
        if known is None:
            raise CheckpointMissingError(describe_unknown(checkpoint))
        revision = known.revision
    if revision is None:
        raise CheckpointMissingError(
            f"checkpoint {checkpoint}: the first pull sets its revision: {PULL} {checkpoint}"
        )
    return f"{checkpoint}@{revision}"


def locate(reference: str, needed: Sequence[str] = ()) -> Path:
    """The folder of a checkpoint, after checking that all its files have the right size.

    Args:
        reference: ``id`` or ``id@revision``.
        needed: files that must be among them, for checkpoints whose folders may hold only some.

    Raises:
        CheckpointMissingError: the id is unknown, or a file is missing or has another size. The
            line names the first such file and the command that fetches it.
    """
    checkpoint, revision = split(pinned(reference))
    assert revision is not None
    folder = folder_of(checkpoint, revision)
    absent = first_absent(folder, needed)
    if absent is None:
        return folder
    command = command_for(checkpoint, revision)
    raise CheckpointMissingError(
        f"checkpoint {checkpoint}@{revision}: {absent}; fetch it: {command}"
    )


def command_for(checkpoint: str, revision: str) -> str:
    """The command that fetches a revision of a checkpoint."""
    known = entry(checkpoint)
    if known is None or revision.startswith(LOCAL):
        return f"{PULL} {checkpoint} --from FOLDER"
    if revision == known.revision:
        return f"{PULL} {checkpoint}"
    return f"{PULL} {checkpoint} --revision {revision}"


def first_absent(folder: Path, needed: Sequence[str] = ()) -> str | None:
    """The first fault of a revision's folder, as ``no FILE in FOLDER``; None if there is none."""
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
    """The licence of a checkpoint's weights; ``none stated`` if the catalog has none."""
    known = entry(split(reference)[0])
    return known.licence if known else "none stated"


def is_commercial(reference: str) -> bool | None:
    """Whether a checkpoint's weights may be used commercially; None if no licence is stated."""
    known = entry(split(reference)[0])
    return known.is_commercial if known else None


def revisions(folder: Path | None = None) -> dict[str, str]:
    """The revisions in ``revisions.json`` of a models folder, by id.

    Raises:
        CheckpointMissingError: the file is not a JSON object.
    """
    path = (folder or models_folder()) / REVISIONS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(checkpoint): str(revision) for checkpoint, revision in content.items()}
    except (ValueError, AttributeError):
        raise CheckpointMissingError(
            f"{path} is no JSON object of revisions; correct it, or remove it and pull again"
        ) from None


def set_revision(checkpoint: str, revision: str | None) -> None:
    """Write the revision in use into ``revisions.json``; None goes back to the catalog's."""
    if revisions().get(checkpoint) == revision:
        return
    with file_lock(models_folder() / LOCK):
        content = revisions()
        content.pop(checkpoint, None)
        if revision is not None:
            content[checkpoint] = revision
        text = json.dumps(dict(sorted(content.items())), indent=1)
        write_atomic(models_folder() / REVISIONS, f"{text}\n".encode())


def manifests() -> Iterator[Manifest]:
    """The manifest of every checkpoint in the models folder, by id and revision."""
    for path in sorted(models_folder().glob(f"*/*/*/{MANIFEST}")):
        manifest = read_manifest(path.parent)
        if manifest is not None and not path.parent.parent.name.startswith("."):
            yield manifest


def folder_of(checkpoint: str, revision: str) -> Path:
    """The folder of a revision of a checkpoint; it need not exist."""
    return models_folder() / checkpoint / revision


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a revision's folder; None if it is missing or damaged."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def digest_of(files: dict[str, KeptFile]) -> str:
    """The sha256 over names and checksums of the published files, before any conversion."""
    lines = (
        f"{(file.converted_from or file).sha256}  {name}\n" for name, file in sorted(files.items())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def describe_unknown(checkpoint: str) -> str:
    """The error line for an id that neither the catalog nor the models folder has."""
    instead = successor(checkpoint)
    if instead:
        return f"checkpoint {checkpoint} was withdrawn by its publisher; use {instead}"
    similar = similar_ids(checkpoint, tuple(revisions()))
    meant = f"did you mean {' or '.join(similar)}? " if similar else ""
    return f"checkpoint {checkpoint} is not in the catalog; {meant}(synthset models list)"
