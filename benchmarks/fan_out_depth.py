"""What a child run costs on a server that has seen thousands: the fan-out at two depths.

Sending 10,000 children through a real server takes hours on a small machine, so most are copies: a
first lot is run, the rows that it left are copied under fresh ids until the database holds what so
many runs leave, their results are put into the store, and the last lot goes through the product's
fan-out, whose parent run is given all the references. Costs are per child of a lot, so those of two
depths tell what grows with the runs that the server has seen.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fan_out import DATABASES, SIDES, Run, Stand, stand
from benchmarks.fan_out_rows import Rows, read_rows, write_copy
from benchmarks.machine import table
from benchmarks.servers import has_postgres

DEPTHS = (1_000, 10_000)
# SQLite takes a second for a child run, and more where the machine is shared.
LOTS = {"PostgreSQL": 1_000, "SQLite": 250}
# Steps of the parent that it takes for each child of the lot; the others are for all references.
BY_CHILD = ("start children", "poll", "collect outcomes", "read results")
WHOLE = "fan out, all of it"


@dataclass(frozen=True)
class Lot:
    """The last children of a fan-out, and how many there were with them; the machine's load."""

    depth: int
    run: Run
    load: float


def measure(folder: Path, database: str, depths: Sequence[int], lot: int) -> list[Lot]:
    """The last ``lot`` children at each depth, on one server.

    Args:
        folder: where all of it lies.
        database: ``PostgreSQL`` or ``SQLite``.
        depths: children in the database at the end of each lot, ascending multiples of ``lot``.
        lot: how many children are run at a time.
    """
    lots = []
    with stand(folder, database) as server:
        seen, rows = 0, None
        if depths[0] > lot:
            server.fan_out(lot)
            seen, rows = lot, read_rows(server.database)
        copies = 0
        for depth in depths:
            while seen < depth - lot:
                assert rows is not None
                copies += 1
                _copy(server, rows, copies, range(seen, seen + lot))
                seen += lot
            lots.append(Lot(depth, server.fan_out(depth, done=depth - lot), os.getloadavg()[0]))
            seen, rows = depth, rows or read_rows(server.database)
            print(f"{database}, depth {depth}: {lots[-1].run.wall_s:.0f} s", flush=True)
    return lots


def main(folder: Path) -> None:
    """Print what a child run costs by depth and database."""
    for database in DATABASES:
        if database == "PostgreSQL" and not has_postgres():
            print("PostgreSQL is not installed: left out", flush=True)
            continue
        lots = measure(folder / database, database, DEPTHS, LOTS[database])
        print(told(database, lots), flush=True)


def told(database: str, lots: Sequence[Lot]) -> str:
    """The figures of a database as Markdown tables: per child of the lot, and per reference."""
    first, last = lots[0].run, lots[-1].run
    head = [f"{database}: the last {first.references:,} of", *(f"{one.depth:,}" for one in lots)]

    def row(what: str, figure: Callable[[Lot], float]) -> list[object]:
        return [what, *map(figure, lots)]

    children = [
        row(f"{name}, CPU ms a child", _cpu_ms(name)) for name in first.cpu_s if name != "parent"
    ]
    children += [row(f"{step}, CPU ms a child", _by_lot(step)) for step in BY_CHILD]
    children.append(row("wall, ms a child", lambda one: 1000 * one.run.wall_s / one.run.references))
    children += [row(f"{name}, peak MiB", _peak_mb(name)) for name in first.peak_mb]
    children.append(row("database, KiB a child", lambda one: 1024 * one.run.disk_mb / one.depth))
    children.append(row("load of the machine", lambda one: one.load))
    steps = [
        row(f"{name}{' (again)' if which == 'again' else ''}", _by_depth(which, name))
        for which in ("steps", "again")
        for name in getattr(last, which)
        if name not in BY_CHILD and (which == "again" or name != WHOLE)
    ]
    return f"{table(head, children)}\n\n{table(['parent, CPU ms a reference', *head[1:]], steps)}"


def _cpu_ms(process: str) -> Callable[[Lot], float]:
    return lambda one: one.run.a_reference()[process]


def _peak_mb(process: str) -> Callable[[Lot], float]:
    return lambda one: one.run.peak_mb[process]


def _by_lot(step: str) -> Callable[[Lot], float]:
    return lambda one: 1000 * one.run.steps[step]["cpu_s"] / one.run.references


def _by_depth(which: str, step: str) -> Callable[[Lot], float]:
    return lambda one: 1000 * getattr(one.run, which)[step]["cpu_s"] / one.depth


def _copy(server: Stand, rows: Rows, number: int, references: range) -> None:
    """What a lot leaves in database and store, without running it."""
    write_copy(server.database, rows, number)
    command = [*SIDES, "finish", str(server.folder), str(references.start), str(references.stop)]
    subprocess.run(command, env=server.environment, check=True, capture_output=True)
