"""One child run per reference on the workers of a deployment, and what became of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelling

from flows.config.recipe import Recipe
from flows.execution.child_runs import PAGE, Asked, Ended, family_of, follow
from models.data.records import Record, Reference
from tasks.engine.results import load_expansion
from tasks.engine.server_retry import retry_while_unreachable
from tasks.engine.work_items import Expanded
from tasks.store.store import Store


class Outcome(Record):
    """What became of one reference: done now, done before, or failed with the reason.

    ``damaged`` tells that it failed on something that the parent run can make anew.
    """

    reference: Reference
    expanded: Expanded | None = None
    cached: bool = False
    failure: str | None = None
    damaged: bool = False


@dataclass(frozen=True)
class Placed:
    """A reference and the key of its order."""

    reference: Reference
    key: str


def dispatch(
    store: Store, recipe: Recipe, placed: Sequence[Placed], at_once: int, deployment: str
) -> Iterator[Outcome]:
    """Child runs of orders on a deployment's workers, ``at_once`` of them waiting or at work.

    Outcomes come as the children end.

    Raises:
        ValueError: there is no such deployment, or the server refuses.
        RuntimeError: the server stayed away for longer than a quarter of an hour.
    """
    references = {one.key: one.reference for one in placed}
    children = [asked_of(store, recipe, one) for one in placed]

    def is_done(key: str) -> bool:
        return load_expansion(store, key) is not None

    for ended in follow(store, children, at_once, deployment, is_done):
        yield _outcome(ended, references[ended.asked.key])


def asked_of(store: Store, recipe: Recipe, placed: Placed) -> Asked:
    """The child run that an order is for."""
    name = placed.reference.name
    return Asked(
        key=placed.key,
        name=f"{name} · expand",
        parameters={"reference": name, "store": store.url, "order": placed.key},
        tags=tuple(tags_of(recipe, placed.reference)),
    )


def cancel_children(parent: str) -> int:
    """Cancel the children of a parent run that have not ended; how many they were."""
    under_way = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[family_of(parent)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=under_way)),
    )
    count = 0
    with get_client(sync_client=True) as client:
        while runs := retry_while_unreachable(
            lambda wanted: client.read_flow_runs(flow_run_filter=wanted, limit=PAGE), wanted
        ):
            for run in runs:
                retry_while_unreachable(
                    lambda run: client.set_flow_run_state(run, _overtaken()), run.id
                )
            count += len(runs)
            if len(runs) < PAGE:
                break
    return count


def tags_of(recipe: Recipe, reference: Reference) -> list[str]:
    """By what a child run can be found in the UI: class, recipe, profile."""
    return [reference.label, recipe.name, recipe.profile]


def _outcome(ended: Ended, reference: Reference) -> Outcome:
    told = ended.told
    # Another parent's child may have told last; what an order makes is the same.
    if ended.completed and told is not None and told.expanded is not None:
        return Outcome(reference=reference, expanded=told.expanded)
    return Outcome(reference=reference, failure=ended.why, damaged=ended.damaged)


def _overtaken() -> State[Any]:
    return Cancelling(message="its parent was cancelled")
