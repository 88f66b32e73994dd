"""Child runs of a deployment: how many run at a time, which are started again, what is reported."""

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
from flows.execution import deployment as child_runs
from flows.execution.deployment import (
    MAX_ATTEMPTS,
    ChildRunPool,
    ChildRunResult,
    ChildRunSpec,
    cancel_children,
    failure_of,
    parent_tag,
    record_failure,
    run_children,
)
from tasks.engine.work_items import Result
from tasks.store.errors import MissingArtifactError, StoreUnavailableError
from tasks.store.store import open_store

TIMEOUT_S = 30.0


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def deployment(prefect_server: None) -> str:
    """A deployment that no worker serves: the tests play its workers."""
    name = f"gpu-{uuid.uuid4().hex[:8]}"
    with get_client(sync_client=True) as opened:
        flow_id = opened.create_flow_from_name("generate")
        opened.create_deployment(flow_id=flow_id, name=name, parameters={})
    return f"generate/{name}"


@pytest.fixture(autouse=True)
def parent_id(client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the parent run that this test stands for; it polls often."""
    run_id = _new_parent(client)
    monkeypatch.setattr(child_runs, "this_run", lambda: run_id)
    monkeypatch.setattr(child_runs, "FIRST_POLL_S", 0.02)
    monkeypatch.setattr(child_runs, "LONGEST_POLL_S", 0.05)
    return run_id


def _new_parent(client: SyncPrefectClient) -> str:
    return str(client.create_flow_run(Flow(lambda: None, name="pipeline")).id)


class Parent:
    """A parent run in a thread, with methods that do what its workers would do."""

    def __init__(self, client: SyncPrefectClient, parent_id: str, deployment: str) -> None:
        self.client, self.id, self.deployment = client, parent_id, deployment
        self.results: list[ChildRunResult] = []
        self.error: BaseException | None = None
        self.done: set[str] = set()
        self.failures: dict[tuple[str, str], Result] = {}
        self._thread: threading.Thread | None = None

    def begin(self, specs: list[ChildRunSpec], max_parallel: int = 4) -> None:
        """Start the parent, or start it again as a retry does."""
        results = run_children(
            self.deployment,
            specs,
            max_parallel,
            is_done=self.is_done,
            failure_of=self.failure_of,
        )

        def work() -> None:
            try:
                self.results.extend(results)
            except BaseException as error:
                self.error = error

        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(work,), daemon=True)
        self._thread.start()

    def end(self) -> list[ChildRunResult]:
        """The results, once the parent has ended."""
        assert self._thread is not None
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.results

    def is_done(self, spec: ChildRunSpec) -> bool:
        return spec.key in self.done

    def failure_of(self, spec: ChildRunSpec, run_id: str) -> Result | None:
        return self.failures.get((spec.key, run_id))

    def start_only(self, spec: ChildRunSpec) -> FlowRun:
        """The child run that an earlier attempt of the parent started."""
        pool = ChildRunPool(self.client, self.deployment, self.id, lambda _: True, self.failure_of)
        pool.start(spec)
        return self.client.read_flow_run(next(iter(pool.children)))

    def runs(self, *types: StateType) -> list[FlowRun]:
        """The child runs, or those of them in some states, in the order of their names."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[parent_tag(self.id)]))
        runs = self.client.read_flow_runs(flow_run_filter=wanted)
        found = [run for run in runs if not types or run.state_type in types]
        return sorted(found, key=lambda run: run.name)

    def take(self) -> FlowRun:
        """Begin the next scheduled run, as a worker would."""
        run: FlowRun = until(lambda: self.runs(StateType.SCHEDULED))[0]
        self.set(run, Running())
        return run

    def complete(self, run: FlowRun) -> None:
        """Do what a child run does."""
        self.done.add(run.parameters["key"])
        self.set(run, Completed())

    def fail(self, run: FlowRun, message: str, *, corrupt_input: bool = False) -> None:
        """Fail a child run, with the reason in the store."""
        failure = Result(key=run.parameters["key"], failure=message, corrupt_input=corrupt_input)
        self.failures[run.parameters["key"], str(run.id)] = failure
        self.set(run, Failed(message="1 task failed"))

    def set(self, run: FlowRun, state: State[Any]) -> None:
        """Put a run into a state."""
        self.client.set_flow_run_state(run.id, state, force=True)

    def history(self, run: FlowRun) -> list[str]:
        """The names of a run's states, in order."""
        states = self.client.read_flow_run_states(run.id)
        return [state.name or "" for state in sorted(states, key=lambda state: state.timestamp)]


@pytest.fixture
def parent(client: SyncPrefectClient, parent_id: str, deployment: str) -> Parent:
    return Parent(client, parent_id, deployment)


def until(look: Callable[[], Any]) -> Any:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def specs(count: int) -> list[ChildRunSpec]:
    """Child runs for photos of shoes."""
    return [spec(f"shoes/{number}") for number in range(count)]


def spec(name: str) -> ChildRunSpec:
    key = uuid.uuid4().hex
    return ChildRunSpec(key, f"{name} · expand", {"key": key}, ("shoes", "classical"))


def test_no_more_child_runs_wait_or_run_than_max_parallel(parent: Parent) -> None:
    parent.begin(specs(5), max_parallel=2)
    for left in range(5, 0, -1):
        run, full = parent.take(), min(2, left)
        until(lambda full=full: len(_open_runs(parent)) >= full)
        time.sleep(0.2)
        assert len(_open_runs(parent)) <= 2
        parent.complete(run)
    results = parent.end()
    assert sorted(result.spec.name for result in results) == [
        f"shoes/{number} · expand" for number in range(5)
    ]
    assert all(result.failure is None for result in results)
    assert len(parent.runs()) == 5


def test_results_come_in_the_order_in_which_the_runs_end(parent: Parent) -> None:
    parent.begin(specs(2))
    first, second = parent.take(), parent.take()
    parent.complete(second)
    until(lambda: parent.results)
    parent.complete(first)
    assert [result.run_id for result in parent.end()] == [second.id, first.id]


def test_a_child_run_has_the_name_tags_and_parameters_of_its_spec(parent: Parent) -> None:
    (wanted,) = specs(1)
    parent.begin([wanted])
    run = parent.take()
    parent.complete(run)
    parent.end()
    assert run.name == wanted.name
    assert set(run.tags) == {*wanted.tags, parent_tag(parent.id)}
    assert run.parameters == wanted.parameters


def test_the_ui_shows_a_child_run_once_under_its_parent(parent: Parent) -> None:
    wanted = specs(2)
    for _ in range(2):
        for each in wanted:
            parent.start_only(each)
    links = parent.client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(parent.id)]))
    )
    assert sorted(link.name for link in links) == [each.name for each in wanted]
    assert {run.parent_task_run_id for run in parent.runs()} == {link.id for link in links}


def test_links_stay_right_when_a_parent_starts_again_with_fewer_children(parent: Parent) -> None:
    first, second = specs(2)
    parent.start_only(first)
    parent.start_only(second)
    again = parent.start_only(second)
    assert again.parent_task_run_id is not None
    assert parent.client.read_task_run(again.parent_task_run_id).name == second.name


def test_a_failed_or_crashed_child_run_starts_again_under_its_own_id(parent: Parent) -> None:
    parent.begin(specs(1))
    first = parent.take()
    parent.fail(first, "the store refused")
    second = parent.take()
    parent.set(second, Crashed(message="its worker is gone"))
    third = parent.take()
    parent.complete(third)
    (result,) = parent.end()
    assert first.id == second.id == third.id == result.run_id
    assert result.failure is None
    ends = [name for name in parent.history(first) if name in ("Failed", "Crashed", "Completed")]
    assert ends == ["Failed", "Crashed", "Completed"]


def test_a_child_run_that_always_fails_is_reported_with_its_reason(parent: Parent) -> None:
    parent.begin(specs(1))
    for _ in range(MAX_ATTEMPTS):
        run = parent.take()
        parent.fail(run, "no room on the device")
    (result,) = parent.end()
    assert result.failure == "failed: no room on the device"
    assert not result.corrupt_input
    assert parent.history(run).count("Failed") == MAX_ATTEMPTS


def test_a_child_run_with_corrupt_input_waits_until_the_parent_starts_it_again(
    parent: Parent,
) -> None:
    wanted = specs(1)
    parent.begin(wanted)
    first = parent.take()
    parent.fail(first, "the photo is corrupt", corrupt_input=True)
    (result,) = parent.end()
    assert result.corrupt_input
    assert parent.history(first).count("Failed") == 1

    parent.begin(wanted)
    again = parent.take()
    parent.complete(again)
    assert parent.end()[-1].failure is None
    assert again.id == first.id


def test_a_parent_that_starts_again_takes_over_its_child_runs(parent: Parent) -> None:
    wanted = specs(3)
    begun = running, completed, failed = [parent.start_only(each) for each in wanted]
    parent.set(running, Running())
    parent.complete(completed)
    parent.fail(failed, "the worker was stopped")
    parent.begin(wanted)
    again = parent.take()
    assert again.id == failed.id
    parent.complete(again)
    parent.complete(running)
    assert all(result.failure is None for result in parent.end())
    assert {run.id for run in parent.runs()} == {run.id for run in begun}
    assert parent.history(completed).count("Scheduled") == 1


@pytest.mark.parametrize("state", [Completed(), Cancelled(), Crashed()])
def test_an_ended_child_run_starts_again_if_its_result_is_not_in_the_store(
    parent: Parent, state: State[Any]
) -> None:
    (wanted,) = specs(1)
    ended = parent.start_only(wanted)
    parent.set(ended, state)
    parent.begin([wanted])
    again = parent.take()
    assert again.id == ended.id
    parent.complete(again)
    assert parent.end()[0].failure is None


def test_a_cancelled_child_run_is_not_started_again(parent: Parent) -> None:
    parent.begin(specs(1))
    run = parent.take()
    parent.set(run, Cancelled(message="by hand"))
    (result,) = parent.end()
    assert result.failure == "cancelled: by hand"


def test_a_deleted_child_run_is_a_failure(parent: Parent) -> None:
    parent.begin(specs(2))
    deleted, kept = parent.take(), parent.take()
    parent.client.delete_flow_run(deleted.id)
    parent.complete(kept)
    failures = {result.run_id: result.failure for result in parent.end()}
    assert failures[kept.id] is None
    assert "deleted" in str(failures[deleted.id])


def test_a_run_whose_worker_died_before_it_began_is_scheduled_again(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_runs, "LOST_WORKER_S", 1.0)
    parent.begin(specs(2))
    both = until(lambda: len(found := parent.runs(StateType.SCHEDULED)) == 2 and found)
    lost, queued = both
    parent.set(lost, Pending())
    parent.client.update_flow_run(queued.id, infrastructure_pid="pod")
    parent.set(queued, Pending())
    again = parent.take()
    assert again.id == lost.id
    time.sleep(1.5)
    assert [run.id for run in parent.runs(StateType.PENDING)] == [queued.id]
    parent.complete(again)
    parent.complete(queued)
    assert all(result.failure is None for result in parent.end())


def test_cancel_children_cancels_the_runs_of_one_parent(parent: Parent) -> None:
    wanted = specs(3)
    waiting, running, done = (parent.start_only(each) for each in wanted)
    parent.client.update_flow_run(running.id, infrastructure_pid="host:1")
    parent.set(running, Running())
    parent.complete(done)
    other = Parent(parent.client, _new_parent(parent.client), parent.deployment)
    foreign = other.start_only(wanted[0])

    assert cancel_children(parent.id) == 2
    states = {run.id: run.state_name for run in parent.runs()}
    assert states == {waiting.id: "Cancelled", running.id: "Cancelling", done.id: "Completed"}
    assert [run.id for run in other.runs(StateType.SCHEDULED)] == [foreign.id]
    assert cancel_children(str(uuid.uuid4())) == 0


def test_an_unknown_deployment_is_named_in_one_line(parent: Parent) -> None:
    parent.deployment = "generate/nowhere"
    parent.begin(specs(1))
    with pytest.raises(AssertionError):
        parent.end()
    assert isinstance(parent.error, ValueError)
    assert "generate/nowhere is not on this server" in str(parent.error)
    assert "run synthset deploy" in str(parent.error)
    assert "\n" not in str(parent.error)


@pytest.mark.parametrize(
    ("error", "corrupt_input"),
    [(MissingArtifactError("the photo\nis gone"), True), (ValueError("no"), False)],
)
def test_a_failure_is_recorded_for_the_parent(
    tmp_path: Path,
    parent: Parent,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    corrupt_input: bool,
) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(type(error)), record_failure(store, "0" * 64):
        raise error
    message = " ".join(str(error).split())
    failure = failure_of(store, "0" * 64, parent.id)
    assert failure is not None
    assert (failure.failure, failure.corrupt_input) == (message, corrupt_input)
    assert failure_of(store, "0" * 64, str(uuid.uuid4())) is None
    assert failure_of(store, "1" * 64, parent.id) is None


def test_a_store_that_is_away_does_not_hide_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(child_runs, "save_result", away)
    with (
        pytest.raises(ValueError, match="the photo is black"),
        record_failure(open_store(str(tmp_path / "store")), "0" * 64),
    ):
        raise ValueError("the photo is black")


def test_retry_schedules_a_run_under_its_own_id(parent: Parent) -> None:
    run = parent.start_only(specs(1)[0])
    parent.fail(run, "the store refused")
    assert retry_run(str(run.id)) == [run.name]
    assert [found.id for found in parent.runs(StateType.SCHEDULED)] == [run.id]


def test_retry_by_name_takes_the_latest_run(parent: Parent) -> None:
    name = f"shoes/{uuid.uuid4().hex}"
    older, newer = parent.start_only(spec(name)), parent.start_only(spec(name))
    for run in (older, newer):
        parent.set(run, Failed())
    assert retry_run(f"{name} · expand") == [f"{name} · expand"]
    assert [run.id for run in parent.runs(StateType.SCHEDULED)] == [newer.id]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Running(), "has not ended"),
        (Pending(), "has not ended"),
        (Completed(), "completed"),
    ],
)
def test_retry_refuses_a_run_that_has_not_failed(
    parent: Parent, state: State[Any], reason: str
) -> None:
    run = parent.start_only(specs(1)[0])
    parent.set(run, state)
    with pytest.raises(RetryError, match=reason):
        retry_run(str(run.id))
    assert [found.state_type for found in parent.runs()] == [state.type]


def test_retry_refuses_a_run_without_deployment(client: SyncPrefectClient) -> None:
    from prefect import flow

    @flow(name="local")
    def local() -> None:
        raise ValueError("no")

    state: Any = local(return_state=True)
    with pytest.raises(RetryError, match="give the same command again"):
        retry_run(str(state.state_details.flow_run_id))


@pytest.mark.parametrize("wanted", [str(UUID(int=7)), "no such name"])
def test_retry_names_an_unknown_run(prefect_server: None, wanted: str) -> None:
    with pytest.raises(RetryError, match=wanted):
        retry_run(wanted)


def _open_runs(parent: Parent) -> list[FlowRun]:
    return parent.runs(StateType.SCHEDULED, StateType.RUNNING)
