"""The Prefect server with synthset's settings: ``python -m deployments.server.main``."""

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


def server_settings(home: Path) -> dict[str, str]:
    """The settings of a server with this home; variables of its operator win."""
    return {
        # By default leases are in memory. After a restart of the server, each run that holds a
        # concurrency limit would crash when it renews its lease.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        # By default every web page that a user visits may read the API. The UI has the server's own
        # origin and needs no permission.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",
        "PREFECT_SERVER_UI_API_URL": "/api",
        # By default these files are in Prefect's package folder, which may be read-only.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def main() -> None:
    """Serve until a signal ends the process."""
    options = argparse.ArgumentParser(prog="deployments.server.main", description=__doc__)
    options.add_argument("--host", default="127.0.0.1", help="Address to listen on.")
    options.add_argument("--port", type=int, default=4200)
    options.add_argument("--no-services", action="store_true", help="Only answer requests.")
    arguments = options.parse_args()
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    for name, value in server_settings(home).items():
        os.environ.setdefault(name, value)
    (home / "ui").mkdir(parents=True, exist_ok=True)
    _remove_locks(home)

    # Prefect reads its settings at import.
    import uvicorn
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    uvicorn.run(
        _application(final=True, webserver_only=arguments.no_services),
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


def create_app() -> "ASGIApp":
    """The application for uvicorn, in a process whose settings Prefect has set."""
    return _application()


def collect_garbage_in_a_thread() -> None:
    """Collect garbage outside the event loop.

    Collecting a cursor waits for its connection, which may wait for SQLite's lock, whose holder
    waits for the event loop. In the loop this blocks the server for a minute, until SQLite times
    out.
    """
    gc.disable()
    threading.Thread(target=_collect, daemon=True, name="garbage").start()


def _application(final: bool = False, webserver_only: bool = False) -> "ASGIApp":
    from prefect.server.api import server
    from prefect.server.utilities.database import get_dialect
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, get_current_settings

    from deployments.prefect_private import lock_sqlite_before_reading
    from deployments.server.same_origin import SameOriginMiddleware

    if get_dialect(PREFECT_API_DATABASE_CONNECTION_URL.value()).name == "sqlite":
        collect_garbage_in_a_thread()
        lock_sqlite_before_reading()
    settings = get_current_settings().server.api
    application = server.create_app(final=final, webserver_only=webserver_only)
    if settings.auth_string is not None:
        return application
    return SameOriginMiddleware(application, settings.cors_allowed_origins.split(","))


def _collect() -> None:
    while True:
        time.sleep(COLLECT_EVERY_S)
        gc.collect()


def _remove_locks(home: Path) -> None:
    """Remove the lock files of a server that was killed.

    Prefect checks whether the process id in a lock is alive. In a container it is often this
    server's own id.
    """
    for folder in ("concurrency_leases", "ui"):
        for lock in (home / folder).glob("*.lock"):
            lock.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
