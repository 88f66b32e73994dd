"""A configured server that can't be used: one wording, with the address and what to do."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments.apply import deploy
from deployments.retry import retry_run
from deployments.server.client import check_server, configured_server, parameter_limit
from deployments.server.errors import ServerError, ServerLostError
from tests.s3 import free_port


@contextmanager
def answering(status: int, body: bytes) -> Iterator[http.server.ThreadingHTTPServer]:
    """A configured server that gives the same answer to every request."""

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        with temporary_settings({PREFECT_API_URL: address_of(server)}):
            yield server
        server.shutdown()


def address_of(server: http.server.ThreadingHTTPServer) -> str:
    """What a client of the server sets."""
    return f"http://127.0.0.1:{server.server_port}/api"


@pytest.fixture
def away() -> Iterator[str]:
    """The address of a server that does not run, configured."""
    url = f"http://someone:secret@127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield url


def test_every_use_of_a_server_that_is_away_says_the_same(away: str) -> None:
    shown = away.replace("someone:secret@", "")
    line = (
        f"the Prefect server {shown} does not answer: start it with 'synthset up' or 'docker "
        "compose up -d', or correct or unset PREFECT_API_URL"
    )
    for use in (check_server, lambda: retry_run("some run")):
        with pytest.raises(ServerError) as caught:
            use()  # type: ignore[operator]
        assert str(caught.value) == line


def test_names_a_missing_server() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        for use in (check_server, deploy, lambda: retry_run("some run")):
            with pytest.raises(ServerError, match="no Prefect server is configured: start one"):
                use()  # type: ignore[operator]


def test_names_a_program_that_is_no_prefect_server() -> None:
    with answering(200, b"<html>Welcome!</html>") as server, pytest.raises(ServerError) as caught:
        check_server()
    assert str(caught.value).startswith(f"the program at {address_of(server)}")
    assert "is no Prefect server: correct or unset PREFECT_API_URL" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "line"),
    [(401, "set PREFECT_API_AUTH_STRING"), (404, "refused a request: 404 Not here x")],
)
def test_names_a_refusal(status: int, line: str) -> None:
    with answering(status, b"Not here " + b"x" * 5000), pytest.raises(ServerError) as caught:
        check_server()
    assert line in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_server_that_is_lost_during_the_work_is_named() -> None:
    failed = RuntimeError("6 of 6 references failed")
    with answering(200, b'"3.8.8"') as server:
        with pytest.raises(RuntimeError) as kept, configured_server():
            raise failed
        assert kept.value is failed
        with pytest.raises(ServerLostError) as caught, configured_server():  # noqa: PT012
            server.shutdown()
            server.server_close()
            raise failed
    line = str(caught.value)
    assert f"the Prefect server {address_of(server)} does not answer: start it" in line
    assert line.endswith("then run the same command again: what is done stays done")


@pytest.mark.usefixtures("prefect_server")
def test_the_smaller_limit_of_client_and_server_counts() -> None:
    from prefect.settings import PREFECT_SERVER_API_MAX_PARAMETER_SIZE

    for own, limit in ((10_000, 10_000), (10_000_000, 524_288), (0, 524_288)):
        with temporary_settings({PREFECT_SERVER_API_MAX_PARAMETER_SIZE: own}):
            assert parameter_limit() == limit
