"""Work items, results and records as documents in the store, which any worker can read.

A child run gets names and keys only. What it computes is a document under the digest of everything
that decides it, so that the same work is the same document on every machine.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from models.data.records import Artifact, Sample
from tasks.engine.work_items import GenerationRecord, ItemConfig, Result, WorkItem
from tasks.store.errors import MissingArtifactError
from tasks.store.store import STAGES_WAIT_S, Store, open_store, parse_record

# What a selection says of images, by their ids: similarity, and the reason if one is rejected.
Selected = Mapping[str, Mapping[str, Any]]
NOTHING_SELECTED: Selected = MappingProxyType({})
# A bucket answers several small writes at a time.
_WRITERS = 8
# Results whose artifacts are looked up together: each names hundreds of them.
_LOOKED_UP_TOGETHER = 16


def save_items(store: Store, items: Sequence[WorkItem], config: ItemConfig) -> None:
    """Write what child runs are to do."""
    if not items:
        return
    blob = config.model_dump_json().encode()
    digest = hashlib.sha256(blob).hexdigest()
    store.put_document(_name("settings", digest), blob)

    def save(item: WorkItem) -> None:
        content = {"item": item.model_dump(mode="json"), "config": digest}
        store.put_document(_name("items", item.key), json.dumps(content).encode())

    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="items") as pool:
        list(pool.map(save, items))


def load_item(store: Store, key: str) -> tuple[WorkItem, ItemConfig]:
    """A work item and its configuration.

    Raises:
        MissingArtifactError: the store has no such item; a retried parent run writes it.
    """
    content = _parse(store.get_document(_name("items", key)))
    if content is None:
        raise MissingArtifactError(
            f"{store.url}: no work item {key}; run the pipeline again, which writes it"
        )
    return WorkItem.model_validate(content["item"]), _load_config(store.url, content["config"])


def save_result(store: Store, result: Result, record: GenerationRecord | None = None) -> None:
    """Write how an attempt at an item ended; for one that succeeded, its record first."""
    if record is not None:
        blob = record.model_dump_json(exclude_defaults=True).encode()
        store.put_document(_name("records", result.key), blob)
    store.put_document(_name("items", result.key, ".result"), result.model_dump_json().encode())


def load_result(store: Store, key: str) -> Result | None:
    """How the last attempt at an item ended; None where there was none."""
    return store.get_record(_name("items", key, ".result"), Result)


def load_records(store: Store, keys: Sequence[str]) -> Iterator[GenerationRecord | None]:
    """The records of finished items, in the order of the keys; None where one is absent or names
    an artifact that the store lacks.
    """
    for first in range(0, len(keys), _LOOKED_UP_TOGETHER):
        names = [_name("records", key) for key in keys[first : first + _LOOKED_UP_TOGETHER]]
        records = [
            None if blob is None else parse_record(blob, GenerationRecord)
            for blob in store.get_documents(names)
        ]
        artifacts = [
            artifact for record in records if record is not None for artifact in record.artifacts
        ]
        absent = {artifact.id for artifact in store.lost(artifacts)}
        for record in records:
            is_whole = record is not None and absent.isdisjoint(
                artifact.id for artifact in record.artifacts
            )
            yield record if is_whole else None


def load_record(store: Store, key: str) -> GenerationRecord | None:
    """The record of one finished item; None where it is absent or not whole."""
    return next(load_records(store, [key]))


def load_samples(
    store: Store, key: str, selected: Selected = NOTHING_SELECTED
) -> tuple[Sample, ...]:
    """The samples of a finished item, after a selection if there was one.

    Raises:
        MissingArtifactError: somebody removed the record during the run.
    """
    rows = _record_content(store, key)["samples"]
    return tuple(with_selection(Sample.model_validate(row), selected) for row in rows)


def load_selections(store: Store, documents: Sequence[Artifact]) -> Selected:
    """What the documents of the stage `select` say of each image."""
    selected: dict[str, Mapping[str, Any]] = {}
    for document in documents:
        selected |= json.loads(store.read(document))["images"]
    return selected


def with_selection(sample: Sample, selected: Selected) -> Sample:
    """The sample with its similarity, and with the reason if a selection rejects it."""
    found = selected.get(sample.image.id)
    if found is None or not sample.is_accepted:
        return sample
    named = ((name, found.get(name)) for name in ("similarity", "name_similarity"))
    scores = {**sample.scores, **{name: score for name, score in named if score is not None}}
    return sample.model_copy(update={"scores": scores, "reject_reason": found["reason"]})


def artifact_ids(store: Store, key: str) -> list[str]:
    """The ids of all artifacts that the record of an item names.

    Raises:
        MissingArtifactError: somebody removed the record during the run.
    """
    return [f"{row['stage']}/{row['key']}" for row in _record_content(store, key)["artifacts"]]


# The runs of one worker share their configuration.
@lru_cache(maxsize=8)
def _load_config(url: str, digest: str) -> ItemConfig:
    store = open_store(url, wait_s=STAGES_WAIT_S)
    config = store.get_record(_name("settings", digest), ItemConfig)
    if config is None:
        raise MissingArtifactError(
            f"{store.url}: no settings {digest}; run the pipeline again, which writes it"
        )
    return config


def _record_content(store: Store, key: str) -> dict[str, Any]:
    content = _parse(store.get_document(_name("records", key)))
    if content is None:
        raise MissingArtifactError(
            f"{store.url}: the record {key} was removed or cut during the run; run again"
        )
    return content


def _parse(blob: bytes | None) -> dict[str, Any] | None:
    """The content of a document; None where there is none, or only a part of one."""
    try:
        content = json.loads(blob or b"")
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _name(kind: str, key: str, suffix: str = "") -> str:
    return f"{kind}/{key[:2]}/{key}{suffix}.json"
