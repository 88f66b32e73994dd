"""Crashed runs: how the automation starts them again, and when it stops."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed, Running, Scheduled

from deployments import automations
from deployments.automations import RESUME_RULE, apply_resume_rule
from flows.execution.crash_limit import (
    MAX_RESUMES,
    RESUMED,
    TooManyCrashesError,
    fail_after_too_many_crashes,
)
from tests.ui.server import prefect_server, until


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


def crash_and_resume(client: SyncPrefectClient, run: FlowRun, times: int) -> None:
    for _ in range(times):
        again: State[Any] = Scheduled(name=RESUMED)
        for state in (Running(), Crashed(), again):
            client.set_flow_run_state(run.id, state, force=True)


def test_a_run_that_crashes_too_often_fails(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(Flow(lambda: None, name="pipeline"))
    crash_and_resume(client, run, MAX_RESUMES)
    fail_after_too_many_crashes(str(run.id))
    crash_and_resume(client, run, 1)
    with pytest.raises(TooManyCrashesError, match="synthset retry") as raised:
        fail_after_too_many_crashes(str(run.id))
    assert "\n" not in str(raised.value)


def test_a_retry_by_a_person_resets_the_count(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(Flow(lambda: None, name="pipeline"))
    crash_and_resume(client, run, MAX_RESUMES + 1)
    by_hand: State[Any] = Scheduled()
    client.set_flow_run_state(run.id, by_hand, force=True)
    fail_after_too_many_crashes(str(run.id))
    crash_and_resume(client, run, MAX_RESUMES)
    fail_after_too_many_crashes(str(run.id))


def test_work_without_a_run_has_no_crashes() -> None:
    fail_after_too_many_crashes(None)


@pytest.mark.e2e
def test_only_a_crashed_parent_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automations, "RESUMED_AFTER", timedelta(seconds=10))
    with (
        prefect_server(tmp_path, PREFECT_SERVER_UI_ENABLED="false") as server,
        temporary_settings({PREFECT_API_URL: f"{server.url}/api"}),
        get_client(sync_client=True) as client,
    ):
        assert apply_resume_rule(client) == "automation for crashed parent runs: created"
        assert apply_resume_rule(client) is None
        assert client.read_automations_by_name(RESUME_RULE)[0].enabled
        runs = {name: deployed_run(client, name) for name in ("pipeline", "generate_item")}
        for run in runs.values():
            for state in (Running(), Crashed(message="its worker is gone")):
                client.set_flow_run_state(run.id, state, force=True)
        resumed = until(lambda: named(client, runs["pipeline"], RESUMED))
        assert resumed.state_type == "SCHEDULED"
        assert client.read_flow_run(runs["generate_item"].id).state_name == "Crashed"


def deployed_run(client: SyncPrefectClient, name: str) -> FlowRun:
    flow = client.create_flow_from_name(name)
    deployment = client.create_deployment(flow_id=flow, name="nightly")
    return client.create_flow_run_from_deployment(deployment)


def named(client: SyncPrefectClient, run: FlowRun, state: str) -> FlowRun | None:
    current = client.read_flow_run(run.id)
    return current if current.state_name == state else None
