"""Maintenance of the artifact store: check digests, delete unused artifacts, show sizes."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from models.data.records import Artifact
from tasks.store import layout
from tasks.store.backend import Backend, Entry, in_parallel, read_record
from tasks.store.errors import StoreError
from tasks.store.store import Store

# Whatever the grace, younger temporary files and leases may be in use.
_IN_USE_S = 3600.0


@dataclass(frozen=True)
class StoreReport:
    """What `verify` found.

    ``corrupt``, ``missing`` and ``unreadable`` hold artifact ids: the record can't be parsed or its
    blob has other bytes; the blob is gone; the storage fails to read a file. ``orphans`` hold the
    names of blobs without a record, which killed runs leave and which harm nothing. ``artifacts``
    counts records, ``size`` the bytes of the blobs that were read. ``removed`` says whether bad
    artifacts were deleted.
    """

    artifacts: int
    size: int
    corrupt: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    orphans: tuple[str, ...]
    removed: bool

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """The ids of the bad artifacts by fault."""
        return {fault: getattr(self, fault) for fault in ("corrupt", "missing", "unreadable")}

    @property
    def good(self) -> bool:
        """Whether every record has the bytes that it describes."""
        return not any(self.faults.values())


@dataclass(frozen=True)
class GarbageReport:
    """What `collect_garbage` found and, if ``deleted``, deleted.

    ``kept`` and ``garbage`` count artifacts. ``strays`` counts temporary files, leases and marks of
    lost artifacts that nobody uses. ``size`` is the bytes of garbage and strays. ``unknown`` holds
    the roots that are not in the store.
    """

    kept: int
    garbage: int
    strays: int
    size: int
    unknown: tuple[str, ...]
    deleted: bool


@dataclass(frozen=True)
class StageSize:
    """The number of a stage's artifacts that have a record, and the bytes of all its files."""

    stage: str
    artifacts: int
    size: int


class _Group(NamedTuple):
    """The files of one artifact by suffix."""

    stage: str
    key: str
    files: Mapping[str, Entry]

    @property
    def id(self) -> str:
        return f"{self.stage}/{self.key}"


class _Finding(NamedTuple):
    group: _Group
    fault: str | None
    size: int = 0
    orphans: tuple[str, ...] = ()


def verify(
    store: Store, progress: Callable[[int], None] | None = None, *, remove_corrupt: bool = False
) -> StoreReport:
    """Read every record and every blob, and return a report of the bad ones.

    ``progress`` gets the number of artifacts that were checked. ``remove_corrupt`` deletes bad
    artifacts, so that the next run recomputes them.
    """
    backend = store.backend
    threads = max(backend.parallel, min(8, os.cpu_count() or 1))
    faults: dict[str, list[str]] = {"corrupt": [], "missing": [], "unreadable": []}
    orphans: list[tuple[_Group, tuple[str, ...]]] = []
    artifacts = size = 0
    findings = in_parallel(lambda group: _inspect(backend, group), _groups(backend), threads)
    for count, finding in enumerate(findings, start=1):
        artifacts += layout.RECORD in finding.group.files
        size += finding.size
        if finding.fault is not None:
            faults[finding.fault].append(finding.group.id)
            if remove_corrupt:
                # A file that can't be read may refuse to be deleted too; the report names it.
                with contextlib.suppress(StoreError):
                    backend.put(layout.lost_name(finding.group.id), b"")
                    _delete(backend, _record_first(finding.group))
        if finding.orphans:
            orphans.append((finding.group, finding.orphans))
        if progress is not None:
            progress(count)
    return StoreReport(
        artifacts=artifacts,
        size=size,
        corrupt=tuple(faults["corrupt"]),
        missing=tuple(faults["missing"]),
        unreadable=tuple(faults["unreadable"]),
        orphans=tuple(name for group, names in orphans for name in _still(backend, group, names)),
        removed=remove_corrupt,
    )


def collect_garbage(
    store: Store, roots: Iterable[str], *, delete: bool = False, grace_s: float = 3600
) -> GarbageReport:
    """Return a report of the artifacts that no dataset needs; ``delete`` deletes them.

    ``roots`` are the ids (``<stage>/<key>``) of the artifacts that datasets refer to. They are kept
    with all their ancestors, and so are artifacts that are younger than ``grace_s``: a run may be
    about to use them. Documents are always kept.

    Raises:
        StoreError: none of the roots is in the store, so it may be the wrong store.
    """
    backend = store.backend
    now = time.time()
    horizon = now - grace_s
    young, strays = _young_and_strays(backend, horizon, min(horizon, now - _IN_USE_S))
    wanted = {"/".join(layout.parse_id(root)) for root in roots}
    live, unrecorded = _with_ancestors(backend, wanted | young)
    unknown = wanted & unrecorded
    if delete and wanted and unknown == wanted:
        raise StoreError(
            f"store {backend.url} holds none of the {len(wanted)} artifacts that the datasets refer"
            " to; nothing was deleted; check that it is the right store"
        )
    garbage = []
    kept = 0
    for group in _groups(backend):
        if group.id in live or any(entry.modified > horizon for entry in group.files.values()):
            kept += 1
        else:
            garbage.append(_record_first(group))
    doomed = [*garbage, *((entry,) for entry in strays)]
    if delete:
        for _ in in_parallel(lambda files: _delete(backend, files), doomed, backend.parallel):
            pass
    return GarbageReport(
        kept=kept,
        garbage=len(garbage),
        strays=len(strays),
        size=sum(entry.size for files in doomed for entry in files),
        unknown=tuple(sorted(unknown)),
        deleted=delete,
    )


def sizes(store: Store) -> list[StageSize]:
    """Return the number of artifacts and of bytes of each stage, sorted by stage."""
    artifacts: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for entry in store.backend.entries(""):
        if name := layout.parse_name(entry.name):
            artifacts[name.stage] += name.suffix == layout.RECORD
            size[name.stage] += entry.size
    return [StageSize(stage, artifacts[stage], size[stage]) for stage in sorted(artifacts)]


def _groups(backend: Backend) -> Iterator[_Group]:
    """Yield the artifacts of a store, one shard after the other, so that memory stays flat."""
    named = (
        (name, entry) for entry in backend.entries("") if (name := layout.parse_name(entry.name))
    )
    for (stage, _), shard in groupby(named, key=lambda pair: (pair[0].stage, pair[0].key[:2])):
        files: dict[str, dict[str, Entry]] = {}
        for name, entry in shard:
            files.setdefault(name.key, {})[name.suffix] = entry
        yield from (_Group(stage, key, files[key]) for key in sorted(files))


def _inspect(backend: Backend, group: _Group) -> _Finding:
    try:
        return _inspect_files(backend, group)
    except StoreError:
        # Raises again if the whole store fails, and not this file alone.
        backend.get(layout.LAYOUT_FILE)
        return _Finding(group, "unreadable")


def _inspect_files(backend: Backend, group: _Group) -> _Finding:
    names = {suffix: entry.name for suffix, entry in group.files.items() if suffix != layout.RECORD}
    if layout.RECORD not in group.files:
        return _Finding(group, None, orphans=tuple(sorted(names.values())))
    record = read_record(backend, group.stage, group.key)
    if record is None:
        return _Finding(group, "corrupt")
    orphans = tuple(sorted(name for suffix, name in names.items() if suffix != record.media))
    if record.reject_reason is not None:
        return _Finding(group, None, orphans=orphans)
    blob = backend.get(layout.blob_name(record))
    if blob is None:
        return _Finding(group, "missing", orphans=orphans)
    is_good = len(blob) == record.size and layout.digest_of(blob) == record.digest
    return _Finding(group, None if is_good else "corrupt", len(blob), orphans)


def _still(backend: Backend, group: _Group, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that are still orphans: a blob in writing gets its record a moment later."""
    arrived = layout.RECORD not in group.files and read_record(backend, group.stage, group.key)
    return () if arrived else names


def _young_and_strays(
    backend: Backend, horizon: float, unused_since: float
) -> tuple[set[str], list[Entry]]:
    """Return the ids of artifacts written after ``horizon``, and what killed workers left.

    Those are temporary files, leases and marks that were not written since ``unused_since``. Both
    are Unix times.
    """
    young: set[str] = set()
    strays: list[Entry] = []
    for entry in backend.entries(""):
        if name := layout.parse_name(entry.name):
            if entry.modified > horizon:
                young.add(f"{name.stage}/{name.key}")
        elif entry.modified <= unused_since and (
            layout.is_part(entry.name) or entry.name.startswith((layout.LEASES, layout.LOST))
        ):
            strays.append(entry)
    return young, strays


def _with_ancestors(backend: Backend, roots: set[str]) -> tuple[set[str], set[str]]:
    """Return the roots with all their ancestors, and those of them that have no record."""
    live: set[str] = set()
    unrecorded: set[str] = set()
    frontier = roots
    while frontier:
        live |= frontier
        ids = sorted(frontier)
        records = list(in_parallel(lambda id_: _record(backend, id_), ids, backend.parallel))
        unrecorded |= {id_ for id_, record in zip(ids, records, strict=True) if record is None}
        frontier = {id_ for record in records if record for id_ in record.parents} - live
    return live, unrecorded


def _record(backend: Backend, artifact_id: str) -> Artifact | None:
    """Return the record of a parent; None for a user's file, which may have any id."""
    try:
        stage, key = layout.parse_id(artifact_id)
    except ValueError:
        return None
    return read_record(backend, stage, key)


def _record_first(group: _Group) -> tuple[Entry, ...]:
    """Return an artifact's files in the order of deletion: no record outlives its blob."""
    suffixes = sorted(group.files, key=lambda suffix: suffix != layout.RECORD)
    return tuple(group.files[suffix] for suffix in suffixes)


def _delete(backend: Backend, files: tuple[Entry, ...]) -> None:
    for entry in files:
        backend.delete(entry.name)
