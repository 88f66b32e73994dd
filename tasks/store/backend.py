"""What the artifact store asks of a place that keeps bytes, and the errors it may answer with."""

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


class StoreError(RuntimeError):
    """One clear line: which store, what was asked of it, and the mend."""


class StoreUnavailable(StoreError):
    """The store did not answer, after all tries. Trying the whole work again later may help."""


class StoreRefused(StoreError):
    """The store said no: wrong key, missing bucket, no permission. Trying again won't help."""


class Missing(StoreError):
    """An artifact's bytes are gone. Its record has been removed: a rerun makes it again."""

    def __init__(self, message: str, artifact: Artifact | None = None) -> None:
        super().__init__(message)
        self.artifact = artifact


class Corrupt(StoreError):
    """An artifact's bytes are not those its record tells of. A rerun makes it again."""

    def __init__(self, message: str, artifact: Artifact | None = None) -> None:
        super().__init__(message)
        self.artifact = artifact


class Entry(NamedTuple):
    """One file of a store: its name, its bytes, and when it was written (Unix time, s)."""

    name: str
    size: int
    modified: float


class Backend(Protocol):
    """A place that keeps named bytes, each whole or not at all. It knows nothing of artifacts.

    Every method may be called from many threads at once. What a ``put`` wrote, any later ``get``,
    ``size`` or ``entries`` on any machine sees. All raise `StoreError` or one of its kinds.
    """

    @property
    def url(self) -> str:
        """Where it is, for messages; never with a secret in it."""

    @property
    def parallel(self) -> int:
        """How many calls at once are worth their threads; 1 where a call takes microseconds."""

    def get(self, name: str) -> bytes | None:
        """The bytes under a name; None if there are none."""

    def put(self, name: str, blob: bytes) -> None:
        """Keep bytes under a name, in place of any that were there."""

    def size(self, name: str) -> int | None:
        """How many bytes are under a name; None if it is not there."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Everything whose name starts with ``prefix``, folder by folder, unfinished parts too."""

    def path(self, name: str) -> Path | None:
        """The file of a name on this machine; None where a name is no file."""

    def delete(self, name: str) -> None:
        """Forget a name; nothing happens if it is not there."""


def read_record(backend: Backend, stage: str, key: str) -> Artifact | None:
    """The record of an artifact; None if it is not there, is torn, or tells of another artifact."""
    blob = backend.get(record_name(stage, key))
    if blob is None:
        return None
    try:
        artifact = Artifact.model_validate_json(blob)
    except ValidationError:
        return None
    return artifact if (artifact.stage, artifact.key) == (stage, key) else None


def in_parallel(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """``function`` of each item, in their order, ``threads`` at a time.

    Only a few items are under way at once, so memory stays flat however many there are.
    """
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(source, 4 * threads))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
        finally:
            for future in waiting:
                future.cancel()
