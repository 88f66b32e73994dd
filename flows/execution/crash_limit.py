"""A limit on how often the automation starts a crashed run again."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

MAX_RESUMES = 4
RESUMED = "Resumed"


class TooManyCrashesError(RuntimeError):
    """A run crashed and was resumed too often; the line says what to do."""


def fail_after_too_many_crashes(run_id: str | None) -> None:
    """Raise if the automation resumed a run more than `MAX_RESUMES` times in a row.

    A retry by a person resets the count.

    Raises:
        TooManyCrashesError: the run then fails and is not resumed again.
    """
    if run_id is None:
        return
    with get_client(sync_client=True) as client:
        states = sorted(
            client.read_flow_run_states(UUID(run_id)), key=lambda state: state.timestamp
        )
    resumes = 0
    for state in states:
        if state.type is StateType.SCHEDULED:
            resumes = resumes + 1 if state.name == RESUMED else 0
    if resumes > MAX_RESUMES:
        raise TooManyCrashesError(
            f"this run crashed and was resumed {MAX_RESUMES} times; see the logs of its worker and "
            "machine (out of memory?), fix the cause, then run 'synthset retry': what is done "
            "stays done"
        )
