"""Units of work and their results, as documents in the store that any worker can read.

A child run gets names and keys only. What it computes is a document under the digest of everything
that decides it, so that the same work is the same document on every machine.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from models.data.records import Artifact, Record, Sample, SourceImage
from tasks.engine.run_context import StageCount
from tasks.store.errors import MissingArtifactError
from tasks.store.store import STAGES_WAIT_S, Store, open_store

# What ingest makes: the parent run counts it, and every record of an item repeats it.
SOURCE_STAGES = ("ingest", "crop", "object_mask")
# A bucket answers several small writes at a time.
_WRITERS = 8
# Results whose artifacts are looked up together: each names hundreds of them.
_LOOKED_UP_TOGETHER = 16


class SharedInputs(Record):
    """Inputs that all work items of a run share: the index of held-out photos, and backgrounds."""

    heldout: tuple[Artifact, ...] = ()
    backgrounds: tuple[Artifact, ...] = ()


class WorkItem(Record):
    """One unit of work of one phase of a generator.

    ``sources`` are one image, all images of a class, or a shard of images; ``inputs`` are what
    earlier phases made for its class; ``key`` is the digest of all that decides the result.
    """

    generator: str
    phase: str
    name: str
    key: str
    sources: tuple[SourceImage, ...]
    inputs: tuple[Artifact, ...] = ()


class ItemConfig(Record):
    """What all work items of a phase share: the settings, as JSON, and the shared inputs."""

    settings: dict[str, Any]
    finish: dict[str, Any]
    shared: SharedInputs


class Result(Record):
    """How a work item ended, as its parent run sees it.

    ``outputs`` are what the phase gives to later phases. ``failure`` says why it failed;
    ``corrupt_input`` that an input was missing or corrupt, which the parent run can recompute;
    ``cached`` that an earlier run had finished it.
    """

    key: str
    item: str = ""
    sources: tuple[str, ...] = ()
    label: str = ""
    outputs: tuple[Artifact, ...] = ()
    made: int = 0
    accepted: int = 0
    counts: dict[str, StageCount] = {}
    cpu_s: dict[str, float] = {}
    failure: str | None = None
    corrupt_input: bool = False
    cached: bool = False
    run: str | None = None


class GenerationRecord(Record):
    """The document of a finished work item: its samples, and all artifacts that were made for it.

    While it and everything it names is in the store, no run is started for the item.
    """

    outputs: tuple[Artifact, ...] = ()
    samples: tuple[Sample, ...]
    artifacts: tuple[Artifact, ...]

    @property
    def counts(self) -> dict[str, StageCount]:
        """The artifacts per stage, as cached ones. Photos count in the parent run."""
        counts: dict[str, StageCount] = {}
        for artifact in self.artifacts:
            if artifact.stage in SOURCE_STAGES:
                continue
            count = StageCount(
                cached=1,
                rejected=int(artifact.reject_reason is not None),
                safety_retries=int(artifact.metadata.get("retries", 0)),
            )
            counts[artifact.stage] = counts.get(artifact.stage, StageCount()).plus(count)
        return counts


def item_key(
    generator: str,
    phase: str,
    sources: Sequence[SourceImage],
    inputs: Sequence[Artifact],
    config: ItemConfig,
    versions: Mapping[str, int],
) -> str:
    """The digest of everything that a work item depends on.

    Args:
        generator, phase: what is done.
        sources: the images, under their names, annotations and prompts.
        inputs: what earlier phases made.
        config: settings and shared inputs.
        versions: the version of each stage that the phase calls.
    """
    work = {
        "generator": generator,
        "phase": phase,
        "sources": [
            [
                source.name,
                source.prompt,
                source.image.digest,
                [
                    [note.label, note.box, note.mask.digest if note.mask else None]
                    for note in source.annotations
                ],
            ]
            for source in sources
        ],
        "inputs": [artifact.digest for artifact in inputs],
        "settings": config.settings,
        "finish": config.finish,
        "shared": [
            [artifact.digest for artifact in config.shared.heldout],
            [artifact.digest for artifact in config.shared.backgrounds],
        ],
        "versions": dict(versions),
    }
    text = json.dumps(work, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save_items(store: Store, items: Sequence[WorkItem], config: ItemConfig) -> None:
    """Write what child runs are to do."""
    if not items:
        return
    blob = config.model_dump_json().encode()
    digest = hashlib.sha256(blob).hexdigest()
    store.put_document(_config_name(digest), blob)

    def save(item: WorkItem) -> None:
        content = {"item": item.model_dump(mode="json"), "config": digest}
        store.put_document(_item_name(item.key), json.dumps(content).encode())

    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="items") as pool:
        list(pool.map(save, items))


def load_item(store: Store, key: str) -> tuple[WorkItem, ItemConfig]:
    """A work item and its configuration.

    Raises:
        MissingArtifactError: the store has no such item; a retried parent run writes it.
    """
    blob = store.get_document(_item_name(key))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: no work item {key}; run the pipeline again, which writes it"
        )
    content = json.loads(blob)
    return WorkItem.model_validate(content["item"]), _load_config(store.url, content["config"])


def save_result(store: Store, result: Result, record: GenerationRecord | None = None) -> None:
    """Write how an attempt at an item ended; for one that succeeded, its record first."""
    if record is not None:
        blob = record.model_dump_json(exclude_defaults=True).encode()
        store.put_document(_record_name(result.key), blob)
    store.put_document(_result_name(result.key), result.model_dump_json().encode())


def load_result(store: Store, key: str) -> Result | None:
    """How the last attempt at an item ended; None where there was none."""
    blob = store.get_document(_result_name(key))
    return None if blob is None else Result.model_validate_json(blob)


def load_records(store: Store, keys: Sequence[str]) -> Iterator[GenerationRecord | None]:
    """The records of finished items, in the order of the keys; None where one is absent or names
    an artifact that the store lacks.
    """
    for first in range(0, len(keys), _LOOKED_UP_TOGETHER):
        names = [_record_name(key) for key in keys[first : first + _LOOKED_UP_TOGETHER]]
        records = [
            None if blob is None else GenerationRecord.model_validate_json(blob)
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


def load_samples(store: Store, key: str) -> tuple[Sample, ...]:
    """The samples of a finished item.

    Raises:
        MissingArtifactError: somebody removed the record during the run.
    """
    return tuple(Sample.model_validate(row) for row in _record_content(store, key)["samples"])


def artifact_ids(store: Store, key: str) -> list[str]:
    """The ids of all artifacts that the record of an item names.

    Raises:
        MissingArtifactError: somebody removed the record during the run.
    """
    return [f"{row['stage']}/{row['key']}" for row in _record_content(store, key)["artifacts"]]


def result_of(item: WorkItem, record: GenerationRecord) -> Result:
    """What the record of a finished item says in short."""
    return Result(
        item=item.name,
        key=item.key,
        sources=tuple(source.name for source in item.sources),
        label=item.sources[0].label,
        outputs=record.outputs,
        made=sum(_is_finished(sample) for sample in record.samples),
        accepted=sum(sample.is_accepted for sample in record.samples),
        counts=record.counts,
    )


def failed_result(item: WorkItem, failure: str, corrupt_input: bool) -> Result:
    """The result of an item that failed."""
    return Result(
        key=item.key,
        item=item.name,
        sources=tuple(source.name for source in item.sources),
        label=item.sources[0].label,
        failure=failure,
        corrupt_input=corrupt_input,
    )


def _is_finished(sample: Sample) -> bool:
    """Whether the image reached screening; a stage rejected the others on the way."""
    return sample.is_accepted or sample.image.reject_reason is None


# The runs of one worker share their configuration.
@lru_cache(maxsize=8)
def _load_config(url: str, digest: str) -> ItemConfig:
    store = open_store(url, wait_s=STAGES_WAIT_S)
    blob = store.get_document(_config_name(digest))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: no settings {digest}; run the pipeline again, which writes it"
        )
    return ItemConfig.model_validate_json(blob)


def _record_content(store: Store, key: str) -> dict[str, Any]:
    blob = store.get_document(_record_name(key))
    if blob is None:
        raise MissingArtifactError(
            f"{store.url}: the record {key} was removed during the run; run again"
        )
    content: dict[str, Any] = json.loads(blob)
    return content


def _config_name(digest: str) -> str:
    return f"settings/{digest[:2]}/{digest}.json"


def _item_name(key: str) -> str:
    return f"items/{key[:2]}/{key}.json"


def _result_name(key: str) -> str:
    return f"items/{key[:2]}/{key}.result.json"


def _record_name(key: str) -> str:
    return f"records/{key[:2]}/{key}.json"
