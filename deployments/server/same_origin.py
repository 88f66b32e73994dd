"""A server without a password serves programs and its own pages, not the web pages of others.

A browser sends requests to this machine for any page that it shows. Prefect leaves it to CORS what
such a page may read; what it asks for is done all the same.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose


class OwnOrigin:
    """Refuses with 403 what pages of another origin ask for.

    Args:
        application: answers all others.
        allowed: more origins, such as ``https://example.com``.
    """

    def __init__(self, application: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._application = application
        self._allowed = frozenset(allowed) - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan" or self._is_own(dict(scope["headers"])):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(code=1008)(scope, receive, send)
        else:
            refusal = "a page of another origin asks; 'synthset up --auth' sets a password\n"
            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        host, origin = (headers.get(one, b"").decode("latin-1") for one in (b"host", b"origin"))
        if origin in self._allowed or "*" in self._allowed:
            return True
        # Whoever owns a name can make it point to this machine, and his page is then of its origin.
        return _is_address(host) and (not origin or urlsplit(origin).netloc == host)


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
