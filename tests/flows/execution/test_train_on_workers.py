"""Training on a worker: one child run, taken over, started again, and named when it fails."""

import contextvars
import hashlib
import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.states import Completed, Crashed, Failed, Running

from flows.build_datasets import Datasets, build_datasets
from flows.config.recipe import Recipe, load_recipe
from flows.execution import deployment as child_runs
from flows.execution.deployment import MAX_ATTEMPTS, parent_tag
from flows.execution.run_items import Execution
from flows.train_models import (
    Trained,
    TrainingFailedError,
    train_models,
    train_networks,
    training_key,
)
from models.data.records import Artifact, Media
from models.training.settings import TrainingParameters
from tasks.engine.item_documents import save_result
from tasks.engine.run_context import RunContext, StageCount
from tasks.engine.run_documents import make_run_id, save_part
from tasks.engine.work_items import Result
from tasks.store.errors import MissingArtifactError
from tasks.store.store import Store, open_store
from tests.tiny import Undisturbed, files_of

TIMEOUT_S = 120.0
RUN = "0123456789abcdef"
DATASETS = ("real", "synthetic", "mixed")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(train=TrainingParameters(network="small_cnn", pretrained=False))


class Parent:
    """A parent run that trains on a worker, with methods that do what the worker would do."""

    def __init__(self, client: SyncPrefectClient, store: Store, recipe: Recipe) -> None:
        self.client, self.store, self.recipe = client, store, recipe
        self.id = str(client.create_flow_run(Flow(lambda: None, name="pipeline")).id)
        self.deployment = f"train_models/gpu-{uuid.uuid4().hex[:8]}"
        client.create_deployment(
            flow_id=client.create_flow_from_name("train_models"),
            name=self.deployment.partition("/")[2],
            parameters={},
        )
        self.run, self.out = RUN, Path("/nowhere")
        self._ended: list[Trained | Exception] = []
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start the parent, or start it again as a retry does."""

        def work() -> None:
            context = RunContext(self.store, "pipeline")
            execution = Execution(train_on=self.deployment)
            try:
                trained = train_models(context, self.recipe, self.run, self.out, execution)
                self._ended.append(trained)
            except Exception as error:
                self._ended.append(error)

        run = contextvars.copy_context().run
        self._threads.append(threading.Thread(target=run, args=(work,), daemon=True))
        self._threads[-1].start()

    def end(self) -> Trained:
        """What the parent got, once it has ended."""
        for thread in self._threads:
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
        ended = self._ended[-1]
        if isinstance(ended, Exception):
            raise ended
        return ended

    def runs(self, *types: StateType) -> list[FlowRun]:
        """The child runs, or those in some states."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[parent_tag(self.id)]))
        runs = self.client.read_flow_runs(flow_run_filter=wanted)
        return [run for run in runs if not types or (run.state and run.state.type in types)]

    def take(self) -> FlowRun:
        """Begin the scheduled run, as a worker would."""
        (run,) = until(lambda: self.runs(StateType.SCHEDULED))
        self.set(run, Running())
        return run

    def fail(self, run: FlowRun, failure: str, *, corrupt_input: bool = False) -> None:
        """Fail a run as `train_networks` does."""
        result = Result(key=self.key, run=str(run.id), failure=failure, corrupt_input=corrupt_input)
        save_result(self.store, result)
        self.set(run, Failed(message=failure))

    def complete(self, run: FlowRun) -> Trained:
        """Do what a training run does."""
        trained = Trained(
            key=self.key,
            checkpoints=tuple(put(self.store, "train", name, "ckpt") for name in DATASETS),
            scores=tuple(put(self.store, "score", name, "json") for name in DATASETS),
            counts={"train": StageCount(computed=3), "score": StageCount(computed=3)},
        )
        save_part(self.store, self.run, trained)
        save_result(self.store, Result(key=self.key, run=str(run.id)))
        self.set(run, Completed())
        return trained

    def set(self, run: FlowRun, state: State[Any]) -> None:
        """Put a run into a state."""
        self.client.set_flow_run_state(run.id, state, force=True)

    def history(self) -> list[str]:
        """How the attempts of the child run ended, in order."""
        (run,) = self.runs()
        states = self.client.read_flow_run_states(run.id)
        names = [state.name or "" for state in sorted(states, key=lambda state: state.timestamp)]
        return [name for name in names if name in ("Failed", "Crashed", "Completed")]

    @property
    def key(self) -> str:
        """The key of the training."""
        return training_key(self.recipe, datasets(self.store))


@pytest.fixture
def parent(
    client: SyncPrefectClient, store: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> Parent:
    started = Parent(client, store, recipe)
    monkeypatch.setattr(child_runs, "this_run", lambda: started.id)
    monkeypatch.setattr(child_runs, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(child_runs, "LONGEST_POLL_S", 0.05)
    save_part(store, RUN, datasets(store))
    return started


def datasets(store: Store) -> Datasets:
    """Three datasets without images."""
    return Datasets(
        documents={name: put(store, "dataset", name, "json") for name in DATASETS},
        test=put(store, "dataset", "test", "json"),
        volumes={},
        origins={},
        families={},
        test_volume={},
        rejects={},
        written=0,
        counts={},
    )


def put(store: Store, stage: str, name: str, media: Media) -> Artifact:
    """Some bytes in the store, as if a stage had made them."""
    blob = f"{stage} {name}".encode()
    artifact = Artifact(
        key=hashlib.sha256(blob).hexdigest(),
        stage=stage,
        version=1,
        name=name,
        media=media,
        digest=hashlib.sha256(blob).hexdigest(),
        size=len(blob),
        seed=0,
        batch_size=1,
        dtype="json",
        seconds=0,
    )
    store.put(artifact, blob)
    return artifact


def until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_training_is_one_child_run_with_name_and_tags(parent: Parent) -> None:
    parent.begin()
    run = parent.take()
    assert run.name == "multiview · training"
    assert {"multiview", "classical", parent_tag(parent.id)} == set(run.tags)
    assert run.parameters["run_id"] == RUN
    assert Recipe.model_validate(run.parameters["recipe"]) == parent.recipe
    trained = parent.complete(run)
    assert parent.end() == trained


def test_a_parent_that_starts_again_takes_over_its_training(parent: Parent) -> None:
    parent.begin()
    run = parent.take()
    parent.begin()
    time.sleep(0.5)
    trained = parent.complete(run)
    assert parent.end() == trained
    assert len(parent.runs()) == 1


def test_networks_in_the_store_start_no_run(parent: Parent) -> None:
    parent.begin()
    trained = parent.complete(parent.take())
    parent.end()
    parent.begin()
    again = parent.end()
    assert again.checkpoints == trained.checkpoints
    assert again.counts["train"] == StageCount(cached=3)
    assert parent.history() == ["Completed"]


def test_a_lost_score_starts_the_same_run_again(parent: Parent, tmp_path: Path) -> None:
    parent.begin()
    first = parent.take()
    trained = parent.complete(first)
    parent.end()
    lost = trained.scores[0]
    (tmp_path / "store" / "score" / lost.key[:2] / f"{lost.key}.record").unlink()
    parent.begin()
    again = parent.take()
    assert again.id == first.id
    parent.complete(again)
    parent.end()


def test_a_failed_or_crashed_training_starts_again(parent: Parent) -> None:
    parent.begin()
    parent.fail(parent.take(), "no room on the device")
    parent.set(parent.take(), Crashed(message="its worker is gone"))
    trained = parent.complete(parent.take())
    assert parent.end() == trained
    assert parent.history() == ["Failed", "Crashed", "Completed"]


def test_a_training_that_always_fails_is_named_with_its_reason(parent: Parent) -> None:
    parent.begin()
    for _ in range(MAX_ATTEMPTS):
        run = parent.take()
        parent.fail(run, "no room on the device")
    with pytest.raises(TrainingFailedError, match="no room on the device") as failed:
        parent.end()
    assert str(run.id) in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_corrupt_input_is_left_to_the_parent(parent: Parent) -> None:
    parent.begin()
    parent.fail(parent.take(), "resize/0 is corrupt", corrupt_input=True)
    with pytest.raises(MissingArtifactError, match="resize/0 is corrupt"):
        parent.end()
    assert parent.history() == ["Failed"]


def test_an_unknown_deployment_is_named_in_one_line(parent: Parent) -> None:
    parent.deployment = "train_models/nowhere"
    parent.begin()
    with pytest.raises(ValueError, match="train_models/nowhere is not on this server"):
        parent.end()


def test_names_a_folder_that_the_worker_can_not_make(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"out: .*--train-in-parent"):
        train_networks(parent.recipe, RUN, tmp_path / "file" / "out", parent.store.url)


@pytest.mark.slow
def test_a_worker_with_another_folder_trains_the_same_networks(
    undisturbed: Undisturbed, client: SyncPrefectClient, tmp_path: Path, parent: Parent
) -> None:
    shutil.copytree(undisturbed.store, tmp_path / "shared")
    for stage in ("train", "score"):
        shutil.rmtree(tmp_path / "shared" / stage)
    parent.store = open_store(str(tmp_path / "shared"))
    parent.recipe, parent.run = load_recipe(str(undisturbed.recipe)), make_run_id(undisturbed.out)
    parent.out = tmp_path / "of the worker"
    parent.begin()
    (run,) = until(lambda: parent.runs(StateType.SCHEDULED))
    run_flow(train_networks, client.read_flow_run(UUID(str(run.id))))
    trained = parent.end()
    assert trained.counts["train"] == StageCount(computed=3)
    assert [score.name for score in trained.scores] == [f"{name} · seed 0" for name in DATASETS]
    for artifact in (*trained.checkpoints, *trained.scores):
        assert parent.store.read(artifact)
    assert (parent.out / "training").is_dir()


@pytest.mark.slow
def test_datasets_can_be_built_by_hand_with_the_parameters_that_the_run_shows(
    undisturbed: Undisturbed, client: SyncPrefectClient, tmp_path: Path
) -> None:
    runs = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["build_datasets"]))
    )
    (shown,) = (run.parameters for run in runs if run.parameters["out"] == str(undisturbed.out))
    shutil.copytree(undisturbed.store, tmp_path / "store")
    parameters = shown | {"out": str(tmp_path / "out"), "store": str(tmp_path / "store")}
    run = client.create_flow_run(build_datasets, parameters=json.loads(json.dumps(parameters)))
    run_flow(build_datasets, run)
    assert files_of(tmp_path / "out" / "datasets") == undisturbed.datasets
