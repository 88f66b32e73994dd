"""An order: one reference to be expanded, as documents in the store that any worker can read.

A flow run is given only names. What it is to do lies in the store, under the digest of all that
decides it: the same order is the same document, however often and by whomever it is placed.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from models.data.records import Artifact, Record, Reference
from tasks.engine.run_context import StageCount
from tasks.store.errors import MissingArtifactError
from tasks.store.store import STAGES_WAIT_S, Store, open_store


class SharedInputs(Record):
    """What every reference of a run is expanded beside: plates, and the held-out photos' index."""

    plates: tuple[Artifact, ...] = ()
    heldout: tuple[Artifact, ...]


class Setting(Record):
    """What all references of a run share; ``recipe`` as JSON."""

    recipe: dict[str, Any]
    beside: SharedInputs


class Order(Record):
    """One reference, and the digest of the setting it is expanded in."""

    reference: Reference
    setting: str


class Expanded(Record):
    """What a child run tells its parent; the samples themselves are a document in the store."""

    reference: str
    key: str
    images: int
    accepted: int
    counts: dict[str, StageCount]
    cpu_s: dict[str, float] = {}


class Told(Record):
    """How the last attempt at an order ended: what became of it, or why it failed.

    ``damaged`` says that it failed on something that the parent run can make anew.
    """

    run: str | None
    expanded: Expanded | None = None
    failure: str | None = None
    damaged: bool = False


def save_setting(store: Store, recipe: Mapping[str, Any], beside: SharedInputs) -> str:
    """Keep what a run's references share; its digest."""
    blob = Setting(recipe=dict(recipe), beside=beside).model_dump_json().encode()
    digest = hashlib.sha256(blob).hexdigest()
    store.put_document(_setting(digest), blob)
    return digest


def save_order(store: Store, key: str, order: Order) -> None:
    """Keep an order under the key of the expansion that it asks for."""
    store.put_document(_order(key), order.model_dump_json().encode())


def load_order(store: Store, key: str) -> tuple[Order, Setting]:
    """An order and the setting it is expanded in.

    Raises:
        MissingArtifactError: it was never placed on this store, or was removed; the parent run
            places it anew.
    """
    blob = store.get_document(_order(key))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: no order {key}; run regenerate again, which places it"
        )
    order = Order.model_validate_json(blob)
    return order, _load_setting(store.url, order.setting)


def tell(store: Store, key: str, told: Told) -> None:
    """Say how an attempt at an order ended."""
    store.put_document(_told(key), told.model_dump_json().encode())


def told_of(store: Store, key: str) -> Told | None:
    """How the last attempt at an order ended, or None where there was none."""
    blob = store.get_document(_told(key))
    return None if blob is None else Told.model_validate_json(blob)


# A warm worker expands one reference of a run after the other.
@lru_cache(maxsize=8)
def _load_setting(url: str, digest: str) -> Setting:
    store = open_store(url, wait_s=STAGES_WAIT_S)
    blob = store.get_document(_setting(digest))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: no setting {digest}; run regenerate again, which keeps it"
        )
    return Setting.model_validate_json(blob)


def _setting(digest: str) -> str:
    return f"settings/{digest[:2]}/{digest}.json"


def _order(key: str) -> str:
    return f"orders/{key[:2]}/{key}.json"


def _told(key: str) -> str:
    return f"orders/{key[:2]}/{key}.told.json"
