"""Protection of a Prefect server without a password against web pages of other sites.

Every web page that a browser on this machine shows can send requests to 127.0.0.1. CORS keeps the
page from reading the answers, but Prefect still does what the requests say. So this middleware
refuses requests whose Origin header names another site. Programs send no Origin header.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose


class SameOriginMiddleware:
    """Refuses requests from pages of other origins with 403.

    Args:
        allowed: further origins that may send requests, such as ``https://example.com``.
    """

    def __init__(self, application: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._application = application
        self._allowed = frozenset(allowed) - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan" or self._is_allowed(dict(scope["headers"])):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008)(scope, receive, send)
        else:
            refusal = "refused: sent by a page of another site; see synthset up --auth\n"
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)

    def _is_allowed(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin in self._allowed or "*" in self._allowed:
            return True
        # DNS rebinding: a foreign name may resolve to this machine. So Host must be an IP address
        # or localhost.
        return _is_address(host) and (not origin or urlsplit(origin).netloc == host)


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
