"""Child runs on the workers of a deployment: a window of them, watched by one query at a time.

A child run of an order is the same run whenever the same parent asks for it: a parent that is
retried adopts its children, those at work and those that ended. A child that failed or crashed is
scheduled again under its own id, so that the UI shows one run per reference with all its attempts.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Pending, Scheduled
from prefect.tasks import Task

from flows.progress import this_run
from flows.recipe import Recipe
from models.records import Record, Reference
from tasks.expansion import load_expansion
from tasks.order import Expanded, told_of
from tasks.store import Store

log = logging.getLogger("synthset.dispatch")

# Attempts at a reference in one parent run: enough for a worker that dies and one that comes back.
ATTEMPTS = 4
# Before each attempt: what hit one may pass, such as a store that was away.
PAUSES_S = (0, 0, 5, 20)
AGAIN = {StateType.FAILED, StateType.CRASHED}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
# The server returns at most so many runs at a time.
PAGE = 200
# Answers below 500 that pass by themselves: a request that took too long, too many of them.
PASSING = {408, 429}
# How long the server may be away, such as for an upgrade, before the parent gives up.
SERVER_AWAY_S = 900.0
# How long a worker may take to start a run that it took, before it is taken for dead; and how long
# a run that has its machine, such as a pod, may wait for it.
TAKEN_S, QUEUED_S = 300.0, 3600.0


class Outcome(Record):
    """What became of one reference: done now, done before, or failed with the reason.

    ``damaged`` tells that it failed on something that the parent run can make anew.
    """

    reference: Reference
    expanded: Expanded | None = None
    reused: bool = False
    failure: str | None = None
    damaged: bool = False


@dataclass(frozen=True)
class Placed:
    """A reference and the key of its order."""

    reference: Reference
    key: str


@dataclass
class _Child:
    """A child run that is under way, or was when it was last looked at."""

    placed: Placed
    attempts: int = 1
    pending_since: float | None = None


@dataclass
class _Window:
    """The children of a parent run that have not ended."""

    store: Store
    recipe: Recipe
    deployment: str
    parent: str | None
    client: SyncPrefectClient
    under_way: dict[UUID, _Child] = field(default_factory=dict)

    def start(self, placed: Placed) -> None:
        """Start the child run of an order, or adopt the one that is there.

        One that has ended, in whatever way, goes on if what it was to make is not there: its
        artifacts were damaged since, or the parent has made anew what it failed on.
        """
        run = _patiently(self._run, placed)
        child = self.under_way[run.id] = _Child(placed)
        ended = run.state is not None and run.state.is_final()
        if ended and load_expansion(self.store, placed.key) is None:
            self._again(run, child)

    def ended(self) -> list[Outcome]:
        """The outcomes of children that ended since the last look; failed ones go on again."""
        runs = self._look()
        gone = set(self.under_way) - {run.id for run in runs}
        outcomes = [_deleted(self.under_way.pop(run)) for run in gone]
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
            outcomes.append(self._outcome(run, child.placed))
        return outcomes

    @cached_property
    def _deployed(self) -> UUID:
        """The deployment, looked up once for all children."""
        try:
            found: UUID = _patiently(self.client.read_deployment_by_name, self.deployment).id
        except ObjectNotFound as error:
            raise ValueError(
                f"deployment {self.deployment} is not on this server ({_short(error)}); "
                "run synthset deploy, or leave the deployment out"
            ) from error
        return found

    def _run(self, placed: Placed) -> FlowRun:
        name = f"{placed.reference.name} · expand"
        return self.client.create_flow_run_from_deployment(
            self._deployed,
            parameters={
                "reference": placed.reference.name,
                "store": self.store.url,
                "order": placed.key,
            },
            name=name,
            tags=[*tags_of(self.recipe, placed.reference), family_of(self.parent or "")],
            idempotency_key=f"{self.parent or ''}:{placed.key}",
            parent_task_run_id=self._place_in(placed, name),
        )

    def _place_in(self, placed: Placed, name: str) -> UUID | None:
        """The task run of the parent under which the UI shows the child; the same for a retried
        parent."""
        if self.parent is None:
            return None
        stands_for = Task(_elsewhere, name=self.deployment)
        return self.client.create_task_run(
            stands_for, UUID(self.parent), placed.key, name=name, state=Pending()
        ).id

    def _look(self) -> list[FlowRun]:
        """The children under way, as the server knows them; one query per `PAGE` of them."""
        ids = list(self.under_way)
        runs: list[FlowRun] = []
        for first in range(0, len(ids), PAGE):
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids[first : first + PAGE]))
            runs += _patiently(
                lambda wanted: self.client.read_flow_runs(flow_run_filter=wanted, limit=PAGE),
                wanted,
            )
        return runs

    def _is_worth_it(self, child: _Child) -> bool:
        """What is damaged upstream fails again until the parent makes it anew."""
        told = told_of(self.store, child.placed.key)
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
            _patiently(
                lambda state: self.client.set_flow_run_state(run.id, state, force=True), again
            )

    def _outcome(self, run: FlowRun, placed: Placed) -> Outcome:
        assert run.state is not None
        told = told_of(self.store, placed.key)
        # Another parent's child may have told last; what an order makes is the same.
        if run.state.is_completed() and told is not None and told.expanded is not None:
            return Outcome(reference=placed.reference, expanded=told.expanded)
        own = told if told is not None and told.run == str(run.id) else None
        failure = own.failure if own is not None and own.failure else _line(run.state)
        log.error("%s %s: %s", run.name, _named(run.state), failure)
        return Outcome(
            reference=placed.reference,
            failure=f"{_named(run.state)}: {failure}",
            damaged=own is not None and own.damaged,
        )


def dispatch(
    store: Store, recipe: Recipe, placed: Sequence[Placed], at_once: int, deployment: str
) -> Iterator[Outcome]:
    """Child runs of orders on a deployment's workers, ``at_once`` of them waiting or at work.

    Outcomes come as the children end. The window holds the server and the workers' queues small,
    however many references there are.

    Raises:
        ValueError: there is no such deployment.
        RuntimeError: the server stayed away for longer than `SERVER_AWAY_S`.
    """
    waiting = deque(placed)
    pause_s = FIRST_PAUSE_S
    with get_client(sync_client=True) as client:
        window = _Window(store, recipe, deployment, this_run(), client)
        while waiting or window.under_way:
            while waiting and len(window.under_way) < at_once:
                window.start(waiting.popleft())
            outcomes = window.ended()
            yield from outcomes
            if outcomes:
                pause_s = FIRST_PAUSE_S
            elif window.under_way:
                time.sleep(pause_s)
                pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)


def cancel_children(parent: str) -> int:
    """Cancel the children of a parent run that have not ended; how many they were."""
    from prefect.client.schemas.filters import (
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )

    under_way = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[family_of(parent)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=under_way)),
    )
    count = 0
    with get_client(sync_client=True) as client:
        while runs := _patiently(
            lambda wanted: client.read_flow_runs(flow_run_filter=wanted, limit=PAGE), wanted
        ):
            for run in runs:
                _patiently(lambda run: client.set_flow_run_state(run, _overtaken()), run.id)
            count += len(runs)
            if len(runs) < PAGE:
                break
    return count


def _elsewhere() -> None:
    """What the parent itself does for a child run."""


def _overtaken() -> State[Any]:
    return Cancelling(message="its parent was cancelled")


def tags_of(recipe: Recipe, reference: Reference) -> list[str]:
    """By what a child run can be found in the UI: class, recipe, profile."""
    return [reference.label, recipe.name, recipe.profile]


def family_of(parent: str) -> str:
    """The tag that the children of a parent run share."""
    return f"parent:{parent}"


def _patiently(ask: Any, question: Any) -> Any:
    """Ask the server, and wait for one that is away for a while."""
    gone_since: float | None = None
    while True:
        try:
            return ask(question)
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 500 and error.response.status_code not in PASSING:
                raise ValueError(
                    f"the Prefect server refuses ({_short(error)}); mend PREFECT_API_AUTH_STRING "
                    "where it wants a password, else run synthset deploy"
                ) from error
            gone_since = _wait_for_server(error, gone_since)
        except httpx.HTTPError as error:
            gone_since = _wait_for_server(error, gone_since)


def _wait_for_server(error: httpx.HTTPError, gone_since: float | None) -> float:
    """Pause before the server is asked again; since when it is away."""
    gone_since = gone_since or time.monotonic()
    if time.monotonic() - gone_since > SERVER_AWAY_S:
        raise RuntimeError(
            f"the Prefect server has been away for {SERVER_AWAY_S:.0f} s "
            f"({_short(error)}); start it and retry this run: its children go on"
        ) from error
    log.warning("the Prefect server does not answer (%s); asking again", _short(error))
    time.sleep(LONGEST_PAUSE_S / 2)
    return gone_since


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


def _deleted(child: _Child) -> Outcome:
    failure = "deleted: its run was deleted on the server; run again"
    return Outcome(reference=child.placed.reference, failure=failure)


def _line(state: State[Any]) -> str:
    return " ".join((state.message or _named(state)).split())


def _named(state: State[Any]) -> str:
    return (state.name or state.type.value).lower()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
