"""A proxy of an S3 server that logs every request, and can refuse or delay some.

The client's name is the variable ``AWS_SDK_UA_APP_ID``, which boto3 sends with each request.
"""

import contextlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_WHO = re.compile(r"\bapp/(\S+)")
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "date", "expect"}
_DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@dataclass(frozen=True)
class S3Request:
    """One request: client, method, object with its bucket, and the status of the answer.

    ``status`` is 0 if there was no answer because the client died while the request was held.
    """

    who: str
    method: str
    name: str
    status: int = 0


class S3Log:
    """The proxy; use it as a context. ``requests`` are in the order in which they ended."""

    def __init__(self, address: str, port: int, upstream: int) -> None:
        self.url = f"http://{address}:{port}"
        self.upstream = upstream
        self.requests: list[S3Request] = []
        self.held = threading.Event()
        self.released = threading.Event()
        self.away = threading.Event()
        self._refusals: Counter[str] = Counter()
        self._holds: Callable[[S3Request], bool] | None = None
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"log": self})
        self._server = _Server((address, port), handler)

    def __enter__(self) -> "S3Log":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def refuse(self, name: str, times: int) -> None:
        """Refuse the next writes of an object, as without the right to write."""
        self._refusals[name] = times

    def hold(self, when: Callable[[S3Request], bool]) -> None:
        """Hold the first request for which ``when`` is true until `released` is set."""
        self._holds = when

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Cut every connection without an answer inside the context."""
        self.away.set()
        try:
            yield
        finally:
            self.away.clear()

    def puts(self, who: str | None = None) -> Counter[str]:
        """How often each object was written."""
        return Counter(
            request.name
            for request in list(self.requests)
            if request.method == "PUT" and request.status == 200 and who in (None, request.who)
        )

    def is_refused(self, request: S3Request) -> bool:
        """Whether to refuse this request; counts the refusal."""
        with self._lock:
            if request.method != "PUT" or self._refusals[request.name] <= 0:
                return False
            self._refusals[request.name] -= 1
            return True

    def is_held(self, request: S3Request) -> bool:
        """Whether this request was held; returns after its release."""
        with self._lock:
            if self._holds is None or not self._holds(request):
                return False
            self._holds = None
        self.held.set()
        self.released.wait()
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that a killed client cut."""


class _Handler(BaseHTTPRequestHandler):
    log: S3Log
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the acknowledgement of their headers.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server_side = http.client.HTTPConnection("127.0.0.1", self.log.upstream, timeout=60)

    def finish(self) -> None:
        self.server_side.close()
        with contextlib.suppress(OSError):
            super().finish()

    def handle_expect_100(self) -> bool:
        """boto3 waits a second for this answer before it sends a body."""
        answered = super().handle_expect_100()
        self.wfile.flush()
        return answered

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the tests read ``requests``."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        who = _WHO.search(self.headers.get("User-Agent", ""))
        name = unquote(urlsplit(self.path).path).lstrip("/")
        request = S3Request(who[1] if who else "", self.command, name)
        if self.log.away.is_set() or self.log.is_held(request):
            self.close_connection = True
        elif self.log.is_refused(request):
            self._answer(request, 403, {"Content-Type": "application/xml"}, _DENIED)
        else:
            self._answer(request, *self._ask(body))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {
            name: text for name, text in self.headers.items() if name.lower() not in {"expect"}
        }
        for last in (False, True):
            try:
                self.server_side.request(self.command, self.path, body or None, headers)
                answer = self.server_side.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # The server closes connections that were idle.
                self.server_side.close()
                if last:
                    raise
        raise AssertionError

    def _answer(
        self, request: S3Request, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        self.log.requests.append(S3Request(request.who, request.method, request.name, status))
        self.send_response(status)
        for name, text in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, text)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
