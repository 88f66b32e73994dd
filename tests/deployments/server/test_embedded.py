"""The temporary server of a command: how it starts, and what is said when it does not."""

import queue
import sys
import threading
from pathlib import Path

import pytest
from prefect import flow
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)
from prefect.testing.fixtures import asserting_events_worker as events_worker

from deployments import prefect_private
from deployments.server.embedded import TemporaryServer, temporary_server
from deployments.server.errors import TemporaryServerError
from models.data.files import FolderError

__all__ = ["events_worker"]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program that is started in place of Python."""
    path = tmp_path / "program"
    monkeypatch.setattr(sys, "executable", str(path))
    return path


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Prefect's clients in this process had no server yet."""
    monkeypatch.setattr(prefect_private, "has_ephemeral_server", lambda: False)
    monkeypatch.setattr(prefect_private, "set_ephemeral_server", lambda *_: None)


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_server_that_ends_while_it_starts_is_reported_with_its_last_words(program: Path) -> None:
    write_program(program, "echo 'no such table' >&2; exit 3")
    server = TemporaryServer()
    with pytest.raises(TemporaryServerError, match="ended while it started: no such table; run"):
        server.wait_until_ready(60)
    server.stop()


def test_a_silent_server_is_reported_with_its_exit_code(program: Path) -> None:
    write_program(program, "exit 7")
    server = TemporaryServer()
    with pytest.raises(TemporaryServerError, match=r"ended while it started \(exit code 7\); run"):
        server.wait_until_ready(60)
    server.stop()


def test_a_server_that_does_not_answer_in_time_is_ended(program: Path, no_server: None) -> None:
    write_program(program, "exec sleep 300")
    server = TemporaryServer()
    with pytest.raises(TemporaryServerError, match="does not answer after 0 s"):
        server.wait_until_ready(0)
    server.stop()
    assert server.has_ended


@pytest.mark.usefixtures("no_server")
def test_names_a_home_folder_that_can_not_be_written(tmp_path: Path, program: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with (
        temporary_settings({PREFECT_HOME: blocked / "home"}),
        pytest.raises(FolderError, match=r"file/home can't be written .* set PREFECT_HOME"),
        temporary_server(),
    ):
        raise AssertionError("never entered")
    assert not program.exists()


def test_a_server_that_ends_during_a_run_is_reported_at_once(program: Path) -> None:
    losses: queue.Queue[TemporaryServerError] = queue.Queue()
    write_program(program, "echo 'out of memory'; exit 9")
    server = TemporaryServer()
    server.watch(losses.put)
    assert "ended during the run: out of memory; run the same" in str(losses.get(timeout=60))
    server.stop()


def test_a_server_that_is_stopped_is_not_lost(program: Path) -> None:
    losses: queue.Queue[TemporaryServerError] = queue.Queue()
    write_program(program, "exec sleep 300")
    server = TemporaryServer()
    server.watch(losses.put)
    server.stop()
    for thread in threading.enumerate():
        if thread.name == "temporary server":
            thread.join(60)
    assert losses.empty()


def heartbeats(worker: EventsWorker) -> int:
    """How many heartbeats of flow runs were sent so far."""
    worker.wait_until_empty()
    events = [event.event for client in AssertingEventsClient.all for event in client.events]
    return events.count("prefect.flow-run.heartbeat")


@pytest.mark.usefixtures("prefect_server")
def test_runs_on_a_temporary_server_send_no_heartbeats(
    events_worker: EventsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_private, "has_ephemeral_server", lambda: True)

    @flow
    def work() -> None:
        """Do nothing."""

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        with temporary_server():
            work()
        assert heartbeats(events_worker) == 0
        # On any other server the same run sends one.
        work()
        assert heartbeats(events_worker) == 1
