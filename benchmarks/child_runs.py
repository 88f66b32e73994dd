"""What a child run costs before it does anything: a new interpreter each, or a warm one.

A server, and the same deployments on two workers with two slots each, one after the other:
Prefect's process worker, and the warm worker after one run per slot. All runs are scheduled at
once; wall time is from then to the end of the last run, divided by the runs, and CPU time is that
of server, worker and runs. Of the warm worker's wall time, up to a second per run and slot is
Prefect's own: it waits so long for its heartbeat thread to end.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import table, tree_cpu_s
from deployments.persistent_worker.worker import PersistentWorker

RUNS = 10
SLOTS = 2
PATIENCE_S = 600.0
WORKER = "import deployments.persistent_worker.worker; from prefect.cli import app; app()"
WHAT = {"nothing": "an empty flow", "stages": "an empty flow that imports the stages and torch"}
FLOWS = {
    "nothing": "from prefect import flow\n@flow\ndef nothing(): pass\n",
    "stages": "import flows.generators.multiview, torch\nfrom prefect import flow\n"
    "@flow\ndef stages(): pass\n",
}


@dataclass(frozen=True)
class Cost:
    """Seconds per run: of the clock, and of all processors."""

    wall_s: float
    cpu_s: float


def measure(folder: Path, runs: int) -> dict[str, dict[str, Cost]]:
    """What a run costs, by flow and type of work pool.

    Raises:
        RuntimeError: a run did not complete.
    """
    costs: dict[str, dict[str, Cost]] = {name: {} for name in FLOWS}
    for name, code in FLOWS.items():
        (folder / f"child_run_{name}.py").write_text(code)
    with _server(folder) as (api, environment):
        for kind in ("process", "persistent-process"):
            _ask(api, "/work_pools/", name=kind, type=kind, base_job_template=_template(kind))
            deployed = {name: _deploy(api, name, kind) for name in FLOWS}
            options = ["--pool", kind, "--type", kind, "--limit", str(SLOTS)]
            command = [sys.executable, "-c", WORKER, "worker", "start", *options]
            with _process(command, environment, folder / f"{kind}.log"):
                for name, deployment in reversed(deployed.items()):
                    # Also for the process worker, whose own start is no part of the figure.
                    _run_all(api, deployment, SLOTS)
                    cpu_s = tree_cpu_s()
                    wall_s = _run_all(api, deployment, runs)
                    costs[name][kind] = Cost(wall_s / runs, (tree_cpu_s() - cpu_s) / runs)
    return costs


def main(folder: Path) -> None:
    """Print milliseconds per child run, cold and warm, and how many times less warm is."""
    rows: list[list[object]] = []
    for name, by_kind in measure(folder, RUNS).items():
        cold, warm = by_kind["process"], by_kind["persistent-process"]
        for what, one, other in (
            ("wall", cold.wall_s, warm.wall_s),
            ("CPU", cold.cpu_s, warm.cpu_s),
        ):
            ratio = f"{one / other:.1f} times"
            rows.append(
                [f"{WHAT[name]}, {what}", f"{1000 * one:.0f}", f"{1000 * other:.0f}", ratio]
            )
    print(table([f"{RUNS} runs, {SLOTS} slots", "cold, ms per run", "warm", "less by"], rows))


@contextmanager
def _server(folder: Path) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    here = str(Path(__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), here]),
    }
    command = [sys.executable, "-m", "deployments.server.main", "--port", port]
    with (
        _process(command, environment, folder / "server.log"),
        httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api,
    ):
        _wait_until_healthy(api)
        yield api, environment


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_healthy(api: httpx.Client) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if api.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the Prefect server did not start")


def _template(kind: str) -> dict[str, Any]:
    if kind == "persistent-process":
        return PersistentWorker.get_default_base_job_template()
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def _ask(api: httpx.Client, path: str, **body: Any) -> Any:
    for _ in range(10):
        answer = api.post(path, content=json.dumps(body))
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)
    answer.raise_for_status()
    return answer.json()


def _deploy(api: httpx.Client, name: str, pool: str) -> str:
    flow = _ask(api, "/flows/", name=name)
    deployment = _ask(
        *(api, "/deployments/"),
        name=pool,
        flow_id=flow["id"],
        entrypoint=f"child_run_{name}.{name}",
        work_pool_name=pool,
    )
    return str(deployment["id"])


def _run_all(api: httpx.Client, deployment: str, runs: int) -> float:
    """Seconds from scheduling so many runs to the end of the last."""
    started = time.monotonic()
    path = f"/deployments/{deployment}/create_flow_run"
    waiting = [_ask(api, path)["id"] for _ in range(runs)]
    while waiting:
        if time.monotonic() - started > PATIENCE_S:
            raise RuntimeError(f"{len(waiting)} of {runs} runs have not ended")
        time.sleep(0.1)
        found = _ask(api, "/flow_runs/filter", flow_runs={"id": {"any_": waiting}})
        wrong = [one["state"] for one in found if one["state"]["type"] in ("CRASHED", "FAILED")]
        if wrong:
            raise RuntimeError(f"a run ended otherwise: {wrong[0]['message']}")
        waiting = [one["id"] for one in found if one["state"]["type"] != "COMPLETED"]
    return time.monotonic() - started
