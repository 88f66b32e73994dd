"""Measures the cost of a child run on a server whose database holds thousands of child runs.

10,000 real child runs take hours on a small machine, so most of them are copies. The benchmark runs
one group of child runs. It copies their rows under new ids until the database holds enough, and
saves their results in the store. The product's parent run then gets all references and runs the
last group. Costs are per child run of that group. Two depths show what grows with the database.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fan_out import DATABASES, SIDES, Run, Stack, start_stack
from benchmarks.fan_out_rows import Rows, read_rows, write_copy
from benchmarks.fan_out_timing import FAN_OUT
from benchmarks.machine import table
from benchmarks.servers import has_postgres

DEPTHS = (1_000, 10_000)
# SQLite needs up to a second per child run.
GROUP_SIZES = {"PostgreSQL": 1_000, "SQLite": 250}
# The parent repeats these steps per child run of the group, and the others per reference.
CHILD_STEPS = ("start children", "poll", "collect results", "read results")


@dataclass(frozen=True)
class Group:
    """The last child runs of a fan-out, the number of all child runs, and the machine's load."""

    depth: int
    run: Run
    load: float


def measure(folder: Path, database: str, depths: Sequence[int], size: int) -> list[Group]:
    """Measure the last ``size`` child runs at each depth, on one server.

    Args:
        folder: for database, store and logs.
        database: ``PostgreSQL`` or ``SQLite``.
        depths: child runs in the database after each group, ascending multiples of ``size``.
        size: child runs per group.
    """
    groups = []
    with start_stack(folder, database) as stack:
        total, rows = 0, None
        if depths[0] > size:
            stack.fan_out(size)
            total, rows = size, read_rows(stack.database)
        copies = 0
        for depth in depths:
            while total < depth - size:
                assert rows is not None
                copies += 1
                _copy(stack, rows, copies, range(total, total + size))
                total += size
            run = stack.fan_out(depth, done=depth - size)
            groups.append(Group(depth, run, os.getloadavg()[0]))
            total, rows = depth, rows or read_rows(stack.database)
            print(f"{database}, depth {depth}: {run.wall_s:.0f} s", flush=True)
    return groups


def main(folder: Path) -> None:
    """Print the cost of a child run per depth and database."""
    for database in DATABASES:
        if database == "PostgreSQL" and not has_postgres():
            print("PostgreSQL is not installed; its figures are left out", flush=True)
            continue
        groups = measure(folder / database, database, DEPTHS, GROUP_SIZES[database])
        print(as_tables(database, groups), flush=True)


def as_tables(database: str, groups: Sequence[Group]) -> str:
    """Return the figures of a database as Markdown tables, per child run and per reference."""
    first, last = groups[0].run, groups[-1].run
    depths = [f"{group.depth:,}" for group in groups]

    def row(name: str, figure: Callable[[Group], float]) -> list[object]:
        return [name, *map(figure, groups)]

    children = [
        row(f"{name}, CPU ms a child", _cpu_ms(name)) for name in first.cpu_s if name != "parent"
    ]
    children += [
        row("parent: start, poll, collect, CPU ms a child", _child_steps_ms),
        row("wall, ms a child", lambda group: 1000 * group.run.wall_s / group.run.references),
    ]
    children += [row(f"{name}, peak MiB", _peak_mb(name)) for name in first.peak_mb]
    children += [
        row("database, KiB a child", lambda group: 1024 * group.run.disk_mb / group.depth),
        row("load", lambda group: group.load),
    ]
    steps = [
        row(f"{'again: ' if kind == 'again' else ''}{name}", _step_ms(kind, name))
        for kind in ("steps", "again")
        for name in getattr(last, kind)
        if name not in CHILD_STEPS and (kind == "again" or name != FAN_OUT)
    ]
    head = f"{database}: the last {first.references:,} of"
    return "\n\n".join(
        [table([head, *depths], children), table(["parent, CPU ms a reference", *depths], steps)]
    )


def _cpu_ms(process: str) -> Callable[[Group], float]:
    return lambda group: group.run.cpu_ms_per_reference()[process]


def _peak_mb(process: str) -> Callable[[Group], float]:
    return lambda group: group.run.peak_mb[process]


def _child_steps_ms(group: Group) -> float:
    seconds = sum(group.run.steps[step]["cpu_s"] for step in CHILD_STEPS)
    return 1000 * seconds / group.run.references


def _step_ms(kind: str, step: str) -> Callable[[Group], float]:
    return lambda group: 1000 * getattr(group.run, kind)[step]["cpu_s"] / group.depth


def _copy(stack: Stack, rows: Rows, number: int, references: range) -> None:
    """Write the rows and results of a group into database and store, without child runs."""
    write_copy(stack.database, rows, number)
    first, end = str(references.start), str(references.stop)
    command = [*SIDES, "save_results", str(stack.folder), first, end]
    subprocess.run(command, env=stack.environment, check=True, capture_output=True)
