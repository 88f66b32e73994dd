"""Upkeep of the artifact store: check every digest, remove what nothing refers to, show sizes."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from models.data.records import Artifact
from tasks.store.backend import Backend, Entry, StoreError, in_parallel, read_record
from tasks.store.layout import (
    LEASES,
    RECORD,
    blob_name,
    digest_of,
    is_part,
    parse_id,
    parse_name,
)

# Whatever the grace, younger temporary files and leases may be in use this moment.
_AT_WORK_S = 3600.0


@dataclass(frozen=True)
class StoreReport:
    """What `Store.verify` found.

    ``corrupt`` and ``missing`` hold artifact ids: records whose blob is damaged or gone, or that
    can't be read themselves. ``orphans`` hold the names of blobs that have no record: harmless
    leftovers of killed runs. ``artifacts`` counts records, ``size`` the bytes of the blobs that
    were read. ``forgotten`` tells whether the bad records were removed.
    """

    artifacts: int
    size: int
    corrupt: tuple[str, ...]
    missing: tuple[str, ...]
    orphans: tuple[str, ...]
    forgotten: bool

    @property
    def good(self) -> bool:
        """Whether every record is backed by the bytes it tells of."""
        return not self.corrupt and not self.missing


@dataclass(frozen=True)
class GarbageReport:
    """What `Store.gc` found and, if ``deleted``, removed.

    ``kept`` and ``garbage`` count artifacts; ``strays`` counts temporary files and leases that
    killed workers left; ``size`` is the bytes of garbage and strays. ``unknown`` holds the roots
    that the store lacks.
    """

    kept: int
    garbage: int
    strays: int
    size: int
    unknown: tuple[str, ...]
    deleted: bool


@dataclass(frozen=True)
class StageSize:
    """How many artifacts of a stage have a record, and the bytes of all its files."""

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


class _Verdict(NamedTuple):
    group: _Group
    fault: str | None
    size: int
    orphans: tuple[str, ...]


def verify(
    backend: Backend, progress: Callable[[int], None] | None, *, forget: bool
) -> StoreReport:
    """See `tasks.store.store.Store.verify`."""
    threads = max(backend.parallel, min(8, os.cpu_count() or 1))
    faults: dict[str, list[str]] = {"corrupt": [], "missing": []}
    orphans: list[tuple[_Group, tuple[str, ...]]] = []
    artifacts = size = 0
    verdicts = in_parallel(lambda group: _inspect(backend, group), _groups(backend), threads)
    for count, verdict in enumerate(verdicts, start=1):
        artifacts += RECORD in verdict.group.files
        size += verdict.size
        if verdict.fault is not None:
            faults[verdict.fault].append(verdict.group.id)
            if forget:
                _delete(backend, _record_first(verdict.group))
        if verdict.orphans:
            orphans.append((verdict.group, verdict.orphans))
        if progress is not None:
            progress(count)
    return StoreReport(
        artifacts=artifacts,
        size=size,
        corrupt=tuple(faults["corrupt"]),
        missing=tuple(faults["missing"]),
        orphans=tuple(name for group, names in orphans for name in _still(backend, group, names)),
        forgotten=forget,
    )


def collect_garbage(
    backend: Backend, roots: Iterable[str], *, delete: bool, grace_s: float
) -> GarbageReport:
    """See `tasks.store.store.Store.gc`."""
    now = time.time()
    horizon = now - grace_s
    young, strays = _young_and_strays(backend, horizon, min(horizon, now - _AT_WORK_S))
    wanted = {"/".join(parse_id(root)) for root in roots}
    live, lacking = _with_ancestors(backend, wanted | young)
    unknown = wanted & lacking
    if delete and wanted and unknown == wanted:
        raise StoreError(
            f"store {backend.url} holds none of the {len(wanted)} artifacts that the datasets refer"
            " to; nothing was deleted; is it the right store?"
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


def sizes(backend: Backend) -> list[StageSize]:
    """See `tasks.store.store.Store.ls`."""
    counts: dict[str, tuple[int, int]] = {}
    for entry in backend.entries(""):
        name = parse_name(entry.name)
        if name is not None:
            artifacts, size = counts.get(name.stage, (0, 0))
            counts[name.stage] = artifacts + (name.suffix == RECORD), size + entry.size
    return [StageSize(stage, *counts[stage]) for stage in sorted(counts)]


def _groups(backend: Backend) -> Iterator[_Group]:
    """The artifacts of a store, one shard after the other, so that memory stays flat."""
    named = ((name, entry) for entry in backend.entries("") if (name := parse_name(entry.name)))
    for (stage, _), shard in groupby(named, key=lambda pair: (pair[0].stage, pair[0].key[:2])):
        files: dict[str, dict[str, Entry]] = {}
        for name, entry in shard:
            files.setdefault(name.key, {})[name.suffix] = entry
        yield from (_Group(stage, key, files[key]) for key in sorted(files))


def _inspect(backend: Backend, group: _Group) -> _Verdict:
    names = {suffix: entry.name for suffix, entry in group.files.items() if suffix != RECORD}
    if RECORD not in group.files:
        return _Verdict(group, None, 0, tuple(sorted(names.values())))
    record = read_record(backend, group.stage, group.key)
    if record is None:
        return _Verdict(group, "corrupt", 0, ())
    orphans = tuple(sorted(name for suffix, name in names.items() if suffix != record.media))
    if record.reject_reason is not None:
        return _Verdict(group, None, 0, orphans)
    blob = backend.get(blob_name(record))
    if blob is None:
        return _Verdict(group, "missing", 0, orphans)
    damaged = len(blob) != record.size or digest_of(blob) != record.digest
    return _Verdict(group, "corrupt" if damaged else None, len(blob), orphans)


def _still(backend: Backend, group: _Group, names: tuple[str, ...]) -> tuple[str, ...]:
    """The orphans that still are: a blob that was just being put has its record by now."""
    arrived = RECORD not in group.files and read_record(backend, group.stage, group.key)
    return () if arrived else names


def _young_and_strays(
    backend: Backend, horizon: float, at_work: float
) -> tuple[set[str], list[Entry]]:
    """The ids of artifacts written after ``horizon``, and what killed workers left: temporary files
    and leases that nobody has touched since ``at_work`` (both are Unix times)."""
    young: set[str] = set()
    strays: list[Entry] = []
    for entry in backend.entries(""):
        name = parse_name(entry.name)
        if name is not None:
            if entry.modified > horizon:
                young.add(f"{name.stage}/{name.key}")
        elif entry.modified <= at_work and (is_part(entry.name) or entry.name.startswith(LEASES)):
            strays.append(entry)
    return young, strays


def _with_ancestors(backend: Backend, roots: set[str]) -> tuple[set[str], set[str]]:
    """The roots and all they came from; and those of them that the store has no record of."""
    live: set[str] = set()
    lacking: set[str] = set()
    frontier = sorted(roots)
    while frontier:
        live.update(frontier)
        records = in_parallel(lambda one: _record(backend, one), frontier, backend.parallel)
        parents: set[str] = set()
        for one, record in zip(frontier, records, strict=True):
            if record is None:
                lacking.add(one)
            else:
                parents.update(record.parents)
        frontier = sorted(parents - live)
    return live, lacking


def _record(backend: Backend, artifact_id: str) -> Artifact | None:
    """The record of a parent, which may be a file outside the store under any id."""
    try:
        stage, key = parse_id(artifact_id)
    except ValueError:
        return None
    return read_record(backend, stage, key)


def _record_first(group: _Group) -> tuple[Entry, ...]:
    """An artifact's files in the order of their deletion: never is a record without its blob."""
    return tuple(
        group.files[suffix] for suffix in sorted(group.files, key=lambda one: one != RECORD)
    )


def _delete(backend: Backend, files: tuple[Entry, ...]) -> None:
    for entry in files:
        backend.delete(entry.name)
