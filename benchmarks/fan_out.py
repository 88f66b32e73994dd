"""How a fan-out grows: thousands of references whose stages do nothing, in parent, server, worker.

The parent run is the product's own, with a server of its own for every figure, on SQLite and, where
it is installed, PostgreSQL. A simulated worker takes each child run and ends it at once. Costs are
CPU seconds by process; a step's growth is the exponent of the power of the references that fits its
costs: 1 is linear. Steps of the parent are those of its process: it waits while the server works.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fan_out_rows import Database, Postgres, Sqlite
from benchmarks.machine import PeakMemory, table
from benchmarks.servers import has_postgres, postgres, prefect_server, process, query

SIZES = (300, 1_000, 3_000, 10_000)
SIDES = [sys.executable, "-m", "benchmarks.fan_out_sides"]
# Steeper than this is worse than linear, and not the noise of a shared machine.
LINEAR = 1.15
# A step that takes less in all has no growth to speak of.
NEGLIGIBLE_S = 0.2
DATABASES = ("PostgreSQL", "SQLite")


@dataclass(frozen=True)
class Run:
    """One simulated fan-out: CPU seconds and peak MiB by process, the parent's steps, the tenths.

    ``steps`` and ``again`` (the same fan-out once more, when all is done) hold per step
    ``{"calls", "wall_s", "cpu_s"}``; ``tenths`` the same processes' CPU seconds for every tenth of
    the references; ``disk_mb`` is what the database takes.
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
        """Seconds from the first order to the last outcome."""
        return self.steps["fan out, all of it"]["wall_s"]

    def a_reference(self) -> dict[str, float]:
        """CPU milliseconds per reference, by process."""
        return {name: 1000 * spent / self.references for name, spent in self.cpu_s.items()}


@dataclass(frozen=True)
class Stand:
    """A server, its database and a simulated worker at work.

    ``url`` is None where the database is a file of the server's; ``watched`` are process ids.
    """

    folder: Path
    url: str | None
    environment: Mapping[str, str]
    watched: Mapping[str, int]

    def fan_out(self, references: int, done: int = 0) -> Run:
        """One fan-out of so many references, of which the first ``done`` are done already.

        Raises:
            RuntimeError: a child failed.
        """
        found, peak_mb = _parent(self, references, done)
        tenths = found["tenths"]
        # What the others spent during the fan-out itself, not during the parent's later steps.
        cpu_s = {name: sum(one["cpu_s"][name] for one in tenths) for name in self.watched}
        return Run(
            references=references - done,
            cpu_s={"parent": found["steps"]["fan out, all of it"]["cpu_s"], **cpu_s},
            peak_mb={**peak_mb, **{f"parent, {at}": mb for at, mb in found["peak_mb"].items()}},
            steps=found["steps"],
            again=found["again"],
            tenths=tenths,
            disk_mb=self.disk_mb(),
        )

    @property
    def database(self) -> Database:
        """The database, for looking into it."""
        return Sqlite(self._file) if self.url is None else Postgres(self.url)

    def disk_mb(self) -> float:
        """What the database takes on disk, MiB."""
        if self.url is None:
            files = self._file.parent.glob(f"{self._file.name}*")
            return sum(file.stat().st_size for file in files) / 2**20
        return int(query(self.url, "select pg_database_size(current_database())")) / 2**20

    @property
    def _file(self) -> Path:
        return self.folder / "home" / "prefect.db"


@contextmanager
def stand(folder: Path, database: str) -> Iterator[Stand]:
    """A server on the named database with a worker, until the context ends.

    Raises:
        RuntimeError: a server did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _database(folder, database) as (pid, url), prefect_server(folder, url) as (server, api):
        environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "home")}
        deploy(api)
        waiting = [*SIDES, "worker", str(folder)]
        with process(waiting, folder / "worker.log", environment) as worker:
            watched = {"server": server, "worker": worker.pid}
            if pid is not None:
                watched["database"] = pid
            yield Stand(folder, url, environment, watched)


def measure(folder: Path, database: str, references: int) -> Run:
    """One fan-out of so many references on a server of its own.

    Raises:
        RuntimeError: a server did not start, or a child failed.
    """
    with stand(folder, database) as one:
        return one.fan_out(references)


def deploy(api: str) -> None:
    """The work pool and the deployment whose runs the simulated worker takes."""

    def infer(path: str, **body: Any) -> Any:
        answer = httpx.post(api + path, json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    infer("/work_pools/", name="simulated", type="process", base_job_template={})
    flow = infer("/flows/", name="generate_item")
    infer("/deployments/", name="simulated", flow_id=flow["id"], work_pool_name="simulated")


def exponent(sizes: list[int], costs: list[float]) -> float:
    """The power of the size that fits the costs best (least squares of the logarithms)."""
    xs, ys = [math.log(one) for one in sizes], [math.log(max(one, 1e-9)) for one in costs]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True))
    return slope / sum((a - x) ** 2 for a in xs)


def main(folder: Path) -> None:
    """Print what a reference costs by size and database, and how each step of the parent grows."""
    for database in DATABASES:
        if database == "PostgreSQL" and not has_postgres():
            print("PostgreSQL is not installed: left out", flush=True)
            continue
        runs = []
        for size in SIZES:
            runs.append(measure(folder / f"{database}-{size}", database, size))
            print(f"{database}, {size} references: {runs[-1].wall_s:.0f} s", flush=True)
        print(told(database, runs), flush=True)
        worse = worse_than_linear(runs)
        print("\n**Worse than linear:** " + (", ".join(worse) or "nothing") + ".", flush=True)


def told(database: str, runs: list[Run]) -> str:
    """The figures of a database as Markdown tables."""
    head = ["per reference", *(f"{run.references:,}" for run in runs), "growth"]
    return "\n\n".join(
        [
            f"\n### {database}",
            table(head, _per_reference(runs)),
            table(["step of the parent, CPU ms", *head[1:]], _steps(runs, "steps")),
            table(["the same run again, CPU ms", *head[1:]], _steps(runs, "again")),
            table(["tenth of the references", *_names(runs)], _tenths(runs[-1])),
        ]
    )


def worse_than_linear(runs: list[Run]) -> dict[str, float]:
    """The steps and processes whose CPU time grows faster than the references, with exponents."""
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


def _per_reference(runs: list[Run]) -> list[list[object]]:
    sizes = [run.references for run in runs]

    def row(what: str, totals: list[float], unit: float) -> list[object]:
        each = [unit * total / size for total, size in zip(totals, sizes, strict=True)]
        return [what, *each, f"{exponent(sizes, totals):.2f}"]

    rows = [row("wall, ms", [run.wall_s for run in runs], 1000)]
    rows += [
        row(f"{name}, CPU ms", [run.cpu_s[name] for run in runs], 1000) for name in runs[0].cpu_s
    ]
    rows.append(row("database on disk, KiB", [run.disk_mb for run in runs], 1024))
    peaks: list[list[object]] = [
        [f"{name}, peak MiB", *(f"{run.peak_mb[name]:.0f}" for run in runs), ""]
        for name in runs[0].peak_mb
    ]
    return rows + peaks


def _steps(runs: list[Run], which: str) -> list[list[object]]:
    sizes = [run.references for run in runs]
    rows: list[list[object]] = []
    for name in getattr(runs[0], which):
        spent = [getattr(run, which).get(name, {"cpu_s": 0.0})["cpu_s"] for run in runs]
        each = [1000 * one / size for one, size in zip(spent, sizes, strict=True)]
        rows.append([name, *each, f"{exponent(sizes, spent):.2f}"])
    return rows


def _tenths(run: Run) -> list[list[object]]:
    size = run.references / len(run.tenths)
    return [
        [
            f"{at}",
            1000 * one["wall_s"] / size,
            *(1000 * one["cpu_s"][name] / size for name in run.cpu_s),
        ]
        for at, one in enumerate(run.tenths, 1)
    ]


def _names(runs: list[Run]) -> list[str]:
    return ["wall, ms a reference", *(f"{name}, CPU ms" for name in runs[0].cpu_s)]


@contextmanager
def _database(folder: Path, name: str) -> Iterator[tuple[int | None, str | None]]:
    if name == "SQLite":
        yield None, None
        return
    with postgres(folder / "postgres.log") as found:
        yield found


def _parent(stand: Stand, references: int, done: int) -> tuple[dict[str, Any], dict[str, float]]:
    folder, watched = stand.folder, stand.watched
    command = [*SIDES, "parent", str(folder), str(references), json.dumps(watched), str(done)]
    with (
        PeakMemory(watched["server"], 1.0) as server,
        PeakMemory(watched["worker"], 1.0) as worker,
        (folder / "parent.log").open("wb") as log,
    ):
        ended = subprocess.run(command, env=stand.environment, stdout=log, stderr=log)
    if ended.returncode:
        raise RuntimeError(f"the parent run failed; see {log.name}")
    peaks = {"server": sum(server.peaks.values()), "worker": sum(worker.peaks.values())}
    return json.loads((folder / "found.json").read_text()), peaks
