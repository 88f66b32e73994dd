"""Scheduled runs that lose their machine, server, database or store, or are cancelled.

All share one stack: ada has a GPU slot, bob's CPU worker runs the parents. Each run has its own
store and folder, and must end with the same bytes as an undisturbed run.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelling

from deployments import automations
from tests.e2e.stack import HEARTBEAT_S, Stack, base_environment, shorten_crash_rule, start_stack
from tests.s3 import BUCKET
from tests.tiny import RECIPE, REFERENCES, ROOT, draw_photos, files_of, manifest_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

RUN_S = 600.0
# Longer than a stage waits for its store.
STORE_AWAY_S = 100.0
SERVER_AWAY_S = 15.0


@dataclass(frozen=True)
class Scene:
    """The stack, and the result that every run must have."""

    stack: Stack
    folder: Path
    recipe: Path
    photos: Path
    datasets: dict[str, str]
    rows: list[dict[str, Any]]

    def deploy(self, name: str) -> "Deployed":
        """Deploy a scheduled run with its own store and folder."""
        deployed = Deployed(self, name, self.folder / name)
        folders = ("--photos", self.photos, "--out", deployed.out, "--store", deployed.store)
        options = ("--gpu", "ada:1", "--cron", "0 0 29 2 *", "--max-parallel", 2)
        self.stack.synthset("deploy", self.recipe, *folders, *options)
        with self.stack.client() as client:
            shorten_crash_rule(client)
            shorten_resume_rule(client)
        return deployed


@dataclass(frozen=True)
class Deployed:
    """One deployed run."""

    scene: Scene
    name: str
    out: Path

    @property
    def store(self) -> str:
        return f"s3://{BUCKET}/{self.name}"

    def begin(self) -> UUID:
        """Schedule the parent run for now; its id."""
        environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
        with self.scene.stack.client() as client:
            nightly = client.read_deployment_by_name("pipeline/nightly")
            return client.create_flow_run_from_deployment(
                nightly.id, job_variables={"env": environment}
            ).id

    def done(self) -> int:
        """The number of expanded references."""
        start = f"{BUCKET}/{self.name}/documents/records/"
        return sum(name.startswith(start) for name in self.scene.stack.s3.puts())

    def records(self) -> dict[str, int]:
        """How often each record of an artifact was written."""
        start = f"{BUCKET}/{self.name}/"
        puts = self.scene.stack.s3.puts().items()
        return {name: n for name, n in puts if name.startswith(start) and name.endswith(".record")}

    def children(self, parent: UUID) -> list[FlowRun]:
        """The child runs of references."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{parent}"]))
        with self.scene.stack.client() as client:
            runs = client.read_flow_runs(flow_run_filter=wanted)
        return [run for run in runs if run.name.endswith(" · images")]

    def end(self, parent: UUID) -> FlowRun:
        """The completed parent run, after all checks of its result."""
        run = until(lambda: self._ended(parent), self.scene.stack)
        assert run.state is not None
        assert run.state.is_completed(), run.state.message
        assert files_of(self.out / "datasets") == self.scene.datasets
        assert manifest_of(self.out) == self.scene.rows
        assert {child.state_name for child in self.children(parent)} == {"Completed"}
        assert len(self.children(parent)) == REFERENCES
        repeated = {name: times for name, times in self.records().items() if times > 1}
        assert not repeated, "a stage was computed twice"
        return run

    def _ended(self, parent: UUID) -> FlowRun | None:
        with self.scene.stack.client() as client:
            run = client.read_flow_run(parent)
        # The automation schedules a crashed run again.
        ended = run.state is not None and run.state.is_final() and not run.state.is_crashed()
        return run if ended else None


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("recovery")
    photos, recipe, out = folder / "photos", folder / "tiny.yaml", folder / "undisturbed"
    draw_photos(photos)
    recipe.write_text(RECIPE)
    command = [sys.executable, "-m", "synthset.main", "run", str(recipe)]
    command += ["--photos", str(photos), "--out", str(out)]
    own = {**base_environment(), "PREFECT_HOME": str(folder / "prefect")}
    subprocess.run(command, cwd=ROOT, env=own, check=True, capture_output=True, timeout=600)
    with start_stack(folder / "start_stack", "ada", "bob") as stack:
        first = Scene(stack, folder, recipe, photos, files_of(out / "datasets"), manifest_of(out))
        first.deploy("first")
        ada = stack.hosts.others["ada"]
        stack.worker(ada, "ada", "synthset-gpu", "persistent-process", SYNTHSET_GPUS="0")
        start_bob(stack)
        yield first


def start_bob(stack: Stack) -> None:
    """The CPU worker, on whose machine the parents run."""
    stack.worker(stack.hosts.others["bob"], "bob", "synthset-cpu", "process")


def shorten_resume_rule(client: SyncPrefectClient) -> None:
    """Shorten the rule of `synthset deploy`: a crashed run starts again within seconds."""
    with mock.patch.object(automations, "RESUMED_AFTER", timedelta(seconds=10)):
        automations.apply_resume_rule(client)


def until(look: Callable[[], Any], stack: Stack, within_s: float = RUN_S) -> Any:
    """What ``look`` finds, as soon as it finds something; fails with the workers' logs."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        logs = [host.log(name)[-3000:] for name, host in stack.hosts.others.items()]
        assert time.monotonic() < deadline, logs
        time.sleep(0.5)
    return found


def history(stack: Stack, run: FlowRun) -> list[str]:
    """The names of a run's states, in order."""
    with stack.client() as client:
        states = client.read_flow_run_states(run.id)
    return [state.name or "" for state in sorted(states, key=lambda state: state.timestamp)]


def test_a_parent_run_starts_again_after_its_machine_died(scene: Scene) -> None:
    deployed = scene.deploy("orphaned")
    parent = deployed.begin()
    until(lambda: deployed.done() >= 2, scene.stack)
    assert scene.stack.hosts.others["bob"].kill() >= 2
    start_bob(scene.stack)
    run = deployed.end(parent)
    assert {"Crashed", "Resumed"} <= set(history(scene.stack, run))
    assert run.run_count == 2


def test_a_run_survives_a_restart_of_server_and_database(scene: Scene) -> None:
    deployed = scene.deploy("restarted")
    with scene.stack.client() as client:
        # The usual five minutes: heartbeats are lost while the server is away.
        automations.apply_crash_rule(client)
    parent = deployed.begin()
    until(lambda: deployed.done() >= 2, scene.stack)
    scene.stack.restart(SERVER_AWAY_S)
    run = deployed.end(parent)
    assert "Crashed" not in history(scene.stack, run)


def test_a_run_survives_a_store_that_is_away_longer_than_a_stage_waits(scene: Scene) -> None:
    deployed = scene.deploy("storeless")
    parent = deployed.begin()
    until(lambda: deployed.done() >= 2, scene.stack)
    with scene.stack.s3.gone():
        time.sleep(STORE_AWAY_S)
    run = deployed.end(parent)
    assert run.run_count == 1


def test_cancelling_stops_the_children_and_a_retry_completes(scene: Scene) -> None:
    deployed = scene.deploy("cancelled")
    parent = deployed.begin()
    until(lambda: deployed.done() >= 1, scene.stack)
    with scene.stack.client() as client:
        client.set_flow_run_state(parent, Cancelling())
    ended = {"COMPLETED", "CANCELLED"}
    until(
        lambda: (
            {str(run.state_type and run.state_type.value) for run in deployed.children(parent)}
            <= ended
        ),
        scene.stack,
        within_s=120,
    )
    assert deployed.done() < REFERENCES
    made = sum(deployed.records().values())
    time.sleep(5)
    assert sum(deployed.records().values()) == made, "a cancelled child still writes"
    with scene.stack.client() as client:
        until(lambda: client.read_flow_run(parent).state_name == "Cancelled", scene.stack)
    assert scene.stack.synthset("retry", parent).strip()
    deployed.end(parent)


def test_scheduled_runs_do_not_overlap(scene: Scene) -> None:
    deployed = scene.deploy("scheduled")
    with scene.stack.client() as client:
        nightly = client.read_deployment_by_name("pipeline/nightly")
        (schedule,) = nightly.schedules
        every = IntervalSchedule(interval=timedelta(seconds=10), anchor_date=datetime.now(UTC))
        client.update_deployment_schedule(nightly.id, schedule.id, active=True, schedule=every)

        def due() -> list[FlowRun]:
            of_nightly = DeploymentFilter(id=DeploymentFilterId(any_=[nightly.id]))
            runs = client.read_flow_runs(deployment_filter=of_nightly)
            return [run for run in runs if run.auto_scheduled]

        first = until(
            lambda: [run for run in due() if run.state and run.state.is_completed()], scene.stack
        )
        client.update_deployment_schedule(nightly.id, schedule.id, active=False)
        skipped = [run for run in due() if run.state_name == "Cancelled"]
    deployed.end(min(first, key=lambda run: run.start_time).id)
    assert skipped
    assert all(run.run_count == 0 for run in skipped)
