"""Study: how many photos, and how many generated images per photo, a classifier needs."""

import shutil
import time
from collections.abc import Iterator, Sequence

from prefect import flow

from flows.build_datasets import families_of, real_samples
from flows.config.checkpoints import pin_checkpoints
from flows.config.recipe import Recipe
from flows.early_end import RunEndedError
from flows.execution.crash_limit import fail_after_too_many_crashes
from flows.execution.progress import log_progress, show_notes, this_run
from flows.execution.results import run_with_repair
from flows.execution.run_items import Execution
from flows.execution.run_names import pipeline_name
from flows.generate import Generation, generate_all
from flows.pipeline import RunPaths, cancel_child_runs
from flows.study_points import Trainer, score_points
from models.data.records import Record, Sample, Sources
from models.evaluation.study import Choice, evaluate_study
from models.reporting.study_page import say_answer
from models.training.settings import TrainingParameters
from models.training.task import task_of
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import make_run_id, pin_artifacts
from tasks.ingest.backgrounds import ingest_backgrounds
from tasks.ingest.left_out import require_classes
from tasks.ingest.photos import ingest_photos
from tasks.report.study import write_study
from tasks.store.store import RUNS_WAIT_S, open_store
from tasks.study.subsets import Grid, draw_subsets, leave_out_numbers, photos_of

# Augmentations of real photos alone, besides that of the recipe; the last one is the strongest.
BASELINES = ("none", "crop", "randaugment")


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
    recipe: Recipe, paths: RunPaths, grid: Grid = Grid(), execution: Execution = Execution()
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
    for settings in _all_settings(recipe):
        task_of(settings).check(settings, True)
    run = RunContext(
        open_store(paths.store, wait_s=RUNS_WAIT_S), recipe.name, scratch=paths.out / "trainings"
    )
    started = time.monotonic()
    return run_with_repair(
        lambda is_last: _run_once(run, recipe, paths, grid, execution, started, is_last)
    )


def _run_once(
    run: RunContext,
    recipe: Recipe,
    paths: RunPaths,
    grid: Grid,
    execution: Execution,
    started: float,
    is_last: bool,
) -> StudyResult:
    sources = ingest_photos(run, paths.photos, recipe.ingest, recipe.split)
    require_classes(sources, recipe.split, recipe.leave_out_classes)
    show_notes(sources.warnings)
    for split in ("val", "test"):
        if not sources.of(split):
            raise RunEndedError(f"{paths.photos}: no {split} photos are left; add photos")
    photos = sources.of("train")
    grid, left_out = leave_out_numbers(photos, grid)
    used = photos_of(photos, grid)
    backgrounds, refused = ingest_backgrounds(
        run, recipe.backgrounds, recipe.ingest, sources.of("val", "test"), recipe.split
    )
    left_out += [f"{entry.file}: {entry.reason}" for entry in refused]
    left_out += sources.warnings
    generation = generate_all(run, recipe, sources, used, backgrounds, execution, is_last)
    with verify_inputs_on_error(run.store, run.made.values()):
        synthetic = generation.load_samples(run.store)
        real = real_samples(run, recipe, sources)
        by_name = {sample.name: sample for sample in real}
        augment, baselines = _augmentations(recipe)
        subsets, more = draw_subsets(grid, used, by_name, synthetic, augment, baselines)
        val, test = _of(real, "val"), _of(real, "test")
        families = families_of(sources, [*val, *test])
        trainer = Trainer(run, _settings(recipe), val, test, families)
        scored = score_points(trainer, subsets)
    scores = evaluate_study(scored, list(synthetic), recipe.verdict)
    left_out = [*left_out, *more]
    files = write_study(paths.out, recipe.name, scores, scored, left_out)
    _pin(run, make_run_id(paths.out), sources, generation)
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


def _of(samples: Sequence[Sample], split: str) -> list[Sample]:
    return [sample for sample in samples if sample.split == split]


def _settings(recipe: Recipe) -> TrainingParameters:
    if recipe.train is None:
        raise ValueError(f"recipe {recipe.name}: a study needs the section train; add it")
    if recipe.select is not None:
        # Each number of photos would need a selection of its own, by its own photos.
        raise ValueError(f"recipe {recipe.name}: a study can't select images; set select=null")
    if recipe.train.needs_masks:
        raise ValueError("train.task: a study trains classifiers; set it to classification")
    return recipe.train


def _augmentations(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    """The augmentation of points with generated images, and those of points without any.

    A linear classifier learns from generated images as they are: each image is embedded once.
    """
    settings = _settings(recipe)
    augment = "none" if settings.classifier == "linear" else settings.augment
    return augment, tuple(dict.fromkeys((augment, settings.augment, *BASELINES)))


def _all_settings(recipe: Recipe) -> Iterator[TrainingParameters]:
    for augment in _augmentations(recipe)[1]:
        yield _settings(recipe).model_copy(update={"augment": augment})


def _pin(run: RunContext, run_id: str, sources: Sources, generation: Generation) -> None:
    """Pin what a rerun needs, so that `store gc` keeps it."""
    keys = [result.key for result in generation.all if result.failure is None]
    masks = [note.mask for source in sources.images for note in source.annotations]
    ids = [source.image.id for source in sources.images]
    ids += [mask.id for mask in masks if mask is not None]
    pin_artifacts(run.store, run_id, [*ids, *run.made], keys)
