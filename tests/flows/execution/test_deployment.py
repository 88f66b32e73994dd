"""Child runs on workers: one window, one run per reference, and what becomes of those that fail."""

import contextvars
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.flows import Flow
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running

from deployments.retry import RetryError, retry_run
from flows.config.recipe import Recipe
from flows.execution import child_runs
from flows.execution.child_runs import ATTEMPTS, family_of
from flows.execution.deployment import Outcome, Placed, asked_of, cancel_children, dispatch
from models.data.records import Artifact, Reference
from tasks.engine.results import Expansion, save_expansion
from tasks.engine.work_items import Expanded, Told, tell
from tasks.store.store import Store, open_store

DIGEST = "0" * 64
PATIENCE_S = 30.0


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def deployment(prefect_server: None) -> str:
    """A deployment that no worker serves: the tests are its workers."""
    name = f"gpu-{uuid.uuid4().hex[:8]}"
    with get_client(sync_client=True) as opened:
        flow_id = opened.create_flow_from_name("expand_reference")
        opened.create_deployment(flow_id=flow_id, name=name)
    return f"expand_reference/{name}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def parent(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the parent run for which this test dispatches; looks come fast."""
    run = _parent_run(client)
    monkeypatch.setattr(child_runs, "this_run", lambda: run)
    monkeypatch.setattr(child_runs, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(child_runs, "LONGEST_PAUSE_S", 0.05)
    return run


def _parent_run(client: SyncPrefectClient) -> str:
    return str(client.create_flow_run(Flow(lambda: None, name="regenerate")).id)


class Night:
    """A parent at work in a thread, and the hands of its workers."""

    def __init__(self, client: SyncPrefectClient, store: Store, parent: str, name: str) -> None:
        self.client, self.store, self.parent, self.deployment = client, store, parent, name
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, placed: list[Placed], at_once: int = 4) -> None:
        """Start the parent, or start it again as a retry does."""
        self._stop.clear()

        def work() -> None:
            try:
                for one in dispatch(self.store, Recipe(), placed, at_once, self.deployment):
                    self.outcomes.append(one)
            except BaseException as error:
                self.error = error

        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(work,), daemon=True)
        self._thread.start()

    def end(self) -> list[Outcome]:
        """The outcomes, once the parent is through."""
        assert self._thread is not None
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.outcomes

    def runs(self, *types: StateType) -> list[FlowRun]:
        """The children, or those of them in some states, in the order of their names."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[family_of(self.parent)]))
        runs = self.client.read_flow_runs(flow_run_filter=wanted)
        found = [run for run in runs if not types or (run.state and run.state.type in types)]
        return sorted(found, key=lambda run: run.name)

    def take(self) -> FlowRun:
        """Begin the next scheduled run, as a worker would."""
        run: FlowRun = until(lambda: self.runs(StateType.SCHEDULED))[0]
        self.set(run, Running())
        return run

    def complete(self, run: FlowRun) -> None:
        """Do what a run was asked for."""
        key, name = run.parameters["order"], run.parameters["reference"]
        save_expansion(self.store, key, Expansion(reference=name, samples=(), artifacts=()))
        expanded = Expanded(reference=name, key=key, images=1, accepted=1, counts={})
        tell(self.store, key, Told(run=str(run.id), expanded=expanded))
        self.set(run, Completed())

    def fail(self, run: FlowRun, failure: str, *, damaged: bool = False) -> None:
        """Fail a run as `expand_reference` does."""
        told = Told(run=str(run.id), failure=failure, damaged=damaged)
        tell(self.store, run.parameters["order"], told)
        self.set(run, Failed(message=failure))

    def set(self, run: FlowRun, state: State[Any]) -> None:
        """Put a run into a state."""
        self.client.set_flow_run_state(run.id, state, force=True)

    def history(self, run: FlowRun) -> list[str]:
        """The names of a run's states, in order."""
        states = self.client.read_flow_run_states(run.id)
        return [one.name or "" for one in sorted(states, key=lambda one: one.timestamp)]


@pytest.fixture
def night(client: SyncPrefectClient, store: Store, parent: str, deployment: str) -> Night:
    return Night(client, store, parent, deployment)


def until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def orders(count: int) -> list[Placed]:
    """Orders for photos of shoes."""
    return [Placed(reference(f"shoes/{number}"), uuid.uuid4().hex * 2) for number in range(count)]


def reference(name: str) -> Reference:
    photo = Artifact(
        key=DIGEST,
        stage="ingest",
        version=1,
        name=name,
        media="png",
        digest=DIGEST,
        size=1,
        parameters={},
        seed=0,
        batch_size=1,
        dtype="uint8",
        seconds=0,
    )
    return Reference(name=name, file=f"{name}.jpg", label="shoes", split="train", photo=photo)


def test_no_more_children_wait_or_work_than_the_window_holds(night: Night) -> None:
    night.begin(orders(5), at_once=2)
    for left in range(5, 0, -1):
        run, full = night.take(), min(2, left)
        until(lambda full=full: len(_open_runs(night)) >= full)
        time.sleep(0.2)
        assert len(_open_runs(night)) <= 2
        night.complete(run)
    outcomes = night.end()
    assert sorted(one.reference.name for one in outcomes) == [f"shoes/{n}" for n in range(5)]
    assert all(one.expanded is not None and one.expanded.images == 1 for one in outcomes)
    assert len(night.runs()) == 5


def test_a_child_has_a_name_and_tags_for_people_and_small_parameters(night: Night) -> None:
    placed = orders(1)
    night.begin(placed)
    run = night.take()
    night.complete(run)
    night.end()
    assert run.name == "shoes/0 · expand"
    assert {"shoes", "multiview", "classical"} <= set(run.tags)
    given = {"reference": "shoes/0", "store": night.store.url, "order": placed[0].key}
    assert run.parameters == given


def test_a_child_stands_under_its_parent_once_however_often_that_is_retried(night: Night) -> None:
    placed = orders(2)
    for _ in range(2):
        for one in placed:
            _begun(night, one)
    under = night.client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(night.parent)]))
    )
    assert sorted(run.name for run in under) == [f"shoes/{n} · expand" for n in range(2)]
    assert {run.parent_task_run_id for run in night.runs()} == {run.id for run in under}


def test_a_child_that_fails_or_crashes_goes_on_under_its_own_id(night: Night) -> None:
    night.begin(orders(1))
    first = night.take()
    night.fail(first, "the store refused")
    second = night.take()
    night.set(second, Crashed(message="its worker is gone"))
    third = night.take()
    night.complete(third)
    (outcome,) = night.end()
    assert first.id == second.id == third.id
    assert outcome.failure is None
    assert outcome.expanded is not None
    ends = [one for one in night.history(first) if one in ("Failed", "Crashed", "Completed")]
    assert ends == ["Failed", "Crashed", "Completed"]


def test_a_child_that_always_fails_is_given_up_and_named(night: Night) -> None:
    night.begin(orders(1))
    for _ in range(ATTEMPTS):
        run = night.take()
        night.fail(run, "no room on the device")
    (outcome,) = night.end()
    assert outcome.failure == "failed: no room on the device"
    assert not outcome.damaged
    assert night.history(run).count("Failed") == ATTEMPTS


def test_what_is_damaged_upstream_waits_for_the_parents_next_walk(night: Night) -> None:
    placed = orders(1)
    night.begin(placed)
    first = night.take()
    night.fail(first, "photo is damaged", damaged=True)
    (outcome,) = night.end()
    assert outcome.damaged
    assert night.history(first).count("Failed") == 1

    night.begin(placed)
    again = night.take()
    night.complete(again)
    assert night.end()[-1].expanded is not None
    assert again.id == first.id


def test_a_parent_that_is_retried_adopts_its_children(night: Night) -> None:
    placed = orders(3)
    begun = working, completed, failed = [_begun(night, one) for one in placed]
    night.set(working, Running())
    night.complete(completed)
    night.fail(failed, "the worker was stopped")
    night.begin(placed)
    again = night.take()
    assert again.id == failed.id
    night.complete(again)
    night.complete(working)
    assert all(one.expanded is not None for one in night.end())
    assert {run.id for run in night.runs()} == {run.id for run in begun}
    assert night.history(completed).count("Scheduled") == 1


@pytest.mark.parametrize("state", [Completed(), Cancelled(), Crashed()])
def test_an_adopted_child_goes_on_if_what_it_was_to_make_is_not_there(
    night: Night, state: State[Any]
) -> None:
    placed = orders(1)
    ended = _begun(night, placed[0])
    night.set(ended, state)
    night.begin(placed)
    again = night.take()
    assert again.id == ended.id
    night.complete(again)
    assert night.end()[0].expanded is not None


def test_two_parents_may_want_the_same(night: Night) -> None:
    placed = orders(1)
    night.begin(placed)
    run = night.take()
    key = placed[0].key
    expanded = Expanded(reference="shoes/0", key=key, images=1, accepted=1, counts={})
    tell(night.store, key, Told(run=str(uuid.uuid4()), expanded=expanded))
    night.set(run, Completed())
    (outcome,) = night.end()
    assert outcome.expanded == expanded


def test_a_child_that_someone_cancels_is_not_started_again(night: Night) -> None:
    night.begin(orders(1))
    run = night.take()
    night.set(run, Cancelled(message="by hand"))
    (outcome,) = night.end()
    assert outcome.failure == "cancelled: by hand"


def test_a_child_that_someone_deletes_is_a_failed_reference(night: Night) -> None:
    night.begin(orders(2))
    deleted, kept = night.take(), night.take()
    night.client.delete_flow_run(deleted.id)
    night.complete(kept)
    failures = {one.reference.name: one.failure for one in night.end()}
    assert failures["shoes/1"] is None
    assert failures["shoes/0"] is not None
    assert "deleted" in failures["shoes/0"]


def test_a_run_whose_worker_died_before_it_began_is_scheduled_again(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_runs, "TAKEN_S", 1.0)
    night.begin(orders(2))
    runs = until(lambda: (found := night.runs(StateType.SCHEDULED)) and len(found) == 2 and found)
    taken, queued = runs
    night.set(taken, Pending())
    night.client.update_flow_run(queued.id, infrastructure_pid="pod")
    night.set(queued, Pending())
    again = night.take()
    assert again.id == taken.id
    time.sleep(1.5)
    assert [run.id for run in night.runs(StateType.PENDING)] == [queued.id]
    night.complete(again)
    night.complete(queued)
    assert all(one.failure is None for one in night.end())


def test_a_cancelled_family_is_that_of_one_parent(night: Night, parent: str) -> None:
    placed = orders(3)
    waiting, working, done = (_begun(night, one) for one in placed)
    night.client.update_flow_run(working.id, infrastructure_pid="host:1")
    night.set(working, Running())
    night.complete(done)
    other = Night(night.client, night.store, _parent_run(night.client), night.deployment)
    foreign = _begun(other, placed[0])

    assert cancel_children(parent) == 2
    states = {run.id: run.state.name for run in night.runs() if run.state}
    assert states == {waiting.id: "Cancelled", working.id: "Cancelling", done.id: "Completed"}
    assert [run.id for run in other.runs(StateType.SCHEDULED)] == [foreign.id]
    assert cancel_children(str(uuid.uuid4())) == 0


def test_an_unknown_deployment_is_one_line(store: Store, prefect_server: None) -> None:
    with pytest.raises(ValueError, match="run synthset deploy") as refused:
        list(dispatch(store, Recipe(), orders(1), 1, "expand_reference/nowhere"))
    assert "expand_reference/nowhere" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_retry_schedules_a_run_under_its_own_id(night: Night) -> None:
    run = _begun(night, orders(1)[0])
    night.fail(run, "the store refused")
    assert retry_run(str(run.id)) == [run.name]
    assert [one.id for one in night.runs(StateType.SCHEDULED)] == [run.id]


def test_retry_by_name_means_the_latest_run(night: Night) -> None:
    name = f"shoes/{uuid.uuid4().hex}"
    older = _begun(night, Placed(reference(name), uuid.uuid4().hex))
    newer = _begun(night, Placed(reference(name), uuid.uuid4().hex))
    for run in (older, newer):
        night.set(run, Failed())
    assert retry_run(f"{name} · expand") == [f"{name} · expand"]
    assert [one.id for one in night.runs(StateType.SCHEDULED)] == [newer.id]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Running(), "has not ended"),
        (Pending(), "has not ended"),
        (Completed(), "completed"),
    ],
)
def test_retry_refuses_what_needs_none(night: Night, state: State[Any], told: str) -> None:
    run = _begun(night, orders(1)[0])
    night.set(run, state)
    with pytest.raises(RetryError, match=told):
        retry_run(str(run.id))
    assert [one.state.type for one in night.runs() if one.state] == [state.type]


def test_retry_refuses_a_run_without_deployment(client: SyncPrefectClient) -> None:
    from prefect import flow

    @flow(name="alone")
    def alone() -> None:
        raise ValueError("no")

    state: Any = alone(return_state=True)
    with pytest.raises(RetryError, match="give the same command again"):
        retry_run(str(state.state_details.flow_run_id))


@pytest.mark.parametrize("wanted", [str(UUID(int=7)), "no such name"])
def test_retry_names_a_run_that_is_not_there(prefect_server: None, wanted: str) -> None:
    with pytest.raises(RetryError, match=wanted):
        retry_run(wanted)


def _open_runs(night: Night) -> list[FlowRun]:
    return night.runs(StateType.SCHEDULED, StateType.RUNNING)


def _begun(night: Night, placed: Placed) -> FlowRun:
    """The child that an earlier attempt of the parent has started."""
    window = child_runs.Window(
        night.store, night.deployment, night.parent, night.client, is_done=lambda _: True
    )
    window.start(asked_of(night.store, Recipe(), placed))
    return night.client.read_flow_run(next(iter(window.under_way)))
