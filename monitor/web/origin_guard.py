"""Who may talk to the page: its own origin only; and what its pages may load: themselves only.

A foreign web page in the operator's browser must not read the live data nor send commands
(cross-site requests), and a name that points at 127.0.0.1 must not either (DNS rebinding), so
both the Origin and the Host header are checked, on HTTP and WebSocket alike.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

# Dash's index carries one inline script, and styles are set by React.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


MAX_BODY_BYTES = 1024 * 1024
MAX_HEAD_BYTES = 32 * 1024
UPLOAD_PATH = "/analyse/upload"  # streams to a file and has a bound of its own


class OriginGuard:
    """ASGI middleware that answers 403 to a foreign origin or an unknown host name.

    A body of more than 1 MiB is refused too, except the file that a user sends.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        socket = scope["type"] == "websocket"
        if not self.allows(headers.get("host"), headers.get("origin"), needs_origin=socket):
            if socket:
                await receive()  # the handshake; closing before accepting answers 403
                await WebSocketClose(1008)(scope, receive, send)
            else:
                words = "this page is served to its own origin only"
                await _refusal(403, words)(scope, receive, send)
            return
        status = 0 if socket else _too_long(headers, scope["path"] == UPLOAD_PATH)
        if status:
            words = "the request is too long, or its length is not said"
            await _refusal(status, words)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["Content-Security-Policy"] = CONTENT_POLICY
                out["X-Content-Type-Options"] = "nosniff"
                out["Referrer-Policy"] = "same-origin"
            await send(message)

        await self._app(scope, receive, send_with_policy)

    def allows(self, host: str | None, origin: str | None, *, needs_origin: bool) -> bool:
        """Whether a request to `host` from a page of `origin` may pass; no `hosts` means any."""
        if host is None:
            return False
        try:
            name = urlsplit(f"//{host}").hostname
            if self._hosts and name not in self._hosts:
                return False
            if origin is None:
                return not needs_origin
            return urlsplit(origin).netloc == host
        except ValueError:  # a bracket without its other one, say
            return False


def _too_long(headers: Headers, upload: bool) -> int:
    """The status for a head or body past its bound or of no stated length, 0 for a good one."""
    if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEAD_BYTES:
        return 431
    if upload:
        return 0
    if "transfer-encoding" in headers:
        return 411
    length = headers.get("content-length", "0")
    return 0 if length.isdecimal() and int(length) <= MAX_BODY_BYTES else 413


def _refusal(status: int, words: str) -> PlainTextResponse:
    # What follows of a refused body is not read.
    return PlainTextResponse(f"{status}: {words}\n", status, {"connection": "close"})
