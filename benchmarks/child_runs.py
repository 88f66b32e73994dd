"""Measures what a child run costs on a cold worker and on a warm one, without any work.

The cold worker is Prefect's process worker, which starts an interpreter per run. The warm one is
`persistent-process`, after one run per slot. All runs are scheduled at once. Wall time is the time
until the last run ends, divided by the runs. CPU time is that of server, worker and runs. Up to a
second of wall time per warm run is Prefect's wait for its heartbeat thread.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import table, tree_cpu_s
from benchmarks.servers import prefect_server, process
from deployments.persistent_worker.worker import PersistentWorker

RUNS = 10
SLOTS = 2
TIMEOUT_S = 600.0
WORKER = "import deployments.persistent_worker.worker; from prefect.cli import app; app()"
NAMES = {"nothing": "empty flow", "stages": "a flow that imports the stages and torch"}
FLOWS = {
    "nothing": "from prefect import flow\n@flow\ndef nothing(): pass\n",
    "stages": "import flows.generators.multiview, torch\nfrom prefect import flow\n"
    "@flow\ndef stages(): pass\n",
}


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds per run."""

    wall_s: float
    cpu_s: float


def measure(folder: Path, runs: int) -> dict[str, dict[str, Cost]]:
    """Measure the cost of a run per flow and type of work pool.

    Raises:
        RuntimeError: a run did not complete.
    """
    costs: dict[str, dict[str, Cost]] = {name: {} for name in FLOWS}
    for name, code in FLOWS.items():
        (folder / f"child_run_{name}.py").write_text(code)
    with _server(folder) as (api, environment):
        for kind in ("process", "persistent-process"):
            _post(api, "/work_pools/", name=kind, type=kind, base_job_template=_template(kind))
            deployed = {name: _deploy(api, name, kind) for name in FLOWS}
            options = ["--pool", kind, "--type", kind, "--limit", str(SLOTS)]
            command = [sys.executable, "-c", WORKER, "worker", "start", *options]
            with process(command, folder / f"{kind}.log", environment):
                for name, deployment in reversed(deployed.items()):
                    # The start of the worker is no part of the figures.
                    _run_all(api, deployment, SLOTS)
                    cpu_s = tree_cpu_s()
                    wall_s = _run_all(api, deployment, runs)
                    costs[name][kind] = Cost(wall_s / runs, (tree_cpu_s() - cpu_s) / runs)
    return costs


def main(folder: Path) -> None:
    """Print milliseconds per child run, cold and warm, and their ratio."""
    rows: list[list[object]] = []
    for name, by_kind in measure(folder, RUNS).items():
        cold, warm = by_kind["process"], by_kind["persistent-process"]
        for kind, cold_s, warm_s in (
            ("wall", cold.wall_s, warm.wall_s),
            ("CPU", cold.cpu_s, warm.cpu_s),
        ):
            figures = [f"{1000 * cold_s:,.0f} ms", f"{1000 * warm_s:,.0f} ms"]
            rows.append([f"{NAMES[name]}, {kind}", *figures, f"{cold_s / warm_s:.1f}"])
    head = ["per run", "cold (process worker)", "warm (`persistent-process`)", "ratio"]
    print(f"{RUNS} runs, {SLOTS} slots:\n\n{table(head, rows)}")


@contextmanager
def _server(folder: Path) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    repository = str(Path(__file__).resolve().parents[1])
    with prefect_server(folder) as (_, url), httpx.Client(base_url=url, timeout=60) as api:
        environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": url,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": os.pathsep.join([str(folder), repository]),
        }
        yield api, environment


def _template(kind: str) -> dict[str, Any]:
    if kind == "persistent-process":
        return PersistentWorker.get_default_base_job_template()
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def _post(api: httpx.Client, path: str, **body: Any) -> Any:
    for _ in range(10):
        response = api.post(path, content=json.dumps(body))
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)
    response.raise_for_status()
    return response.json()


def _deploy(api: httpx.Client, name: str, pool: str) -> str:
    flow = _post(api, "/flows/", name=name)
    deployment = _post(
        *(api, "/deployments/"),
        name=pool,
        flow_id=flow["id"],
        entrypoint=f"child_run_{name}.{name}",
        work_pool_name=pool,
    )
    return str(deployment["id"])


def _run_all(api: httpx.Client, deployment: str, runs: int) -> float:
    """Return the seconds from the scheduling of ``runs`` runs to the end of the last."""
    started = time.monotonic()
    path = f"/deployments/{deployment}/create_flow_run"
    open_runs = [_post(api, path)["id"] for _ in range(runs)]
    while open_runs:
        if time.monotonic() - started > TIMEOUT_S:
            raise RuntimeError(f"{len(open_runs)} of {runs} runs have not ended")
        time.sleep(0.1)
        found = _post(api, "/flow_runs/filter", flow_runs={"id": {"any_": open_runs}})
        failed = [run["state"] for run in found if run["state"]["type"] in ("CRASHED", "FAILED")]
        if failed:
            raise RuntimeError(f"a run failed: {failed[0]['message']}")
        open_runs = [run["id"] for run in found if run["state"]["type"] != "COMPLETED"]
    return time.monotonic() - started
