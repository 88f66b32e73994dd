"""Study: how many photos, which images and how many of them a classifier needs."""

import shutil
import time
from collections.abc import Mapping, Sequence

from prefect import flow

from flows.build_datasets import dataset_settings, families_of, real_samples
from flows.config.checkpoints import pin_checkpoints
from flows.config.recipe import Recipe
from flows.config.study import series_of
from flows.early_end import RunEndedError
from flows.execution.crash_limit import fail_after_too_many_crashes
from flows.execution.progress import log_progress, show_notes, stage_progress, this_run
from flows.execution.results import run_with_repair
from flows.execution.run_items import Execution
from flows.execution.run_names import pipeline_name
from flows.pipeline import RunPaths, cancel_child_runs
from flows.studies.images import StudyImages, make_study_images
from flows.studies.points import Trainer, score_points
from models.data.pixels import Floats
from models.data.records import Record, Sample, Sources
from models.evaluation.study import Choice, ScoredPoint, evaluate_study
from models.evaluation.study_description import Description
from models.training.settings import TrainingParameters
from models.training.task import task_of
from tasks.assemble.ground_truth import require_objects
from tasks.embed.embed import EmbedBackbone, embed, load_features
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import make_run_id, pin_artifacts
from tasks.ingest.backgrounds import ingest_backgrounds
from tasks.ingest.left_out import require_classes
from tasks.ingest.photos import ingest_photos
from tasks.report.study import write_study
from tasks.store.store import RUNS_WAIT_S, open_store
from tasks.study.grid import Grid
from tasks.study.photo_sets import (
    PhotoSets,
    draw_photo_sets,
    find_same_photos,
    leave_out_numbers,
)
from tasks.study.subsets import draw_subsets


class StudyResult(Record):
    """What a study found, what it left out and why, and the files it wrote."""

    recipe: str
    answer: str
    choices: tuple[Choice, ...]
    left_out: tuple[str, ...]
    trainings: int
    seconds: float
    stages: dict[str, StageCount]
    files: dict[str, str]

    def text(self) -> str:
        """The answer, what is left out, and the page, for a person."""
        return "\n".join([self.answer, *self.left_out, self.files["page"]])


@flow(name="study", flow_run_name=pipeline_name, on_cancellation=[cancel_child_runs])
def study(
    recipe: Recipe,
    paths: RunPaths,
    grid: Grid = Grid(),
    execution: Execution = Execution(),
    description: Description = Description(),
) -> StudyResult:
    """Train with several numbers of photos and of generated images, and say what helps.

    It computes only what the store lacks, so that a rerun continues. Trainings run in this process.

    Raises:
        ValueError: photos, recipe or folders can't be used; one line says which and why.
        TooManyCrashesError: the run was resumed too often after crashes of its worker.
        ItemsFailedError: more references failed than the recipe allows.
        StoreError: the store refused or could not be reached.
    """
    log_progress()
    fail_after_too_many_crashes(this_run())
    recipe = pin_checkpoints(recipe)
    settings = _settings(recipe)
    for method in series_of(recipe, grid).values():
        own = {"augment": method.augment, "classifier": method.classifier}
        task_of(settings).check(settings.model_copy(update=own), True)
    started = time.monotonic()
    store, scratch = open_store(paths.store, wait_s=RUNS_WAIT_S), paths.out / "trainings"
    with stage_progress() as on_batch:
        run = RunContext(store, recipe.name, scratch=scratch, on_batch=on_batch)
        return run_with_repair(
            lambda is_last: _run_once(
                run, recipe, paths, grid, execution, description, started, is_last
            )
        )


def _run_once(
    run: RunContext,
    recipe: Recipe,
    paths: RunPaths,
    grid: Grid,
    execution: Execution,
    description: Description,
    started: float,
    is_last: bool,
) -> StudyResult:
    from models.reporting.studies.page import say_answer

    sources = _read_photos(run, recipe, paths)
    grid, left_out = leave_out_numbers(sources.of("train"), grid)
    backgrounds, refused = ingest_backgrounds(
        run, recipe.backgrounds, recipe.ingest, sources.of("val", "test"), recipe.split
    )
    left_out += [f"{entry.file}: {entry.reason}" for entry in refused]
    left_out += sources.warnings
    real = real_samples(run, recipe, sources)
    by_name = {sample.name: sample for sample in real}
    sets = draw_photo_sets(grid, sources.of("train"), _features(run, grid, _of(real, "train")))
    images = make_study_images(run, recipe, sources, sets, backgrounds, execution, is_last, grid)
    series = series_of(recipe, grid)
    with verify_inputs_on_error(run.store, run.made.values()):
        subsets, more = draw_subsets(grid, sets, by_name, images.made, series)
        val, test = _of(real, "val"), _of(real, "test")
        families = families_of(sources, [*val, *test])
        documents = dataset_settings(recipe, sources.classes)
        trainer = Trainer(run, _settings(recipe), documents, val, test, families)
        scored = score_points(trainer, subsets)
    with_images = [name for name, method in series.items() if method.synthetic]
    scores = evaluate_study(scored, with_images, recipe.verdict)
    left_out = [*left_out, *more]
    same = _name_same_photos(sets, scored)
    files = write_study(paths.out, recipe.name, description, scores, scored, left_out, same)
    _pin(run, make_run_id(paths.out), sources, images)
    shutil.rmtree(run.scratch, ignore_errors=True)
    return StudyResult(
        recipe=recipe.name,
        answer=say_answer(scores),
        choices=scores.choices,
        left_out=tuple(left_out),
        trainings=len(subsets),
        seconds=time.monotonic() - started,
        stages=run.counts,
        files={name: str(path) for name, path in files.items()},
    )


def _read_photos(run: RunContext, recipe: Recipe, paths: RunPaths) -> Sources:
    sources = ingest_photos(run, paths.photos, recipe.ingest, recipe.split)
    require_classes(sources, recipe.split, recipe.leave_out_classes)
    show_notes(sources.warnings)
    for split in ("val", "test"):
        if not sources.of(split):
            raise RunEndedError(f"{paths.photos}: no {split} photos are left; add photos")
    require_objects(recipe.train, sources.images)
    return sources


def _features(run: RunContext, grid: Grid, train: Sequence[Sample]) -> Mapping[str, Floats]:
    """The features of train photos by name, where the grid orders photos by them."""
    if grid.photos_by == ("random",):
        return {}
    embedded = embed(run, EmbedBackbone(), [sample.image for sample in train])
    return {
        sample.name: load_features(run, features)
        for sample, features in zip(train, embedded, strict=True)
    }


def _name_same_photos(sets: PhotoSets, scored: Sequence[ScoredPoint]) -> list[str]:
    """The numbers of photos with which all of several replicates take the same photos."""
    same = find_same_photos(sets)
    points = [found.point for found in scored]
    found = [point for point in points if (point.photos_per_class, point.photos_by) in same]
    return list(dict.fromkeys(point.photos_name for point in found))


def _of(samples: Sequence[Sample], split: str) -> list[Sample]:
    return [sample for sample in samples if sample.split == split]


def _settings(recipe: Recipe) -> TrainingParameters:
    if recipe.train is None:
        raise ValueError(f"recipe {recipe.name}: a study needs the section train; add it")
    if recipe.select is not None:
        # Each number of photos would need a selection of its own, by its own photos.
        raise ValueError(f"recipe {recipe.name}: a study can't select images; set select=null")
    return recipe.train


def _pin(run: RunContext, run_id: str, sources: Sources, images: StudyImages) -> None:
    """Pin what a rerun needs, so that `store gc` keeps it."""
    masks = [note.mask for source in sources.images for note in source.annotations]
    ids = [source.image.id for source in sources.images]
    ids += [mask.id for mask in masks if mask is not None]
    pin_artifacts(run.store, run_id, [*ids, *run.made], images.keys)
