"""Train the same network on each dataset with each seed, and score it on held-out real photos."""

import hashlib
import json
from pathlib import Path

from prefect import flow

from flows.build_datasets import Assembled
from flows.config.recipe import Recipe
from flows.execution.child_runs import Asked, failure_told, follow
from flows.execution.progress import shown, this_run
from flows.execution.run_names import named_train
from models.data.records import Artifact, Record
from models.training.settings import equal_steps
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import load_part, save_part
from tasks.engine.work_items import Told, tell
from tasks.store.store import RUNS_WAIT_S, Missing, Store, open_store
from tasks.train.evaluate import score
from tasks.train.train import train, training_key_params


class Trained(Record):
    """Checkpoints and their scores, in the same order; both empty where the recipe trains nothing.

    ``asked`` is the key of what they were trained for; ``fresh`` are the ids of what was not in the
    store before.
    """

    asked: str = ""
    checkpoints: tuple[Artifact, ...] = ()
    scores: tuple[Artifact, ...] = ()
    fresh: tuple[str, ...] = ()
    counts: dict[str, StageCount] = {}


class TrainingFailed(RuntimeError):
    """The training did not complete on its worker; the line names the run and the reason."""


def trained_alike(recipe: Recipe, run_id: str, store: Store) -> bool:
    """Whether the run's last networks were trained with these settings, on this store's word."""
    if recipe.train is None or not recipe.train.seeds:
        return False
    apart = {"steps_per_epoch"}
    try:
        before = load_part(store, run_id, Trained).checkpoints
        wanted = {
            at: value for at, value in training_key_params(recipe.train).items() if at not in apart
        }
    except (Missing, OSError):
        return False
    return bool(before) and all(
        {at: value for at, value in one.parameters.items() if at not in apart} == wanted
        for one in before
    )


def train_elsewhere(recipe: Recipe, run_id: str, out: Path, store: str, deployment: str) -> Trained:
    """`train_networks` on the workers of a deployment, waited for; a training that failed or whose
    worker died is tried again. Where all is trained already, no run is started.

    Raises:
        ValueError: there is no such deployment, or the server refuses.
        Missing: something is damaged that the parent run can make anew.
        TrainingFailed: it did not complete; the line says why.
        RuntimeError: the server stayed away for longer than a quarter of an hour.
    """
    if recipe.train is None:
        return train_networks(recipe, run_id, out, store)
    opened = open_store(store, patience_s=RUNS_WAIT_S)
    key = training_key(recipe, load_part(opened, run_id, Assembled))
    found = _trained(opened, run_id, key)
    if found is not None:
        return _reused(found)
    asked = Asked(
        key=key,
        name=f"{recipe.name} · train",
        parameters={
            "recipe": recipe.model_dump(mode="json"),
            **{"run_id": run_id, "out": str(out), "store": store},
        },
        tags=(recipe.name, recipe.profile),
    )

    def is_done(key: str) -> bool:
        return _trained(opened, run_id, key) is not None

    (ended,) = follow(opened, [asked], 1, deployment, is_done)
    trained = _trained(opened, run_id, key) if ended.completed else None
    if trained is not None:
        return trained
    if ended.damaged or ended.completed:
        raise Missing(f"{deployment}: {asked.name}: {ended.why}")
    raise TrainingFailed(
        f"{deployment}: run {ended.run} ({asked.name}) {ended.why}; mend the cause and retry this "
        "run: what is done stays done"
    )


@flow(name="train", flow_run_name=named_train)
def train_networks(recipe: Recipe, run_id: str, out: Path, store: str) -> Trained:
    """Train and score; what was trained on the same images with the same settings is reused.

    Checkpoints and scores go through the store. ``out`` is where a training that was killed goes on
    from, if the worker that takes it up sees the same folder; else it begins anew.

    Raises:
        WeightsMissingError: pretrained weights were asked for and can't be had.
        ValueError: ``out`` can't be written here.
    """
    opened = open_store(store, patience_s=RUNS_WAIT_S)
    if recipe.train is None:
        trained = Trained()
        save_part(opened, run_id, trained)
        return trained
    assembled = load_part(opened, run_id, Assembled)
    key = training_key(recipe, assembled)
    with failure_told(opened, key):
        trained = _train(recipe, assembled, opened, _writable(out))
    save_part(opened, run_id, trained.model_copy(update={"asked": key}))
    tell(opened, key, Told(run=this_run()))
    return trained


def training_key(recipe: Recipe, assembled: Assembled) -> str:
    """The digest of what is trained and scored: settings, datasets and held-out photos."""
    assert recipe.train is not None
    asked = {
        "train": recipe.train.model_dump(mode="json"),
        "arms": {arm: one.id for arm, one in assembled.arms.items()},
        "test": assembled.test.id,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _train(recipe: Recipe, assembled: Assembled, store: Store, scratch: Path) -> Trained:
    assert recipe.train is not None
    run = RunContext(store, "train", scratch=scratch)
    datasets = list(assembled.arms.values())
    parameters = equal_steps(recipe.train, [int(dataset.metadata["train"]) for dataset in datasets])
    epochs = len(datasets) * len(parameters.seeds) * parameters.epochs
    with shown("training epochs", epochs) as run.tell:
        checkpoints = train(run, parameters, datasets)
    scores = score(run, parameters, checkpoints, datasets, [assembled.test])
    return Trained(
        checkpoints=tuple(checkpoints),
        scores=tuple(scores),
        fresh=tuple(sorted(run.fresh)),
        counts=run.counts,
    )


def _trained(store: Store, run_id: str, key: str) -> Trained | None:
    """What a run trained for a key, if all of it is in the store."""
    try:
        trained = load_part(store, run_id, Trained)
    except Missing:
        return None
    if trained.asked != key:
        return None
    for made in (trained.checkpoints, trained.scores):
        keys = [one.key for one in made]
        if made and len(store.find(made[0].stage, keys)) < len(keys):
            return None
    return trained


def _reused(trained: Trained) -> Trained:
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
            f"out: {out} can't be made on this worker ({error.strerror}); mount there the folder "
            "that the parent run writes to, or deploy with --training none"
        ) from error
    return out
