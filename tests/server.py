"""The Prefect server of the tests: it is started as commands start theirs."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from unittest.mock import patch


@contextlib.contextmanager
def run_server() -> Iterator[None]:
    """A temporary Prefect server and database for all flows that are called inside."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    from deployments.server.embedded import start_server

    def start(server: SubprocessASGIServer) -> subprocess.Popen[bytes]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", server.port))
            return start_server(listener)

    with contextlib.ExitStack() as stack:
        with patch.object(SubprocessASGIServer, "_run_uvicorn_command", start):
            stack.enter_context(prefect_test_harness(server_startup_timeout=180))
        stack.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
        yield
