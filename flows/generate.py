"""One generator over its work items: phases, one child run per item, finished samples."""

import logging
from collections.abc import Iterator, Sequence

from prefect import flow, tags
from pydantic import Field

from flows.execution.deployment import ChildRunSpec, failure_of, record_failure, run_children
from flows.execution.local import is_stopped, map_in_threads
from flows.execution.progress import log_progress, show_progress, stage_progress, this_run
from flows.execution.results import raise_corruption, require_enough_results, run_with_repair
from flows.generators.base import Generator, Phase
from flows.generators.catalog import find_generator
from models.data.records import Artifact, Record, Sample, SourceImage
from tasks.assemble.annotate import Annotate, annotate
from tasks.assemble.resize import Resize, resize
from tasks.assemble.samples import make_samples
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import (
    SOURCE_STAGES,
    GenerationRecord,
    ItemConfig,
    Result,
    SharedInputs,
    WorkItem,
    item_key,
    load_item,
    load_record,
    load_records,
    load_result,
    save_items,
    save_result,
)
from tasks.screen.measure import Measure, measure
from tasks.screen.screen import Screen, screen, verdicts_by_image
from tasks.store.errors import UnreadableArtifactError
from tasks.store.store import STAGES_WAIT_S, Store, open_store

log = logging.getLogger("synthset.generate")


class Execution(Record):
    """Where work items and trainings run, and how many at a time."""

    limit: int | None = Field(None, ge=1, description="Use at most so many reference photos.")
    max_parallel: int = Field(1, ge=1, description="Work items at a time.")
    generate_on: str | None = Field(
        None,
        description="Deployment whose workers run the work items, such as generate_item/gpu; none: "
        "this process.",
    )
    train_on: str | None = Field(
        None, description="Deployment that trains, such as train_models/gpu; none: this process."
    )


class Finish(Record):
    """What happens to the finished images of every generator."""

    screen: Screen
    resize: Resize


class Generation(Record):
    """The results of all generators of a run, per generator in the order of its items."""

    results: dict[str, tuple[Result, ...]]

    @property
    def all(self) -> list[Result]:
        """The results of all generators."""
        return [result for results in self.results.values() for result in results]


def generate(
    run: RunContext,
    name: str,
    settings: Record,
    references: Sequence[SourceImage],
    shared: SharedInputs,
    finish: Finish,
    execution: Execution,
    min_results: int | None = None,
    is_last_attempt: bool = False,
) -> list[Result]:
    """Run all phases of one generator; items that are done start no child run.

    Args:
        run: the parent's context, which receives the counts of the child runs.
        name, settings: the generator.
        references: the images it uses.
        shared: inputs that all items share.
        finish: what happens to finished images.
        execution: where the items run.
        min_results: items that must succeed; None: all.
        is_last_attempt: accept items that failed on corrupt inputs, like other failed items.

    Raises:
        ItemsFailedError: too many items failed.
        MissingArtifactError: an input of an item is corrupt or gone, and this run can recompute it.
    """
    generator = find_generator(name)
    config = ItemConfig(
        settings=settings.model_dump(mode="json"),
        finish=finish.model_dump(mode="json"),
        shared=shared,
    )
    inputs: dict[str, tuple[Artifact, ...]] = {}
    results: list[Result] = []
    for phase in generator.phases:
        items = make_items(generator, phase, settings, references, inputs, config)
        results = _run_items(run, items, config, execution)
        if not is_last_attempt:
            raise_corruption(results)
        require_enough_results(results, min_results)
        inputs = {}
        for result in results:
            inputs[result.label] = (*inputs.get(result.label, ()), *result.outputs)
    return results


def make_items(
    generator: Generator,
    phase: Phase,
    settings: Record,
    references: Sequence[SourceImage],
    inputs: dict[str, tuple[Artifact, ...]],
    config: ItemConfig,
) -> list[WorkItem]:
    """The work items of a phase: one per image, per class or per shard.

    Args:
        inputs: per class, what the phase before made.
    """
    groups = list(_groups(phase, references))
    if not groups:
        return []
    planned = PlanningRun()
    probe = _item(generator, phase, *groups[0], inputs, "planned")
    plan_item(planned, generator, phase, settings, probe, config.shared)
    versions = {stage: found.version for stage, found in planned.stages.items()}
    items = []
    for name, sources in groups:
        item = _item(generator, phase, name, sources, inputs, "")
        key = item_key(generator.name, phase.name, sources, item.inputs, config, versions)
        items.append(item.model_copy(update={"key": key}))
    return items


def plan_item(
    run: PlanningRun,
    generator: Generator,
    phase: Phase,
    settings: Record,
    item: WorkItem,
    shared: SharedInputs,
) -> list[Artifact]:
    """Call a phase on a run that computes nothing: its stages, their counts and their costs."""
    outputs = phase.run(run, settings, item, shared)
    if generator.is_last(phase):
        measures = measure(run, Measure(), outputs)
        screen(run, Screen(), measures, shared.heldout)
        resize(run, Resize(), outputs)
        annotate(run, Annotate(), outputs)
    return outputs


def _item(
    generator: Generator,
    phase: Phase,
    name: str,
    sources: Sequence[SourceImage],
    inputs: dict[str, tuple[Artifact, ...]],
    key: str,
) -> WorkItem:
    labels = {note.label for source in sources for note in source.annotations}
    made = tuple(artifact for label in sorted(labels) for artifact in inputs.get(label, ()))
    return WorkItem(
        generator=generator.name,
        phase=phase.name,
        name=name,
        key=key,
        sources=tuple(sources),
        inputs=made,
    )


def _groups(
    phase: Phase, references: Sequence[SourceImage]
) -> Iterator[tuple[str, list[SourceImage]]]:
    if phase.unit == "image":
        for reference in references:
            yield reference.name, [reference]
    elif phase.unit == "class":
        for label in sorted({reference.label for reference in references}):
            yield label, [reference for reference in references if reference.label == label]
    else:
        for number, first in enumerate(range(0, len(references), phase.shard_size)):
            yield f"shard {number}", list(references[first : first + phase.shard_size])


def _run_items(
    run: RunContext, items: Sequence[WorkItem], config: ItemConfig, execution: Execution
) -> list[Result]:
    results: dict[str, Result] = {}
    title = f"{items[0].generator} · {items[0].phase}" if items else "items"
    with show_progress(title, len(items)) as advance:
        records = load_records(run.store, [item.key for item in items])
        for item, record in zip(items, records, strict=True):
            if record is not None:
                cached = item.key not in run.fresh_items
                results[item.key] = _as_result(item, record).model_copy(update={"cached": cached})
                advance(f"{item.name} {'cached' if cached else 'done'}")
        missing = [item for item in items if item.key not in results]
        save_items(run.store, missing, config)
        for result in _map_items(run, missing, execution):
            run.fresh_items.add(result.key)
            results[result.key] = result
            advance(f"{result.item} {'failed' if result.failure else 'done'}")
    for result in results.values():
        run.add_counts(result.key, result.counts)
    # An item without a result did not start, because the run is being stopped.
    return [results[item.key] for item in items if item.key in results]


def _map_items(
    run: RunContext, items: Sequence[WorkItem], execution: Execution
) -> Iterator[Result]:
    """Run work items here or on workers: the one place where this is decided."""
    if execution.generate_on is None:

        def work(item: WorkItem) -> Result:
            # The value of the call, not of the run's state: a server that answers late returns a
            # state without its value.
            with tags(*_tags(item)):
                try:
                    return generate_item(item.name, item.phase, run.store.url, item.key)
                except Exception as error:
                    failure = " ".join(str(error).split()) or type(error).__name__
                    return _failed(item, failure, isinstance(error, UnreadableArtifactError))

        yield from map_in_threads(items, work, execution.max_parallel)
        return
    by_key = {item.key: item for item in items}
    ended = run_children(
        execution.generate_on,
        [_child_run(run.store, item) for item in items],
        execution.max_parallel,
        is_done=lambda spec: load_record(run.store, spec.key) is not None,
        failure_of=lambda spec, run_id: failure_of(run.store, spec.key, run_id),
    )
    for child in ended:
        item = by_key[child.spec.key]
        result = load_result(run.store, item.key) if child.failure is None else None
        # The child run of another parent may have written it: the same item has the same result.
        if result is None or result.failure is not None:
            failure = child.failure or "completed, but its result is not in the store; run again"
            result = _failed(item, failure, child.corrupt_input)
        yield result


def _child_run(store: Store, item: WorkItem) -> ChildRunSpec:
    return ChildRunSpec(
        key=item.key,
        name=f"{item.name} · {item.phase}",
        parameters={
            "name": item.name,
            "phase": item.phase,
            "store": store.url,
            "key": item.key,
        },
        tags=_tags(item),
    )


def _tags(item: WorkItem) -> tuple[str, ...]:
    labels = sorted({note.label for source in item.sources for note in source.annotations})
    return (*labels[:3], item.generator)


@flow(name="generate_item", flow_run_name="{name} · {phase}", validate_parameters=False)
def generate_item(name: str, phase: str, store: str, key: str) -> Result:
    """One work item of one phase of a generator; computes only what the store lacks.

    How it ended is also written to the store, for a parent run on another machine.

    Args:
        name, phase: for people; the item in the store says what is done.
        store: the artifact store.
        key: key of the work item.

    Raises:
        UnreadableArtifactError: an input that the parent run made is corrupt or gone.
        StoreError: the store refused or could not be reached.
    """
    log_progress()
    opened = open_store(store, wait_s=STAGES_WAIT_S)
    with record_failure(opened, key), stage_progress() as on_batch:
        item, config = load_item(opened, key)
        run = RunContext(opened, name, is_cancelled=is_stopped, on_batch=on_batch)
        result, record = _generate_item(run, item, config)
    save_result(opened, result, record)
    return result


def _generate_item(
    run: RunContext, item: WorkItem, config: ItemConfig
) -> tuple[Result, GenerationRecord]:
    generator = find_generator(item.generator)
    phase = generator.phase(item.phase)
    settings = generator.settings.model_validate(config.settings)
    finish = Finish.model_validate(config.finish)
    inputs = {artifact.id for artifact in _inputs_of(item, config.shared)}

    def work(_is_last_attempt: bool) -> GenerationRecord:
        run.made.update((artifact.id, artifact) for artifact in _inputs_of(item, config.shared))
        outputs = phase.run(run, settings, item, config.shared)
        samples: tuple[Sample, ...] = ()
        if generator.is_last(phase):
            samples = finish_samples(run, item, outputs, config.shared, finish)
            outputs = []
        return GenerationRecord(
            outputs=tuple(outputs), samples=samples, artifacts=_made_for(run, inputs)
        )

    def can_repair(error: Exception) -> bool:
        artifact = getattr(error, "artifact", None)
        return artifact is None or artifact.id not in inputs

    record = run_with_repair(work, can_repair)
    result = _as_result(item, record).model_copy(
        update={
            "counts": run.counts,
            "cpu_s": {stage: sum(kinds.values()) for stage, kinds in run.cpu_s.items()},
            "run": this_run(),
        }
    )
    return result, record


def finish_samples(
    run: RunContext,
    item: WorkItem,
    images: Sequence[Artifact],
    shared: SharedInputs,
    finish: Finish,
) -> tuple[Sample, ...]:
    """Screen finished images; accepted ones become JPEGs with their boxes and masks."""
    measures = measure(run, Measure(), images)
    verdicts = verdicts_by_image(
        run, measures, screen(run, finish.screen, measures, shared.heldout)
    )
    accepted = [image for image in images if verdicts[image.id]["accepted"]]
    jpegs = resize(run, finish.resize, accepted)
    masks = annotate(run, Annotate(longest_side=finish.resize.longest_side), accepted)
    return make_samples(run, item, images, verdicts, jpegs, masks)


def _inputs_of(item: WorkItem, shared: SharedInputs) -> list[Artifact]:
    masks = [
        note.mask for source in item.sources for note in source.annotations if note.mask is not None
    ]
    images = [source.image for source in item.sources]
    return [*images, *masks, *item.inputs, *shared.heldout, *shared.backgrounds]


def _made_for(run: RunContext, inputs: set[str]) -> tuple[Artifact, ...]:
    """Everything that the item needs: what it made, and its photos."""
    return tuple(
        artifact
        for artifact in run.made.values()
        if artifact.id not in inputs or artifact.stage in SOURCE_STAGES
    )


def _as_result(item: WorkItem, record: GenerationRecord) -> Result:
    return Result(
        item=item.name,
        key=item.key,
        sources=tuple(source.name for source in item.sources),
        label=item.sources[0].label,
        outputs=record.outputs,
        made=sum(is_finished(sample) for sample in record.samples),
        accepted=sum(sample.is_accepted for sample in record.samples),
        counts=record.counts,
    )


def is_finished(sample: Sample) -> bool:
    """Whether the image reached screening; a stage rejected the others on the way."""
    return sample.is_accepted or sample.image.reject_reason is None


def _failed(item: WorkItem, failure: str, corrupt_input: bool) -> Result:
    return Result(
        key=item.key,
        item=item.name,
        sources=tuple(source.name for source in item.sources),
        label=item.sources[0].label,
        failure=failure,
        corrupt_input=corrupt_input,
    )
