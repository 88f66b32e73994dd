"""The nightly deployment's overlap policy, with a schedule that fires every other second."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.work_pools import DEPLOYMENTS, read_template
from tests.ui.server import Server, prefect_server, until

POOL = "nights"
EVERY_S, TAKES_S = 2.0, 5.0
FLOW = """\
import json, time
from pathlib import Path
from uuid import uuid4
from prefect import flow

@flow
def night(notes: str, takes_s: float):
    began = time.time()
    time.sleep(takes_s)
    told = json.dumps({"began": began, "ended": time.time()})
    Path(notes, f"{uuid4()}.json").write_text(told)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server and a worker with room for two runs at once."""
    folder = tmp_path_factory.mktemp("schedule")
    (folder / "nights.py").write_text(FLOW)
    with prefect_server(folder, PREFECT_SERVER_UI_ENABLED="false") as started:
        started.ask(
            *("POST", "/work_pools/"),
            name=POOL,
            type="persistent-process",
            base_job_template=read_template("persistent-process"),
        )
        with started.worker(POOL, "persistent-process", slots=2):
            yield started


@pytest.mark.e2e
def test_a_schedule_fires_and_never_overlaps_itself(server: Server, tmp_path: Path) -> None:
    nightly = shipped("nightly")
    limit = nightly["concurrency_limit"]
    assert limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    limited = deploy(
        *(server, "limited", tmp_path),
        concurrency_limit=limit["limit"],
        concurrency_options={"collision_strategy": limit["collision_strategy"]},
        schedules=[
            {
                "active": True,
                "slug": nightly["schedules"][0]["slug"],
                "schedule": {"interval": EVERY_S, "anchor_date": datetime.now(UTC).isoformat()},
            }
        ],
    )
    until(lambda: len(notes(tmp_path)) >= 3)
    server.ask("PATCH", f"/deployments/{limited}", paused=True)
    due = until(lambda: settled(server, limited))

    ran = [run for run in due if run["state"]["type"] == "COMPLETED"]
    skipped = [run for run in due if run["state"]["type"] == "CANCELLED"]
    assert len(ran) >= 3
    assert len(skipped) >= 2
    assert all(run["auto_scheduled"] for run in due)
    assert all(run["run_count"] == 0 and not run["infrastructure_pid"] for run in skipped)
    assert {run["state"]["message"] for run in skipped} == {"Deployment concurrency limit reached."}
    # As the server has it, and as the flow itself saw it.
    assert overlaps([(run["start_time"], run["end_time"]) for run in ran]) == 0
    assert len(notes(tmp_path)) == len(ran)
    assert overlaps(notes(tmp_path)) == 0
    # The schedule's own pace: due every other second, whether the run before had ended or not.
    times = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in due)
    pauses = {(after - before).total_seconds() for before, after in pairwise(times)}
    assert pauses == {EVERY_S}


@pytest.mark.e2e
def test_without_the_limit_the_same_runs_overlap(server: Server, tmp_path: Path) -> None:
    free = deploy(server, "unlimited", tmp_path)
    for _ in range(2):
        server.ask(
            *("POST", f"/deployments/{free}/create_flow_run"),
            parameters={"notes": str(tmp_path), "takes_s": 8.0},
        )
    until(lambda: len(notes(tmp_path)) == 2)
    assert overlaps(notes(tmp_path)) == 1


def shipped(name: str) -> dict[str, Any]:
    """A deployment of deployments/prefect.yaml."""
    entries = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(one for one in entries["deployments"] if one["name"] == name)
    return found


def deploy(server: Server, name: str, folder: Path, **settings: Any) -> str:
    """A deployment of the flow; its id."""
    flow = server.ask("POST", "/flows/", name="night")
    deployment = server.ask(
        *("POST", "/deployments/"),
        name=name,
        flow_id=flow["id"],
        entrypoint="nights.night",
        work_pool_name=POOL,
        parameters={"notes": str(folder), "takes_s": TAKES_S},
        **settings,
    )
    return str(deployment["id"])


def settled(server: Server, deployment: str) -> list[dict[str, Any]]:
    """All runs of a deployment that were due, once none of them is under way; else nothing."""
    runs = server.runs(deployments={"id": {"any_": [deployment]}})
    due = [run for run in runs if datetime.fromisoformat(run["expected_start_time"]) < now()]
    under_way = {"PENDING", "RUNNING", "CANCELLING"}
    if any(run["state"]["type"] in under_way for run in due):
        return []
    return [run for run in due if run["state"]["type"] != "SCHEDULED"]


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def notes(folder: Path) -> list[tuple[float, float]]:
    """When runs began and ended, in seconds, as they noted it themselves."""
    found = [json.loads(one.read_text() or "null") for one in folder.glob("*.json")]
    return [(one["began"], one["ended"]) for one in found if one]


def overlaps(spans: list[tuple[Any, Any]]) -> int:
    """How many of the spans begin before the one that began before them has ended."""
    ordered = sorted(spans)
    return sum(after[0] < before[1] for before, after in pairwise(ordered))
