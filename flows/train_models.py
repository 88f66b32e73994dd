"""Train each training of a recipe with each seed, and score it on held-out real photos."""

import hashlib
import itertools
import json
from pathlib import Path

from prefect import flow

from flows.build_datasets import Datasets
from flows.config.comparison import distinct_trainings
from flows.config.recipe import Recipe
from flows.execution.deployment import ChildRunSpec, failure_of, record_failure, run_children
from flows.execution.progress import log_progress, show_progress, this_run
from flows.execution.run_items import Execution
from flows.execution.run_names import recipe_name
from models.data.records import Artifact, Record
from models.data.specs import TrainingSpec
from models.training.settings import TrainingParameters, equal_steps, settings_of
from models.training.task import task_of
from tasks.engine.integrity import verify_inputs_on_error
from tasks.engine.item_documents import save_result
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.engine.work_items import Result
from tasks.store.errors import MissingArtifactError
from tasks.store.store import RUNS_WAIT_S, Store, open_store
from tasks.train.evaluate import score
from tasks.train.train import train, training_key_params


class Trained(Record):
    """Trained networks and their scores, in the same order; empty where the recipe trains nothing.

    ``key`` names what they were trained for; ``fresh`` are the ids of artifacts that this run made.
    """

    key: str = ""
    checkpoints: tuple[Artifact, ...] = ()
    scores: tuple[Artifact, ...] = ()
    fresh: tuple[str, ...] = ()
    counts: dict[str, StageCount] = {}


class TrainingFailedError(RuntimeError):
    """The training did not complete on its worker; the line names the run and the reason."""


def require_trainable_models(
    recipe: Recipe, store: Store, run_id: str, execution: Execution
) -> None:
    """Find out before anything is generated whether the recipe's training is possible.

    Importing networks takes seconds, so a run whose last networks had the same settings skips it.

    Raises:
        ValueError: it is not; the line says why.
    """
    if recipe.train is None or _has_same_settings(recipe, store, run_id):
        return
    for settings in _all_settings(recipe):
        task_of(settings).check(settings, execution.train_on is None)


def _all_settings(recipe: Recipe) -> list[TrainingParameters]:
    assert recipe.train is not None
    settings = [settings_of(spec, recipe.train) for spec in recipe.training_specs]
    return [found for place, found in enumerate(settings) if found not in settings[:place]]


def _has_same_settings(recipe: Recipe, store: Store, run_id: str) -> bool:
    try:
        before = load_part(store, run_id, Trained).checkpoints
        wanted = [
            _without_steps(training_key_params(settings)) for settings in _all_settings(recipe)
        ]
    except (MissingArtifactError, OSError):
        return False
    trained = [_without_steps(found.parameters) for found in before]
    # A training that would repeat another one is not among them, so no setting must be new.
    return bool(before) and all(settings in wanted for settings in trained)


def _without_steps(settings: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name != "steps_per_epoch"}


def train_models(
    run: RunContext, recipe: Recipe, run_id: str, out: Path, execution: Execution
) -> Trained:
    """Train here or on the workers of a deployment. Networks in the store are not trained again.

    Raises:
        ValueError: there is no such deployment, or the server refuses.
        MissingArtifactError: an input is corrupt or gone, and the parent run can recompute it.
        TrainingFailedError: the training did not complete.
        RuntimeError: the server could not be reached for a quarter of an hour.
    """
    if recipe.train is None or execution.train_on is None:
        return train_networks(recipe, run_id, out, run.store.url)
    key = training_key(recipe, load_part(run.store, run_id, Datasets))
    found = _load_trained(run.store, run_id, key)
    if found is not None:
        return _as_cached(found)
    spec = ChildRunSpec(
        key=key,
        name=f"{recipe.name} · training",
        parameters={
            "recipe": recipe.model_dump(mode="json"),
            "run_id": run_id,
            "out": str(out),
            "store": run.store.url,
        },
        tags=(recipe.name, recipe.profile),
    )
    (ended,) = run_children(
        execution.train_on,
        [spec],
        max_parallel=1,
        is_done=lambda spec: _load_trained(run.store, run_id, spec.key) is not None,
        failure_of=lambda spec, child: failure_of(run.store, spec.key, child),
    )
    trained = None if ended.failure else _load_trained(run.store, run_id, key)
    if trained is not None:
        return trained
    if ended.corrupt_input or not ended.failure:
        raise MissingArtifactError(
            f"{execution.train_on}: {ended.failure or 'its result is missing; run again'}"
        )
    raise TrainingFailedError(
        f"{execution.train_on}: run {ended.run_id} ({spec.name}) {ended.failure}; fix the cause "
        "and retry this run, which keeps everything that is done"
    )


@flow(name="train_models", flow_run_name=lambda: f"{recipe_name()} · training")
def train_networks(recipe: Recipe, run_id: str, out: Path, store: str) -> Trained:
    """Train every training with every seed, and score the classifiers on the test photos.

    ``out`` keeps the state of trainings: one that was killed continues if the next worker sees the
    same folder, and starts from the beginning otherwise.

    Raises:
        WeightsMissingError: pretrained weights are wanted and this machine lacks them.
        ValueError: ``out`` can't be written here.
    """
    log_progress()
    opened = open_store(store, wait_s=RUNS_WAIT_S)
    if recipe.train is None:
        trained = Trained()
        save_part(opened, run_id, trained)
        return trained
    datasets = load_part(opened, run_id, Datasets)
    key = training_key(recipe, datasets)
    with record_failure(opened, key):
        trained = _train(recipe, datasets, opened, _writable(out))
    trained = trained.model_copy(update={"key": key})
    save_part(opened, run_id, trained)
    save_result(opened, Result(key=key, item="training", run=this_run()))
    return trained


def training_key(recipe: Recipe, datasets: Datasets) -> str:
    """The digest of what is trained and scored: settings, datasets and held-out photos."""
    assert recipe.train is not None
    content = {
        "train": recipe.train.model_dump(mode="json"),
        "trainings": [spec.model_dump(mode="json") for spec in trainings_of(recipe, datasets)[0]],
        "datasets": {name: document.id for name, document in datasets.documents.items()},
        "test": datasets.test.id,
        "truths": {name: document.id for name, document in datasets.truths.items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trainings_of(
    recipe: Recipe, datasets: Datasets
) -> tuple[tuple[TrainingSpec, ...], tuple[str, ...]]:
    """The trainings of a run, and a note for each default one that would repeat another one."""
    assert recipe.train is not None
    specs = recipe.training_specs
    if recipe.trainings:
        moved = datasets.repeated
        return tuple(
            spec.model_copy(update={"dataset": moved.get(spec.dataset, spec.dataset)})
            for spec in specs
        ), ()
    return distinct_trainings(specs, recipe.train, datasets.repeated)


def _train(recipe: Recipe, datasets: Datasets, store: Store, scratch: Path) -> Trained:
    assert recipe.train is not None
    specs, _ = trainings_of(recipe, datasets)
    settings = [settings_of(spec, recipe.train) for spec in specs]
    documents = [datasets.documents[spec.dataset] for spec in specs]
    sizes = [
        int(document.metadata["train"])
        for document, own in zip(documents, settings, strict=True)
        if not own.balanced
    ]
    settings = [equal_steps(own, sizes or [own.batch_size]) for own in settings]
    epochs = sum(len(own.seeds) * own.planned_epochs for own in settings)
    # All trainings come before all scores: if one input is corrupt, all of its kind are checked.
    with show_progress("training epochs", epochs) as advance:
        run = RunContext(store, "training", scratch=scratch, on_step=advance)
        truths = [[datasets.truths[spec.dataset]] if datasets.truths else [] for spec in specs]
        tested = [datasets.truths["test"]] if datasets.truths else []
        with verify_inputs_on_error(store, [*documents, *itertools.chain(*truths)]):
            made = [
                train(run, own, spec.name, [document], truth)
                for spec, own, document, truth in zip(
                    specs, settings, documents, truths, strict=True
                )
            ]
        checkpoints = list(itertools.chain.from_iterable(made))
        inputs = [*documents, datasets.test, *checkpoints, *itertools.chain(*truths), *tested]
        with verify_inputs_on_error(store, inputs):
            scores = [
                score(run, own, found, [document], [datasets.test], truth, tested)
                for own, found, document, truth in zip(
                    settings, made, documents, truths, strict=True
                )
            ]
    return Trained(
        checkpoints=tuple(checkpoints),
        scores=tuple(itertools.chain.from_iterable(scores)),
        fresh=tuple(sorted(run.fresh)),
        counts=run.counts,
    )


def _load_trained(store: Store, run_id: str, key: str) -> Trained | None:
    """What a run trained for a key, if all of it is in the store."""
    try:
        trained = load_part(store, run_id, Trained)
    except MissingArtifactError:
        return None
    if trained.key != key:
        return None
    for made in (trained.checkpoints, trained.scores):
        keys = [artifact.key for artifact in made]
        if made and len(store.find(made[0].stage, keys)) < len(keys):
            return None
    return trained


def _as_cached(trained: Trained) -> Trained:
    counts = {
        stage: count.model_copy(update={"computed": 0, "cached": count.computed + count.cached})
        for stage, count in trained.counts.items()
    }
    return trained.model_copy(update={"fresh": (), "counts": counts})


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"out: {out} can't be made on this worker ({error.strerror}); mount the folder that "
            "the parent run writes to, or deploy with --train-in-parent"
        ) from error
    return out
