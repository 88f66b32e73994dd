"""The persistent worker against a real server: one process for many runs, and what ends it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound

from deployments.persistent_worker import interpreter as worker_side
from deployments.persistent_worker.child import environment, is_fatal
from deployments.persistent_worker.interpreter import Code, Interpreter
from deployments.persistent_worker.settings import PersistentJobConfiguration, gpu_environment
from deployments.persistent_worker.worker import ActiveRun, PersistentWorker

ROOT = Path(__file__).resolve().parents[3]
POOL = "persistent"
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
WORKER = "import deployments.persistent_worker.worker; from prefect.cli import app; app()"
FLOWS = """\
import json, os, subprocess, time
from pathlib import Path
from prefect import flow

RELEASE = 1

@flow
def probe(out: str, leave: str = ""):
    report = {"pid": os.getpid(), "release": RELEASE, "value": os.environ.get("VALUE"),
            "left": os.environ.get("LEFT"), "cwd": os.getcwd(),
            "gpu": os.environ.get("SYNTHSET_GPU_LIMIT")}
    if leave:
        os.environ["LEFT"] = leave
        os.environ.pop("HOME", None)
        os.chdir("/")
    Path(out).write_text(json.dumps(report))

@flow
def hold(out: str, ignores: bool = False):
    helper = subprocess.Popen(["sleep", "300"])
    Path(out).write_text(json.dumps({"pid": os.getpid(), "helper": helper.pid}))
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            time.sleep(0.2)
        except BaseException:
            if not ignores:
                raise

@flow
def fail(out: str):
    Path(out).write_text(json.dumps({"pid": os.getpid()}))
    raise ValueError("no photo")
"""


@dataclass
class Server:
    """A Prefect server of this test session, with what its workers need in their environment."""

    api: httpx.Client
    environment: dict[str, str]
    folder: Path

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """A call to the API; the answer's JSON."""
        answer = self.api.request(method, path, json=body or None)
        # As Prefect's own client does: SQLite is busy now and then.
        for _ in range(5):
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
            answer = self.api.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def deploy(self, flow: str, name: str = "test", **job_variables: Any) -> str:
        """Create or update a deployment of one of the flows; its id."""
        made = self.ask("POST", "/flows/", name=flow)
        deployment = self.ask(
            "POST",
            "/deployments/",
            name=name,
            flow_id=made["id"],
            entrypoint=f"worker_flows.{flow}",
            work_pool_name=POOL,
            job_variables=job_variables,
        )
        return str(deployment["id"])

    def start(self, deployment: str, out: Path, **parameters: Any) -> str:
        """Schedule a run for now; its id."""
        path = f"/deployments/{deployment}/create_flow_run"
        run = self.ask("POST", path, parameters={"out": str(out), **parameters})
        return str(run["id"])

    def state(self, run: str) -> str:
        """The type of a run's state."""
        return str(self.ask("GET", f"/flow_runs/{run}")["state"]["type"])

    def history(self, run: str) -> list[str]:
        """The names of all states that a run was in."""
        states = self.api.get("/flow_run_states/", params={"flow_run_id": run}).json()
        return [state["name"] for state in states]

    def end(self, run: str) -> str:
        """Wait for a run's end; the type of its last state."""
        until(lambda: self.state(run) in FINAL)
        return self.state(run)

    def run(self, deployment: str, out: Path, **parameters: Any) -> dict[str, Any]:
        """What the flow of a completed run wrote."""
        run = self.start(deployment, out, **parameters)
        assert self.end(run) == "COMPLETED"
        return report_of(out)


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def report_of(out: Path) -> dict[str, Any]:
    until(lambda: out.exists() and bool(out.read_text()))
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def state_of(pid: int) -> str:
    """A process's state as the kernel calls it; Z also for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def is_alive(pid: int) -> bool:
    return state_of(pid) != "Z"


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, of which nothing is left afterwards."""
    started = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a database of its own and a work pool."""
    folder = tmp_path_factory.mktemp("worker")
    (folder / "worker_flows.py").write_text(FLOWS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **clean,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "deployments.server.main", "--port", str(port)]
    with (
        process(command, environment),
        httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=30) as api,
    ):
        until(lambda: healthy(api), 120)
        made = Server(api, environment, folder)
        template = json.loads(
            (ROOT / "deployments" / "work-pools" / "persistent-process.json").read_text()
        )
        made.ask(
            "POST", "/work_pools/", name=POOL, type="persistent-process", base_job_template=template
        )
        yield made


def healthy(api: httpx.Client) -> bool:
    try:
        return api.get("/health").is_success
    except httpx.TransportError:
        return False


@contextmanager
def worker(server: Server, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A persistent worker with one slot."""
    options = ["worker", "start", "--pool", POOL, "--type", "persistent-process", "--limit", "1"]
    command = [sys.executable, "-c", WORKER, *options]
    with process(command, {**server.environment, **environment}) as started:
        yield started


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Server]:
    """The server with a worker."""
    with worker(server, SYNTHSET_GPUS="3"):
        yield server


@pytest.mark.e2e
def test_runs_share_a_process_and_nothing_else(running: Server, tmp_path: Path) -> None:
    # Deployed first: the process must not hold older code than theirs.
    plain, broken = running.deploy("probe", "plain"), running.deploy("fail")
    deployment = running.deploy("probe", env={"VALUE": "mine"})
    first = running.run(deployment, tmp_path / "1", leave="behind")
    second = running.run(deployment, tmp_path / "2")
    assert second["pid"] == first["pid"]
    assert first["value"] == second["value"] == "mine"
    assert second["left"] is None
    assert second["cwd"] == first["cwd"] != str(ROOT)
    assert first["gpu"] == f"gpu:{socket.gethostname()}:3"
    other = running.run(plain, tmp_path / "3")
    assert (other["pid"], other["value"]) == (first["pid"], None)

    # After a failed run the process stays; the failure is reported.
    failing = running.start(broken, tmp_path / "4")
    assert running.end(failing) == "FAILED"
    assert "Crashed" not in running.history(failing)
    assert running.run(deployment, tmp_path / "5")["pid"] == first["pid"]
    asked = {"flow_run_id": {"any_": [failing]}}
    until(lambda: "no photo" in str(running.ask("POST", "/logs/filter", logs=asked)))


@pytest.mark.e2e
def test_a_killed_process_crashes_only_its_run(running: Server, tmp_path: Path) -> None:
    run = running.start(running.deploy("hold"), tmp_path / "1")
    child = report_of(tmp_path / "1")
    infrastructure = running.ask("GET", f"/flow_runs/{run}")["infrastructure_pid"]
    assert infrastructure == f"{socket.gethostname()}:{child['pid']}"
    os.kill(child["pid"], signal.SIGKILL)
    assert running.end(run) == "CRASHED"
    assert "-9" in running.ask("GET", f"/flow_runs/{run}")["state"]["message"]
    until(lambda: not is_alive(child["helper"]))

    # A process that dies between two runs crashes neither.
    probe = running.deploy("probe")
    first = running.run(probe, tmp_path / "2")
    assert first["pid"] != child["pid"]
    os.kill(first["pid"], signal.SIGKILL)
    assert running.run(probe, tmp_path / "3")["pid"] != first["pid"]


@pytest.mark.e2e
@pytest.mark.parametrize("ignores", [False, True])
def test_a_cancelled_run_ends_cancelled(running: Server, tmp_path: Path, ignores: bool) -> None:
    run = running.start(
        running.deploy("hold", f"ignores-{ignores}", grace_s=2), tmp_path / "1", ignores=ignores
    )
    child = report_of(tmp_path / "1")
    state = {"type": "CANCELLING", "name": "Cancelling"}
    running.ask("POST", f"/flow_runs/{run}/set_state", state=state)
    until(lambda: running.state(run) == "CANCELLED", 90)
    until(lambda: not is_alive(child["pid"]) and not is_alive(child["helper"]), 10)
    assert "Crashed" not in running.history(run)
    if not ignores:
        assert running.run(running.deploy("probe"), tmp_path / "2")["pid"] != child["pid"]


@pytest.mark.e2e
def test_a_worn_or_outdated_process_is_replaced(running: Server, tmp_path: Path) -> None:
    worn = running.deploy("probe", "worn", max_runs=1)
    first = running.run(worn, tmp_path / "1")
    assert running.run(worn, tmp_path / "2")["pid"] != first["pid"]

    deployment = running.deploy("probe", "updated")
    before = running.run(deployment, tmp_path / "3")
    code = running.folder / "worker_flows.py"
    code.write_text(FLOWS.replace("RELEASE = 1", "RELEASE = 2"))
    running.deploy("probe", "updated")
    after = running.run(deployment, tmp_path / "4")
    assert (before["release"], after["release"]) == (1, 2)


@pytest.mark.e2e
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ends_leaves_no_child(
    server: Server, tmp_path: Path, how: signal.Signals
) -> None:
    name = f"other-{how.name}"
    template = server.ask("GET", f"/work_pools/{POOL}")["base_job_template"]
    server.ask(
        "POST", "/work_pools/", name=name, type="persistent-process", base_job_template=template
    )
    hold = server.ask("POST", "/flows/", name="hold")
    deployment = server.ask(
        "POST",
        "/deployments/",
        name=name,
        flow_id=hold["id"],
        entrypoint="worker_flows.hold",
        work_pool_name=name,
        job_variables={"grace_s": 5},
    )
    command = [sys.executable, "-c", WORKER, "worker", "start", "--pool", name]
    with process([*command, "--type", "persistent-process"], server.environment) as started:
        run = server.start(deployment["id"], tmp_path / "1")
        child = report_of(tmp_path / "1")
        os.kill(started.pid, how)
        started.wait(20)
        until(lambda: not is_alive(child["pid"]) and not is_alive(child["helper"]), 15)
    assert server.end(run) == "CRASHED"


def test_a_frozen_process_does_not_take_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_side, "ANSWER_TIMEOUT_S", 0.5)

    async def hand_over() -> tuple[bool, int]:
        child = await Interpreter.start({"PYTHONPATH": str(ROOT)}, 1.0)
        os.kill(child.process.pid, signal.SIGSTOP)
        until(lambda: state_of(child.process.pid) == "T")
        begun = await child.begin("a-run", Code("a", "", ""), {})
        await child.stop(0)
        return begun, child.process.pid

    begun, pid = asyncio.run(hand_over())
    assert not begun
    assert not is_alive(pid)


def test_code_that_was_deployed_later_needs_a_new_process() -> None:
    child = Interpreter.__new__(Interpreter)
    child.process, child.is_fit, child.environment = Alive(), True, {}  # type: ignore[assignment]
    known = Code("a", "2026-05-02", "flows.a.a")
    child.codes = {"a": known}
    assert child.can_run(known, {})
    assert child.can_run(Code("b", "2026-05-01", "flows.b.b"), {})
    assert not child.can_run(Code("b", "2026-05-03", "flows.b.b"), {})
    assert not child.can_run(Code("a", "2026-05-03", "flows.a.a"), {})
    assert not child.can_run(known, {"PREFECT_LOGGING_LEVEL": "DEBUG"})


class Alive:
    """A process that runs."""

    returncode = None


def test_a_process_is_ended_only_for_its_current_run() -> None:
    cancelled: list[str] = []

    class AtRun(Alive):
        pid, run_id = 7, "a"
        process = property(lambda self: self)

        async def cancel(self, run_id: str, grace_s: float) -> None:
            cancelled.append(run_id)

    worker = PersistentWorker("pool")
    worker._active_runs[uuid4()] = ActiveRun(AtRun(), 1.0)  # type: ignore[arg-type]

    def kill(identifier: str, run: str) -> None:
        configuration = PersistentJobConfiguration(env={"PREFECT__FLOW_RUN_ID": run})
        asyncio.run(worker.kill_infrastructure(identifier, configuration))

    here = socket.gethostname()
    with pytest.raises(InfrastructureNotFound):
        kill(f"{here}:7", "an earlier run")
    with pytest.raises(InfrastructureNotAvailable, match="a worker on elsewhere can end it"):
        kill("elsewhere:7", "a")
    assert not cancelled
    kill(f"{here}:7", "a")
    assert cancelled == ["a"]


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    folder = os.getcwd()
    with environment({"KEPT": "during", "EXTRA": "1"}):
        assert (os.environ["KEPT"], os.environ["EXTRA"]) == ("during", "1")
        os.environ["KEPT"] = "by the flow"
        os.chdir("/")
    assert os.environ["KEPT"] == "before"
    assert "EXTRA" not in os.environ
    assert os.getcwd() == folder


def test_a_cuda_error_is_fatal_and_bad_input_is_not() -> None:
    from prefect.states import Completed, Failed

    broken = RuntimeError("a stage failed")
    broken.__cause__ = RuntimeError("CUDA error: device-side assert triggered")
    assert is_fatal(Failed(data=broken))
    assert not is_fatal(Failed(data=ValueError("no photo")))
    assert not is_fatal(Completed(data=1))


def test_slots_take_gpus_in_turn() -> None:
    assert gpu_environment([2, 5], 3, "host")["CUDA_VISIBLE_DEVICES"] == "5"
    assert gpu_environment([2, 5], 0, "host")["SYNTHSET_GPU_LIMIT"] == "gpu:host:2"
    assert gpu_environment([], 0, "host") == {}


def test_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match=r"command: .* use a pool of type process"):
        PersistentJobConfiguration(command="rm -r /")


def test_the_template_file_is_the_workers_own() -> None:
    path = ROOT / "deployments" / "work-pools" / "persistent-process.json"
    assert json.loads(path.read_text()) == PersistentWorker.get_default_base_job_template()


def test_prefect_finds_the_worker() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["prefect.collections"] == {
        "synthset": "deployments.persistent_worker.worker"
    }
