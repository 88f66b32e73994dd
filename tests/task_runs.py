"""The task runs of a flow run, once the server knows what became of them."""

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

# The server learns of task runs from events, which it may handle after the flow has ended.
WAIT_S = 60


def ended_task_runs(flow_run: UUID, count: int) -> list[TaskRun]:
    """The task runs of a flow run, as soon as there are ``count`` and all have ended."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    deadline = time.monotonic() + WAIT_S
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=wanted)
            ended = [run for run in runs if run.state is not None and run.state.is_final()]
            if len(ended) == len(runs) == count:
                return ended
            assert time.monotonic() < deadline, runs
            time.sleep(0.1)
