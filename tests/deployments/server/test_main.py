"""The Prefect server that `up`, compose and the benchmarks start."""

import gc
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.server import main as server_process
from deployments.server.same_origin import SameOriginMiddleware
from tests.s3 import free_port

URL = "http://127.0.0.1:4200"


@contextmanager
def server(home: Path, port: int) -> Iterator[httpx.Client]:
    """A server without a password; it is killed at the end, as by the out-of-memory killer."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    command = [
        sys.executable,
        "-m",
        "deployments.server.main",
        "--port",
        str(port),
        "--no-services",
    ]
    with (home.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            command, env={**kept, "PREFECT_HOME": str(home)}, stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + 300
            while True:
                try:
                    client.get("/api/health").raise_for_status()
                    break
                except httpx.TransportError:
                    assert process.poll() is None, (home.parent / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield client
    finally:
        process.kill()
        process.wait()


def hold(client: httpx.Client) -> str:
    """The id of a lease on a limit."""
    limit = {"name": "gpu:ada:0", "limit": 1}
    client.post("/api/v2/concurrency_limits/", json=limit).raise_for_status()
    held = client.post(
        "/api/v2/concurrency_limits/increment-with-lease",
        json={"names": ["gpu:ada:0"], "slots": 1, "mode": "concurrency", "lease_duration": 300},
    )
    return str(held.raise_for_status().json()["lease_id"])


@pytest.mark.slow
def test_a_server_serves_only_its_own_pages_and_stores_leases_in_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with server(home, free_port()) as client:
        lease = hold(client)
        assert (home / "concurrency_leases" / f"{lease}.json").exists()
        for page in ("/", "/dashboard"):
            shown = client.get(page, headers={"accept": "text/html"}, follow_redirects=True)
            assert shown.is_success
            assert "<html" in shown.text
        assert (home / "ui" / "v1" / "index.html").exists()
        assert client.get("/ui-settings").json()["api_url"] == "/api"
        evil = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        preflight = client.options("/api/flows/", headers=evil)
        assert preflight.status_code == 403
        assert "access-control-allow-origin" not in preflight.headers
        # A request for which a browser sends no preflight.
        sent = client.post("/api/flows/", content=b'{"name": "foreign"}', headers=evil)
        assert sent.status_code == 403
        assert client.post("/api/flows/filter", json={}).json() == []


@pytest.mark.e2e
def test_a_lease_survives_kill_minus_nine_of_the_server(tmp_path: Path) -> None:
    home, port = tmp_path / "home", free_port()
    with server(home, port) as client:
        lease = hold(client)
    # The lock of a server that was killed while it wrote, with the id of a living process.
    (home / "concurrency_leases" / "expirations.lock").write_text(str(os.getpid()))
    with server(home, port) as client:
        renewed = client.post(
            f"/api/v2/concurrency_limits/leases/{lease}/renew",
            json={"lease_duration": 300},
            timeout=20,
        )
    assert renewed.is_success, renewed.text


@pytest.fixture
def guarded() -> SameOriginMiddleware:
    """An application that answers yes to every request that the middleware lets through."""

    async def yes(_: Request) -> PlainTextResponse:
        return PlainTextResponse("yes")

    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    routes = [Route("/", yes, methods=["GET", "POST"]), WebSocketRoute("/events", accept)]
    return SameOriginMiddleware(Starlette(routes=routes), ["", "https://allowed.example"])


@pytest.mark.parametrize(
    ("host", "origin", "passes"),
    [
        ("127.0.0.1:4200", None, True),
        ("localhost:4200", None, True),
        ("[::1]:4200", None, True),
        ("127.0.0.1:4200", "http://127.0.0.1:4200", True),
        ("127.0.0.1:4200", "https://allowed.example", True),
        ("127.0.0.1:4200", "http://evil.example", False),
        ("127.0.0.1:4200", "null", False),
        ("127.0.0.1:4200", "http://127.0.0.1:8888", False),
        # DNS rebinding: a foreign name that resolves to this machine.
        ("evil.example:4200", "http://evil.example:4200", False),
        ("evil.example:4200", None, False),
        ("[::1", None, False),
    ],
)
def test_refuses_pages_of_other_sites(
    guarded: SameOriginMiddleware, host: str, origin: str | None, passes: bool
) -> None:
    headers = {"host": host, **({"origin": origin} if origin else {})}
    client = TestClient(guarded, base_url=URL)
    assert (client.post("/", headers=headers).text == "yes") is passes
    try:
        with client.websocket_connect("/events", headers=headers):
            opened = True
    except WebSocketDisconnect as refused:
        opened = refused.code == 1000
    assert opened is passes


def test_garbage_is_collected_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "COLLECT_EVERY_S", 0.01)

    class Cycle:
        own: Any = None

    cycle = Cycle()
    cycle.own, gone = cycle, weakref.ref(cycle)
    try:
        server_process.collect_garbage_in_a_thread()
        assert not gc.isenabled()
        del cycle
        deadline = time.monotonic() + 10
        while gone() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()
