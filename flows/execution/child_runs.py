"""Child runs of a deployment: a window of them, watched by one query at a time.

A child run is the same run whenever the same parent asks for the same: a parent that is retried
adopts its children, those at work and those that ended. A child that failed or crashed is scheduled
again under its own id, so that the UI shows one run with all its attempts.
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
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Pending, Scheduled
from prefect.tasks import Task

from flows.execution.progress import this_run
from tasks.engine.server_retry import one_line, retry_while_unreachable
from tasks.engine.work_items import Told, tell, told_of
from tasks.store.errors import CorruptArtifactError, MissingArtifactError, StoreError
from tasks.store.store import Store

log = logging.getLogger("synthset.dispatch")

# Attempts at a child in one parent run: enough for a worker that dies and one that comes back.
ATTEMPTS = 4
# Before each attempt: what hit one may pass, such as a store that was away.
PAUSES_S = (0, 0, 5, 20)
AGAIN = {StateType.FAILED, StateType.CRASHED}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
# The server returns at most so many runs at a time.
PAGE = 200
# How long a worker may take to start a run that it took, before it is taken for dead; and how long
# a run that has its machine, such as a pod, may wait for it.
TAKEN_S, QUEUED_S = 300.0, 3600.0


@dataclass(frozen=True)
class Asked:
    """What a child run is to do. ``key`` is the digest of all that decides it."""

    key: str
    name: str
    parameters: dict[str, Any]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """How a child run ended, and ``why`` for people.

    ``told`` is what was left in the store of this work, perhaps by another parent's child.
    ``damaged``: it failed on something that the parent run can make anew.
    """

    asked: Asked
    run: UUID
    completed: bool
    why: str
    told: Told | None = None
    damaged: bool = False


@dataclass
class _Child:
    """A child run that is under way, or was when it was last looked at."""

    asked: Asked
    attempts: int = 1
    pending_since: float | None = None


@dataclass
class Window:
    """The children of a parent run that have not ended.

    ``is_done`` says of a key whether what a child was to make is there.
    """

    store: Store
    deployment: str
    parent: str | None
    client: SyncPrefectClient
    is_done: Callable[[str], bool]
    under_way: dict[UUID, _Child] = field(default_factory=dict)

    def start(self, asked: Asked) -> None:
        """Start a child run, or adopt the one that is there.

        One that has ended, in whatever way, goes on if what it was to make is not there: its
        artifacts were damaged since, or the parent has made anew what it failed on.
        """
        run = retry_while_unreachable(self._run, asked)
        child = self.under_way[run.id] = _Child(asked)
        ended = run.state is not None and run.state.is_final()
        if ended and not self.is_done(asked.key):
            self._again(run, child)

    def ended(self) -> list[Ended]:
        """The children that ended since the last look; failed ones go on again."""
        runs = self._look()
        gone = set(self.under_way) - {run.id for run in runs}
        ended = [_deleted(run, self.under_way.pop(run)) for run in gone]
        for run in runs:
            child = self.under_way[run.id]
            if run.state is None or not run.state.is_final():
                if _is_stuck(run, child):
                    self._again(run, child)
                continue
            if run.state.type in AGAIN and child.attempts < ATTEMPTS and self._is_worth_it(child):
                child.attempts += 1
                self._again(run, child)
                continue
            del self.under_way[run.id]
            ended.append(self._outcome(run, child.asked))
        return ended

    @cached_property
    def _deployed(self) -> UUID:
        """The deployment, looked up once for all children."""
        try:
            return retry_while_unreachable(self.client.read_deployment_by_name, self.deployment).id
        except ObjectNotFound as error:
            raise ValueError(
                f"deployment {self.deployment} is not on this server ({one_line(error)}); "
                "run synthset deploy, or leave the deployment out"
            ) from error

    def _run(self, asked: Asked) -> FlowRun:
        return self.client.create_flow_run_from_deployment(
            self._deployed,
            parameters=asked.parameters,
            name=asked.name,
            tags=[*asked.tags, family_of(self.parent or "")],
            idempotency_key=f"{self.parent or ''}:{asked.key}",
            parent_task_run_id=self._place_in(asked),
        )

    def _place_in(self, asked: Asked) -> UUID | None:
        """The task run of the parent under which the UI shows the child; the same for a retried
        parent."""
        if self.parent is None:
            return None
        stands_for = Task(_elsewhere, name=self.deployment)
        return self.client.create_task_run(
            stands_for, UUID(self.parent), asked.key, name=asked.name, state=Pending()
        ).id

    def _look(self) -> list[FlowRun]:
        """The children under way, as the server knows them; one query per `PAGE` of them."""
        ids = list(self.under_way)
        runs: list[FlowRun] = []
        for first in range(0, len(ids), PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids[first : first + PAGE]))
            runs += retry_while_unreachable(
                lambda wanted: self.client.read_flow_runs(flow_run_filter=wanted, limit=PAGE),
                wanted,
            )
        return runs

    def _is_worth_it(self, child: _Child) -> bool:
        """What is damaged upstream fails again until the parent makes it anew."""
        told = told_of(self.store, child.asked.key)
        return told is None or not told.damaged

    def _again(self, run: FlowRun, child: _Child) -> None:
        assert run.state is not None
        child.pending_since = None
        log.warning(
            "%s %s (%s); attempt %d of %d",
            *(run.name, _named(run.state), _line(run.state), child.attempts, ATTEMPTS),
        )
        wait = timedelta(seconds=PAUSES_S[min(child.attempts, len(PAUSES_S)) - 1])
        again: State[Any] = Scheduled(
            scheduled_time=datetime.now(UTC) + wait,
            message=f"Attempt {child.attempts} of {ATTEMPTS}",
        )
        # One that was deleted meanwhile is missed at the next look.
        with suppress(ObjectNotFound):
            retry_while_unreachable(
                lambda state: self.client.set_flow_run_state(run.id, state, force=True), again
            )

    def _outcome(self, run: FlowRun, asked: Asked) -> Ended:
        assert run.state is not None
        told = told_of(self.store, asked.key)
        own = told if told is not None and told.run == str(run.id) else None
        why = own.failure if own is not None and own.failure else _line(run.state)
        completed = run.state.is_completed()
        if not completed:
            log.error("%s %s: %s", run.name, _named(run.state), why)
        return Ended(
            asked=asked,
            run=run.id,
            completed=completed,
            why=f"{_named(run.state)}: {why}",
            told=told,
            damaged=own is not None and own.damaged,
        )


def follow(
    store: Store,
    asked: Iterable[Asked],
    at_once: int,
    deployment: str,
    is_done: Callable[[str], bool],
) -> Iterator[Ended]:
    """Child runs on a deployment's workers, ``at_once`` of them waiting or at work, as they end.

    The window holds the server and the workers' queues small, however many children there are.

    Raises:
        ValueError: there is no such deployment, or the server refuses.
        RuntimeError: the server stayed away for longer than a quarter of an hour.
    """
    waiting = deque(asked)
    pause_s = FIRST_PAUSE_S
    with get_client(sync_client=True) as client:
        window = Window(store, deployment, this_run(), client, is_done)
        while waiting or window.under_way:
            while waiting and len(window.under_way) < at_once:
                window.start(waiting.popleft())
            ended = window.ended()
            yield from ended
            if ended:
                pause_s = FIRST_PAUSE_S
            elif window.under_way:
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)


@contextmanager
def failure_told(store: Store, key: str) -> Iterator[None]:
    """Tell in the store how work failed, for a parent run on another machine."""
    try:
        yield
    except Exception as error:
        failure = " ".join(str(error).split()) or type(error).__name__
        damaged = isinstance(error, CorruptArtifactError | MissingArtifactError)
        with suppress(StoreError):
            tell(store, key, Told(run=this_run(), failure=failure, damaged=damaged))
        raise


def family_of(parent: str) -> str:
    """The tag that the children of a parent run share."""
    return f"parent:{parent}"


def _elsewhere() -> None:
    """What the parent itself does for a child run."""


def _is_stuck(run: FlowRun, child: _Child) -> bool:
    """Whether a worker took the run and is gone: such runs send no heartbeat that could be missed.

    A run with an ``infrastructure_pid`` has been started, and waits for its machine.
    """
    if run.state is None or not run.state.is_pending():
        child.pending_since = None
        return False
    child.pending_since = child.pending_since or time.monotonic()
    patience_s = QUEUED_S if run.infrastructure_pid else TAKEN_S
    return time.monotonic() - child.pending_since > patience_s


def _deleted(run: UUID, child: _Child) -> Ended:
    why = "deleted: its run was deleted on the server; run again"
    return Ended(asked=child.asked, run=run, completed=False, why=why)


def _line(state: State[Any]) -> str:
    return " ".join((state.message or _named(state)).split())


def _named(state: State[Any]) -> str:
    return (state.name or state.type.value).lower()
