"""What the parts of a stack know of each other, kept in files for their owner alone."""

import ipaddress
import os
import secrets
import socket
from pathlib import Path

from models.data.records import Record


class StackError(ValueError):
    """The stack can't be started or found; one line with the mend."""


class Settings(Record):
    """What the parts of a stack know of each other."""

    host: str
    port: int
    s3_port: int
    s3_key: str
    s3_secret: str
    auth: str | None

    @property
    def api_url(self) -> str:
        """Address of the Prefect API for this machine's clients."""
        return f"http://{_reached(self.host)}:{self.port}/api"

    @property
    def s3_url(self) -> str:
        """Endpoint of the S3 server for this machine's clients."""
        return f"http://{_reached(self.host)}:{self.s3_port}"

    def client_environment(self) -> dict[str, str]:
        """What a command needs in its environment to work with the stack. Holds secrets."""
        return {
            "PREFECT_API_URL": self.api_url,
            **({"PREFECT_API_AUTH_STRING": self.auth} if self.auth else {}),
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ACCESS_KEY_ID": self.s3_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def settings_of(
    state: Path,
    host: str | None = None,
    port: int | None = None,
    s3_port: int | None = None,
    auth: bool = False,
) -> Settings:
    """The settings of the first start in a state folder, or new ones with passwords of their own.

    Raises:
        StackError: the file is damaged, has others than those asked for, or a port is taken by
            another program.
    """
    file = state / "settings.json"
    if file.exists():
        return _kept(file, {"host": host, "port": port, "s3_port": s3_port}, auth)
    host, port, s3_port = host or "127.0.0.1", port or 4200, s3_port or 9000
    settings = Settings(
        host=host,
        port=port,
        s3_port=s3_port,
        s3_key=f"synthset-{secrets.token_hex(4)}",
        s3_secret=secrets.token_hex(24),
        auth=f"synthset:{secrets.token_hex(16)}" if auth or not _is_local(host) else None,
    )
    for taken in (port, s3_port):
        if listens(host, taken):
            raise StackError(
                f"port {taken} is taken by another program; choose others with --port and --s3-port"
            )
    write_private(file, settings.model_dump_json(indent=1))
    return settings


def _kept(file: Path, asked: dict[str, str | int | None], auth: bool) -> Settings:
    try:
        settings = Settings.model_validate_json(file.read_text())
    except ValueError as error:
        raise StackError(f"{file}: unreadable settings; remove the file: {error}") from error
    for name, value in asked.items():
        has = getattr(settings, name)
        if value is not None and value != has:
            option = f"--{name.replace('_', '-')}"
            raise StackError(f"{option} {value}: this stack was made with {has}; {_anew(file)}")
    if auth and settings.auth is None:
        raise StackError(f"--auth: this stack was made without a password; {_anew(file)}")
    return settings


def _anew(file: Path) -> str:
    return f"leave the option out, or run 'synthset down' and remove {file}, which keeps all data"


def write_environment(state: Path, settings: Settings) -> Path:
    """Write what clients need as ``NAME=value`` lines that a shell reads; the file."""
    file = state / "environment"
    lines = [f"{name}={value}\n" for name, value in settings.client_environment().items()]
    write_private(file, "".join(lines))
    return file


def write_private(file: Path, text: str) -> None:
    """Write a file that its owner alone can read, all of it or nothing."""
    written = file.with_suffix(".new")
    written.unlink(missing_ok=True)
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    written.rename(file)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reached(host: str) -> str:
    """An address that clients can use where the server listens on all of them."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def listens(host: str, port: int) -> bool:
    """Whether someone listens on a port."""
    try:
        with socket.create_connection((_reached(host), port), timeout=2):
            return True
    except OSError:
        return False
