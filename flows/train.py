"""Train the same network on each dataset with each seed, and score it on held-out real photos."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.deployments import run_deployment

from flows.assemble import Assembled
from flows.naming import named_train
from flows.progress import shown
from flows.recipe import Recipe
from models.records import Artifact, Record
from tasks.bench import StageCount, Workbench
from tasks.run import load_part, save_part
from tasks.score import score
from tasks.store import RUNS_WAIT_S, Missing, Store, open_store
from tasks.train import learning, same_budget, train


class Trained(Record):
    """Checkpoints and their scores, in the same order; both empty where the recipe trains nothing.

    ``fresh`` are the ids of the checkpoints that were not in the store before.
    """

    checkpoints: tuple[Artifact, ...] = ()
    scores: tuple[Artifact, ...] = ()
    fresh: tuple[str, ...] = ()
    counts: dict[str, StageCount] = {}


def trained_alike(recipe: Recipe, run: str, store: Store) -> bool:
    """Whether the run's last networks were trained with these settings, on this store's word."""
    if recipe.train is None or not recipe.train.seeds:
        return False
    apart = {"steps_per_epoch"}
    try:
        before = load_part(store, run, Trained).checkpoints
        wanted = {at: value for at, value in learning(recipe.train).items() if at not in apart}
    except (Missing, OSError):
        return False
    return bool(before) and all(
        {at: value for at, value in one.parameters.items() if at not in apart} == wanted
        for one in before
    )


def train_elsewhere(recipe: Recipe, run: str, out: Path, store: str, deployment: str) -> Trained:
    """`train_networks` on the workers of a deployment, waited for.

    Raises:
        RuntimeError: the training failed there; the line says why.
    """
    asked = {"recipe": recipe.model_dump(mode="json"), "run": run, "out": str(out), "store": store}
    trained: Any = run_deployment(deployment, parameters=asked, poll_interval=2)
    state = trained.state
    if state is None or not state.is_completed():
        told = state.message if state else "it never ended"
        raise RuntimeError(f"{deployment}: run {trained.name} did not complete: {told}")
    return load_part(open_store(store, patience_s=RUNS_WAIT_S), run, Trained)


@flow(name="train", flow_run_name=named_train)
def train_networks(recipe: Recipe, run: str, out: Path, store: str) -> Trained:
    """Train and score; what was trained on the same images with the same settings is reused.

    Raises:
        WeightsMissing: pretrained weights were asked for and can't be had.
    """
    bench = Workbench(open_store(store, patience_s=RUNS_WAIT_S), "train", scratch=out)
    trained = Trained()
    if recipe.train is not None:
        assembled = load_part(bench.store, run, Assembled)
        datasets = list(assembled.arms.values())
        parameters = same_budget(recipe.train, datasets)
        epochs = len(datasets) * len(parameters.seeds) * parameters.epochs
        with shown("training epochs", epochs) as bench.tell:
            checkpoints = train(bench, parameters, datasets)
        scores = score(bench, parameters, checkpoints, datasets, [assembled.test])
        trained = Trained(
            checkpoints=tuple(checkpoints),
            scores=tuple(scores),
            fresh=tuple(sorted(bench.fresh)),
            counts=bench.counts,
        )
    save_part(bench.store, run, trained)
    return trained
