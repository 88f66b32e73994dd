"""The Prefect server of a command without a configured one; it ends when the command ends.

Prefect can start such a server itself. But it runs in the command's process group: Ctrl-C ends the
server first, and the command then waits minutes for it. After kill -9 of the command, Prefect's
server keeps running.
"""

import atexit
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

# The kernel closes the command's end of the pipe however the command ends. The shell then reads no
# word and kills the server.
_KILL_SERVER_AT_EOF = 'read -r word || kill "$0"'
_SERVER_SETTINGS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


@contextmanager
def temporary_server() -> Iterator[None]:
    """A server for the flows that are called inside, unless a server is configured.

    It has no service that looks at heartbeats, so flow runs send none: each would wait up to a
    second at its end for the thread that sends them.

    Raises:
        RuntimeError: the server does not start.
    """
    settings = get_current_settings()
    if settings.api.url is not None or not settings.server.ephemeral.enabled:
        yield
        return
    from deployments.prefect_private import start_ephemeral_server

    process_id = start_ephemeral_server(start_server)
    if process_id is not None:
        _end_server_with_this_process(process_id)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def start_server(port: int) -> subprocess.Popen[bytes]:
    """Start the server of a command on a port of this machine."""
    program = [sys.executable, "-m", "uvicorn", "--factory", "deployments.server.main:create_app"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [*program, *options, "--lifespan", "on"],
        env={**os.environ, **settings, **_SERVER_SETTINGS},
        start_new_session=True,
    )


def _end_server_with_this_process(server_pid: int) -> None:
    watcher = subprocess.Popen(
        ["sh", "-c", _KILL_SERVER_AT_EOF, str(server_pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # At a regular exit the watcher gets a word and ends; Prefect's own handler stops the server.
    atexit.register(watcher.communicate, b"done\n")
