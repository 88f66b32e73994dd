"""Training on another worker: one child run, adopted, retried, and named when it fails."""

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

from flows.build_datasets import Assembled, assemble
from flows.config.recipe import Recipe, load_recipe
from flows.execution import deployment as child_runs
from flows.execution.deployment import MAX_ATTEMPTS, parent_tag
from flows.train_models import (
    Trained,
    TrainingFailed,
    train_elsewhere,
    train_networks,
    training_key,
)
from models.data.records import Artifact, Media
from models.training.settings import TrainingParameters
from tasks.engine.run_context import StageCount
from tasks.engine.run_documents import make_run_id, save_part
from tasks.engine.work_items import Told, tell
from tasks.store.errors import MissingArtifactError
from tasks.store.store import Store, open_store
from tests.tiny import Undisturbed, files_of

PATIENCE_S = 120.0
RUN = "0123456789abcdef"
ARMS = ("real", "synthetic", "mixed")


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
    """A parent run that has its networks trained elsewhere, and the hands of the worker."""

    def __init__(self, client: SyncPrefectClient, store: Store, recipe: Recipe) -> None:
        self.client, self.store, self.recipe = client, store, recipe
        self.id = str(client.create_flow_run(Flow(lambda: None, name="regenerate")).id)
        self.deployment = f"train/gpu-{uuid.uuid4().hex[:8]}"
        client.create_deployment(
            flow_id=client.create_flow_from_name("train"),
            name=self.deployment.partition("/")[2],
            parameters={},
        )
        self.run, self.out = RUN, Path("/nowhere")
        self._ended: list[Trained | Exception] = []
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start the parent, or start it again as a retry does."""

        def work() -> None:
            arguments = (self.recipe, self.run, self.out, self.store.url, self.deployment)
            try:
                self._ended.append(train_elsewhere(*arguments))
            except Exception as error:
                self._ended.append(error)

        run = contextvars.copy_context().run
        self._threads.append(threading.Thread(target=run, args=(work,), daemon=True))
        self._threads[-1].start()

    def end(self) -> Trained:
        """What it got, once it is through."""
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        ended = self._ended[-1]
        if isinstance(ended, Exception):
            raise ended
        return ended

    def runs(self, *types: StateType) -> list[FlowRun]:
        """Its children, or those in some states."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[parent_tag(self.id)]))
        runs = self.client.read_flow_runs(flow_run_filter=wanted)
        return [run for run in runs if not types or (run.state and run.state.type in types)]

    def take(self) -> FlowRun:
        """Begin the scheduled run, as a worker would."""
        (run,) = until(lambda: self.runs(StateType.SCHEDULED))
        self.set(run, Running())
        return run

    def fail(self, run: FlowRun, failure: str, *, damaged: bool = False) -> None:
        """Fail a run as `train_networks` does."""
        tell(self.store, self.key, Told(run=str(run.id), failure=failure, damaged=damaged))
        self.set(run, Failed(message=failure))

    def complete(self, run: FlowRun) -> Trained:
        """Do what a run was asked for."""
        trained = Trained(
            asked=self.key,
            checkpoints=tuple(put(self.store, "train", arm, "ckpt") for arm in ARMS),
            scores=tuple(put(self.store, "score", arm, "json") for arm in ARMS),
            counts={"train": StageCount(computed=3), "score": StageCount(computed=3)},
        )
        save_part(self.store, self.run, trained)
        tell(self.store, self.key, Told(run=str(run.id)))
        self.set(run, Completed())
        return trained

    def set(self, run: FlowRun, state: State[Any]) -> None:
        """Put a run into a state."""
        self.client.set_flow_run_state(run.id, state, force=True)

    def history(self) -> list[str]:
        """How the attempts at the child ended, in order."""
        (run,) = self.runs()
        states = self.client.read_flow_run_states(run.id)
        names = [one.name or "" for one in sorted(states, key=lambda one: one.timestamp)]
        return [one for one in names if one in ("Failed", "Crashed", "Completed")]

    @property
    def key(self) -> str:
        """What it asks for."""
        return training_key(self.recipe, assembled(self.store))


@pytest.fixture
def parent(
    client: SyncPrefectClient, store: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> Parent:
    started = Parent(client, store, recipe)
    monkeypatch.setattr(child_runs, "this_run", lambda: started.id)
    monkeypatch.setattr(child_runs, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(child_runs, "LONGEST_POLL_S", 0.05)
    save_part(store, RUN, assembled(store))
    return started


def assembled(store: Store) -> Assembled:
    """Three datasets, as far as their documents."""
    return Assembled(
        arms={arm: put(store, "dataset", arm, "json") for arm in ARMS},
        test=put(store, "dataset", "test", "json"),
        volumes={},
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
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_it_is_one_child_run_with_a_name_and_tags(parent: Parent) -> None:
    parent.begin()
    run = parent.take()
    assert run.name == "multiview · train"
    assert {"multiview", "classical", parent_tag(parent.id)} == set(run.tags)
    assert run.parameters["run_id"] == RUN
    assert Recipe.model_validate(run.parameters["recipe"]) == parent.recipe
    trained = parent.complete(run)
    assert parent.end() == trained


def test_a_parent_that_is_retried_adopts_it(parent: Parent) -> None:
    parent.begin()
    run = parent.take()
    parent.begin()
    time.sleep(0.5)
    trained = parent.complete(run)
    assert parent.end() == trained
    assert len(parent.runs()) == 1


def test_what_is_trained_already_starts_no_run(parent: Parent) -> None:
    parent.begin()
    trained = parent.complete(parent.take())
    parent.end()
    parent.begin()
    again = parent.end()
    assert again.checkpoints == trained.checkpoints
    assert again.counts["train"] == StageCount(cached=3)
    assert parent.history() == ["Completed"]


def test_what_was_lost_since_goes_on_under_the_same_run(parent: Parent, tmp_path: Path) -> None:
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


def test_one_that_fails_or_whose_worker_dies_is_tried_again(parent: Parent) -> None:
    parent.begin()
    parent.fail(parent.take(), "no room on the device")
    parent.set(parent.take(), Crashed(message="its worker is gone"))
    trained = parent.complete(parent.take())
    assert parent.end() == trained
    assert parent.history() == ["Failed", "Crashed", "Completed"]


def test_one_that_always_fails_is_named_with_its_reason(parent: Parent) -> None:
    parent.begin()
    for _ in range(MAX_ATTEMPTS):
        run = parent.take()
        parent.fail(run, "no room on the device")
    with pytest.raises(TrainingFailed, match="no room on the device") as failed:
        parent.end()
    assert str(run.id) in str(failed.value)
    assert "\n" not in str(failed.value)


def test_what_is_damaged_upstream_waits_for_the_parents_next_walk(parent: Parent) -> None:
    parent.begin()
    parent.fail(parent.take(), "resize/0 is damaged", damaged=True)
    with pytest.raises(MissingArtifactError, match="resize/0 is damaged"):
        parent.end()
    assert parent.history() == ["Failed"]


def test_an_unknown_deployment_is_one_line(parent: Parent) -> None:
    parent.deployment = "train/nowhere"
    parent.begin()
    with pytest.raises(ValueError, match="train/nowhere is not on this server"):
        parent.end()


def test_a_folder_that_the_worker_can_not_make_is_named(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"out: .*--train-in-parent"):
        train_networks(parent.recipe, RUN, tmp_path / "file" / "out", parent.store.url)


@pytest.mark.slow
def test_a_worker_that_sees_another_folder_trains_the_same(
    undisturbed: Undisturbed, client: SyncPrefectClient, tmp_path: Path, parent: Parent
) -> None:
    shutil.copytree(undisturbed.store, tmp_path / "shared")
    for made in ("train", "score"):
        shutil.rmtree(tmp_path / "shared" / made)
    parent.store = open_store(str(tmp_path / "shared"))
    parent.recipe, parent.run = load_recipe(str(undisturbed.recipe)), make_run_id(undisturbed.out)
    parent.out = tmp_path / "of the worker"
    parent.begin()
    (run,) = until(lambda: parent.runs(StateType.SCHEDULED))
    run_flow(train_networks, client.read_flow_run(UUID(str(run.id))))
    trained = parent.end()
    assert trained.counts["train"] == StageCount(computed=3)
    assert [one.name for one in trained.scores] == [f"{arm} · seed 0" for arm in ARMS]
    for artifact in (*trained.checkpoints, *trained.scores):
        assert parent.store.read(artifact)
    assert (parent.out / "training").is_dir()


@pytest.mark.slow
def test_assemble_runs_by_hand_with_the_parameters_that_its_run_shows(
    undisturbed: Undisturbed, client: SyncPrefectClient, tmp_path: Path
) -> None:
    runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["assemble"])))
    (shown,) = (one.parameters for one in runs if one.parameters["out"] == str(undisturbed.out))
    shutil.copytree(undisturbed.store, tmp_path / "store")
    given = shown | {"out": str(tmp_path / "out"), "store": str(tmp_path / "store")}
    run_flow(assemble, client.create_flow_run(assemble, parameters=json.loads(json.dumps(given))))
    assert files_of(tmp_path / "out" / "datasets") == undisturbed.datasets
