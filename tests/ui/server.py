"""A Prefect server for one test, and processes that use it; all of them are ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.tiny import OTHERS, ROOT

T = TypeVar("T")
Ended = subprocess.CompletedProcess[str]
TIMEOUT_S = 300.0
WORKER = "import deployments.persistent_worker.worker; from prefect.cli import app; app()"


@dataclass
class Server:
    """A running server, a client of it, and the environment of programs that use it."""

    url: str
    api: httpx.Client
    environment: dict[str, str]
    folder: Path

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Call the API; return the JSON of the answer."""
        answer = self.api.request(method, path, json=body or None)
        # Prefect's client retries too: SQLite is busy now and then.
        for _ in range(5):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
            answer = self.api.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """The flow runs that match a filter of the API, in the order of their start."""
        found: list[dict[str, Any]] = self.ask(
            "POST", "/flow_runs/filter", sort="EXPECTED_START_TIME_ASC", **wanted
        )
        return found

    def run(self, identifier: str) -> dict[str, Any]:
        """A flow run by its id."""
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{identifier}")
        return found

    def synthset(self, *arguments: str) -> str:
        """The output of a command that must succeed."""
        ended = run([sys.executable, "-m", "synthset.main", *arguments], self.environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @contextmanager
    def worker(self, pool: str, kind: str, slots: int = 1) -> Iterator[None]:
        """A worker of a pool."""
        options = ("--pool", pool, "--type", kind, "--limit", str(slots), "--name", f"{pool}-1")
        command = [sys.executable, "-c", WORKER, "worker", "start", *options]
        with process(command, self.environment, self.folder / f"{pool}.log"):
            yield


@contextmanager
def prefect_server(folder: Path, **more: str) -> Iterator[Server]:
    """A server with UI and a SQLite database in ``folder``, on a free port of this machine."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    environment = {
        **kept,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "synthset",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
    command = [sys.executable, "-m", "deployments.server.main", "--port", str(port)]
    with (
        process(command, environment, folder / "server.log"),
        httpx.Client(base_url=f"{url}/api", timeout=30) as api,
    ):
        until(lambda: _healthy(api))
        yield Server(url, api, environment, folder)


@contextmanager
def process(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, which is ended afterwards."""
    with log.open("ab") as into:
        started = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=into, stderr=into, start_new_session=True
        )
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def run(command: Sequence[str], environment: Mapping[str, str], text: str = "") -> Ended:
    """Run a command to its end, with ``text`` on its standard input."""
    return subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


def until(look: Callable[[], T], seconds: float = 120.0) -> T:
    """The result of ``look`` as soon as it is true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not true within {seconds:.0f} s"
        time.sleep(0.1)
    return found


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _healthy(api: httpx.Client) -> bool:
    try:
        return api.get("/health").is_success
    except httpx.TransportError:
        return False
