"""The artifact store: immutable blobs with their records, in a folder or an S3 bucket.

The store decides what is done: an artifact is done if its record exists and its blob has the size
that the record gives. Blob and record are each written whole or not at all, the record last, so a
killed run leaves no partial artifact. Corrupt or missing bytes are found by their digest when they
are read. Their record is then deleted, so that a rerun recomputes them; they are never served.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from models.data.records import Artifact, Record
from tasks.store import layout
from tasks.store.backend import Backend, in_parallel, read_record
from tasks.store.errors import (
    CorruptArtifactError,
    MissingArtifactError,
    StoreAccessError,
    StoreError,
    StoreLayoutError,
    StoreUnavailableError,
)
from tasks.store.folder import FolderBackend
from tasks.store.leases import lease
from tasks.store.old_layout import OLD_MARKER, is_of_old_layout

# How long a store may be unreachable: for a stage, whose run is retried, and for a run that waits
# for many others, such as the parent of scheduled runs.
STAGES_WAIT_S, RUNS_WAIT_S = 90.0, 900.0

R = TypeVar("R", bound=Record)


class LayoutDocument(Record):
    """The content of ``layout.json``."""

    layout: int = Field(ge=1)


def open_store(url: str | Path, *, create: bool = True, wait_s: float | None = None) -> "Store":
    """Return the store in a folder or under ``s3://bucket/prefix``.

    Keys and endpoint of S3 come from the environment, as boto3 reads it.

    Args:
        create: whether an empty or missing place becomes a new store.
        wait_s: seconds that an unreachable endpoint is retried, during opening too, for runs in
            progress (`STAGES_WAIT_S`, `RUNS_WAIT_S`). None: opening fails within seconds.

    Raises:
        StoreAccessError: it can't be reached, read or written, holds other files than a store's, or
            does not exist and ``create`` is false.
        StoreLayoutError: it was written in another layout.
        StoreUnavailableError: it was unreachable for ``wait_s``.
    """
    backend = open_backend(url, create=create, wait_s=wait_s)
    _check_layout(backend, create)
    return Store(backend)


def open_backend(url: str | Path, *, create: bool = False, wait_s: float | None = None) -> Backend:
    """Return the storage under a store, whatever its layout. See `open_store`."""
    address = str(url)
    if address.startswith("s3://"):
        # boto3 takes 0.3 s to import; a local run does not need it.
        from tasks.store.s3 import S3Backend

        try:
            if wait_s is None:
                return S3Backend(address, STAGES_WAIT_S)
            return S3Backend(address, wait_s, wait_s)
        except StoreUnavailableError as error:
            if wait_s is not None:
                raise
            raise StoreAccessError(str(error)) from None
    if "://" in address:
        scheme = address.partition("://")[0]
        raise StoreAccessError(
            f"a store can't be opened by {scheme}://; use a folder or s3://bucket/prefix"
        )
    if not create and not Path(url).expanduser().is_dir():
        raise StoreAccessError(f"store {address}: there is no such folder; check the address")
    return FolderBackend(Path(url))


class Store:
    """Artifacts by stage and key, and small named documents. Safe to use from many threads.

    ``url`` is the address, without secrets; ``backend`` is the storage below. Every method may
    raise `StoreUnavailableError` (no answer, after all retries), `StoreAccessError` (keys, rights),
    `StoreError` (disk full), and ValueError for a stage, key or document name that could lead out
    of the store.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.url = backend.url

    def find(self, stage: str, keys: Sequence[str]) -> dict[str, Artifact]:
        """Return the artifacts that are done, by key, in the order of ``keys``; rejected ones too.

        Done means: the record is readable, and the blob has the size that the record gives.
        """

        def find_artifact(key: str) -> Artifact | None:
            artifact = read_record(self.backend, stage, key)
            return artifact if artifact is not None and self._has_blob(artifact) else None

        found = in_parallel(find_artifact, dict.fromkeys(keys), self.backend.parallel)
        return {artifact.key: artifact for artifact in found if artifact is not None}

    def put(self, artifact: Artifact, blob: bytes) -> None:
        """Write an artifact: its blob, then its record. The last writer wins.

        A rejected artifact has no blob: pass ``b""``.

        Raises:
            ValueError: the blob's size differs from the record's.
        """
        if len(blob) != artifact.size or (artifact.reject_reason is not None and blob):
            raise ValueError(
                f"artifact {artifact.id}: its record gives {artifact.size} bytes but its blob has"
                f" {len(blob)}; a rejected artifact must have none"
            )
        record = layout.record_name(artifact.stage, artifact.key)
        if artifact.reject_reason is None:
            self.backend.put(layout.blob_name(artifact), blob)
        self.backend.put(record, artifact.model_dump_json(exclude_defaults=True).encode())

    def read(self, artifact: Artifact) -> bytes:
        """Return the bytes of an artifact, checked by their digest.

        Raises:
            MissingArtifactError: they are gone; the record is deleted, so that a rerun recomputes
                the artifact.
            CorruptArtifactError: a second reading still gives other bytes than the record
                describes. Bytes and record are deleted, unless they fit each other because the
                artifact was recomputed.
            StoreError: the artifact was rejected and never had bytes.
        """
        if artifact.reject_reason is not None:
            raise StoreError(
                f"artifact {artifact.id} in store {self.url} was rejected "
                f"({artifact.reject_reason}) and has no bytes; use one that was accepted"
            )
        name = layout.blob_name(artifact)
        for _ in range(2):
            blob = self.backend.get(name)
            if blob is not None and _fits(artifact, blob):
                return blob
        self.mark_lost([artifact.id])
        if blob is None:
            self.backend.delete(layout.record_name(artifact.stage, artifact.key))
            message = f"store {self.url}: {name} is missing; run again to recompute it"
            raise MissingArtifactError(message, artifact)
        record = read_record(self.backend, artifact.stage, artifact.key)
        if record is None or not _fits(record, blob):
            self.backend.delete(layout.record_name(artifact.stage, artifact.key))
            self.backend.delete(name)
        raise CorruptArtifactError(
            f"store {self.url}: {name} is corrupt ({len(blob)} of {artifact.size} bytes, or other"
            " bytes than were written); run again to recompute it",
            artifact,
        )

    def fetch(self, artifact: Artifact, folder: Path) -> Path:
        """Return a file with the artifact's bytes, for reading only.

        It is the store's own file if the store is a folder, else a copy in ``folder``.

        Raises:
            MissingArtifactError, CorruptArtifactError: as `read`.
        """
        own = self.backend.path(layout.blob_name(artifact))
        if own is not None:
            self.read(artifact)
            return own
        copy = folder / f"{artifact.digest}.{artifact.media}"
        if not copy.is_file() or not _fits(artifact, copy.read_bytes()):
            folder.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.{os.getpid()}{layout.PART}")
            part.write_bytes(self.read(artifact))
            part.replace(copy)
        return copy

    def check_writable(self) -> None:
        """Write and delete a small file, so that a missing right is found before any work.

        Raises:
            StoreAccessError: the store takes no file, or deletes none.
        """
        name = f"{layout.LEASES}check-{secrets.token_hex(8)}"
        self.backend.put(name, b"{}")
        self.backend.delete(name)

    def mark_lost(self, artifact_ids: Iterable[str]) -> None:
        """Record that artifacts are missing or corrupt, so that `lost` finds them."""
        for artifact_id in artifact_ids:
            self.backend.put(layout.lost_name(artifact_id), b"")

    def lost(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Return those of the artifacts that a reader found missing or corrupt, in their order.

        Artifacts that were recomputed since, with the same bytes, are not lost. One listing answers
        for any number of artifacts: bytes that nobody has read since they were lost count as good.
        """
        marked = {entry.name for entry in self.backend.entries(layout.LOST)}
        lost = []
        for artifact in artifacts:
            if not marked or layout.lost_name(artifact.id) not in marked:
                continue
            record = read_record(self.backend, artifact.stage, artifact.key)
            if record is None or record.digest != artifact.digest or not self._has_blob(record):
                lost.append(artifact)
            else:
                self.backend.delete(layout.lost_name(artifact.id))
        return lost

    def lease(self, unit: str, ttl_s: float = 60) -> AbstractContextManager[bool]:
        """Return a context in which no other worker computes ``unit``; entering waits for them.

        Once inside, look again what is done: the other worker may have done it. A worker that died
        is replaced after ``ttl_s``, at once on its own machine. A living worker is waited for,
        however long it takes.

        The context's value is False if the store failed while the lease was requested, or if its
        server has no conditional writes. The work then continues without a lease and may be done
        twice, with the same result. Losing the lease later stops nothing either.
        """
        return lease(self.backend, unit, ttl_s)

    def put_document(self, name: str, blob: bytes) -> None:
        """Write a small named file, such as ``runs/<id>.json``, and replace any that exists."""
        self.backend.put(layout.document_name(name), blob)

    def get_document(self, name: str) -> bytes | None:
        """Return the bytes of a document; None if there is none of that name."""
        return self.backend.get(layout.document_name(name))

    def get_record(self, name: str, kind: type[R]) -> R | None:
        """Return a document as a record; None if there is none, or only a part of one.

        A power failure may leave a file empty or cut: what it held is then written again.
        """
        blob = self.get_document(name)
        return None if blob is None else parse_record(blob, kind)

    def get_documents(self, names: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of several documents, in their order, read in parallel."""
        return list(in_parallel(self.get_document, names, self.backend.parallel))

    def documents(self, prefix: str = "") -> list[str]:
        """Return the names of the documents that start with ``prefix``, sorted."""
        start = layout.document_name(prefix.removesuffix("/")) if prefix else layout.DOCUMENTS
        entries = self.backend.entries(f"{start}/" if prefix.endswith("/") else start)
        names = (entry.name.removeprefix(layout.DOCUMENTS) for entry in entries)
        return sorted(name for name in names if not name.endswith(layout.PART))

    def _has_blob(self, artifact: Artifact) -> bool:
        if artifact.reject_reason is not None:
            return True
        return self.backend.size(layout.blob_name(artifact)) == artifact.size


def parse_record(blob: bytes, kind: type[R]) -> R | None:
    """Return the record in the bytes of a document; None if they are cut or of another kind."""
    try:
        return kind.model_validate_json(blob)
    except ValidationError:
        return None


def _fits(artifact: Artifact, blob: bytes) -> bool:
    return len(blob) == artifact.size and layout.digest_of(blob) == artifact.digest


def _check_layout(backend: Backend, create: bool) -> None:
    """Accept a store of this layout, make an empty place one, and refuse everything else."""
    blob = backend.get(layout.LAYOUT_FILE)
    if blob is None:
        names = [entry.name for entry in islice(backend.entries(""), 1000)]
        if backend.get(OLD_MARKER) is not None or any(map(is_of_old_layout, names)):
            blob = b'{"layout": 1}'
        elif all(layout.is_hidden(name) for name in names):
            if not create:
                raise StoreAccessError(f"store {backend.url} is empty: no run has used it yet")
            backend.put(layout.LAYOUT_FILE, _layout_json())
            return
        # Another process may have made it a store meanwhile.
        blob = backend.get(layout.LAYOUT_FILE) or blob
    if blob is None:
        raise StoreAccessError(
            f"store {backend.url} holds other files and is no store; name an empty folder or"
            " prefix, or an existing store"
        )
    number = _parse_layout(backend, blob)
    if number < layout.LAYOUT:
        raise StoreLayoutError(
            f"store {backend.url} has layout {number} of an older synthset; this version writes"
            f" layout {layout.LAYOUT}: use another --store, or clear it with"
            f" `synthset store gc {backend.url} --old-layout --delete`"
        )
    if number > layout.LAYOUT:
        raise StoreLayoutError(
            f"store {backend.url} has layout {number} of a newer synthset; this version reads"
            f" layout {layout.LAYOUT}: update synthset, or use another --store"
        )


def _layout_json() -> bytes:
    return LayoutDocument(layout=layout.LAYOUT).model_dump_json().encode()


def _parse_layout(backend: Backend, blob: bytes) -> int:
    try:
        return LayoutDocument.model_validate_json(blob).layout
    except ValidationError:
        raise StoreLayoutError(
            f"store {backend.url} has an unreadable {layout.LAYOUT_FILE} ({blob[:40]!r}); write"
            f" {_layout_json().decode()} into it if it is a store of this version"
        ) from None
