"""A PostgreSQL cluster of a test's own, as `synthset up` makes it."""

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

from deployments.local import postgres as stack_database
from tests.ui.server import until

# A test's cluster need not outlive a power cut.
_HASTY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass
class Database:
    """A cluster that may be stopped and started again; ``url`` is how Prefect takes it."""

    cluster: stack_database.Database
    log: Path
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.cluster.url

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.server = subprocess.Popen(
                [*self.cluster.command(), *_HASTY],
                stdout=log,
                stderr=log,
                cwd=self.cluster.folder,
                user=stack_database.account(),
                start_new_session=True,
            )
        until(self.cluster.answers, 60)

    def stop(self) -> None:
        """End it at once, cutting all connections; what was committed stays."""
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
    """An empty database for Prefect; skips where PostgreSQL can't be had."""
    with tempfile.TemporaryDirectory(prefix="synthset-postgres-") as folder:
        cluster = stack_database.load_or_make_database(Path(folder))
        if isinstance(cluster, str):
            pytest.skip(f"needs PostgreSQL's server; this would be {cluster}")
        database = Database(cluster, Path(folder, "log"))
        try:
            database.start()
            yield database
        finally:
            database.stop()
            shutil.rmtree(cluster.folder, ignore_errors=True)
