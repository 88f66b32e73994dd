"""The artifact store: immutable blobs with their records, in a folder or an S3 bucket.

The store decides what is done: an artifact is, once its record is there and its blob has the size
the record tells of. Blob and record are each written whole or not at all, the record last, so a run
killed at any moment leaves no half artifact behind. Damaged or lost bytes are found by their digest
on reading, and their record is forgotten, so that a rerun makes them again; they are never served.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from models.data.records import Artifact
from tasks.store.backend import (
    Backend,
    Corrupt,
    Missing,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    in_parallel,
    read_record,
)
from tasks.store.existence import LISTED_PER_ARTIFACT, LISTING_FROM, Presence
from tasks.store.folder import FolderBackend
from tasks.store.layout import (
    DOCUMENTS,
    MARKER,
    PART,
    blob_name,
    digest_of,
    document_name,
    parse_name,
    record_name,
)
from tasks.store.leases import lease
from tasks.store.maintenance import (
    GarbageReport,
    StageSize,
    StoreReport,
    collect_garbage,
    sizes,
    verify,
)

__all__ = [
    "RUNS_WAIT_S",
    "STAGES_WAIT_S",
    "Corrupt",
    "GarbageReport",
    "Missing",
    "StageSize",
    "Store",
    "StoreError",
    "StoreRefused",
    "StoreReport",
    "StoreUnavailable",
    "digest_of",
    "open_store",
]

# How long a store may be away: for a stage, whose run is tried again, and for a run that waits for
# many others, such as the parent of a night.
STAGES_WAIT_S, RUNS_WAIT_S = 90.0, 900.0

_LAYOUT = b'{"synthset-store": 1}\n'


def open_store(url: str | Path, *, make: bool = True, patience_s: float | None = None) -> "Store":
    """The store in a folder or under ``s3://bucket/prefix``; unless told not to, it is made there.

    Keys and endpoint of S3 come from the environment, as boto3 reads it.

    Args:
        url: folder, or ``s3://bucket/prefix``.
        make: whether it may be made.
        patience_s: seconds that an endpoint may be away, while the store is opened too, for those
            at work (`STAGES_WAIT_S`, `RUNS_WAIT_S`). None: who opens it hears of it in seconds.

    Raises:
        StoreRefused: it can't be reached, read or written, holds other files than a store's, was
            laid out by another version, or is not there and must not be made. One line names the
            url and the mend.
        StoreUnavailable: it was waited for in vain.
    """
    address = str(url)
    if address.startswith("s3://"):
        # boto3 takes 0.3 s to import; a local run needs none of it.
        from tasks.store.s3 import OPENING_S, S3Backend

        try:
            backend: Backend = (
                S3Backend(address, STAGES_WAIT_S, OPENING_S)
                if patience_s is None
                else S3Backend(address, patience_s, patience_s)
            )
        except StoreUnavailable as error:
            if patience_s is not None:
                raise
            raise StoreRefused(str(error)) from None
    elif "://" in address:
        scheme = address.partition("://")[0]
        raise StoreRefused(
            f"a store can't be opened by {scheme}://; use a folder or s3://bucket/prefix"
        )
    elif make or Path(url).expanduser().is_dir():
        backend = FolderBackend(Path(url))
    else:
        raise StoreRefused(f"store {address}: there is no such folder")
    _claim(backend, make)
    return Store(backend)


class Store:
    """Artifacts by stage and key, and small named documents. Safe to use from many threads.

    ``url`` tells where it is, without secrets. Besides what each method names, all may raise
    `StoreUnavailable` (no answer, after all tries), `StoreRefused` (keys, rights) and `StoreError`
    (disk full), and ValueError for a stage, key or document name that could lead out of the store.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.url = backend.url

    def find(self, stage: str, keys: Sequence[str]) -> dict[str, Artifact]:
        """The artifacts that are done, by key, in the order of ``keys``; rejected ones too.

        Done means: the record can be read, and the blob is there with the size it tells of.
        """
        wanted = dict.fromkeys(keys)
        listed = self._list(stage, wanted) if self._better_listed(len(wanted)) else None

        def look(key: str) -> Artifact | None:
            if listed is not None and record_name(stage, key) not in listed:
                return None
            artifact = read_record(self._backend, stage, key)
            if artifact is None or self._has_blob(artifact, listed):
                return artifact
            return None

        found = in_parallel(look, wanted, self._backend.parallel)
        return {artifact.key: artifact for artifact in found if artifact is not None}

    def put(self, artifact: Artifact, blob: bytes) -> None:
        """Keep an artifact: its blob, then its record. The last writer wins.

        A rejected artifact has no blob: give ``b""``.

        Raises:
            ValueError: the blob's size is not the one in the record.
        """
        if len(blob) != artifact.size or (artifact.reject_reason is not None and blob):
            raise ValueError(
                f"artifact {artifact.id} tells of {artifact.size} bytes but comes with {len(blob)};"
                " a rejected one must have none"
            )
        record = record_name(artifact.stage, artifact.key)
        if artifact.reject_reason is None:
            self._backend.put(blob_name(artifact), blob)
        self._backend.put(record, artifact.model_dump_json(exclude_defaults=True).encode())

    def read(self, artifact: Artifact) -> bytes:
        """The bytes of an artifact, checked by their digest.

        Raises:
            Missing: they are gone; the record has been forgotten, so that a rerun makes them again.
            Corrupt: they are others than the artifact tells of, even on a second reading; they and
                the record have been removed, unless the two fit (someone made them anew).
            StoreError: the artifact was rejected and never had any bytes.
        """
        if artifact.reject_reason is not None:
            raise StoreError(
                f"artifact {artifact.id} in store {self.url} was rejected "
                f"({artifact.reject_reason}) and has no bytes"
            )
        name = blob_name(artifact)
        for _ in range(2):
            blob = self._backend.get(name)
            if blob is not None and _fits(artifact, blob):
                return blob
        if blob is None:
            self._backend.delete(record_name(artifact.stage, artifact.key))
            raise Missing(f"store {self.url}: {name} is gone; run again to make it anew", artifact)
        record = read_record(self._backend, artifact.stage, artifact.key)
        if record is None or not _fits(record, blob):
            self._backend.delete(record_name(artifact.stage, artifact.key))
            self._backend.delete(name)
        raise Corrupt(
            f"store {self.url}: {name} is damaged ({len(blob)} of {artifact.size} bytes, or others"
            " than were written); run again to make it anew",
            artifact,
        )

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """A file with the artifact's bytes, for reading only.

        It is the store's own where the store is a folder, else a copy in ``folder``.

        Raises:
            Missing, Corrupt: as `read` does.
        """
        own = self._backend.path(blob_name(artifact))
        if own is not None:
            self.read(artifact)
            return own
        copy = folder / f"{artifact.digest}.{artifact.media}"
        if not copy.is_file() or not _fits(artifact, copy.read_bytes()):
            folder.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.{os.getpid()}{PART}")
            part.write_bytes(self.read(artifact))
            part.replace(copy)
        return copy

    def absent(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Those of the artifacts whose blob is gone or has another size; in their order.

        Sizes are looked at, not digests: this is cheap. Rejected artifacts have no blob to lose.
        """
        return Presence(self._backend).absent(artifacts)

    def presence(self, times: float) -> Presence:
        """For asking `absent` about many artifacts in several goes: what is listed is listed once.

        ``times`` is how many times more artifacts there are than in the first go.
        """
        return Presence(self._backend, times)

    def lease(self, unit: str, ttl_s: float = 60) -> AbstractContextManager[bool]:
        """A context in which no other worker is at work on ``unit``; waits for whoever is.

        Once inside, look again what is done: the worker before may have done it. A worker that dies
        is replaced after ``ttl_s``, at once on its own machine; one that lives is waited for,
        however long it takes.

        The context's value is False if the store failed while the lease was sought: the work then
        goes on without one and may be done twice, with the same result. Losing the lease later,
        too, stops nothing.
        """
        return lease(self._backend, unit, ttl_s)

    def put_document(self, name: str, blob: bytes) -> None:
        """Keep a small named file, such as ``runs/<id>.json``, in place of any that was there."""
        self._backend.put(document_name(name), blob)

    def get_document(self, name: str) -> bytes | None:
        """The bytes of a document; None if there is none of that name."""
        return self._backend.get(document_name(name))

    def get_documents(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of several documents, in their order, as many at a time as is worth it."""
        return list(in_parallel(self.get_document, names, self._backend.parallel))

    def documents(self, prefix: str = "") -> list[str]:
        """The names of the documents that start with ``prefix``, sorted."""
        start = document_name(prefix.removesuffix("/")) if prefix else DOCUMENTS
        entries = self._backend.entries(f"{start}/" if prefix.endswith("/") else start)
        names = (entry.name.removeprefix(DOCUMENTS) for entry in entries)
        return sorted(name for name in names if not name.endswith(PART))

    def verify(
        self, progress: Callable[[int], None] | None = None, *, forget: bool = False
    ) -> StoreReport:
        """A report of what is damaged or lost, from reading every record and every blob.

        ``progress`` is told how many artifacts have been looked at. With ``forget``, bad artifacts
        are removed, so that the next run makes them anew.
        """
        return verify(self._backend, progress, forget=forget)

    def gc(
        self, roots: Iterable[str], *, delete: bool = False, grace_s: float = 3600
    ) -> GarbageReport:
        """A report of what no dataset needs; with ``delete``, that is removed.

        ``roots`` are the ids (``<stage>/<key>``) of the artifacts that datasets refer to. They are
        kept with all their ancestors, and so is what was written less than ``grace_s`` ago, with
        its own ancestors: a run may be about to use it. Documents are always kept.

        Raises:
            StoreError: not one of the roots is in the store, so it may be the wrong one.
        """
        return collect_garbage(self._backend, roots, delete=delete, grace_s=grace_s)

    def ls(self) -> list[StageSize]:
        """How many artifacts each stage has and how many bytes they take, sorted by stage."""
        return sizes(self._backend)

    def _better_listed(self, count: int) -> bool:
        return self._backend.parallel > 1 and count >= LISTING_FROM

    def _list(self, stage: str, keys: Iterable[str]) -> dict[str, int] | None:
        """The sizes of those keys' files, by name, from one listing of the stage.

        None where the stage holds so much else that asking for each is cheaper: a look at one
        reference must not cost more the more references there are.
        """
        wanted = set(keys)
        listed = {}
        for seen, entry in enumerate(self._backend.entries(f"{stage}/")):
            if seen >= LISTED_PER_ARTIFACT * len(wanted):
                return None
            name = parse_name(entry.name)
            if name and name.key in wanted:
                listed[entry.name] = entry.size
        return listed

    def _has_blob(self, artifact: Artifact, listed: dict[str, int] | None) -> bool:
        if artifact.reject_reason is not None:
            return True
        name = blob_name(artifact)
        size = self._backend.size(name) if listed is None else listed.get(name)
        return size == artifact.size


def _fits(artifact: Artifact, blob: bytes) -> bool:
    return len(blob) == artifact.size and digest_of(blob) == artifact.digest


def _claim(backend: Backend, make: bool) -> None:
    """Mark an empty place as a store; refuse one that holds a stranger's files."""
    marker = backend.get(MARKER)
    if marker is None and any(not _is_hidden(entry.name) for entry in backend.entries("")):
        marker = backend.get(MARKER)
        if marker is None:
            raise StoreRefused(
                f"store {backend.url} holds other files and is no store; name an empty folder or"
                " prefix, or an existing store"
            )
    if marker is None and not make:
        raise StoreRefused(f"store {backend.url} is empty: no run has used it yet")
    if marker is None:
        backend.put(MARKER, _LAYOUT)
    elif marker != _LAYOUT:
        raise StoreRefused(
            f"store {backend.url} was laid out by another version of synthset ({MARKER} differs);"
            " update synthset or name another store"
        )


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")
