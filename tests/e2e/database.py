"""A PostgreSQL cluster of a test's own."""

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.s3 import free_port

_ACCOUNTS = ("postgres", "nobody")
# A test's cluster need not outlive a power cut.
_HASTY = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")


@dataclass
class Database:
    """A PostgreSQL cluster; ``url`` is how Prefect takes it."""

    programs: Path
    account: str | None
    folder: Path
    port: int
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                [
                    *map(str, (self.programs / "postgres", "-D", self.folder / "data")),
                    *("-p", str(self.port), "-k", str(self.folder)),
                    *("-c", "listen_addresses=127.0.0.1", *_HASTY),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self.account,
                start_new_session=True,
            )
        _wait(self.programs, self.port, self.folder / "log")

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
    """An empty database for Prefect; skips where PostgreSQL is not installed."""
    programs = _programs()
    account = _account()
    # Not below pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="synthset-postgres-"))
    if account is not None:
        shutil.chown(folder, account)
    database = Database(programs, account, folder, free_port())
    try:
        _run(account, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "prefect")
        database.start()
        yield database
    finally:
        database.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them out of the search path."""
    beside = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in (*beside, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)):
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_isready")):
            return folder
    pytest.skip("needs PostgreSQL's server: apt-get install postgresql")


def _account() -> str | None:
    """Who runs the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {one.pw_name for one in pwd.getpwall()}
    return next((name for name in _ACCOUNTS if name in names), getpass.getuser())


def _run(account: str | None, *command: object) -> None:
    ran = subprocess.run(
        [str(one) for one in command],
        capture_output=True,
        text=True,
        cwd="/",
        user=account,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def _wait(programs: Path, port: int, log: Path) -> None:
    ask = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect"]
    deadline = time.monotonic() + 60
    while subprocess.run(ask, check=False).returncode:
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)
