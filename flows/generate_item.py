"""One work item of a generator, as a flow of its own: on this machine or on a worker."""

from prefect import flow

from flows.execution.deployment import record_failure
from flows.execution.local import is_stopped
from flows.execution.progress import log_progress, stage_progress, this_run
from flows.execution.results import run_with_repair
from flows.finish import Finish, finish_samples
from flows.generators.base import Phase
from flows.generators.catalog import find_generator
from models.data.names import digest_of_name
from models.data.records import Artifact, Sample
from models.data.settings import settings
from tasks.engine.item_documents import load_item, save_result
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
from tasks.store.store import STAGES_WAIT_S, open_store


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
        scratch = settings().scratch / digest_of_name(opened.url)
        run = RunContext(opened, name, scratch, is_cancelled=is_stopped, on_batch=on_batch)
        result, record = _generate_item(run, item, config)
    save_result(opened, result, record)
    return result


def _generate_item(
    run: RunContext, item: WorkItem, config: ItemConfig
) -> tuple[Result, GenerationRecord]:
    generator = find_generator(item.generator)
    phase = generator.phase(item.phase)
    own_settings = generator.settings.model_validate(config.settings)
    finish = Finish.model_validate(config.finish)
    inputs = {artifact.id for artifact in _inputs_of(item, config.shared)}

    def work(_is_last_attempt: bool) -> GenerationRecord:
        run.made.update((artifact.id, artifact) for artifact in _inputs_of(item, config.shared))
        samples: tuple[Sample, ...] = ()
        is_last = generator.is_last(phase)
        outputs = phase.run(run, own_settings, item, config.shared)
        if is_last:
            samples = finish_samples(run, item, outputs, config.shared, finish)
            outputs = []
        return GenerationRecord(
            outputs=tuple(outputs),
            samples=samples,
            artifacts=_made_for(run, inputs),
            earlier=_made_earlier(item, phase),
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
    every = (*shared.heldout, *shared.backgrounds, *shared.regions)
    return [*images, *masks, *item.inputs, *every]


def _made_earlier(item: WorkItem, phase: Phase) -> tuple[Artifact, ...]:
    """What earlier phases made of the photos of an item, and weights; of a class, all of it."""
    if phase.unit == "class":
        return item.inputs
    names = {source.name for source in item.sources}
    return tuple(
        artifact
        for artifact in item.inputs
        if artifact.name in names or artifact.media == "safetensors"
    )


def _made_for(run: RunContext, inputs: set[str]) -> tuple[Artifact, ...]:
    """Everything that the item needs: what it made, and its photos."""
    return tuple(
        artifact
        for artifact in run.made.values()
        if artifact.id not in inputs or artifact.stage in SOURCE_STAGES
    )
