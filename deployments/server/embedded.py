"""The Prefect server that a command brings along where none is set: it ends when the command ends.

Prefect would start one by itself. But that one is in the command's process group, so that Ctrl-C
ends it before the command, which then fails to report for minutes; and a command that is killed
leaves it running for ever.
"""

import atexit
import os
import subprocess
import sys

from prefect.settings import get_current_settings

# Ends the server, unless told that the command ends in good order. Whatever ends the command, be it
# kill -9 or a lack of memory, the kernel then closes its end of the pipe.
_WATCH = 'read -r word || kill "$0"'
_OURS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def start_server_if_none_is_set() -> None:
    """Start the temporary server that the flows of this process will use, unless they have another.

    Raises:
        RuntimeError: it does not start.
    """
    settings = get_current_settings()
    if settings.api.url is not None or not settings.server.ephemeral.enabled:
        return
    # The server's own imports take a second, which a run beside another server does without.
    from prefect.server.api.server import SubprocessASGIServer

    class Server(SubprocessASGIServer):
        """Prefect's own, in a session of its own."""

        def _run_uvicorn_command(self) -> subprocess.Popen[bytes]:
            return _serve(str(self.port))

    # Prefect's clients look for a running server before they start one, and find this.
    server = Server()
    server.start()
    if server.server_process is not None:
        _end_with_us(server.server_process.pid)


def _serve(port: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "uvicorn", "--factory", "deployments.server.main:create_app"]
    options = ["--host", "127.0.0.1", "--port", port, "--log-level", "error", "--lifespan", "on"]
    ours = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [*program, *options], env={**os.environ, **ours, **_OURS}, start_new_session=True
    )


def _end_with_us(server: int) -> None:
    watcher = subprocess.Popen(
        ["sh", "-c", _WATCH, str(server)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Runs before Prefect's own, which stops the server.
    atexit.register(watcher.communicate, b"done\n")
