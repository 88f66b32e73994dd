"""Retry a run under its own id, as the UI's button does; what is in the store is not made again."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled


class RetryError(ValueError):
    """A run that can't be retried; the line says why."""


def retry_run(wanted: str) -> list[str]:
    """Schedule a run again: a reference's, or the whole job's, which adopts its children and
    schedules those that failed.

    Args:
        wanted: id of a flow run; or its name, of which the latest is meant.

    Returns:
        The name of what was scheduled.

    Raises:
        RetryError: there is no such run; it has completed, or has not ended; or no deployment's
            worker could take it.
    """
    with get_client(sync_client=True) as client:
        run = _find(client, wanted)
        if run.state is None or not run.state.is_final():
            raise RetryError(f"{run.name} has not ended; cancel it first")
        if run.state.is_completed():
            raise RetryError(f"{run.name} completed; run its deployment for another night")
        if run.deployment_id is None:
            raise RetryError(
                f"{run.name} ran in a process of its own, without a deployment; "
                "give the same command again: it goes on where it stopped"
            )
        again: State[Any] = Scheduled(message="Retried by synthset retry")
        client.set_flow_run_state(run.id, again, force=True)
        return [run.name]


def _find(client: SyncPrefectClient, wanted: str) -> FlowRun:
    try:
        return client.read_flow_run(UUID(wanted))
    except ObjectNotFound:
        raise RetryError(f"no flow run {wanted} on this server") from None
    except ValueError:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[wanted])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
    if not found:
        raise RetryError(f"no flow run is called {wanted!r}; give its id or name from the UI")
    return found[0]
