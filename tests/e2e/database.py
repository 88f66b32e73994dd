"""A PostgreSQL cluster for one test."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import postgres as cluster_maker
from tests.ui.server import until

# A test's cluster need not survive a power cut.
_UNSAFE_BUT_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass
class Database:
    """A cluster that a test stops and starts; ``url`` is its address for Prefect."""

    cluster: cluster_maker.Database
    log: Path
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.cluster.url

    def start(self) -> None:
        """Start the cluster and wait until it answers."""
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                [*self.cluster.command(), *_UNSAFE_BUT_FAST],
                stdout=log,
                stderr=log,
                cwd=self.cluster.folder,
                user=cluster_maker.account(),
                start_new_session=True,
            )
        until(self.cluster.answers, 60)

    def stop(self) -> None:
        """Stop it at once and cut all connections; committed data stays."""
        if self.server is None:
            return
        self.server.send_signal(signal.SIGINT)
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.server = None


@contextlib.contextmanager
def postgres() -> Iterator[Database]:
    """An empty database for Prefect; skips the test without PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="synthset-postgres-") as folder:
        cluster = cluster_maker.load_or_make_database(Path(folder))
        if isinstance(cluster, str):
            pytest.skip(f"needs the PostgreSQL server; without it the database is {cluster}")
        database = Database(cluster, Path(folder, "log"))
        try:
            database.start()
            yield database
        finally:
            database.stop()
            shutil.rmtree(cluster.folder, ignore_errors=True)
