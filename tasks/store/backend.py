"""What the artifact store needs from the storage under it: named bytes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from models.data.records import Artifact
from tasks.store.layout import record_name

T = TypeVar("T")
R = TypeVar("R")


class Entry(NamedTuple):
    """A file of a store: its name, its size in bytes, and when it was written (Unix time, s)."""

    name: str
    size: int
    modified: float


class Backend(Protocol):
    """Storage of named bytes, each written whole or not at all. It knows nothing of artifacts.

    Many threads may call every method at once. After a `put`, every `get`, `size` and `entries` on
    any machine sees the new bytes. All methods raise `StoreError` or one of its subclasses.
    """

    @property
    def url(self) -> str:
        """The address, for messages; it never holds a secret."""

    @property
    def parallel(self) -> int:
        """How many threads calls are worth; 1 if a call takes microseconds."""

    def get(self, name: str) -> bytes | None:
        """Return the bytes under a name; None if there are none."""

    def put(self, name: str, blob: bytes) -> None:
        """Write bytes under a name, and replace any that exist."""

    def create(self, name: str, blob: bytes) -> bool | None:
        """Write bytes under a name, unless some exist: of many callers, one succeeds.

        Returns:
            True if the bytes were written, False if some exist, None if the storage has no such
            operation.
        """

    def size(self, name: str) -> int | None:
        """Return how many bytes are under a name; None if there are none."""

    def entries(self, prefix: str, unlisted: list[str] | None = None) -> Iterator[Entry]:
        """Yield all files whose names start with ``prefix``, unfinished ones too.

        A folder that can't be listed raises. With ``unlisted`` its name is added to that list
        instead, and the other folders are listed.
        """

    def path(self, name: str) -> Path | None:
        """Return the file of a name on this machine; None if the storage has no files."""

    def delete(self, name: str) -> None:
        """Delete the bytes under a name; do nothing if there are none."""


def read_record(backend: Backend, stage: str, key: str) -> Artifact | None:
    """Return an artifact's record; None if it is missing, unreadable or of another artifact."""
    blob = backend.get(record_name(stage, key))
    if blob is None:
        return None
    try:
        artifact = Artifact.model_validate_json(blob)
    except ValidationError:
        return None
    return artifact if (artifact.stage, artifact.key) == (stage, key) else None


def in_parallel(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield ``function`` of each item, in the order of the items, computed by ``threads`` threads.

    Only a few items are computed ahead, so that memory does not grow with their number.
    """
    if threads == 1:
        yield from map(function, items)
        return
    pending: deque[Future[R]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            pending.extend(pool.submit(function, item) for item in islice(source, 4 * threads))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(source, 1))
        finally:
            for future in pending:
                future.cancel()
