"""``synthset up`` and ``down``: the stack of docker/compose.yaml without containers.

A Prefect server with its database, an S3 server, a CPU worker and a GPU worker run in the
background. What they need to know of each other, passwords included, is in files of the state
folder that only their owner can read.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.apply import deploy
from deployments.local.postgres import Database, database_of
from deployments.local.process import Background
from deployments.local.services import BUCKET, FOR_DATABASE, Part, parts, rclone
from deployments.local.settings import Settings, StackError, settings_of, write_environment
from models.data.file_lock import alone
from models.data.records import Record

HEALTHY_WITHIN_S = 180.0
# A worker that is told to stop lets its flow runs report before it goes.
STOPPED_WITHIN_S = 20.0


class Stack(Record):
    """A running stack, as `up` tells it. ``store`` is the address for ``--store``."""

    ui: str
    api: str
    s3: str
    store: str
    database: str
    environment: Path
    started: tuple[str, ...]
    changed: tuple[str, ...]

    def told(self) -> str:
        """The stack in a few lines for a person."""
        return "\n".join(
            [
                f"Prefect  {self.ui}",
                f"store    {self.store} at {self.s3}",
                f"database {self.database}",
                f"use it   set -a; . {self.environment}; set +a",
                *(self.changed or ["deployments: as they should be"]),
                f"started  {', '.join(self.started) or 'nothing: all was running'}",
            ]
        )


def default_state() -> Path:
    """Where the stack of this user keeps settings, records and logs."""
    return platformdirs.user_state_path("synthset")


def up(
    state: Path,
    host: str | None = None,
    port: int | None = None,
    s3_port: int | None = None,
    auth: bool = False,
) -> Stack:
    """Start what is not running yet, and wait until all of it works.

    Ports and passwords are those of the first start, by default 127.0.0.1 with 4200 and 9000. A
    server that other machines reach always has a password; ``auth`` gives it one on this machine
    too.

    Raises:
        StackError: the first start had other settings, a port is taken, rclone is missing, or a
            part does not get healthy; what this call started is stopped then.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(state / "lock"):
        settings = settings_of(state, host, port, s3_port, auth)
        started: list[str] = []
        try:
            program = rclone()
            database = _database(state)
            *servers, cpu, gpu = parts(state, settings, database, program)
            for part in servers:
                started += _ensure(state, part, settings)
            with _as_client(settings):
                changed = deploy()
            for part in (cpu, gpu):
                started += _ensure(state, part, settings)
        except BaseException:
            for name in reversed(started):
                _stop(state, name)
            raise
        return Stack(
            ui=settings.api_url.removesuffix("/api"),
            api=settings.api_url,
            s3=settings.s3_url,
            store=f"s3://{BUCKET}/store",
            database=database if isinstance(database, str) else "PostgreSQL",
            environment=write_environment(state, settings),
            started=tuple(started),
            changed=tuple(changed),
        )


def down(state: Path) -> list[str]:
    """Stop what `up` started in this state folder, workers first; data and settings stay.

    Returns:
        The names of the parts that were running.
    """
    if not state.is_dir():
        return []
    with alone(state / "lock"):
        names = ("gpu-worker", "cpu-worker", "s3", "server", "database")
        return [name for name in names if _stop(state, name)]


def _stop(state: Path, name: str) -> bool:
    # Told to terminate, PostgreSQL would wait for whoever is still connected.
    asked = signal.SIGINT if name == "database" else signal.SIGTERM
    return Background(state, name).stop(STOPPED_WITHIN_S, asked)


def _database(state: Path) -> Database | str:
    """The database that the stack brings along, or in words what the server has instead."""
    if any(name.startswith(FOR_DATABASE) for name in os.environ):
        return f"as {FOR_DATABASE}* says"
    return database_of(state)


def _ensure(state: Path, part: Part, settings: Settings) -> list[str]:
    """Start a part unless it runs, and wait until it works; its name if it was started."""
    process = Background(state, part.name)
    fresh = not process.running()
    since = datetime.now(UTC) if fresh else datetime.min.replace(tzinfo=UTC)
    if fresh:
        _stop(state, part.name)
        process.start(part.command, part.environment, part.user)
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    with _as_client(settings):
        while not part.healthy(since):
            ended = not process.running()
            if ended or time.monotonic() > deadline:
                words = process.last_words()
                if fresh:
                    _stop(state, part.name)
                what = "ended" if ended else f"is not healthy after {HEALTHY_WITHIN_S:.0f} s"
                raise StackError(f"{part.name} {what}; see {process.log}: {words}")
            time.sleep(0.2)
    if not process.running():
        raise StackError(
            f"{part.name} ended, and another program answers on its port; see {process.log}: "
            f"{process.last_words()}"
        )
    return [part.name] if fresh else []


@contextmanager
def _as_client(settings: Settings) -> Iterator[None]:
    changes = {PREFECT_API_URL: settings.api_url, PREFECT_API_AUTH_STRING: settings.auth}
    with temporary_settings(changes):
        yield
