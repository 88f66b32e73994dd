"""A PostgreSQL cluster for Prefect servers of tests, if PostgreSQL is installed."""

import hashlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from deployments.local.settings import StackError, write_private
from models.data.records import Record

PROGRAMS = ("initdb", "postgres", "pg_isready")
# Debian does not put these programs on the path.
_DEBIAN = Path("/usr/lib/postgresql")
_SQLITE = "SQLite, which suffices for tens of photos"
# PostgreSQL refuses to run as root, and other accounts can't enter root's folders.
_ACCOUNT, _FOLDER_FOR_ROOT = "postgres", Path("/var/lib/synthset")


class Database(Record):
    """A cluster in ``folder`` that listens on 127.0.0.1 only. Holds a password."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The address that Prefect connects to."""
        return f"postgresql+asyncpg://prefect:{self.password}@127.0.0.1:{self.port}/postgres"

    def command(self) -> tuple[str, ...]:
        """The command that serves the cluster."""
        return (
            str(find_programs() / "postgres"),
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-k",
            "",
            "-c",
            "listen_addresses=127.0.0.1",
        )

    def answers(self) -> bool:
        """Whether the cluster accepts connections."""
        program = str(find_programs() / "pg_isready")
        command = (program, "-q", "-h", "127.0.0.1", "-p", str(self.port))
        return subprocess.run(command, check=False).returncode == 0


def load_or_make_database(state: Path) -> Database | str:
    """The database of the first start in a state folder, or a new one.

    Returns:
        The database; or a line that says that the server uses SQLite, and why.

    Raises:
        StackError: the record of the first start is unreadable, or PostgreSQL was removed.
    """
    record = state / "database.json"
    if record.exists():
        find_programs()
        try:
            return Database.model_validate_json(record.read_text())
        except ValueError as error:
            raise StackError(f"{record}: unreadable; restore it: {error}") from error
    if (state / "prefect" / "prefect.db").exists():
        return f"{_SQLITE}; this state folder began with SQLite"
    try:
        database = _make_database(state)
    except (StackError, OSError) as error:
        return f"{_SQLITE}; {error}"
    write_private(record, database.model_dump_json(indent=1))
    return database


def account() -> str | None:
    """The account that runs the database, if it is not the current one."""
    return _ACCOUNT if os.geteuid() == 0 else None


def _make_database(state: Path) -> Database:
    user = account()
    folder = state / "postgres"
    if user is not None:
        if user not in {entry.pw_name for entry in pwd.getpwall()}:
            raise StackError(f"PostgreSQL does not run as root, and there is no account {user}")
        folder = _FOLDER_FOR_ROOT / hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    database = Database(folder=folder, port=_free_port(), password=secrets.token_hex(24))
    password = folder / "password"
    write_private(password, database.password)
    if user is not None:
        for path in (folder, password):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    folder.chmod(0o700)
    initdb = subprocess.run(
        [
            find_programs() / "initdb",
            "-D",
            folder / "data",
            "-U",
            "prefect",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
        ],
        cwd=folder,
        user=user,
        capture_output=True,
        text=True,
        check=False,
    )
    password.unlink()
    if initdb.returncode != 0:
        raise StackError(f"initdb failed: {' '.join(initdb.stderr.split())[-300:]}")
    return database


def find_programs() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        StackError: it is not installed.
    """
    initdb = shutil.which("initdb")
    on_path = [Path(initdb).resolve().parent] if initdb else []
    for folder in (*on_path, *sorted(_DEBIAN.glob("*/bin"), reverse=True)):
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise StackError("PostgreSQL is not installed: apt-get install postgresql")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
