"""The private names of Prefect that deployments/prefect_private.py relies on, one test each.

A failure here means that the installed Prefect changed a private name: adapt
deployments/prefect_private.py before you raise the pin in pyproject.toml.
"""

import ast
import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prefect._internal import control_listener
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.settings import get_current_settings
from prefect.workers.base import BaseWorker

from deployments.persistent_worker.worker import PersistentWorker

ROOT = Path(__file__).resolve().parents[2]


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_control_listener_set_intent_takes_cancel() -> None:
    assert parameters(control_listener._set_intent) == ["value"]
    assert "cancel" in get_args(control_listener.Intent)


def test_control_listener_get_intent_returns_what_was_set() -> None:
    control_listener._set_intent("cancel")
    try:
        assert control_listener.get_intent() == "cancel"
    finally:
        control_listener._clear_intent()


def test_prefect_finds_the_worker_by_its_type() -> None:
    assert BaseWorker.get_worker_class_from_type("persistent-process") is PersistentWorker


def test_worker_has_a_log() -> None:
    assert "self._logger" in inspect.getsource(BaseWorker.__init__)


def test_worker_get_scheduled_flow_runs_takes_nothing() -> None:
    assert inspect.iscoroutinefunction(BaseWorker._get_scheduled_flow_runs)
    assert parameters(BaseWorker._get_scheduled_flow_runs) == ["self"]


def test_worker_polls_with_get_scheduled_flow_runs() -> None:
    source = inspect.getsource(BaseWorker.get_and_submit_flow_runs)
    assert "self._get_scheduled_flow_runs()" in source


def test_worker_propose_crashed_state_takes_run_and_message() -> None:
    assert inspect.iscoroutinefunction(BaseWorker._propose_crashed_state)
    assert parameters(BaseWorker._propose_crashed_state)[:3] == ["self", "flow_run", "message"]


def test_worker_mark_flow_run_as_cancelled_takes_run_and_updates() -> None:
    assert inspect.iscoroutinefunction(BaseWorker._mark_flow_run_as_cancelled)
    names = parameters(BaseWorker._mark_flow_run_as_cancelled)
    assert names == ["self", "flow_run", "state_updates"]


def test_server_starts_with_run_uvicorn_command() -> None:
    assert parameters(SubprocessASGIServer._run_uvicorn_command) == ["self"]
    assert "self._run_uvicorn_command()" in inspect.getsource(SubprocessASGIServer.start)
    assert {"port", "server_process"} <= set(vars(SubprocessASGIServer(port=1)))


@pytest.mark.parametrize("package", ["deployments", "flows", "tasks", "synthset"])
def test_private_modules_of_prefect_are_imported_in_one_file(package: str) -> None:
    importers = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(n.startswith("prefect.") and "._" in n for n in names):
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers <= {"deployments/prefect_private.py"}


def test_importing_it_does_not_import_the_server() -> None:
    program = (
        "import sys, deployments.prefect_private; print('prefect.server.api.server' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "False"


def test_sqlite_begins_transactions_with_a_mode() -> None:
    begin = AioSqliteConfiguration.begin_transaction
    assert parameters(begin) == ["self", "session", "with_for_update"]
    assert '"IMMEDIATE" if with_for_update' in inspect.getsource(begin)


def test_runs_that_start_at_one_time_wait_for_the_lock_of_sqlite(prefect_server: None) -> None:
    with get_client(sync_client=True) as client:
        flow_id = str(client.create_flow_from_name("same time"))
    url = f"{get_current_settings().api.url}/flow_runs/"

    def create(_: int) -> int:
        return httpx.post(url, json={"flow_id": flow_id, "state": None}, timeout=60).status_code

    with ThreadPoolExecutor(4) as threads:
        codes = set(threads.map(create, range(40)))
    assert codes == {201}
