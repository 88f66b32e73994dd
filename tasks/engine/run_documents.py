"""What a run knows of itself, as small documents in the store, so that any flow of it can go on."""

import hashlib
import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from models.data.records import Record
from tasks.engine.work_items import artifact_ids
from tasks.store.store import Missing, Store

R = TypeVar("R", bound=Record)


def make_run_id(out: Path) -> str:
    """The name of the run that writes to ``out``: the same folder is the same run, run again."""
    place = f"{socket.gethostname()}:{out.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def save_part(store: Store, run: str, part: Record) -> None:
    """Keep one part of a run; its class names it."""
    store.put_document(_document(run, type(part)), part.model_dump_json().encode())


def load_part(store: Store, run: str, kind: type[R]) -> R:
    """A part that an earlier flow of the run kept.

    Raises:
        Missing: no flow of the run got that far.
    """
    blob = store.get_document(_document(run, kind))
    if blob is None:
        raise Missing(
            f"{store.url}: run {run} has no {kind.__name__.lower()} yet; run it from the start"
        )
    return kind.model_validate_json(blob)


def pin_artifacts(store: Store, run: str, ids: Iterable[str], keys: Iterable[str]) -> None:
    """Note which artifacts and work items the results of a run need: garbage collection keeps them.

    Args:
        ids: ids of artifacts.
        keys: keys of work items, which stand for all artifacts that their records name.
    """
    content = {"artifacts": sorted(set(ids)), "items": sorted(set(keys))}
    store.put_document(f"runs/{run}/pins.json", json.dumps(content).encode())


def pinned_artifacts(store: Store) -> set[str]:
    """The ids of all artifacts that any run of this store needs."""
    pinned: set[str] = set()
    for name in store.documents("runs/"):
        blob = store.get_document(name) if name.endswith("/pins.json") else None
        if blob:
            content = json.loads(blob)
            pinned |= set(content["artifacts"])
            for key in content["items"]:
                with suppress(Missing):
                    pinned |= set(artifact_ids(store, key))
    return pinned


def _document(run: str, kind: type[Record]) -> str:
    return f"runs/{run}/{kind.__name__.lower()}.json"
