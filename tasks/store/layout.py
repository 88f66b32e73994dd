"""Names of files in an artifact store, relative to its folder or S3 prefix.

::

    layout.json                        the number of this layout
    <stage>/<key[:2]>/<key>.<media>    a blob
    <stage>/<key[:2]>/<key>.record     its record (JSON), written after the blob
    lost/<stage>/<key>                 marks an artifact that a reader found missing or corrupt
    documents/<name>                   small named files, such as run manifests
    leases/<unit>                      which worker computes what at this moment
"""

import hashlib
import re
from typing import NamedTuple

from models.data.records import Artifact

# Raise it when records, keys or documents of older stores would be misread.
LAYOUT = 2
LAYOUT_FILE = "layout.json"
DOCUMENTS = "documents/"
LEASES = "leases/"
LOST = "lost/"
RECORD = "record"
PART = ".part"

_STAGE = re.compile(r"(?!(?:documents|leases|lost)$)[a-z0-9][a-z0-9_-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]{0,127}"
_DOCUMENT = re.compile(f"{_PLAIN}(/{_PLAIN})*")
_FILE = re.compile(r"(?P<stage>[^/]+)/(?P<shard>[^/]{2})/(?P<key>[^/.]+)\.(?P<suffix>[a-z0-9]+)")


class FileName(NamedTuple):
    """The name of an artifact's file; ``suffix`` is "record", or the media of its blob."""

    stage: str
    key: str
    suffix: str


def digest_of(blob: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits, as in `Artifact.digest`."""
    return hashlib.sha256(blob).hexdigest()


def record_name(stage: str, key: str) -> str:
    """Return the file name of a record.

    Raises:
        ValueError: the stage or the key could name a file outside its folder.
    """
    return f"{_folder(stage, key)}/{key}.{RECORD}"


def blob_name(artifact: Artifact) -> str:
    """Return the file name of an artifact's blob.

    Raises:
        ValueError: the stage or the key could name a file outside its folder.
    """
    return f"{_folder(artifact.stage, artifact.key)}/{artifact.key}.{artifact.media}"


def lost_name(artifact_id: str) -> str:
    """Return the file name of the mark of a lost artifact.

    Raises:
        ValueError: the id is not ``<stage>/<key>``.
    """
    return LOST + "/".join(parse_id(artifact_id))


def document_name(name: str) -> str:
    """Return the file name of a document.

    Raises:
        ValueError: the name is empty, absolute, hidden, contains "..", or has unusual characters.
    """
    if not _DOCUMENT.fullmatch(name):
        raise ValueError(
            f"document name {name[:80]!r}: use letters, digits and _ . = + - between single slashes"
        )
    return DOCUMENTS + name


def parse_name(name: str) -> FileName | None:
    """Return the artifact that a file belongs to; None for all other files."""
    match = _FILE.fullmatch(name)
    if match is None or not match["key"].startswith(match["shard"]):
        return None
    if not (_STAGE.fullmatch(match["stage"]) and _KEY.fullmatch(match["key"])):
        return None
    return FileName(match["stage"], match["key"], match["suffix"])


def is_part(name: str) -> bool:
    """Whether this is a temporary file of bytes that are not yet complete."""
    base = name.rpartition("/")[2]
    return base.startswith(".") and base.endswith(PART)


def is_hidden(name: str) -> bool:
    """Whether this is a hidden file, such as ``.DS_Store``."""
    return name.rpartition("/")[2].startswith(".")


def parse_id(artifact_id: str) -> tuple[str, str]:
    """Return the stage and the key of an `Artifact.id`.

    Raises:
        ValueError: the id is not ``<stage>/<key>``.
    """
    stage, _, key = artifact_id.partition("/")
    _folder(stage, key)
    return stage, key


def _folder(stage: str, key: str) -> str:
    if not _STAGE.fullmatch(stage):
        raise ValueError(
            f"stage {stage[:80]!r}: use a-z, 0-9, _, -; not 'documents', 'leases' or 'lost'"
        )
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key[:80]!r} of stage {stage}: use 3 to 128 letters, digits, _ or -")
    return f"{stage}/{key[:2]}"
