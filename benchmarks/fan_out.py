"""Measures how the cost of a fan-out grows with the number of references, up to 10,000.

The parent run is the product's own; stages do nothing. Each size has a new Prefect server, on
PostgreSQL (where it is installed) and on SQLite. A simulated worker completes each child run at
once. Costs are CPU seconds per process. Growth is the exponent of the power of the number of
references that fits the costs: 1 is linear.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.fan_out_rows import Database, Postgres, Sqlite
from benchmarks.fan_out_timing import FAN_OUT
from benchmarks.machine import PeakMemory, table
from benchmarks.servers import has_postgres, postgres, prefect_server, process, query

SIZES = (300, 1_000, 3_000, 10_000)
SIDES = [sys.executable, "-m", "benchmarks.fan_out_sides"]
# A greater exponent is worse than linear, and more than the noise of a shared machine.
LINEAR = 1.15
# The growth of a step that takes less in total is not reported.
NEGLIGIBLE_S = 0.2
DATABASES = ("PostgreSQL", "SQLite")


@dataclass(frozen=True)
class Run:
    """One simulated fan-out: CPU seconds and peak MiB per process.

    ``steps`` holds ``{"calls", "wall_s", "cpu_s"}`` per step of the parent. ``again`` holds the
    same for a second fan-out, whose references are all done. ``tenths`` holds seconds for every
    tenth of the references. ``disk_mb`` is the size of the database in MiB.
    """

    references: int
    cpu_s: dict[str, float]
    peak_mb: dict[str, float]
    steps: dict[str, dict[str, float]]
    again: dict[str, dict[str, float]]
    tenths: list[dict[str, Any]]
    disk_mb: float

    @property
    def wall_s(self) -> float:
        """Seconds from the first work item to the last result."""
        return self.steps[FAN_OUT]["wall_s"]

    def cpu_ms_per_reference(self) -> dict[str, float]:
        """CPU milliseconds per reference and process."""
        return {name: 1000 * spent / self.references for name, spent in self.cpu_s.items()}


@dataclass(frozen=True)
class Stack:
    """A running server with its database and a simulated worker.

    ``url`` is None if the database is SQLite's file. ``process_ids`` are the ids by name.
    """

    folder: Path
    url: str | None
    environment: Mapping[str, str]
    process_ids: Mapping[str, int]

    def fan_out(self, references: int, done: int = 0) -> Run:
        """Run one fan-out of ``references``, of which the first ``done`` are done already.

        Raises:
            RuntimeError: the parent run failed.
        """
        costs, peak_mb = _run_parent(self, references, done)
        tenths = costs["tenths"]
        # The tenths end with the fan-out, so they leave out the parent's later steps.
        cpu_s = {name: sum(tenth["cpu_s"][name] for tenth in tenths) for name in self.process_ids}
        return Run(
            references=references - done,
            cpu_s={"parent": costs["steps"][FAN_OUT]["cpu_s"], **cpu_s},
            peak_mb={
                **peak_mb,
                **{f"parent, {moment}": mb for moment, mb in costs["peak_mb"].items()},
            },
            steps=costs["steps"],
            again=costs["again"],
            tenths=tenths,
            disk_mb=self.disk_mb(),
        )

    @property
    def database(self) -> Database:
        """Access to the rows of the database."""
        return Sqlite(self._file) if self.url is None else Postgres(self.url)

    def disk_mb(self) -> float:
        """The size of the database on disk, MiB."""
        if self.url is None:
            files = self._file.parent.glob(f"{self._file.name}*")
            return sum(file.stat().st_size for file in files) / 2**20
        return int(query(self.url, "select pg_database_size(current_database())")) / 2**20

    @property
    def _file(self) -> Path:
        return self.folder / "home" / "prefect.db"


@contextmanager
def start_stack(folder: Path, database: str) -> Iterator[Stack]:
    """Start a server on ``database`` and a worker; both end with the context.

    Raises:
        RuntimeError: a server did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _database(folder, database) as (pid, url), prefect_server(folder, url) as (server, api):
        environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home")}
        deploy(api)
        command = [*SIDES, "worker", str(folder)]
        with process(command, folder / "worker.log", environment) as worker:
            process_ids = {"server": server, "worker": worker.pid}
            if pid is not None:
                process_ids["database"] = pid
            yield Stack(folder, url, environment, process_ids)


def measure(folder: Path, database: str, references: int) -> Run:
    """Run one fan-out of ``references`` on a new server.

    Raises:
        RuntimeError: a server did not start, or the parent run failed.
    """
    with start_stack(folder, database) as stack:
        return stack.fan_out(references)


def deploy(api: str) -> None:
    """Create the work pool and the deployment whose runs the simulated worker completes."""

    def post(path: str, **body: Any) -> Any:
        response = httpx.post(api + path, json=body, timeout=60)
        response.raise_for_status()
        return response.json()

    post("/work_pools/", name="simulated", type="process", base_job_template={})
    flow = post("/flows/", name="generate_item")
    post("/deployments/", name="simulated", flow_id=flow["id"], work_pool_name="simulated")


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return the power of the size that fits the costs best (least squares of logarithms)."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(costs, 1e-9)), 1)[0])


def main(folder: Path) -> None:
    """Print the costs of a reference per size and database, and the growth of each step."""
    for database in DATABASES:
        if database == "PostgreSQL" and not has_postgres():
            print("PostgreSQL is not installed; its figures are left out", flush=True)
            continue
        runs = []
        for size in SIZES:
            runs.append(measure(folder / f"{database}-{size}", database, size))
            print(f"{database}, {size} references: {runs[-1].wall_s:.0f} s", flush=True)
        print(as_tables(database, runs), flush=True)
        worse = worse_than_linear(runs)
        print("\n**Worse than linear:** " + (", ".join(worse) or "nothing") + ".", flush=True)


def as_tables(database: str, runs: list[Run]) -> str:
    """Return the figures of a database as Markdown tables."""
    columns = [*(f"{run.references:,}" for run in runs), "growth"]
    steps = _step_rows(runs, "steps") + _step_rows(runs, "again", "again: ")
    processes = (f"{name}, CPU ms" for name in runs[0].cpu_s)
    return "\n\n".join(
        [
            f"\n### {database}",
            table(["per reference", *columns], _rows_per_reference(runs)),
            table(["step of the parent, CPU ms a reference", *columns], steps),
            table(["tenth, per reference", "wall, ms", *processes], _rows_of_tenths(runs[-1])),
        ]
    )


def worse_than_linear(runs: list[Run]) -> dict[str, float]:
    """Return the exponents of the steps and processes whose CPU time grows too fast."""
    sizes = [run.references for run in runs]
    costs = {name: [run.cpu_s[name] for run in runs] for name in runs[0].cpu_s}
    for steps in ("steps", "again"):
        for name in getattr(runs[0], steps):
            costs[f"{name} ({steps})"] = [getattr(run, steps)[name]["cpu_s"] for run in runs]
    powers = {name: exponent(sizes, spent) for name, spent in costs.items()}
    return {
        name: power
        for name, power in powers.items()
        if power > LINEAR and costs[name][-1] > NEGLIGIBLE_S
    }


def _rows_per_reference(runs: list[Run]) -> list[list[object]]:
    sizes = [run.references for run in runs]

    rows = [_row(sizes, "wall, ms", [run.wall_s for run in runs])]
    rows += [
        _row(sizes, f"{name}, CPU ms", [run.cpu_s[name] for run in runs]) for name in runs[0].cpu_s
    ]
    rows.append(_row(sizes, "database on disk, KiB", [run.disk_mb for run in runs], unit=1024))
    peaks: list[list[object]] = [
        [f"{name}, peak MiB", *(f"{run.peak_mb[name]:.0f}" for run in runs), ""]
        for name in runs[0].peak_mb
    ]
    return rows + peaks


def _step_rows(runs: list[Run], kind: str, prefix: str = "") -> list[list[object]]:
    sizes = [run.references for run in runs]
    rows: list[list[object]] = []
    for name in getattr(runs[0], kind):
        cpu_s = [getattr(run, kind).get(name, {"cpu_s": 0.0})["cpu_s"] for run in runs]
        rows.append(_row(sizes, prefix + name, cpu_s))
    return rows


def _row(sizes: list[int], name: str, totals: list[float], unit: float = 1000) -> list[object]:
    costs = [unit * total / size for total, size in zip(totals, sizes, strict=True)]
    return [name, *costs, f"{exponent(sizes, totals):.2f}"]


def _rows_of_tenths(run: Run) -> list[list[object]]:
    size = run.references / len(run.tenths)
    rows: list[list[object]] = []
    for number, tenth in enumerate(run.tenths, 1):
        seconds = [tenth["wall_s"], *(tenth["cpu_s"][name] for name in run.cpu_s)]
        rows.append([str(number), *(1000 * cost / size for cost in seconds)])
    return rows


@contextmanager
def _database(folder: Path, name: str) -> Iterator[tuple[int | None, str | None]]:
    if name == "SQLite":
        yield None, None
        return
    with postgres(folder / "postgres.log") as process_id_and_url:
        yield process_id_and_url


def _run_parent(
    stack: Stack, references: int, done: int
) -> tuple[dict[str, Any], dict[str, float]]:
    folder, ids = stack.folder, stack.process_ids
    command = [*SIDES, "parent", str(folder), str(references), json.dumps(ids), str(done)]
    with (
        PeakMemory(ids["server"], 1.0) as server,
        PeakMemory(ids["worker"], 1.0) as worker,
        (folder / "parent.log").open("wb") as log,
    ):
        completed = subprocess.run(command, env=stack.environment, stdout=log, stderr=log)
    if completed.returncode:
        raise RuntimeError(f"the parent run failed; see {log.name}")
    peaks = {"server": sum(server.peaks.values()), "worker": sum(worker.peaks.values())}
    return json.loads((folder / "parent.json").read_text()), peaks
