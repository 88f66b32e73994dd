"""How things are named in an artifact store, below its folder or S3 prefix.

::

    synthset-store.json                marks the place as a store and holds the layout's version
    <stage>/<key[:2]>/<key>.<media>    a blob
    <stage>/<key[:2]>/<key>.record     its record (JSON), written after the blob
    documents/<name>                   small named files, such as run manifests
    leases/<unit>.<holder>             who works on what right now
"""

import hashlib
import re
from typing import NamedTuple

from models.data.records import Artifact

MARKER = "synthset-store.json"
DOCUMENTS = "documents/"
LEASES = "leases/"
RECORD = "record"
PART = ".part"

_STAGE = re.compile(r"(?!(?:documents|leases)$)[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,127}"
_DOCUMENT = re.compile(f"{_PLAIN}(/{_PLAIN})*")
_FILE = re.compile(r"(?P<stage>[^/]+)/(?P<shard>[^/]{2})/(?P<key>[^/.]+)\.(?P<suffix>[a-z0-9]+)")


class FileName(NamedTuple):
    """An artifact's file; ``suffix`` is ``record`` for its record and its media for its blob."""

    stage: str
    key: str
    suffix: str


def digest_of(blob: bytes) -> str:
    """The SHA-256 of bytes as 64 hex digits: what `Artifact.digest` holds."""
    return hashlib.sha256(blob).hexdigest()


def record_name(stage: str, key: str) -> str:
    """Where a record is kept.

    Raises:
        ValueError: the stage or the key could name something outside its folder.
    """
    return f"{_folder(stage, key)}/{key}.{RECORD}"


def blob_name(artifact: Artifact) -> str:
    """Where an artifact's blob is kept.

    Raises:
        ValueError: the stage or the key could name something outside its folder.
    """
    return f"{_folder(artifact.stage, artifact.key)}/{artifact.key}.{artifact.media}"


def document_name(name: str) -> str:
    """Where a document is kept.

    Raises:
        ValueError: the name is empty, absolute, hidden, climbs up, or holds unusual characters.
    """
    if not _DOCUMENT.fullmatch(name):
        raise ValueError(
            f"document name {name[:80]!r}: use letters, digits and _ . = + - between single slashes"
        )
    return DOCUMENTS + name


def parse_name(name: str) -> FileName | None:
    """Whose file this is; None for documents, leases, the marker, parts and foreign files."""
    match = _FILE.fullmatch(name)
    if match is None or not match["key"].startswith(match["shard"]):
        return None
    if not (_STAGE.fullmatch(match["stage"]) and _KEY.fullmatch(match["key"])):
        return None
    return FileName(match["stage"], match["key"], match["suffix"])


def is_part(name: str) -> bool:
    """Whether this is a temporary file, for bytes that are not yet whole."""
    base = name.rpartition("/")[2]
    return base.startswith(".") and base.endswith(PART)


def parse_id(artifact_id: str) -> tuple[str, str]:
    """The stage and the key of an `Artifact.id`.

    Raises:
        ValueError: it is none.
    """
    stage, _, key = artifact_id.partition("/")
    _folder(stage, key)
    return stage, key


def _folder(stage: str, key: str) -> str:
    if not _STAGE.fullmatch(stage):
        raise ValueError(f"stage {stage[:80]!r}: use a-z, 0-9, _, -; not 'documents' or 'leases'")
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key[:80]!r} of stage {stage}: use 3 to 128 letters, digits, _ or -")
    return f"{stage}/{key[:2]}"
