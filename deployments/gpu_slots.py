"""The concurrency limits that GPUs are held by: one slot each, made and looked after here."""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from tasks.engine.gpu import LEASE_S

AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# The lease of a run that died may still be there so long after, and would then free the slot
# a second time.
ENDED_BEFORE = timedelta(seconds=2 * LEASE_S)


def apply_limit(client: SyncPrefectClient, name: str, pool: str) -> str | None:
    """Make a GPU's limit, or free its slot where no run of the work pool can be holding it.

    What an operator set to another number or switched off, stays so.

    Returns:
        What was done, or None if it was as it should be.
    """
    try:
        has = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        return f"limit {name}: created, 1 slot"
    if not has.active:
        return f"limit {name}: is switched off; left so"
    if not has.active_slots or _may_hold(client, pool):
        return None
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
    return f"limit {name}: freed; it was taken, and no run is at work in {pool}"


def _may_hold(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a run of the pool is at work, or has ended just now."""
    since = datetime.now(UTC) - ENDED_BEFORE
    return any(
        client.read_flow_runs(
            flow_run_filter=runs,
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            limit=1,
        )
        for runs in (
            FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK))),
            FlowRunFilter(end_time=FlowRunFilterEndTime(after_=since)),
        )
    )
