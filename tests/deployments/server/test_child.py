"""The process of a temporary server ends with the process that started it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
# Starts the server and waits. Its name for the process is printed at once, long before the server
# answers.
STARTER = """
import signal, socket, subprocess, sys, time
# A shell's background job ignores them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
process = subprocess.Popen(
    [sys.executable, "-m", "deployments.server.child", str(listener.fileno())],
    stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True,
)
print(process.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP", "SIGINT", "SIGKILL"])
def test_a_server_that_starts_ends_with_its_command(number: str) -> None:
    command = [sys.executable, "-c", STARTER]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.Signals[number])
    gone, _ = psutil.wait_procs([server], timeout=60)
    assert gone or server.status() == psutil.STATUS_ZOMBIE


def test_a_server_ends_when_its_standard_input_ends(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        ended = subprocess.run(
            [sys.executable, "-m", "deployments.server.child", str(listener.fileno())],
            cwd=ROOT,
            env={**os.environ, "PREFECT_HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            timeout=60,
            check=False,
        )
    assert ended.returncode == -signal.SIGTERM
