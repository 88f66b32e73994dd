"""A run that crashes again and again is given up."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

RESUMES = 4
RESUMED = "Resumed"


class CrashedTooOften(RuntimeError):
    """A run that crashed again and again is given up; the line says what to do."""


def give_up_after_crashes(run: str | None) -> None:
    """Return unless a run was resumed by the automation too often; a person's retry counts anew.

    Raises:
        CrashedTooOften: it was; the run then fails, and is not resumed again.
    """
    if run is None:
        return
    with get_client(sync_client=True) as client:
        states = sorted(client.read_flow_run_states(UUID(run)), key=lambda one: one.timestamp)
    resumed = 0
    for state in states:
        if state.type is StateType.SCHEDULED:
            resumed = resumed + 1 if state.name == RESUMED else 0
    if resumed > RESUMES:
        raise CrashedTooOften(
            f"this run crashed and was resumed {RESUMES} times; its worker's log and the machine's "
            "tell why (out of memory?): mend the cause, then 'synthset retry' it: what is done "
            "stays done"
        )
