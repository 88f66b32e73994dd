"""READ FIRST. Photos in; datasets, trained models and a report out."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from flows.build_datasets import Datasets, build_datasets
from flows.config.checkpoints import checkpoint_warnings, pin_checkpoints, used_models
from flows.config.checks.classes import check_classes_of
from flows.config.checks.prompt_limit import prompt_warnings
from flows.config.recipe import Recipe
from flows.early_end import FOLDER as EARLY
from flows.early_end import Steps, report_early_end
from flows.execution.crash_limit import fail_after_too_many_crashes
from flows.execution.deployment import cancel_children
from flows.execution.progress import log_progress, show_notes, stage_progress, this_run
from flows.execution.results import run_with_repair
from flows.execution.run_items import Execution
from flows.execution.run_names import pipeline_name
from flows.generate import Generation, generate_all
from flows.measure_quality import MeasuredQuality, measure_quality
from flows.select_images import select_images
from flows.summary import RunResult, summarize
from flows.train_models import Trained, require_trainable_models, train_models
from models.data.files import check_writable
from models.data.records import Record, Sources
from tasks.assemble.ground_truth import require_objects
from tasks.assemble.write_datasets import refuse_foreign
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext
from tasks.engine.run_documents import make_run_id, pin_artifacts, save_part
from tasks.ingest.backgrounds import ingest_backgrounds
from tasks.ingest.left_out import leave_out, require_classes
from tasks.ingest.photos import ingest_photos
from tasks.ingest.references import choose_references
from tasks.report.write import write_report
from tasks.store.store import RUNS_WAIT_S, open_store

log = logging.getLogger("synthset.pipeline")


class RunPaths(Record):
    """Where a run reads and writes."""

    photos: Path = Field(description="Photos by class, or a set in a known format.")
    out: Path = Field(description="Folder for datasets, report and manifest.")
    store: str = Field(description="Artifact store: a folder or s3://bucket/prefix.")


def cancel_child_runs(flow: Any, flow_run: Any, state: Any) -> None:
    """Cancel the child runs of a run that is cancelled."""
    log.warning("cancelled %d child runs", cancel_children(str(flow_run.id)))


@flow(name="pipeline", flow_run_name=pipeline_name, on_cancellation=[cancel_child_runs])
def pipeline(recipe: Recipe, paths: RunPaths, execution: Execution = Execution()) -> RunResult:
    """Run the whole job. It computes only what the store lacks, so that a rerun continues.

    If a stored file is missing or corrupt, the run recomputes it and everything that depends on it.

    Raises:
        ValueError: photos, recipe or folders can't be used; one line says which and why.
        TooManyCrashesError: the run was resumed too often after crashes of its worker.
        TooFewClassesError: too few classes have enough photos.
        ItemsFailedError: more references failed than the recipe allows.
        DatasetTooSmallError: too few classes have enough images.
        RunEndedError: another step failed.
        StoreError: the store refused or could not be reached.
    """
    log_progress()
    fail_after_too_many_crashes(this_run())
    recipe = pin_checkpoints(recipe)
    store = open_store(paths.store, wait_s=RUNS_WAIT_S)
    # The machine that deployed a scheduled run can't check the folders of its worker.
    check_writable(paths.out, "out", "give the worker's user the right to write it")
    refuse_foreign(paths.out)
    require_trainable_models(recipe, store, make_run_id(paths.out), execution)
    started = time.monotonic()
    with stage_progress() as on_batch:
        run = RunContext(store, recipe.name, on_batch=on_batch)

        def run_once(is_last_attempt: bool) -> RunResult:
            steps = Steps(started)
            with report_early_end(run, recipe, paths.out, steps):
                return run_steps(run, recipe, paths, execution, steps, is_last_attempt)

        return run_with_repair(run_once)


def run_steps(
    run: RunContext,
    recipe: Recipe,
    paths: RunPaths,
    execution: Execution,
    steps: Steps,
    is_last_attempt: bool,
) -> RunResult:
    """Run all steps once; each step reads what the step before it left in the store.

    Raises:
        UnreadableArtifactError: stored data is corrupt or gone; another attempt recomputes it.
    """
    run_id = make_run_id(paths.out)
    check_classes_of(recipe, paths.photos)
    steps.sources = sources = ingest_photos(run, paths.photos, recipe.ingest, recipe.split)
    require_classes(sources, recipe.split, recipe.leave_out_classes)
    show_notes(sources.warnings)
    require_objects(recipe.train, sources.images)
    backgrounds, refused = ingest_backgrounds(
        run, recipe.backgrounds, recipe.ingest, sources.of("val", "test"), recipe.split
    )
    steps.sources = sources = sources.with_refused(
        [(entry.file, entry.reason) for entry in refused]
    )
    save_part(run.store, run_id, sources)
    references = choose_references(
        sources.of("train"), recipe.references_per_class, execution.limit, recipe.split.seed
    )
    generation = generate_all(
        run,
        recipe,
        sources,
        references,
        backgrounds,
        execution,
        is_last_attempt,
        steps.keep_generation,
    )
    steps.generation = generation = select_images(run, recipe, sources, generation)
    save_part(run.store, run_id, generation)
    steps.datasets = datasets = build_datasets(recipe, run_id, paths.out, run.store.url)
    steps.sources = used = leave_out(sources, datasets.left_out)
    quality = measure_quality(run, recipe, used, generation)
    trained = train_models(run, recipe, run_id, paths.out, execution)
    pin_results(run, run_id, sources, generation, datasets, quality, trained)
    run.add_counts("datasets", datasets.counts)
    run.add_counts("quality", quality.counts)
    run.add_counts("training", trained.counts)

    prompts = {photo.file: photo.prompt for photo in references if photo.prompt}
    warnings = [*checkpoint_warnings(recipe), *prompt_warnings(recipe, prompts)]
    summary = summarize(recipe, used, generation, datasets, trained, run, warnings, steps.started)
    summary = quality.add_to(summary)
    summary = summary.model_copy(
        update={"models": tuple(used_models(recipe)), "selections": generation.selections}
    )
    with verify_inputs_on_error(run.store, run.made.values()):
        report = write_report(run, summary, paths.out)
    shutil.rmtree(paths.out / EARLY, ignore_errors=True)
    return RunResult.of(summary, trained, run.counts, paths.out, report)


def pin_results(
    run: RunContext,
    run_id: str,
    sources: Sources,
    generation: Generation,
    datasets: Datasets,
    quality: MeasuredQuality,
    trained: Trained,
) -> None:
    """Pin the artifacts that the results of this run need, so that `store gc` keeps them."""
    ids = [source.image.id for source in sources.images]
    ids += [
        note.mask.id
        for source in sources.images
        for note in source.annotations
        if note.mask is not None
    ]
    ids += quality.artifact_ids
    for document in generation.selections:
        ids += [document.id, *document.parents]
    ids += [document.id for document in (*datasets.documents.values(), datasets.test)]
    ids += [document.id for document in datasets.truths.values()]
    ids += [artifact.id for artifact in (*trained.checkpoints, *trained.scores)]
    keys = [result.key for result in generation.all if result.failure is None]
    pin_artifacts(run.store, run_id, ids, keys)
