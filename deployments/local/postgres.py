"""PostgreSQL for the stack's Prefect server, on machines that have its programs."""

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
# Where Debian keeps what it does not put on the path.
_DEBIAN = Path("/usr/lib/postgresql")
_SQLITE = "SQLite, for tens of references"
# PostgreSQL refuses to run as root, and no other account may enter root's folders.
_ACCOUNT, _FOR_ROOT = "postgres", Path("/var/lib/synthset")


class Database(Record):
    """A cluster in ``folder`` that listens on a port of this machine alone. Holds a password."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Its address for Prefect."""
        return f"postgresql+asyncpg://prefect:{self.password}@127.0.0.1:{self.port}/postgres"

    def command(self) -> tuple[str, ...]:
        """The program that serves it."""
        place = ("-D", str(self.folder / "data"), "-p", str(self.port), "-k", "")
        return (str(programs() / "postgres"), *place, "-c", "listen_addresses=127.0.0.1")

    def answers(self) -> bool:
        """Whether it takes connections."""
        ask = (str(programs() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port))
        return subprocess.run(ask, check=False).returncode == 0


def database_of(state: Path) -> Database | str:
    """The database of the first start in a state folder, or a new one, made now.

    Returns:
        In words, where the server keeps to SQLite: that, and why.

    Raises:
        StackError: the record of the first start is damaged, or its programs are gone.
    """
    record = state / "database.json"
    if record.exists():
        programs()
        try:
            return Database.model_validate_json(record.read_text())
        except ValueError as error:
            raise StackError(f"{record}: unreadable; restore it: {error}") from error
    if (state / "prefect" / "prefect.db").exists():
        return f"{_SQLITE}; this state folder began with it"
    try:
        database = _new(state)
    except (StackError, OSError) as error:
        return f"{_SQLITE}; {error}"
    write_private(record, database.model_dump_json(indent=1))
    return database


def account() -> str | None:
    """Who runs the database where that is not whoever asks."""
    return _ACCOUNT if os.geteuid() == 0 else None


def _new(state: Path) -> Database:
    user = account()
    folder = state / "postgres"
    if user is not None:
        if user not in {one.pw_name for one in pwd.getpwall()}:
            raise StackError(f"PostgreSQL does not run as root, and there is no account {user}")
        folder = _FOR_ROOT / hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:12]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    database = Database(folder=folder, port=_free_port(), password=secrets.token_hex(24))
    password = folder / "password"
    write_private(password, database.password)
    if user is not None:
        for path in (folder, password):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    folder.chmod(0o700)
    made = subprocess.run(
        [
            *(programs() / "initdb", "-D", folder / "data", "-U", "prefect", "--encoding=UTF8"),
            *("--locale=C", "--auth=scram-sha-256", f"--pwfile={password}"),
        ],
        cwd=folder,
        user=user,
        capture_output=True,
        text=True,
        check=False,
    )
    password.unlink()
    if made.returncode != 0:
        raise StackError(f"initdb failed: {' '.join(made.stderr.split())[-300:]}")
    return database


def programs() -> Path:
    """The folder of PostgreSQL's programs.

    Raises:
        StackError: it is not installed.
    """
    beside = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    for folder in (*beside, *sorted(_DEBIAN.glob("*/bin"), reverse=True)):
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise StackError("PostgreSQL is not installed: apt-get install postgresql")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
