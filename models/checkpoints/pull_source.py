"""What the places that checkpoints are pulled from have in common, and their failures."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from models.checkpoints.catalog import CatalogEntry
from models.checkpoints.local import Manifest

CHUNK = 1 << 20


class PullRefused(ValueError):
    """What was asked for can't be pulled from there; the line names it and the mend."""


class PullFailed(RuntimeError):
    """The source failed, or what it gave is not what it should be; the line says what helps."""


class NothingThere(Exception):
    """The source has no bytes of a file from where it was to go on: it ends there, or before."""


class Interrupted(Exception):
    """The source stopped in the middle of a file; what came before it is good."""


@dataclass(frozen=True)
class Published:
    """A file as a source offers it.

    ``sha256`` and ``blob`` (git's sum of a small file) are what the source says of it, as far as it
    does; ``url`` is where it lies outside the source's own layout.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    blob: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of one revision of a checkpoint at a source.

    ``revision`` is None where the source does not say which it is. ``manifest`` is set where they
    lie in the layout of a models folder, with nothing left to choose or convert.
    """

    revision: str | None
    files: dict[str, Published] = field(default_factory=dict)
    manifest: Manifest | None = None


class Source(Protocol):
    """A place that checkpoints are pulled from.

    ``is_folder`` is true where someone put the files by hand: it may hold what the catalog does not
    know, and what it holds replaces the catalog's revision.
    """

    name: str
    is_folder: bool

    def listing(self, checkpoint: str, revision: str | None, known: CatalogEntry | None) -> Listing:
        """What is there of a checkpoint; ``revision`` None means the one that the source uses.

        Raises:
            PullRefused: it is not there, or may not be read.
            PullFailed: the source does not answer.
        """

    def opened(
        self, checkpoint: str, listing: Listing, file: Published, start: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from ``start`` on, and where they really begin: 0 if the source can't
        begin elsewhere.

        Raises:
            Interrupted: the connection broke, here or while reading; trying again may help.
            NothingThere: the file ends at ``start``, or before it.
            PullRefused: it is not there, or may not be read.
        """
