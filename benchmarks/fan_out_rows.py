"""The rows that child runs leave in Prefect's database, read and written again under fresh ids."""

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
# As COPY writes it.
NULL = r"\N"
# An order's key, or an id; both are also parts of names and documents.
_NAMES = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Database(Protocol):
    """A database of Prefect's that rows can be read from and added to."""

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""

    def rows(self, table: str) -> list[Row]:
        """All rows of a table."""

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows, in whatever order their foreign keys are."""


@dataclass(frozen=True)
class Sqlite:
    """Prefect's own file."""

    file: Path

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""
        with sqlite3.connect(self.file) as database:
            return [str(row[1]) for row in database.execute(f"pragma table_info({table})")]

    def rows(self, table: str) -> list[Row]:
        """All rows of a table."""
        with sqlite3.connect(self.file, timeout=120) as database:
            return list(database.execute(f"select * from {table}"))

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows; SQLite looks at no foreign keys unless asked to."""
        marks = ",".join("?" * len(self.columns(table)))
        with sqlite3.connect(self.file, timeout=120) as database:
            database.executemany(f"insert into {table} values ({marks})", rows)


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL whose user may leave foreign keys unlooked at."""

    url: str

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""
        return query(
            self.url,
            "select column_name from information_schema.columns where table_schema = 'public'"
            f" and table_name = '{table}' order by ordinal_position",
        ).split()

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, their values as COPY writes them."""
        text = query(self.url, f"copy {table} to stdout")
        return [tuple(line.split("\t")) for line in text.split("\n")[:-1]]

    def add(self, table: str, rows: Iterator[Row]) -> None:
        """Add rows."""
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
            file.flush()
            unlooked = "set session_replication_role = replica"
            query(self.url, f"{unlooked}; copy {table} from stdin", Path(file.name))
        query(self.url, f"analyze {table}")


@dataclass(frozen=True)
class Rows:
    """The rows that children left, by table; ``owned`` are the ids that are theirs alone."""

    of: dict[str, list[Row]]
    owned: frozenset[str]


def read_rows(database: Database) -> Rows:
    """The rows of all children so far, and of what happened to them; not those of their parent."""
    at = {table: _places(database.columns(table)) for table in TABLES}
    of = {table: database.rows(table) for table in TABLES}

    def column(table: str, name: str) -> list[object]:
        return [row[at[table][name]] for row in of[table]]

    def without(table: str, name: str, gone: set[object]) -> None:
        of[table] = [row for row in of[table] if row[at[table][name]] not in gone]

    runs = zip(column("flow_run", "id"), column("flow_run", "deployment_id"), strict=True)
    parents = {run for run, deployment in runs if deployment in (None, NULL)}
    # A parent run has a task run for each child, and a few of its own.
    stand_ins = set(column("flow_run", "parent_task_run_id"))
    tasks = zip(column("task_run", "id"), column("task_run", "flow_run_id"), strict=True)
    own = {task for task, run in tasks if run in parents and task not in stand_ins}
    without("flow_run", "id", parents)
    for table in ("flow_run_state", "log", "artifact"):
        without(table, "flow_run_id", parents)
    without("task_run", "id", own)
    without("task_run_state", "task_run_id", own)
    owned = {str(one) for table in TABLES for one in column(table, "id")}
    return Rows(of, frozenset(owned))


def _places(columns: list[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(columns)}


def write_copy(database: Database, rows: Rows, number: int) -> None:
    """Add the rows once more under ids of their own; ``number`` tells one copy from another."""
    renamed = _renaming(rows.owned, number)
    for table in TABLES:
        database.add(
            table,
            (
                tuple(renamed(one) if isinstance(one, str) else one for one in row)
                for row in rows.of[table]
            ),
        )


def _renaming(owned: frozenset[str], number: int) -> Callable[[str], str]:
    def other(found: re.Match[str]) -> str:
        name = found[0]
        if len(name) == 64:
            return hashlib.sha256(f"{number} {name}".encode()).hexdigest()
        return str(uuid.uuid5(uuid.UUID(name), str(number))) if name in owned else name

    return lambda text: _NAMES.sub(other, text)
