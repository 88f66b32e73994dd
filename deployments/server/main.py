"""The Prefect server as every part of synthset starts it: ``python -m deployments.server.main``."""

import argparse
import gc
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

COLLECT_EVERY_S = 5.0
LEASES = "prefect.server.concurrency.lease_storage.filesystem"


def own_settings(home: Path) -> dict[str, str]:
    """What a server with this home has set, unless its operator says otherwise."""
    return {
        # Kept in memory, Prefect's default, leases end with the server, and each run that holds a
        # concurrency limit crashes when it next renews its own.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        # Prefect's default lets every web page that someone here visits use the API. The UI is of
        # the server's own origin and needs no leave.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",
        "PREFECT_SERVER_UI_API_URL": "/api",
        # Prefect's default is beside its code, which need not be writable.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def main() -> None:
    """Be the server until told to end."""
    options = argparse.ArgumentParser(prog="deployments.server.main", description=__doc__)
    options.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    options.add_argument("--port", type=int, default=4200)
    options.add_argument("--no-services", action="store_true", help="Answer requests alone.")
    given = options.parse_args()
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    for name, value in own_settings(home).items():
        os.environ.setdefault(name, value)
    (home / "ui").mkdir(parents=True, exist_ok=True)
    _forget_locks(home)

    # Prefect reads its settings when it is imported.
    import uvicorn
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    uvicorn.run(
        _application(final=True, webserver_only=given.no_services),
        host=given.host,
        port=given.port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


def create_app() -> "ASGIApp":
    """The application of a server that is given its settings by Prefect, for uvicorn."""
    return _application()


def collect_apart() -> None:
    """Collect garbage in a thread of its own.

    In the event loop, collecting a cursor waits for its connection, which may wait for SQLite's
    lock, whose holder waits for the loop: all stand still for the minute until SQLite gives up.
    """
    gc.disable()
    threading.Thread(target=_collect, daemon=True, name="garbage").start()


def _application(final: bool = False, webserver_only: bool = False) -> "ASGIApp":
    from prefect.server.api import server
    from prefect.server.utilities.database import get_dialect
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings

    from deployments.server.same_origin import OwnOrigin

    if get_dialect(PREFECT_API_DATABASE_CONNECTION_URL.value()).name == "sqlite":
        collect_apart()
    settings = get_current_settings().server.api
    application = server.create_app(final=final, webserver_only=webserver_only)
    if settings.auth_string is not None:
        return application
    return OwnOrigin(application, settings.cors_allowed_origins.split(","))


def _collect() -> None:
    while True:
        time.sleep(COLLECT_EVERY_S)
        gc.collect()


def _forget_locks(home: Path) -> None:
    """Remove what a server that was killed has locked.

    Prefect goes by the holder's process id, which in a container is often this server's own.
    """
    for folder in ("concurrency_leases", "ui"):
        for lock in (home / folder).glob("*.lock"):
            lock.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
