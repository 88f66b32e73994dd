"""A GPU is held by one at a time: against a real Prefect server, which may go and come back."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.engine import gpu
from tasks.engine import server_retry as patience
from tasks.engine.gpu import NoLimit, gpu_lock
from tests.tiny import OTHERS
from tests.ui.server import free_port, until

PATIENCE_S = 250.0


class Server:
    """A Prefect server that keeps its leases in files, and may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._leases = folder / "concurrency_leases"
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}/api"
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(OTHERS)}
        environment = {
            **kept,
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
        index = self._leases / "expirations.json"
        index.write_text(json.dumps(dict.fromkeys(json.loads(index.read_text()), past)))

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
    monkeypatch.setattr(gpu, "AGAIN_S", 0.05)
    monkeypatch.setattr(gpu, "RENEW_S", 0.2)
    monkeypatch.setattr(patience, "PAUSE_S", 0.2)
    return name


class Holder:
    """Whoever holds the GPU in a thread until told to let go."""

    def __init__(self) -> None:
        self.holds, self.let_go = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._hold,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let go, and wait until it is through."""
        self.let_go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def _hold(self) -> None:
        try:
            with gpu_lock(needed=True):
                self.holds.set()
                assert self.let_go.wait(PATIENCE_S)
        except Exception as error:
            self.error = error


def test_one_waits_while_another_holds_it(limit: str, server: Server) -> None:
    first = Holder()
    assert first.holds.wait(PATIENCE_S)
    second = Holder()
    assert not second.holds.wait(1.0)
    assert server.taken(limit) == 1
    first.end()
    assert second.holds.wait(PATIENCE_S)
    second.end()
    assert server.taken(limit) == 0


def test_it_is_free_again_after_a_batch_that_failed(limit: str, server: Server) -> None:
    taken = []

    def fail() -> None:
        with gpu_lock(needed=True):
            taken.append(server.taken(limit))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [*taken, server.taken(limit)] == [1, 0]


def test_without_networks_or_without_a_gpu_nothing_is_held(
    limit: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpu_lock(needed=False):
        assert server.taken(limit) == 0
    monkeypatch.delenv("SYNTHSET_GPU_LIMIT")
    with gpu_lock(needed=True):
        assert server.taken(limit) == 0


def test_a_limit_that_was_never_made_is_one_line_with_the_command(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHSET_GPU_LIMIT", "gpu:ada:1")
    with pytest.raises(NoLimit) as refused, gpu_lock(needed=True):
        pass
    assert "synthset deploy --gpu ada:2" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_holder_at_work_renews_its_lease(limit: str, server: Server) -> None:
    holder = Holder()
    assert holder.holds.wait(PATIENCE_S)
    granted = server.ends()
    until(lambda: server.ends() > granted, PATIENCE_S)
    holder.end()
    assert server.ends() == []


def test_the_slot_of_a_holder_that_died_is_free_when_its_lease_has_ended(
    limit: str, server: Server
) -> None:
    with get_client(sync_client=True) as client:
        assert gpu._take(client, limit) is not None
    next_one = Holder()
    assert not next_one.holds.wait(1.0)
    server.end_leases()
    assert next_one.holds.wait(PATIENCE_S)
    next_one.end()


def test_a_slot_that_the_server_gives_away_is_not_taken_beside_its_holder(
    limit: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ended, as while the server was away, and the holder is slow to renew it."""
    monkeypatch.setattr(gpu, "RENEW_S", 60.0)
    holder = Holder()
    assert holder.holds.wait(PATIENCE_S)
    server.end_leases()
    until(lambda: server.taken(limit) == 0, PATIENCE_S)
    waiting = Holder()
    assert not waiting.holds.wait(1.0)
    holder.end()
    assert waiting.holds.wait(PATIENCE_S)
    waiting.end()


@pytest.mark.e2e
def test_a_batch_goes_on_and_keeps_its_gpu_while_the_server_is_away(
    limit: str, server: Server
) -> None:
    holder = Holder()
    assert holder.holds.wait(PATIENCE_S)
    with away(server):
        waiting = Holder()
        assert not waiting.holds.wait(1.0)
        server.end_leases()
    until(lambda: server.ends() > [datetime.now(UTC).isoformat()], PATIENCE_S)
    assert server.taken(limit) == 1
    assert not waiting.holds.is_set()
    holder.end()
    assert waiting.holds.wait(PATIENCE_S)
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
