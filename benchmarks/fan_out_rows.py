"""Reads the rows of child runs in Prefect's database, and writes copies under new ids."""

import hashlib
import re
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.servers import query

Row = tuple[object, ...]

TABLES = (
    "flow_run",
    "flow_run_state",
    "task_run",
    "task_run_state",
    "events",
    "event_resources",
    "log",
    "artifact",
)
# How COPY writes NULL.
NULL = r"\N"
# A work item's key, or an id; both are also parts of names and documents.
_IDS = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Database(Protocol):
    """A database of Prefect whose rows can be read, and which takes more rows."""

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table."""

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows without a check of foreign keys."""


@dataclass(frozen=True)
class Sqlite:
    """The SQLite file of a Prefect server."""

    file: Path

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        with sqlite3.connect(self.file) as database:
            return [str(row[1]) for row in database.execute(f"pragma table_info({table})")]

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table."""
        with sqlite3.connect(self.file, timeout=120) as database:
            return list(database.execute(f"select * from {table}"))

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows; SQLite checks no foreign keys by default."""
        marks = ",".join("?" * len(self.columns(table)))
        with sqlite3.connect(self.file, timeout=120) as database:
            database.executemany(f"insert into {table} values ({marks})", rows)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL database whose user may switch off the check of foreign keys."""

    url: str

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return query(
            self.url,
            "select column_name from information_schema.columns where table_schema = 'public'"
            f" and table_name = '{table}' order by ordinal_position",
        ).split()

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table; values are as COPY writes them."""
        text = query(self.url, f"copy {table} to stdout")
        return [tuple(line.split("\t")) for line in text.split("\n")[:-1]]

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
            file.flush()
            unchecked = "set session_replication_role = replica"
            query(self.url, f"{unchecked}; copy {table} from stdin", Path(file.name))
        query(self.url, f"analyze {table}")


@dataclass(frozen=True)
class Rows:
    """The rows of child runs by table; ``owned`` are the ids of these rows."""

    by_table: dict[str, list[Row]]
    owned: frozenset[str]


def read_rows(database: Database) -> Rows:
    """Return the rows of all child runs and of their states, without those of the parent run."""
    positions = {
        table: {name: position for position, name in enumerate(database.columns(table))}
        for table in TABLES
    }
    by_table = {table: database.rows(table) for table in TABLES}

    def column(table: str, name: str) -> list[object]:
        return [row[positions[table][name]] for row in by_table[table]]

    def remove(table: str, name: str, ids: set[object]) -> None:
        rows = by_table[table]
        by_table[table] = [row for row in rows if row[positions[table][name]] not in ids]

    runs = zip(column("flow_run", "id"), column("flow_run", "deployment_id"), strict=True)
    parents = {run for run, deployment in runs if deployment in (None, NULL)}
    # A parent run has a task run per child run, and a few more.
    child_tasks = set(column("flow_run", "parent_task_run_id"))
    tasks = zip(column("task_run", "id"), column("task_run", "flow_run_id"), strict=True)
    parent_tasks = {task for task, run in tasks if run in parents and task not in child_tasks}
    remove("flow_run", "id", parents)
    for table in ("flow_run_state", "log", "artifact"):
        remove(table, "flow_run_id", parents)
    remove("task_run", "id", parent_tasks)
    remove("task_run_state", "task_run_id", parent_tasks)
    owned = {str(name) for table in TABLES for name in column(table, "id")}
    return Rows(by_table, frozenset(owned))


def write_copy(database: Database, rows: Rows, number: int) -> None:
    """Add a copy of the rows under new ids; each ``number`` gives other ids."""
    rename = _make_rename(rows.owned, number)
    for table in TABLES:
        copies = (
            tuple(rename(value) if isinstance(value, str) else value for value in row)
            for row in rows.by_table[table]
        )
        database.add(table, copies)


def _make_rename(owned: frozenset[str], number: int) -> Callable[[str], str]:
    def rename(match: re.Match[str]) -> str:
        name = match[0]
        if len(name) == 64:
            return hashlib.sha256(f"{number} {name}".encode()).hexdigest()
        return str(uuid.uuid5(uuid.UUID(name), str(number))) if name in owned else name

    return lambda text: _IDS.sub(rename, text)
