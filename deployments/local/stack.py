"""``synthset up`` and ``down``: the services of docker/compose.yaml without containers.

A Prefect server with its database, an S3 server, a CPU worker and a GPU worker run in the
background. Their addresses and passwords are in files that only their owner can read.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.apply import deploy
from deployments.local.process import Background
from deployments.local.services import (
    BUCKET,
    DATABASE_SETTINGS,
    Service,
    find_rclone,
    list_services,
)
from deployments.local.settings import (
    Settings,
    StackError,
    load_or_make_settings,
    write_environment,
)
from deployments.local.signals import signals_raise
from deployments.proxies import check_proxies
from models.data.file_lock import file_lock
from models.data.files import check_writable
from models.data.records import Record

HEALTHY_WITHIN_S = 180.0
# A worker lets its flow runs report their end before it stops.
STOPPED_WITHIN_S = 20.0


class Stack(Record):
    """A running stack, as `up` returns it. ``store`` is the address for ``--store``."""

    ui: str
    api: str
    s3: str
    store: str
    database: str
    environment: Path
    started: tuple[str, ...]
    changed: tuple[str, ...]

    def describe(self) -> str:
        """The stack in a few lines for people."""
        return "\n".join(
            [
                f"Prefect  {self.ui}",
                f"store    {self.store} at {self.s3}",
                f"database {self.database}",
                f"use it   set -a; . {self.environment}; set +a",
                *(self.changed or ["deployments: up to date"]),
                f"started  {', '.join(self.started) or 'nothing: everything was running'}",
            ]
        )


class Starting:
    """The services of one call of `up`. ``begun`` are the names of those that it started."""

    def __init__(self, state: Path, settings: Settings) -> None:
        self.begun: list[str] = []
        self._state, self._settings = state, settings
        self._running: list[Background] = []

    def ensure(self, service: Service) -> None:
        """Start a service unless it runs, and wait until it is healthy.

        Raises:
            StackError: it is not healthy in time, or one of the services ended meanwhile.
        """
        process = Background(self._state, service.name)
        is_new = not process.is_running()
        since = datetime.now(UTC) if is_new else datetime.min.replace(tzinfo=UTC)
        if is_new:
            # Processes of an earlier start may have outlived their leader.
            process.stop(STOPPED_WITHIN_S)
            # Before the process exists: a signal may arrive at any moment.
            self.begun.append(service.name)
            process.start(service.command, service.environment)
        self._running.append(process)
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        with _client_settings(self._settings):
            while not service.is_healthy(since):
                self._require_running()
                if time.monotonic() > deadline:
                    late = f"is not healthy after {HEALTHY_WITHIN_S:.0f} s"
                    raise StackError(_line(process, late))
                time.sleep(0.2)
        self._require_running()

    def undo(self) -> None:
        """Stop what this call started."""
        for name in reversed(self.begun):
            _stop(self._state, name)

    def _require_running(self) -> None:
        for process in self._running:
            if not process.is_running():
                raise StackError(_line(process, "ended"))


def _line(process: Background, event: str) -> str:
    return f"{process.name} {event}; see {process.log}: {process.log_end()}"


def default_state() -> Path:
    """The folder in which this user's stack keeps settings, records and logs."""
    return platformdirs.user_state_path("synthset")


def up(
    state: Path,
    host: str | None = None,
    port: int | None = None,
    s3_port: int | None = None,
    auth: bool = False,
) -> Stack:
    """Start every service that is not running, and wait until all are healthy.

    Ports and passwords are those of the first start; its defaults are 127.0.0.1, 4200 and 9000. A
    server that other machines can reach always has a password; ``auth`` sets one on localhost too.

    Services that this call started are stopped if it fails, or is ended by a signal.

    Raises:
        StackError: an option differs from the first start, a port is in use, rclone is missing, or
            a service ends or does not become healthy.
        FolderError: the state folder can't be written.
        ProxyError: Prefect's clients can't use a proxy that the environment names.
    """
    check_proxies()
    fix = "give --state, or set XDG_STATE_HOME (or HOME), a folder that this user may write"
    check_writable(state, "the state folder", fix, mode=0o700)
    with signals_raise(), file_lock(state / "lock"):
        if (state / "database.json").exists():
            raise StackError(
                f"{state / 'database.json'}: `up` no longer starts PostgreSQL; start it, set"
                " PREFECT_SERVER_DATABASE_CONNECTION_URL and remove this file; or give --state"
            )
        settings = load_or_make_settings(state, host, port, s3_port, auth)
        starting = Starting(state, settings)
        try:
            *servers, cpu, gpu = list_services(state, settings, find_rclone())
            for service in servers:
                starting.ensure(service)
            with _client_settings(settings):
                changed = deploy()
            for service in (cpu, gpu):
                starting.ensure(service)
            return Stack(
                ui=settings.api_url.removesuffix("/api"),
                api=settings.api_url,
                s3=settings.s3_url,
                store=f"s3://{BUCKET}/store",
                database=_describe_database(),
                environment=write_environment(state, settings),
                started=tuple(starting.begun),
                changed=tuple(changed),
            )
        except BaseException:
            starting.undo()
            raise


def down(state: Path) -> list[str]:
    """Stop the services of this state folder, workers first; data and settings stay.

    Returns:
        The names of the services that were running.
    """
    if not state.is_dir():
        return []
    with file_lock(state / "lock"):
        names = ("gpu-worker", "cpu-worker", "s3", "server")
        return [name for name in names if _stop(state, name)]


def _stop(state: Path, name: str) -> bool:
    return Background(state, name).stop(STOPPED_WITHIN_S)


def _describe_database() -> str:
    if any(name.startswith(DATABASE_SETTINGS) for name in os.environ):
        return f"set by {DATABASE_SETTINGS}*"
    return "SQLite, which suffices for tens of photos"


@contextmanager
def _client_settings(settings: Settings) -> Iterator[None]:
    changes = {PREFECT_API_URL: settings.api_url, PREFECT_API_AUTH_STRING: settings.auth}
    with temporary_settings(changes):
        yield
