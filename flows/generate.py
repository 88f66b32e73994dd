"""One generator over its work items: phase after phase, one child run per item."""

from collections.abc import Callable, Sequence

from prefect import flow

from flows.config.recipe import Recipe
from flows.execution.deployment import record_failure
from flows.execution.local import is_stopped
from flows.execution.progress import log_progress, stage_progress, this_run
from flows.execution.results import (
    ItemsFailedError,
    raise_corruption,
    require_enough_results,
    run_with_repair,
)
from flows.execution.run_items import Execution, run_items
from flows.finish import Finish, finish_samples
from flows.generators.catalog import find_generator
from flows.items import make_items, require_annotations
from models.data.records import Artifact, Record, Sample, SourceImage, Sources
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.item_documents import load_item, load_samples, save_result
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import (
    SOURCE_STAGES,
    GenerationRecord,
    ItemConfig,
    Result,
    SharedInputs,
    WorkItem,
    result_of,
)
from tasks.screen.heldout_index import HeldOut, index_heldout
from tasks.store.store import STAGES_WAIT_S, Store, open_store


class Generation(Record):
    """The results of all generators of a run, per generator in the order of its items."""

    results: dict[str, tuple[Result, ...]]

    def load_samples(self, store: Store) -> dict[str, list[Sample]]:
        """Per generator, its finished images, rejected ones included."""
        return {
            generator: [
                sample
                for result in results
                if result.failure is None
                for sample in load_samples(store, result.key)
            ]
            for generator, results in self.results.items()
        }

    @property
    def all(self) -> list[Result]:
        """The results of all generators."""
        return [result for results in self.results.values() for result in results]


def generate_all(
    run: RunContext,
    recipe: Recipe,
    sources: Sources,
    references: Sequence[SourceImage],
    backgrounds: Sequence[Artifact],
    execution: Execution,
    is_last_attempt: bool,
    keep: Callable[[Generation], None] = lambda _: None,
) -> Generation:
    """Run all generators of a recipe on the same references.

    Args:
        keep: gets the results so far after each generator, also of one that failed.

    Raises:
        As `generate`.
    """
    heldout = [source.image for source in sources.of("val", "test")]
    shared = SharedInputs(
        heldout=tuple(index_heldout(run, HeldOut(), heldout)), backgrounds=tuple(backgrounds)
    )
    finish = Finish(screen=recipe.screen, resize=recipe.resize)
    results: dict[str, tuple[Result, ...]] = {}
    with verify_inputs_on_error(run.store, run.made.values()):
        for name, settings in recipe.generators.items():
            try:
                made = generate(
                    run,
                    name,
                    settings,
                    references,
                    shared,
                    finish,
                    execution,
                    recipe.min_references,
                    is_last_attempt,
                )
            except ItemsFailedError as error:
                keep(Generation(results={**results, name: error.results}))
                raise
            results[name] = tuple(made)
            keep(Generation(results=results))
    return Generation(results=results)


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

    The images of an item that failed take no part in later phases.

    Args:
        run: the parent's context, which receives the counts of the child runs.
        min_results: items that must succeed; None: all.
        is_last_attempt: accept items that failed on corrupt inputs, like other failed items.

    Raises:
        ValueError: a reference lacks the boxes or masks that the generator needs.
        ItemsFailedError: too many items failed.
        MissingArtifactError: an input of an item is corrupt or gone, and this run can recompute it.
    """
    generator = find_generator(name)
    require_annotations(generator, references)
    config = ItemConfig(
        settings=settings.model_dump(mode="json"),
        finish=finish.model_dump(mode="json"),
        shared=shared,
    )
    inputs: dict[str, tuple[Artifact, ...]] = {}
    failed: list[Result] = []
    for phase in generator.phases:
        items = make_items(generator, phase, settings, references, inputs, config)
        results = run_items(run, items, config, execution, generate_item)
        if not is_last_attempt:
            raise_corruption(results)
        require_enough_results(results, min_results)
        if generator.is_last(phase):
            return [*failed, *results]
        failed += [result for result in results if result.failure]
        lost = {name for result in failed for name in result.sources}
        inputs = outputs_per_class(results, references)
        references = [reference for reference in references if reference.name not in lost]
    return failed


def outputs_per_class(
    results: Sequence[Result], references: Sequence[SourceImage]
) -> dict[str, tuple[Artifact, ...]]:
    """What a phase made, by each class of the images that it was made of."""
    label_of = {reference.name: reference.label for reference in references}
    outputs: dict[str, tuple[Artifact, ...]] = {}
    for result in results:
        for label in sorted({label_of[name] for name in result.sources}):
            outputs[label] = (*outputs.get(label, ()), *result.outputs)
    return outputs


@flow(name="generate_item", flow_run_name="{name} · {phase}", validate_parameters=False)
def generate_item(name: str, phase: str, store: str, key: str) -> Result:
    """One work item of one phase of a generator; computes only what the store lacks.

    How it ended is also written to the store, for a parent run on another machine.

    Args:
        name, phase: for people; the item in the store says what is done.

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
    result = result_of(item, record).model_copy(
        update={
            "counts": run.counts,
            "cpu_s": {stage: sum(kinds.values()) for stage, kinds in run.cpu_s.items()},
            "run": this_run(),
        }
    )
    return result, record


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
