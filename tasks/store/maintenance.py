"""Maintenance of the artifact store: delete unused artifacts, show sizes."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from models.data.records import Artifact
from tasks.store import layout
from tasks.store.artifact_files import list_artifact_files
from tasks.store.backend import Backend, Entry, in_parallel, read_record
from tasks.store.errors import StoreError
from tasks.store.store import Store

# Whatever the grace, younger temporary files and leases may be in use.
_IN_USE_S = 3600.0


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
    size = sum(entry.size for entry in strays)
    for artifact in list_artifact_files(backend):
        files = artifact.files.values()
        if artifact.id in live or any(entry.modified > horizon for entry in files):
            kept += 1
        else:
            garbage.append(artifact.record_first())
            size += sum(entry.size for entry in files)
    if delete:
        doomed = [*garbage, *((entry.name,) for entry in strays)]
        for _ in in_parallel(lambda names: _delete(backend, names), doomed, backend.parallel):
            pass
    return GarbageReport(
        kept=kept,
        garbage=len(garbage),
        strays=len(strays),
        size=size,
        unknown=tuple(sorted(unknown)),
        deleted=delete,
    )


def sizes(store: Store, unlisted: list[str] | None = None) -> list[StageSize]:
    """Return the number of artifacts and of bytes of each stage, sorted by stage.

    ``unlisted``: see `Backend.entries`.
    """
    artifacts: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for entry in store.backend.entries("", unlisted):
        if name := layout.parse_name(entry.name):
            artifacts[name.stage] += name.suffix == layout.RECORD
            size[name.stage] += entry.size
    return [StageSize(stage, artifacts[stage], size[stage]) for stage in sorted(artifacts)]


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


def _delete(backend: Backend, names: tuple[str, ...]) -> None:
    for name in names:
        backend.delete(name)
