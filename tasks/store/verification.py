"""Check every artifact and document of a store, and remove the faulty ones on request."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.store import layout
from tasks.store.artifact_files import ArtifactFiles, list_artifact_files
from tasks.store.backend import Backend, in_parallel, read_record
from tasks.store.errors import StoreError
from tasks.store.store import Store


@dataclass(frozen=True)
class StoreReport:
    """What `verify` found.

    ``corrupt``, ``missing`` and ``unreadable`` hold artifact ids: the record can't be parsed or its
    blob has other bytes; the blob is gone; the storage fails to read a file. ``documents`` hold the
    names of documents that are empty or cut, ``unlisted`` the folders that can't be listed.
    ``orphans`` hold the names of blobs without a record, which killed runs leave and which harm
    nothing. ``reasons`` say, by id, why a file can't be read or removed. ``artifacts`` counts
    records, ``size`` the bytes of the blobs that were read. ``removed`` says whether faulty
    artifacts and documents were to be deleted; ``kept`` hold those that could not be.
    """

    artifacts: int
    size: int
    corrupt: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    documents: tuple[str, ...]
    unlisted: tuple[str, ...]
    orphans: tuple[str, ...]
    reasons: dict[str, str]
    removed: bool
    kept: tuple[str, ...]

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """The names of what is faulty, by fault."""
        return {
            "corrupt": self.corrupt,
            "missing": self.missing,
            "unreadable": self.unreadable,
            "cut document": self.documents,
            "unlisted folder": self.unlisted,
        }

    @property
    def good(self) -> bool:
        """Whether every record has the bytes that it describes, and every document is whole."""
        return not any(self.faults.values())


class _Finding(NamedTuple):
    files: ArtifactFiles
    fault: str | None
    size: int = 0
    orphans: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class _Found:
    """What is collected during a check."""

    faults: dict[str, list[str]] = field(
        default_factory=lambda: {"corrupt": [], "missing": [], "unreadable": []}
    )
    documents: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def verify(
    store: Store, progress: Callable[[int], None] | None = None, *, remove_corrupt: bool = False
) -> StoreReport:
    """Read every record, blob and document, and return a report of the faulty ones.

    ``progress`` gets the number of artifacts that were checked. ``remove_corrupt`` deletes what is
    faulty, so that the next run computes it again.
    """
    backend = store.backend
    threads = max(backend.parallel, min(8, os.cpu_count() or 1))
    found = _Found()
    orphans: list[tuple[ArtifactFiles, tuple[str, ...]]] = []
    unlisted: list[str] = []
    artifacts = size = 0
    listed = list_artifact_files(backend, unlisted)
    findings = in_parallel(lambda files: _inspect(backend, files), listed, threads)
    for count, finding in enumerate(findings, start=1):
        artifacts += layout.RECORD in finding.files.files
        size += finding.size
        if finding.fault is not None:
            _note_artifact(backend, finding, found, remove_corrupt)
        if finding.orphans:
            orphans.append((finding.files, finding.orphans))
        if progress is not None:
            progress(count)
    _check_documents(backend, threads, found, remove_corrupt)
    return StoreReport(
        artifacts=artifacts,
        size=size,
        **{fault: tuple(ids) for fault, ids in found.faults.items()},
        documents=tuple(found.documents),
        unlisted=tuple(unlisted),
        orphans=tuple(name for files, names in orphans for name in _still(backend, files, names)),
        reasons=found.reasons,
        removed=remove_corrupt,
        kept=tuple(found.kept),
    )


def _note_artifact(backend: Backend, finding: _Finding, found: _Found, remove: bool) -> None:
    artifact_id, fault = finding.files.id, str(finding.fault)
    found.faults[fault].append(artifact_id)
    if finding.reason:
        found.reasons[artifact_id] = finding.reason
    if remove:
        # A full or write-protected disk takes no mark, but may still delete.
        with suppress(StoreError):
            backend.put(layout.lost_name(artifact_id), b"")
        _remove(backend, artifact_id, finding.files.record_first(), found)


def _remove(backend: Backend, name: str, files: tuple[str, ...], found: _Found) -> None:
    try:
        for file in files:
            backend.delete(file)
    except StoreError as error:
        found.kept.append(name)
        found.reasons[name] = str(error)


def _check_documents(backend: Backend, threads: int, found: _Found, remove: bool) -> None:
    """Note the documents that are no JSON although their names say so, and those without bytes."""
    # `verify` has noted the folders that can't be listed.
    names = (
        entry.name
        for entry in backend.entries(layout.DOCUMENTS, [])
        if not layout.is_part(entry.name)
    )
    for name, reason in in_parallel(lambda name: _inspect_document(backend, name), names, threads):
        if reason is not None:
            document = name.removeprefix(layout.DOCUMENTS)
            found.documents.append(document)
            found.reasons[document] = reason
            if remove:
                _remove(backend, document, (name,), found)


def _inspect_document(backend: Backend, name: str) -> tuple[str, str | None]:
    try:
        blob = backend.get(name)
    except StoreError as error:
        _require_answer(backend)
        return name, str(error)
    if blob == b"":
        return name, "it is empty"
    try:
        if blob is not None and name.endswith(".json"):
            json.loads(blob)
    except ValueError:
        return name, "it is cut, or no JSON"
    return name, None


def _inspect(backend: Backend, files: ArtifactFiles) -> _Finding:
    try:
        return _inspect_files(backend, files)
    except StoreError as error:
        _require_answer(backend)
        return _Finding(files, "unreadable", reason=str(error))


def _require_answer(backend: Backend) -> None:
    """Raise the storage's error if the whole store fails, and not one file alone."""
    backend.get(layout.LAYOUT_FILE)


def _inspect_files(backend: Backend, files: ArtifactFiles) -> _Finding:
    names = {suffix: entry.name for suffix, entry in files.files.items() if suffix != layout.RECORD}
    if layout.RECORD not in files.files:
        return _Finding(files, None, orphans=tuple(sorted(names.values())))
    record = read_record(backend, files.stage, files.key)
    if record is None:
        return _Finding(files, "corrupt")
    orphans = tuple(sorted(name for suffix, name in names.items() if suffix != record.media))
    if record.reject_reason is not None:
        return _Finding(files, None, orphans=orphans)
    blob = backend.get(layout.blob_name(record))
    if blob is None:
        return _Finding(files, "missing", orphans=orphans)
    is_good = len(blob) == record.size and layout.digest_of(blob) == record.digest
    return _Finding(files, None if is_good else "corrupt", len(blob), orphans)


def _still(backend: Backend, files: ArtifactFiles, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that are still orphans: a blob in writing gets its record a moment later."""
    try:
        arrived = layout.RECORD not in files.files and read_record(backend, files.stage, files.key)
    except StoreError:
        return names
    return () if arrived else names
