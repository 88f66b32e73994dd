"""The files of each artifact in a store, for checks and garbage collection."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from tasks.store import layout
from tasks.store.backend import Backend, Entry


class ArtifactFiles(NamedTuple):
    """The files of one artifact by suffix."""

    stage: str
    key: str
    files: Mapping[str, Entry]

    @property
    def id(self) -> str:
        """The artifact's id, ``<stage>/<key>``."""
        return f"{self.stage}/{self.key}"

    def record_first(self) -> tuple[str, ...]:
        """Return the names of the files in the order of deletion: no record outlives its blob."""
        suffixes = sorted(self.files, key=lambda suffix: suffix != layout.RECORD)
        return tuple(self.files[suffix].name for suffix in suffixes)


def list_artifact_files(
    backend: Backend, unlisted: list[str] | None = None
) -> Iterator[ArtifactFiles]:
    """Yield the artifacts of a store, one shard after the other, so that memory stays flat.

    ``unlisted``: see `Backend.entries`.
    """
    named = (
        (name, entry)
        for entry in backend.entries("", unlisted)
        if (name := layout.parse_name(entry.name))
    )
    for (stage, _), shard in groupby(named, key=lambda pair: (pair[0].stage, pair[0].key[:2])):
        files: dict[str, dict[str, Entry]] = {}
        for name, entry in shard:
            files.setdefault(name.key, {})[name.suffix] = entry
        yield from (ArtifactFiles(stage, key, files[key]) for key in sorted(files))
