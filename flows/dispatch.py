"""Child runs on the workers of a deployment: a window of them, watched by one query at a time.

A child run of an order is the same run whenever the same parent asks for it: a parent that is
retried adopts its children, those at work and those that ended. A child that failed or crashed is
scheduled again under its own id, so that the UI shows one run per reference with all its attempts.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Scheduled

from flows.progress import this_run
from flows.recipe import Recipe
from models.records import Record, Reference
from tasks.order import Expanded, told_of
from tasks.store import Store

log = logging.getLogger("synthset.dispatch")

# Attempts at a reference in one parent run: enough for a worker that dies and one that comes back.
ATTEMPTS = 4
AGAIN = {StateType.FAILED, StateType.CRASHED}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
# The server returns at most so many runs at a time.
PAGE = 200
# How long the server may be away, such as for an upgrade, before the parent gives up.
SERVER_AWAY_S = 900.0


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


@dataclass
class _Window:
    """The children of a parent run that have not ended."""

    store: Store
    recipe: Recipe
    deployment: str
    parent: str
    client: SyncPrefectClient
    under_way: dict[UUID, _Child] = field(default_factory=dict)

    def start(self, placed: Placed) -> None:
        """Start the child run of an order, or adopt the one that is there."""
        run = _patiently(self._run, placed)
        self.under_way[run.id] = _Child(placed)

    def ended(self) -> list[Outcome]:
        """The outcomes of children that ended since the last look; failed ones go on again."""
        outcomes = []
        for run in self._look():
            child = self.under_way[run.id]
            if run.state is None or not run.state.is_final():
                continue
            if run.state.type in AGAIN and child.attempts < ATTEMPTS and self._is_worth_it(child):
                child.attempts += 1
                self._again(run, child)
                continue
            del self.under_way[run.id]
            outcomes.append(self._outcome(run, child.placed))
        return outcomes

    def _run(self, placed: Placed) -> FlowRun:
        run: Any = run_deployment(
            self.deployment,
            parameters={
                "reference": placed.reference.name,
                "store": self.store.url,
                "order": placed.key,
            },
            flow_run_name=f"{placed.reference.name} · expand",
            timeout=0,
            tags=[*tags_of(self.recipe, placed.reference), family_of(self.parent)],
            idempotency_key=f"{self.parent}:{placed.key}",
        )
        return run  # type: ignore[no-any-return]  # typed for its asynchronous form

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
        log.warning(
            "%s %s (%s); attempt %d of %d",
            *(run.name, _named(run.state), _line(run.state), child.attempts, ATTEMPTS),
        )
        again: State[Any] = Scheduled(message=f"Attempt {child.attempts} of {ATTEMPTS}")
        _patiently(lambda state: self.client.set_flow_run_state(run.id, state, force=True), again)

    def _outcome(self, run: FlowRun, placed: Placed) -> Outcome:
        assert run.state is not None
        told = told_of(self.store, placed.key)
        own = told if told is not None and told.run == str(run.id) else None
        if run.state.is_completed() and own is not None and own.expanded is not None:
            return Outcome(reference=placed.reference, expanded=own.expanded)
        failure = own.failure if own is not None and own.failure else _line(run.state)
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
        window = _Window(store, recipe, deployment, this_run() or "", client)
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
        while runs := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE):
            for run in runs:
                client.set_flow_run_state(run.id, Cancelling(message="its parent was cancelled"))
            count += len(runs)
            if len(runs) < PAGE:
                break
    return count


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
        except ObjectNotFound as error:
            raise ValueError(
                f"no deployment of that name on this server ({_short(error)}); "
                "run synthset deploy, or leave the deployment out"
            ) from error
        except httpx.HTTPError as error:
            gone_since = gone_since or time.monotonic()
            if time.monotonic() - gone_since > SERVER_AWAY_S:
                raise RuntimeError(
                    f"the Prefect server has been away for {SERVER_AWAY_S:.0f} s "
                    f"({_short(error)}); start it and retry this run: its children go on"
                ) from error
            log.warning("the Prefect server does not answer (%s); asking again", _short(error))
            time.sleep(LONGEST_PAUSE_S / 2)


def _line(state: State[Any]) -> str:
    return " ".join((state.message or _named(state)).split())


def _named(state: State[Any]) -> str:
    return (state.name or state.type.value).lower()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
