"""Only one batch at a time holds a GPU: against a real Prefect server that may go away."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency import _leases
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from models.data.records import Record
from tasks.engine import server_retry
from tasks.engine.gpu import LEASE_S, GpuLimitMissingError, gpu_lock
from tasks.engine.jobs import Job, StageInput, StageOutput
from tasks.engine.run_context import RunContext
from tasks.engine.stage import stage
from tasks.store.store import open_store
from tests.tiny import OTHERS
from tests.ui.server import free_port, until

TIMEOUT_S = 250.0


class Server:
    """A Prefect server that keeps its leases in files, and may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._leases = folder / "concurrency_leases"
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(OTHERS)}
        environment = {
            **inherited,
            "PREFECT_HOME": str(self._folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
            "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "0.5",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)], env=environment, stdout=log, stderr=log
            )
        until(self._answers)

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        self._process.kill()
        self._process.wait()

    def taken(self, limit: str) -> int:
        """How many slots of a limit are taken."""
        return int(httpx.get(f"{self.url}/v2/concurrency_limits/{limit}").json()["active_slots"])

    def ends(self) -> list[str]:
        """When the leases of limits that it has granted will end."""
        leases = [json.loads(file.read_text()) for file in self._leases.glob("*-*-*.json")]
        return [lease["expiration"] for lease in leases if lease["resource_ids"]]

    def end_leases(self) -> None:
        """Let the time of all leases pass."""
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        for file in self._leases.glob("*-*-*.json"):
            file.write_text(json.dumps(json.loads(file.read_text()) | {"expiration": past}))
        # The server's list may lack a lease, if both wrote it at once: the files tell.
        names = [file.stem for file in self._leases.glob("*-*-*.json")]
        (self._leases / "expirations.json").write_text(json.dumps(dict.fromkeys(names, past)))

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("leases"))
    started.start()
    with temporary_settings({PREFECT_API_URL: started.url}):
        yield started
        # A thread of Prefect reports acquired slots as events, and keeps this server's address.
        EventsWorker.drain_all(timeout=10)
    started.kill()


@pytest.fixture
def limit(
    server: Server,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> str:
    """A GPU's limit as `synthset deploy` makes it, in this process's environment."""
    name = f"gpu:{request.node.name[:40]}:0"
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
    monkeypatch.setenv("SYNTHSET_GPU_LIMIT", name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(server_retry, "PAUSE_S", 0.2)
    return name


class Holder:
    """A thread that holds the GPU until `end` is called."""

    def __init__(self) -> None:
        self.holds, self.let_go = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._hold,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Release the GPU, and wait until the thread has ended."""
        self.let_go.set()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def _hold(self) -> None:
        try:
            with gpu_lock(needed=True):
                self.holds.set()
                assert self.let_go.wait(TIMEOUT_S)
        except Exception as error:
            self.error = error


def test_a_second_batch_waits_until_the_first_releases_the_gpu(limit: str, server: Server) -> None:
    first = Holder()
    assert first.holds.wait(TIMEOUT_S)
    second = Holder()
    assert not second.holds.wait(1.0)
    assert server.taken(limit) == 1
    first.end()
    assert second.holds.wait(TIMEOUT_S)
    second.end()
    assert server.taken(limit) == 0


def test_a_second_process_waits_until_the_first_releases_the_gpu(limit: str) -> None:
    holder = Holder()
    assert holder.holds.wait(TIMEOUT_S)
    code = "from tasks.engine.gpu import gpu_lock\nwith gpu_lock(needed=True): print('entered')"
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    environment["TMPDIR"] = tempfile.gettempdir()
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as other:
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(8.0)
        holder.end()
        assert other.communicate(timeout=TIMEOUT_S)[0] == "entered\n"


def test_a_thread_that_holds_the_gpu_enters_again(limit: str, server: Server) -> None:
    with gpu_lock(needed=True):
        with gpu_lock(needed=True):
            assert server.taken(limit) == 1
        assert server.taken(limit) == 1
    assert server.taken(limit) == 0


def test_a_failed_batch_releases_the_gpu(limit: str, server: Server) -> None:
    taken = []

    def fail() -> None:
        with gpu_lock(needed=True):
            taken.append(server.taken(limit))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [*taken, server.taken(limit)] == [1, 0]


def test_holds_nothing_without_networks_or_without_a_gpu(
    limit: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpu_lock(needed=False):
        assert server.taken(limit) == 0
    monkeypatch.delenv("SYNTHSET_GPU_LIMIT")
    with gpu_lock(needed=True):
        assert server.taken(limit) == 0


def test_a_limit_that_does_not_exist_is_one_line_with_the_command(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_GPU_LIMIT", "gpu:ada:1")
    with pytest.raises(GpuLimitMissingError) as refused, gpu_lock(needed=True):
        pass
    assert "synthset deploy --gpu ada:2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_holder_renews_its_lease(
    limit: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_leases, "_RENEWAL_FRACTION", 0.2 / LEASE_S)
    holder = Holder()
    assert holder.holds.wait(TIMEOUT_S)
    granted = server.ends()
    until(lambda: server.ends() > granted, TIMEOUT_S)
    holder.end()
    assert server.ends() == []


def test_the_slot_of_a_dead_holder_is_free_when_its_lease_has_ended(
    limit: str, server: Server
) -> None:
    with get_client(sync_client=True) as client:
        client.increment_concurrency_slots_with_lease([limit], 1, "concurrency", LEASE_S)
    waiting = Holder()
    assert not waiting.holds.wait(1.0)
    server.end_leases()
    assert waiting.holds.wait(TIMEOUT_S)
    waiting.end()


def test_a_lost_lease_does_not_give_the_gpu_to_another_process(limit: str, server: Server) -> None:
    """The lease ended, as during an outage of the server, before the holder renewed it."""
    holder = Holder()
    assert holder.holds.wait(TIMEOUT_S)

    def lease_is_lost() -> bool:
        # Repeated: the holder renews a new lease at once.
        server.end_leases()
        return server.taken(limit) == 0

    until(lease_is_lost, TIMEOUT_S)
    waiting = Holder()
    assert not waiting.holds.wait(1.0)
    holder.end()
    assert waiting.holds.wait(TIMEOUT_S)
    waiting.end()


def test_a_stage_that_returns_a_list_computes_under_the_lock(
    limit: str, server: Server, tmp_path: Path
) -> None:
    assert taken_while_computing(server, limit, tmp_path, list) == [1, 1]
    assert server.taken(limit) == 0


def test_a_stage_that_yields_computes_under_the_lock(
    limit: str, server: Server, tmp_path: Path
) -> None:
    assert taken_while_computing(server, limit, tmp_path, iter) == [1, 1]
    assert server.taken(limit) == 0


class Settings(Record):
    """A stage without settings."""


def taken_while_computing(
    server: Server,
    limit: str,
    folder: Path,
    container: Callable[[Iterator[StageOutput]], Iterator[StageOutput]],
) -> list[int]:
    """How many slots were taken when each of two outputs was computed."""
    taken = []

    def outputs(inputs: Sequence[StageInput]) -> Iterator[StageOutput]:
        for _ in inputs:
            taken.append(server.taken(limit))
            yield StageOutput(np.zeros((2, 2, 3), np.uint8))

    @stage(
        "draw",
        version=1,
        plan=lambda _: [Job((), {"copy": number}) for number in range(2)],
        uses_gpu=True,
    )
    def draw(inputs: Sequence[StageInput], _settings: Settings) -> Iterator[StageOutput]:
        return container(outputs(inputs))

    draw.run(RunContext(open_store(folder / "store"), "test"), Settings())
    return taken


@pytest.mark.e2e
def test_a_batch_continues_and_keeps_its_gpu_during_an_outage_of_the_server(
    limit: str, server: Server
) -> None:
    holder = Holder()
    assert holder.holds.wait(TIMEOUT_S)
    with away(server):
        waiting = Holder()
        assert not waiting.holds.wait(1.0)
        server.end_leases()
    assert not waiting.holds.wait(1.0)
    holder.end()
    assert waiting.holds.wait(TIMEOUT_S)
    with away(server):
        waiting.end()


@contextmanager
def away(server: Server) -> Iterator[None]:
    """A server that is killed, and started again afterwards."""
    server.kill()
    try:
        yield
    finally:
        server.start()
