"""What a run has done so far, as small documents in the store that any flow of the run can read."""

import hashlib
import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from models.data.records import Record
from tasks.engine.item_documents import artifact_ids
from tasks.store.errors import MissingArtifactError, StoreError
from tasks.store.store import Store

R = TypeVar("R", bound=Record)


def make_run_id(out: Path) -> str:
    """Return the id of the run that writes to ``out``: 16 hex digits, the same for each rerun."""
    address = f"{socket.gethostname()}:{out.resolve()}"
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def save_part(store: Store, run_id: str, part: Record) -> None:
    """Write one part of a run; the part's class is its name."""
    store.put_document(_document(run_id, type(part)), part.model_dump_json().encode())


def load_part(store: Store, run_id: str, kind: type[R]) -> R:
    """Return a part that an earlier flow of the run has saved.

    Raises:
        MissingArtifactError: no flow of the run has saved it.
    """
    part = store.get_record(_document(run_id, kind), kind)
    if part is None:
        raise MissingArtifactError(
            f"store {store.url}: run {run_id} has no {kind.__name__.lower()} yet; start the run"
            " from its beginning"
        )
    return part


def pin_artifacts(store: Store, run: str, ids: Iterable[str], keys: Iterable[str]) -> None:
    """Note which artifacts and work items the results of a run need: garbage collection keeps them.

    Args:
        keys: keys of work items, which stand for all artifacts that their records name.
    """
    content = {"artifacts": sorted(set(ids)), "items": sorted(set(keys))}
    store.put_document(f"runs/{run}/pins.json", json.dumps(content).encode())


def pinned_artifacts(store: Store) -> set[str]:
    """The ids of all artifacts that any run of this store needs.

    Raises:
        StoreError: the list of a run is cut, so that what it needs is unknown.
    """
    pinned: set[str] = set()
    for name in store.documents("runs/"):
        blob = store.get_document(name) if name.endswith("/pins.json") else None
        if blob is not None:
            try:
                content = json.loads(blob)
            except ValueError:
                raise StoreError(
                    f"store {store.url}: {name} is empty or cut, so that nothing is known of what "
                    "its run needs; run it again, or `synthset store verify --remove-corrupt`"
                ) from None
            pinned |= set(content["artifacts"])
            for key in content["items"]:
                with suppress(MissingArtifactError):
                    pinned |= set(artifact_ids(store, key))
    return pinned


def _document(run_id: str, kind: type[Record]) -> str:
    return f"runs/{run_id}/{kind.__name__.lower()}.json"
