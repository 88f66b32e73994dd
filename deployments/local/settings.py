"""Addresses and passwords of the local stack, in files that only their owner can read."""

import ipaddress
import os
import secrets
import socket
from pathlib import Path

from models.data.records import Record


class StackError(ValueError):
    """The local stack can't be started; one line with the fix."""


class Settings(Record):
    """Addresses and passwords that the services of a stack share."""

    host: str
    port: int
    s3_port: int
    s3_key: str
    s3_secret: str
    auth: str | None

    @property
    def api_url(self) -> str:
        """The Prefect API, for clients on this machine."""
        return f"http://{_client_address(self.host)}:{self.port}/api"

    @property
    def s3_url(self) -> str:
        """The S3 server, for clients on this machine."""
        return f"http://{_client_address(self.host)}:{self.s3_port}"

    def client_environment(self) -> dict[str, str]:
        """The environment variables with which a command uses the stack. Holds secrets."""
        return {
            "PREFECT_API_URL": self.api_url,
            **({"PREFECT_API_AUTH_STRING": self.auth} if self.auth else {}),
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_ACCESS_KEY_ID": self.s3_key,
            "AWS_SECRET_ACCESS_KEY": self.s3_secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def load_or_make_settings(
    state: Path,
    host: str | None = None,
    port: int | None = None,
    s3_port: int | None = None,
    auth: bool = False,
) -> Settings:
    """The settings of the first start in a state folder, or new ones with new passwords.

    Raises:
        StackError: the file is unreadable, an option differs from the first start, or a port is in
            use.
    """
    file = state / "settings.json"
    if file.exists():
        options = {"host": host, "port": port, "s3_port": s3_port}
        return _load_settings(file, options, auth)
    host, port, s3_port = host or "127.0.0.1", port or 4200, s3_port or 9000
    settings = Settings(
        host=host,
        port=port,
        s3_port=s3_port,
        s3_key=f"synthset-{secrets.token_hex(4)}",
        s3_secret=secrets.token_hex(24),
        auth=f"synthset:{secrets.token_hex(16)}" if auth or not _is_local(host) else None,
    )
    for number in (port, s3_port):
        if is_listening(host, number):
            raise StackError(
                f"port {number} is in use by another program; choose others with --port and "
                "--s3-port"
            )
    write_private(file, settings.model_dump_json(indent=1))
    return settings


def _load_settings(file: Path, options: dict[str, str | int | None], auth: bool) -> Settings:
    try:
        settings = Settings.model_validate_json(file.read_text())
    except ValueError as error:
        raise StackError(f"{file}: unreadable settings; remove the file: {error}") from error
    fix = f"leave the option out, or run 'synthset down' and remove {file}, which keeps all data"
    for name, value in options.items():
        first = getattr(settings, name)
        if value is not None and value != first:
            option = f"--{name.replace('_', '-')}"
            raise StackError(f"{option} {value}: this stack was made with {first}; {fix}")
    if auth and settings.auth is None:
        raise StackError(f"--auth: this stack was made without a password; {fix}")
    return settings


def write_environment(state: Path, settings: Settings) -> Path:
    """Write the variables for clients as lines that a shell reads; return the file."""
    file = state / "environment"
    lines = [f"{name}={value}\n" for name, value in settings.client_environment().items()]
    write_private(file, "".join(lines))
    return file


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new_file = file.with_suffix(".new")
    new_file.unlink(missing_ok=True)
    with os.fdopen(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    new_file.rename(file)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _client_address(host: str) -> str:
    """The address that clients use: 127.0.0.1 if the server listens on all addresses."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def is_listening(host: str, port: int) -> bool:
    """Whether a program listens on a port."""
    try:
        with socket.create_connection((_client_address(host), port), timeout=2):
            return True
    except OSError:
        return False
