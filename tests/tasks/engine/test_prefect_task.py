"""What the Prefect UI shows of a stage, and which failures are tried again."""

from collections.abc import Callable

import pytest
from prefect import flow
from prefect.client.schemas.objects import TaskRun
from prefect.context import FlowRunContext

from models.data.records import Artifact
from tasks.engine import prefect_task
from tasks.engine.prefect_task import StageCall, run_as_task
from tasks.store.errors import StoreAccessError, StoreError, StoreUnavailableError
from tests.task_runs import ended_task_runs

pytestmark = pytest.mark.usefixtures("prefect_server")
ARTIFACT = Artifact(key="a", stage="draw", version=1, name="mug/a", media="png", digest="d", size=1)
Work = Callable[[], tuple[list[Artifact], int, str]]


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_task, "RETRY_DELAYS_S", [0.0, 0.0, 0.0])
    prefect_task._task_of.cache_clear()


def call(work: Work) -> tuple[list[Artifact] | Exception, TaskRun]:
    """Run a stage in a flow: its artifacts or its error, and its task run."""
    ids = []

    @flow
    def parent() -> list[Artifact] | Exception:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        ids.append(context.flow_run.id)
        try:
            return run_as_task("draw", StageCall("draw · test", work))
        except StoreError as error:
            return error

    result = parent()
    (task_run,) = ended_task_runs(ids[0], 1)
    return result, task_run


def failing(error: Exception, times: int) -> tuple[Work, list[int]]:
    """Work that fails a number of times, and a list with an entry for each attempt."""
    attempts: list[int] = []

    def work() -> tuple[list[Artifact], int, str]:
        attempts.append(len(attempts))
        if len(attempts) <= times:
            raise error
        return [ARTIFACT], 1, "1 computed"

    return work, attempts


def test_a_stage_that_computed_something_is_completed_with_its_counts() -> None:
    result, task_run = call(lambda: ([ARTIFACT], 1, "1 computed, 0 cached, 0 rejected"))
    assert result == [ARTIFACT]
    assert task_run.name == "draw · test"
    assert task_run.state is not None
    assert (task_run.state.name, task_run.state.message) == (
        "Completed",
        "1 computed, 0 cached, 0 rejected",
    )


def test_a_stage_that_computed_nothing_is_cached() -> None:
    result, task_run = call(lambda: ([ARTIFACT] * 3, 0, "unused"))
    assert result == [ARTIFACT] * 3
    assert task_run.state is not None
    assert (task_run.state.name, task_run.state.message) == ("Cached", "3 cached")


def test_an_outage_of_the_store_is_tried_again() -> None:
    work, attempts = failing(StoreUnavailableError("s3://x: no answer"), times=2)
    result, task_run = call(work)
    assert result == [ARTIFACT]
    assert len(attempts) == 3
    assert task_run.run_count == 3


def test_a_long_outage_is_reported_after_three_more_attempts() -> None:
    work, attempts = failing(StoreUnavailableError("s3://x: no answer"), times=99)
    result, _ = call(work)
    assert isinstance(result, StoreUnavailableError)
    assert len(attempts) == 4


def test_other_failures_are_not_tried_again() -> None:
    work, attempts = failing(StoreAccessError("s3://x: wrong key"), times=99)
    result, _ = call(work)
    assert isinstance(result, StoreAccessError)
    assert len(attempts) == 1
