"""Retry a run under its own id, as the button of the UI does; finished work is not repeated."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Scheduled

from deployments.server.client import server_client


class RetryError(ValueError):
    """A run can't be retried; the line says why."""


def retry_run(wanted: str) -> list[str]:
    """Schedule a child run or a parent run again. A parent run also starts its failed children.

    ``wanted`` is its id or name; of several with one name, the latest. Returns the name.

    Raises:
        RetryError: the run does not exist, has completed, has not ended, or has no deployment whose
            worker could take it.
        ServerError: no server is configured, or it can't be used.
    """
    with server_client() as client:
        run = _find_run(client, wanted)
        if run.state is None or not run.state.is_final():
            raise RetryError(f"{run.name} has not ended; cancel it first")
        if run.state.is_completed():
            raise RetryError(f"{run.name} completed; start its deployment for a new run")
        if run.deployment_id is None:
            raise RetryError(
                f"{run.name} ran without a deployment, in the process of a command; "
                "give the same command again: it continues where it stopped"
            )
        state: State[Any] = Scheduled(message="Retried by synthset retry")
        client.set_flow_run_state(run.id, state, force=True)
        return [run.name]


def _find_run(client: SyncPrefectClient, wanted: str) -> FlowRun:
    try:
        return client.read_flow_run(UUID(wanted))
    except ObjectNotFound:
        raise RetryError(
            f"no flow run {wanted} on this server; give its id or name from the UI"
        ) from None
    except ValueError:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[wanted])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
    if not found:
        raise RetryError(f"no flow run is called {wanted!r}; give its id or name from the UI")
    return found[0]
