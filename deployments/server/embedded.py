"""The Prefect server of a command without a configured one; it ends when the command ends.

Prefect can start such a server itself. But it runs in the command's process group: Ctrl-C ends the
server first, and the command then waits minutes for it. After kill -9 of the command, Prefect's
server keeps running.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import IO

import httpx
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from deployments.proxies import check_proxies
from deployments.server.client import configured_server
from deployments.server.errors import TemporaryServerError
from models.data.files import check_writable

# Of the server's log in an error line.
LOG_CHARACTERS = 130
_SERVER_SETTINGS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
_END_WITHIN_S = 10.0
_PAUSE_S = 0.1


class TemporaryServer:
    """A server on 127.0.0.1, in a process that ends when this one ends, however it ends."""

    def __init__(self) -> None:
        # As long as the process: Prefect's threads use the server until the end.
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._is_stopped = False
        with socket.socket() as listener:
            # The kernel chooses a free port, and it is the server's before another program asks.
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
            self.process = start_server(listener, self._log)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when the server answers.

        Raises:
            TemporaryServerError: its process ended, or it does not answer within the time.
        """
        deadline = time.monotonic() + timeout_s
        # Without the proxies of the environment.
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while not self._answers(client):
                if self.has_ended:
                    raise self.error("ended while it started")
                if time.monotonic() > deadline:
                    raise self.error(f"does not answer after {timeout_s:.0f} s")
                time.sleep(_PAUSE_S)

    def error(self, event: str) -> TemporaryServerError:
        """The error for an event, with the last words of the server."""
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").split()
        end = " ".join(words)[-LOG_CHARACTERS:]
        log = f": {end}" if end else f" (exit code {self.process.poll()})"
        return TemporaryServerError(
            f"the temporary Prefect server {event}{log}; run the same command again, or start a "
            "server with 'synthset up' and set PREFECT_API_URL"
        )

    def watch(self, on_loss: Callable[[TemporaryServerError], object]) -> None:
        """Call a function in another thread if the process ends before `stop`."""

        def wait() -> None:
            self.process.wait()
            if not self._is_stopped:
                on_loss(self.error("ended during the run"))

        threading.Thread(target=wait, daemon=True, name="temporary server").start()

    def stop(self) -> None:
        """End the process."""
        self._is_stopped = True
        self.process.terminate()
        try:
            self.process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"http://127.0.0.1:{self.port}/api/health").is_success
        except httpx.TransportError:
            return False


def start_server(listener: socket.socket, log: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start the server of a command on a bound socket; its output goes to the log.

    It ends when this process ends, or closes the standard input of the server's process.
    """
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.server.child", str(listener.fileno())],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env={**os.environ, **settings, **_SERVER_SETTINGS},
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )


def server_for_flows() -> AbstractContextManager[None]:
    """The configured server, which is checked first, or a temporary one.

    Raises:
        ServerError, ServerLostError: see `configured_server`.
        FolderError, ProxyError, TemporaryServerError: see `temporary_server`.
    """
    if get_current_settings().api.url is None:
        return temporary_server()
    return configured_server()


@contextmanager
def temporary_server() -> Iterator[None]:
    """A server for the flows that are called inside; if it ends, this process ends at once.

    It has no service that looks at heartbeats, so flow runs send none: each would wait up to a
    second at its end for the thread that sends them. It lives until this process ends, because
    Prefect's threads send their last events and logs then.

    Raises:
        FolderError: Prefect's home folder can't be written.
        ProxyError: Prefect's clients can't use a proxy that the environment names.
        TemporaryServerError: the server does not start.
    """
    from deployments.prefect_private import has_ephemeral_server, set_ephemeral_server

    if not has_ephemeral_server():
        settings = get_current_settings()
        check_proxies()
        fix = "set PREFECT_HOME (or HOME) to a folder that this user may write"
        check_writable(settings.home, "Prefect's home folder", fix)
        server = TemporaryServer()
        try:
            # Clients need it; it takes as long as the start of the server, which goes on meanwhile.
            import_module("prefect.server.api.server")
            server.wait_until_ready(settings.server.ephemeral.startup_timeout_seconds)
        except BaseException:
            server.stop()
            raise
        atexit.register(server.stop)
        server.watch(_end_process)
        set_ephemeral_server(server.process, server.port)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _end_process(error: TemporaryServerError) -> None:
    """End this process without clean-up: Prefect's threads would try for minutes to send events.

    What is in the store is whole at any moment.
    """
    print(f"\nsynthset: {error}", file=sys.stderr, flush=True)
    os._exit(1)
