"""Stages in the Prefect UI: a stage that is called inside a flow is a task run of that flow."""

from collections.abc import Callable
from functools import cache
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from models.data.records import Artifact
from tasks.store.errors import StoreUnavailableError

RETRY_DELAYS_S = [5.0, 20.0, 60.0]


class StageCall:
    """One call of a stage.

    It is a plain class on purpose: Prefect visits every element of lists and dataclasses among the
    parameters of a task, and a stage may get thousands of artifacts.
    """

    def __init__(self, title: str, work: Callable[[], tuple[list[Artifact], int, str]]) -> None:
        self.title = title
        self.work = work

    def __str__(self) -> str:
        return self.title


def run_as_task(stage: str, call: StageCall) -> list[Artifact]:
    """Run a stage as a task run; one that computed nothing ends in the state ``Cached``."""
    result: Any = _task_of(stage)(call)
    artifacts: list[Artifact] = result.result() if isinstance(result, State) else result
    return artifacts


def _run_stage(call: StageCall) -> Any:
    artifacts, computed, message = call.work()
    if not computed:
        return Completed(name="Cached", message=f"{len(artifacts)} cached", data=artifacts)
    return Completed(message=message, data=artifacts)


def _is_outage(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Retry only outages of the store: other work would fail again for the same reason."""
    return isinstance(state.result(raise_on_failure=False), StoreUnavailableError)


@cache
def _task_of(stage: str) -> Task[[StageCall], Any]:
    return Task(
        _run_stage,
        name=stage,
        task_run_name="{call}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=_is_outage,
    )
