"""The overlap policy of the scheduled deployment, with a schedule that fires every 2 s."""

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

POOL = "schedule"
EVERY_S, TAKES_S = 2.0, 5.0
FLOW = """\
import json, time
from pathlib import Path
from uuid import uuid4
from prefect import flow

@flow
def note(notes: str, takes_s: float):
    start = time.time()
    time.sleep(takes_s)
    span = json.dumps([start, time.time()])
    Path(notes, f"{uuid4()}.json").write_text(span)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server and a worker with room for two runs at once."""
    folder = tmp_path_factory.mktemp("schedule")
    (folder / "noted.py").write_text(FLOW)
    with prefect_server(folder, PREFECT_SERVER_UI_ENABLED="false") as started:
        started.ask(
            "POST",
            "/work_pools/",
            name=POOL,
            type="persistent-process",
            base_job_template=read_template("persistent-process"),
        )
        with started.worker(POOL, "persistent-process", slots=2):
            yield started


@pytest.mark.e2e
def test_runs_of_a_schedule_do_not_overlap(server: Server, tmp_path: Path) -> None:
    nightly = shipped("nightly")
    limit = nightly["concurrency_limit"]
    assert limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    limited = deploy(
        server,
        "limited",
        tmp_path,
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
    due = until(lambda: ended_runs(server, limited))

    ran = [run for run in due if run["state"]["type"] == "COMPLETED"]
    skipped = [run for run in due if run["state"]["type"] == "CANCELLED"]
    assert len(ran) >= 3
    assert len(skipped) >= 2
    assert all(run["auto_scheduled"] for run in due)
    assert all(run["run_count"] == 0 and not run["infrastructure_pid"] for run in skipped)
    assert {run["state"]["message"] for run in skipped} == {"Deployment concurrency limit reached."}
    # By the server's record, and by the flow's own.
    assert overlaps([(run["start_time"], run["end_time"]) for run in ran]) == 0
    assert len(notes(tmp_path)) == len(ran)
    assert overlaps(notes(tmp_path)) == 0
    # A run is due every 2 s, whether the run before has ended or not.
    times = sorted(datetime.fromisoformat(run["expected_start_time"]) for run in due)
    pauses = {(after - before).total_seconds() for before, after in pairwise(times)}
    assert pauses == {EVERY_S}


@pytest.mark.e2e
def test_without_the_limit_the_same_runs_overlap(server: Server, tmp_path: Path) -> None:
    free = deploy(server, "unlimited", tmp_path)
    for _ in range(2):
        server.ask(
            "POST",
            f"/deployments/{free}/create_flow_run",
            parameters={"notes": str(tmp_path), "takes_s": 8.0},
        )
    until(lambda: len(notes(tmp_path)) == 2)
    assert overlaps(notes(tmp_path)) == 1


def shipped(name: str) -> dict[str, Any]:
    """A deployment of deployments/prefect.yaml."""
    entries = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(e for e in entries["deployments"] if e["name"] == name)
    return found


def deploy(server: Server, name: str, folder: Path, **settings: Any) -> str:
    """A deployment of the flow; its id."""
    flow = server.ask("POST", "/flows/", name="note")
    deployment = server.ask(
        "POST",
        "/deployments/",
        name=name,
        flow_id=flow["id"],
        entrypoint="noted.note",
        work_pool_name=POOL,
        parameters={"notes": str(folder), "takes_s": TAKES_S},
        **settings,
    )
    return str(deployment["id"])


def ended_runs(server: Server, deployment: str) -> list[dict[str, Any]]:
    """All due runs of a deployment once none of them is active; else an empty list."""
    runs = server.runs(deployments={"id": {"any_": [deployment]}})
    due = [run for run in runs if datetime.fromisoformat(run["expected_start_time"]) < now()]
    active = {"PENDING", "RUNNING", "CANCELLING"}
    if any(run["state"]["type"] in active for run in due):
        return []
    return [run for run in due if run["state"]["type"] != "SCHEDULED"]


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def notes(folder: Path) -> list[tuple[float, float]]:
    """The start and end of the runs, in seconds, as the flow wrote them."""
    spans = [json.loads(path.read_text() or "null") for path in folder.glob("*.json")]
    return [(span[0], span[1]) for span in spans if span]


def overlaps(spans: list[tuple[Any, Any]]) -> int:
    """The number of spans that begin before the end of the span before them."""
    ordered = sorted(spans)
    return sum(after[0] < before[1] for before, after in pairwise(ordered))
