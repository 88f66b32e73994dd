"""Child runs on the workers of a deployment: started, waited for, started again when they fail.

A parent run that starts again gets its earlier child runs back: the idempotency key of a child run
is made of the parent's id and the work item's key. A failed or crashed child run is scheduled again
under its own id, so that the UI shows one run with all its attempts.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Pending, Scheduled
from prefect.tasks import Task

from flows.execution.progress import this_run
from tasks.engine.item_documents import load_result, save_result
from tasks.engine.server_retry import one_line, retry_while_unreachable
from tasks.engine.work_items import Result
from tasks.store.errors import StoreError, UnreadableArtifactError
from tasks.store.store import Store

log = logging.getLogger("synthset.children")

# One parent run attempts a child run this often: a worker may die, and a store may be away.
MAX_ATTEMPTS = 4
DELAY_BEFORE_ATTEMPT_S = (0, 0, 5, 20)
FIRST_POLL_S, LONGEST_POLL_S = 0.5, 10.0
# The server returns at most this many runs per request.
PAGE_SIZE = 200
# A run without infrastructure that stays pending this long lost its worker. A run with
# infrastructure, such as a pod, may wait for its machine.
LOST_WORKER_S, WAITING_FOR_MACHINE_S = 300.0, 3600.0


@dataclass(frozen=True)
class ChildRunSpec:
    """What one child run does. ``key`` is the digest of everything that decides its result."""

    key: str
    name: str
    parameters: dict[str, Any]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChildRunResult:
    """How a child run ended; ``failure`` is None if it completed.

    ``corrupt_input``: it failed on an artifact that the parent run can compute again.
    """

    spec: ChildRunSpec
    run_id: UUID
    failure: str | None
    corrupt_input: bool = False


@dataclass
class _Child:
    spec: ChildRunSpec
    attempts: int = 1
    pending_since: float | None = None


@dataclass
class ChildRunPool:
    """The child runs of one parent run that have not ended yet."""

    client: SyncPrefectClient
    deployment: str
    parent_id: str | None
    is_done: Callable[[ChildRunSpec], bool]
    failure_of: Callable[[ChildRunSpec, str], Result | None]
    children: dict[UUID, _Child] = field(default_factory=dict)

    def start(self, spec: ChildRunSpec) -> None:
        """Start a child run, or take over the one that this parent started earlier.

        An earlier run that has ended is scheduled again if its result is not in the store.
        """
        run = retry_while_unreachable(self._create_run, spec)
        child = self.children[run.id] = _Child(spec)
        if run.state is not None and run.state.is_final() and not self.is_done(spec):
            self._schedule_again(run, child)

    def poll(self) -> list[ChildRunResult]:
        """The child runs that ended since the last poll; failed ones may be scheduled again."""
        runs = self._read_runs()
        results = []
        for run_id in set(self.children) - {run.id for run in runs}:
            failure = "deleted: someone deleted this run on the server; run the same command again"
            results.append(ChildRunResult(self.children.pop(run_id).spec, run_id, failure))
        for run in runs:
            child = self.children[run.id]
            if run.state is None or not run.state.is_final():
                if _has_lost_its_worker(run, child):
                    self._schedule_again(run, child)
            elif self._deserves_another_attempt(run, child):
                child.attempts += 1
                self._schedule_again(run, child)
            else:
                results.append(self._result(run, self.children.pop(run.id).spec))
        return results

    @cached_property
    def _deployment_id(self) -> UUID:
        try:
            return retry_while_unreachable(self.client.read_deployment_by_name, self.deployment).id
        except ObjectNotFound as error:
            raise ValueError(
                f"deployment {self.deployment} is not on this server ({one_line(error)}); "
                "run synthset deploy, or leave the deployment out"
            ) from error

    def _create_run(self, spec: ChildRunSpec) -> FlowRun:
        # `prefect.deployments.run_deployment(as_subflow=True)` does the same, but it numbers the
        # linking task runs by order of calls: a parent that starts again with fewer children would
        # link them wrongly. It also reads the deployment once per child.
        return self.client.create_flow_run_from_deployment(
            self._deployment_id,
            parameters=spec.parameters,
            name=spec.name,
            tags=[*spec.tags, parent_tag(self.parent_id or "")],
            idempotency_key=f"{self.parent_id or ''}:{spec.key}",
            parent_task_run_id=self._linking_task_run(spec),
        )

    def _linking_task_run(self, spec: ChildRunSpec) -> UUID | None:
        """The parent's task run under which the UI shows the child; the server makes it once."""
        if self.parent_id is None:
            return None
        task = Task(_runs_elsewhere, name=self.deployment)
        return self.client.create_task_run(
            task, UUID(self.parent_id), spec.key, name=spec.name, state=Pending()
        ).id

    def _read_runs(self) -> list[FlowRun]:
        ids = list(self.children)
        runs: list[FlowRun] = []
        for first in range(0, len(ids), PAGE_SIZE):
            page = filters.FlowRunFilter(
                id=filters.FlowRunFilterId(any_=ids[first : first + PAGE_SIZE])
            )
            runs += retry_while_unreachable(_read_page, self.client, page)
        return runs

    def _deserves_another_attempt(self, run: FlowRun, child: _Child) -> bool:
        """Whether a failed or crashed run may succeed next time without help of the parent run."""
        if run.state_type not in (StateType.FAILED, StateType.CRASHED):
            return False
        failure = self.failure_of(child.spec, str(run.id))
        return child.attempts < MAX_ATTEMPTS and not (failure and failure.corrupt_input)

    def _schedule_again(self, run: FlowRun, child: _Child) -> None:
        child.pending_since = None
        attempt = f"attempt {child.attempts} of {MAX_ATTEMPTS}"
        log.warning("%s %s: %s; %s", run.name, _state_name(run), _state_message(run), attempt)
        delay = DELAY_BEFORE_ATTEMPT_S[min(child.attempts, MAX_ATTEMPTS) - 1]
        scheduled: State[Any] = Scheduled(
            scheduled_time=datetime.now(UTC) + timedelta(seconds=delay), message=attempt
        )
        # The next poll reports a run that was deleted in the meantime.
        with suppress(ObjectNotFound):
            retry_while_unreachable(self.client.set_flow_run_state, run.id, scheduled, force=True)

    def _result(self, run: FlowRun, spec: ChildRunSpec) -> ChildRunResult:
        if run.state_type is StateType.COMPLETED:
            return ChildRunResult(spec, run.id, failure=None)
        failure = self.failure_of(spec, str(run.id))
        message = (failure and failure.failure) or _state_message(run)
        log.error("%s %s: %s", run.name, _state_name(run), message)
        return ChildRunResult(
            spec,
            run.id,
            failure=f"{_state_name(run)}: {message}",
            corrupt_input=failure is not None and failure.corrupt_input,
        )


def run_children(
    deployment: str,
    specs: Iterable[ChildRunSpec],
    max_parallel: int,
    *,
    is_done: Callable[[ChildRunSpec], bool],
    failure_of: Callable[[ChildRunSpec, str], Result | None],
) -> Iterator[ChildRunResult]:
    """Run work items as child runs of the current flow run; yield results as the runs end.

    Args:
        deployment: ``flow/deployment`` whose workers run them.
        max_parallel: child runs that wait or run at a time. It bounds the load of the server.
        failure_of: what a run, given by its id, wrote into the store about its failure. States
            alone don't say it: a server that answers late gives them without their values.

    Raises:
        ValueError: the deployment does not exist, or the server refuses.
        RuntimeError: the server was unreachable for a quarter of an hour.
    """
    waiting = deque(specs)
    pause_s = FIRST_POLL_S
    with get_client(sync_client=True) as client:
        pool = ChildRunPool(client, deployment, this_run(), is_done, failure_of)
        while waiting or pool.children:
            while waiting and len(pool.children) < max_parallel:
                pool.start(waiting.popleft())
            results = pool.poll()
            yield from results
            if results:
                pause_s = FIRST_POLL_S
            elif pool.children:
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, LONGEST_POLL_S)


def cancel_children(parent_id: str) -> int:
    """Cancel the child runs of a parent run that have not ended; return how many these were."""
    active = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
    page = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[parent_tag(parent_id)]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=active)),
    )
    cancelled = 0
    with get_client(sync_client=True) as client:
        while True:
            runs: list[FlowRun] = retry_while_unreachable(_read_page, client, page)
            for run in runs:
                state: State[Any] = Cancelling(message="its parent run was cancelled")
                retry_while_unreachable(client.set_flow_run_state, run.id, state)
            cancelled += len(runs)
            if len(runs) < PAGE_SIZE:
                return cancelled


@contextmanager
def record_failure(store: Store, key: str) -> Iterator[None]:
    """Write the failure of the enclosed work into the store, where the parent run reads it."""
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        corrupt_input = isinstance(error, UnreadableArtifactError)
        with suppress(StoreError):
            result = Result(key=key, failure=message, corrupt_input=corrupt_input, run=this_run())
            save_result(store, result)
        raise


def failure_of(store: Store, key: str, run_id: str) -> Result | None:
    """What `record_failure` wrote for a key, if the run with this id wrote it last."""
    result = load_result(store, key)
    return result if result and result.run == run_id and result.failure else None


def parent_tag(parent_id: str) -> str:
    """The tag that all child runs of a parent run have."""
    return f"parent:{parent_id}"


def _runs_elsewhere() -> None:
    """The function of the task run that links a child run to its parent; nobody calls it."""


def _read_page(client: SyncPrefectClient, page: filters.FlowRunFilter) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=page, limit=PAGE_SIZE)


def _has_lost_its_worker(run: FlowRun, child: _Child) -> bool:
    """Whether a pending run waits too long: it sends no heartbeats whose absence would show it."""
    if run.state_type is not StateType.PENDING:
        child.pending_since = None
        return False
    child.pending_since = child.pending_since or time.monotonic()
    limit_s = WAITING_FOR_MACHINE_S if run.infrastructure_pid else LOST_WORKER_S
    return time.monotonic() - child.pending_since > limit_s


def _state_name(run: FlowRun) -> str:
    return (run.state_name or "unknown").lower()


def _state_message(run: FlowRun) -> str:
    message = run.state.message if run.state else None
    return " ".join((message or _state_name(run)).split())
