"""What befalls a night on workers: its machine, its server and database, its store, its operator.

One stack for all: ada has a GPU slot, bob's CPU worker runs the parents. Each night has a store and
a folder of its own, and must end with the bytes of a run that nothing happened to.
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
from tests.e2e.house import HEARTBEAT_S, House, base_environment, house, shorten_zombie_rule
from tests.s3 import BUCKET
from tests.tiny import RECIPE, REFERENCES, ROOT, draw_photos, files_of, manifest_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NIGHT_S = 600.0
# Longer than a stage waits for its store.
STORE_AWAY_S = 100.0
SERVER_AWAY_S = 15.0


@dataclass(frozen=True)
class Scene:
    """The stack, and what every night must come to."""

    stack: House
    folder: Path
    recipe: Path
    photos: Path
    datasets: dict[str, str]
    rows: list[dict[str, Any]]

    def deploy(self, name: str) -> "Night":
        """Deploy the nightly run with a store and a folder of its own."""
        night = Night(self, name, self.folder / name)
        folders = ("--photos", self.photos, "--out", night.out, "--store", night.store)
        options = ("--gpu", "ada:1", "--cron", "0 0 29 2 *", "--max-parallel", 2)
        self.stack.synthset("deploy", self.recipe, *folders, *options)
        with self.stack.client() as client:
            shorten_zombie_rule(client)
            shorten_resume_rule(client)
        return night


@dataclass(frozen=True)
class Night:
    """One deployed night."""

    scene: Scene
    name: str
    out: Path

    @property
    def store(self) -> str:
        return f"s3://{BUCKET}/{self.name}"

    def begin(self) -> UUID:
        """Schedule the parent run now; its id."""
        environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}
        with self.scene.stack.client() as client:
            nightly = client.read_deployment_by_name("regenerate/nightly")
            return client.create_flow_run_from_deployment(
                nightly.id, job_variables={"env": environment}
            ).id

    def done(self) -> int:
        """How many references are expanded."""
        start = f"{BUCKET}/{self.name}/documents/expansions/"
        return sum(name.startswith(start) for name in self.scene.stack.s3.puts())

    def records(self) -> dict[str, int]:
        """How often each record of an artifact was written."""
        start = f"{BUCKET}/{self.name}/"
        puts = self.scene.stack.s3.puts().items()
        return {name: n for name, n in puts if name.startswith(start) and name.endswith(".record")}

    def children(self, parent: UUID) -> list[FlowRun]:
        """The parent's runs of references."""
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{parent}"]))
        with self.scene.stack.client() as client:
            runs = client.read_flow_runs(flow_run_filter=wanted)
        return [run for run in runs if run.name.endswith(" · expand")]

    def end(self, parent: UUID) -> FlowRun:
        """The parent when it has completed, with all that must be so then."""
        run = until(lambda: self._ended(parent), self.scene.stack)
        assert run.state is not None
        assert run.state.is_completed(), run.state.message
        assert files_of(self.out / "datasets") == self.scene.datasets
        assert manifest_of(self.out) == self.scene.rows
        assert {one.state_name for one in self.children(parent)} == {"Completed"}
        assert len(self.children(parent)) == REFERENCES
        again = {name: times for name, times in self.records().items() if times > 1}
        assert not again, "a stage was computed twice"
        return run

    def _ended(self, parent: UUID) -> FlowRun | None:
        with self.scene.stack.client() as client:
            run = client.read_flow_run(parent)
        # The automation schedules a crashed one again.
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
    with house(folder / "house", "ada", "bob") as stack:
        first = Scene(stack, folder, recipe, photos, files_of(out / "datasets"), manifest_of(out))
        first.deploy("first")
        ada = stack.hosts.others["ada"]
        stack.worker(ada, "ada", "synthset-gpu", "persistent-process", SYNTHSET_GPUS="0")
        start_bob(stack)
        yield first


def start_bob(stack: House) -> None:
    """The CPU worker, on whose machine the parents run."""
    stack.worker(stack.hosts.others["bob"], "bob", "synthset-cpu", "process")


def shorten_resume_rule(client: SyncPrefectClient) -> None:
    """Let the rule that `synthset deploy` wrote resume a night within seconds."""
    with mock.patch.object(automations, "RESUMED_AFTER", timedelta(seconds=10)):
        automations.apply_resume_rule(client)


def until(look: Callable[[], Any], stack: House, within_s: float = NIGHT_S) -> Any:
    """What ``look`` finds, as soon as it finds something; the workers' words if it never does."""
    deadline = time.monotonic() + within_s
    while not (found := look()):
        told = [host.log(name)[-3000:] for name, host in stack.hosts.others.items()]
        assert time.monotonic() < deadline, told
        time.sleep(0.5)
    return found


def history(stack: House, run: FlowRun) -> list[str]:
    """The names of a run's states, in order."""
    with stack.client() as client:
        states = client.read_flow_run_states(run.id)
    return [one.name or "" for one in sorted(states, key=lambda one: one.timestamp)]


def test_the_machine_of_the_parent_dies_and_the_night_goes_on(scene: Scene) -> None:
    night = scene.deploy("orphaned")
    parent = night.begin()
    until(lambda: night.done() >= 2, scene.stack)
    assert scene.stack.hosts.others["bob"].kill() >= 2
    start_bob(scene.stack)
    run = night.end(parent)
    assert {"Crashed", "Resumed"} <= set(history(scene.stack, run))
    assert run.run_count == 2


def test_server_and_database_restart_under_a_night(scene: Scene) -> None:
    night = scene.deploy("restarted")
    with scene.stack.client() as client:
        # Its usual five minutes: heartbeats that find no server are lost.
        automations.apply_zombie_rule(client)
    parent = night.begin()
    until(lambda: night.done() >= 2, scene.stack)
    scene.stack.restart(SERVER_AWAY_S)
    run = night.end(parent)
    assert "Crashed" not in history(scene.stack, run)


def test_a_store_that_is_away_for_longer_than_a_stage_waits(scene: Scene) -> None:
    night = scene.deploy("storeless")
    parent = night.begin()
    until(lambda: night.done() >= 2, scene.stack)
    with scene.stack.s3.gone():
        time.sleep(STORE_AWAY_S)
    run = night.end(parent)
    assert run.run_count == 1


def test_a_cancelled_night_stops_its_children_and_a_retry_goes_on(scene: Scene) -> None:
    night = scene.deploy("cancelled")
    parent = night.begin()
    until(lambda: night.done() >= 1, scene.stack)
    with scene.stack.client() as client:
        client.set_flow_run_state(parent, Cancelling())
    ended = {"COMPLETED", "CANCELLED"}
    until(
        lambda: (
            {str(one.state_type and one.state_type.value) for one in night.children(parent)}
            <= ended
        ),
        scene.stack,
        within_s=120,
    )
    assert night.done() < REFERENCES
    made = sum(night.records().values())
    time.sleep(5)
    assert sum(night.records().values()) == made, "a child goes on working"
    with scene.stack.client() as client:
        until(lambda: client.read_flow_run(parent).state_name == "Cancelled", scene.stack)
    assert scene.stack.synthset("retry", parent).strip()
    night.end(parent)


def test_the_deployed_schedule_fires_and_does_not_overlap_itself(scene: Scene) -> None:
    night = scene.deploy("scheduled")
    with scene.stack.client() as client:
        nightly = client.read_deployment_by_name("regenerate/nightly")
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
    night.end(min(first, key=lambda run: run.start_time).id)
    assert skipped
    assert all(run.run_count == 0 for run in skipped)
