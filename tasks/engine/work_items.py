"""Units of work and their results: the records that parent runs and child runs exchange."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from models.data.records import Artifact, Record, Sample, SourceImage
from tasks.engine.run_context import StageCount

# What ingest makes: the parent run counts it, and every record of an item repeats it.
SOURCE_STAGES = ("ingest", "crop", "object_mask")


class SharedInputs(Record):
    """Inputs that all work items of a run share.

    ``heldout`` is the index of held-out photos; ``regions`` are masks of where new objects may be.
    """

    heldout: tuple[Artifact, ...] = ()
    backgrounds: tuple[Artifact, ...] = ()
    regions: tuple[Artifact, ...] = ()


class WorkItem(Record):
    """One unit of work of one phase of a generator.

    ``sources`` are one image, all images that show a class, or a shard of images; ``inputs`` are
    what earlier phases made for its class; ``key`` is the digest of all that decides the result.
    ``of_class`` is the class of an item that holds the images of a class; empty for others.
    ``number`` is the place of a shard among all shards.
    """

    generator: str
    phase: str
    name: str
    key: str
    sources: tuple[SourceImage, ...]
    inputs: tuple[Artifact, ...] = ()
    of_class: str = ""
    number: int = 0

    @property
    def label(self) -> str:
        """Its class, or the one that its first image is counted in."""
        return self.of_class or self.sources[0].label

    @property
    def classes(self) -> set[str]:
        """Its class, or all classes that its images show."""
        if self.of_class:
            return {self.of_class}
        return {note.label for source in self.sources for note in source.annotations}


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

    While it and everything it names is in the store, no run is started for the item. ``earlier``
    is what earlier phases made of its photos; contact sheets show it.
    """

    outputs: tuple[Artifact, ...] = ()
    samples: tuple[Sample, ...]
    artifacts: tuple[Artifact, ...]
    earlier: tuple[Artifact, ...] = ()

    @property
    def counts(self) -> dict[str, StageCount]:
        """The artifacts per stage, as cached ones. Photos count in the parent run."""
        by_stage: dict[str, list[Artifact]] = defaultdict(list)
        for artifact in self.artifacts:
            if artifact.stage not in SOURCE_STAGES:
                by_stage[artifact.stage].append(artifact)
        return {stage: StageCount.of(artifacts) for stage, artifacts in by_stage.items()}


def item_key(
    generator: str,
    phase: str,
    sources: Sequence[SourceImage],
    inputs: Sequence[Artifact],
    config: ItemConfig,
    versions: Mapping[str, int],
    of_class: str = "",
    number: int = 0,
) -> str:
    """The digest of everything that a work item depends on.

    Args:
        of_class: the class of the item. It is no part of the key where all sources are of it alone.
        versions: the version of each stage that the phase calls.
        number: of a shard; it decides which backgrounds a shard uses.
    """
    work: dict[str, Any] = {
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
    if of_class and any(note.label != of_class for s in sources for note in s.annotations):
        work["class"] = of_class
    if number and config.shared.backgrounds:
        work["number"] = number
    if config.shared.regions:
        work["regions"] = [
            [region.variant["of"], region.digest] for region in config.shared.regions
        ]
    text = json.dumps(work, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def result_of(item: WorkItem, record: GenerationRecord) -> Result:
    """What the record of a finished item says in short."""
    # The other samples were rejected by a stage before screening.
    finished = [s for s in record.samples if s.is_accepted or s.image.reject_reason is None]
    return _empty_result(item).model_copy(
        update={
            "outputs": record.outputs,
            "made": len(finished),
            "accepted": sum(sample.is_accepted for sample in record.samples),
            "counts": record.counts,
        }
    )


def failed_result(item: WorkItem, failure: str, corrupt_input: bool) -> Result:
    """The result of an item that failed."""
    update = {"failure": failure, "corrupt_input": corrupt_input}
    return _empty_result(item).model_copy(update=update)


def _empty_result(item: WorkItem) -> Result:
    sources = tuple(source.name for source in item.sources)
    return Result(key=item.key, item=item.name, sources=sources, label=item.label)
