"""The concurrency limit of each GPU, with one slot: created here, and freed after crashes."""

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

ACTIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# The lease of a run that died may exist for this long. Its end would free the slot a second time.
ENDED_BEFORE = timedelta(seconds=2 * LEASE_S)


def apply_limit(client: SyncPrefectClient, name: str, pool: str) -> str | None:
    """Create a GPU's limit, or free its slot if no run of the work pool can hold it.

    A limit that an operator changed or switched off stays as it is. Returns what was done, or None.
    """
    try:
        limit = client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        return f"limit {name}: created, 1 slot"
    if not limit.active:
        return f"limit {name}: switched off by an operator; kept"
    if not limit.active_slots or _is_maybe_held(client, pool):
        return None
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
    return f"limit {name}: freed; it was occupied, and no run is active in {pool}"


def _is_maybe_held(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a run of the pool is active or has just ended."""
    since = datetime.now(UTC) - ENDED_BEFORE
    return any(
        client.read_flow_runs(
            flow_run_filter=runs,
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            limit=1,
        )
        for runs in (
            FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ACTIVE))),
            FlowRunFilter(end_time=FlowRunFilterEndTime(after_=since)),
        )
    )
