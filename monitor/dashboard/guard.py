"""Who may talk to the page: its own origin only; and what its pages may load: themselves only.

A foreign web page in the operator's browser must not read the live data nor send commands
(cross-site requests), and a name that points at 127.0.0.1 must not either (DNS rebinding), so
both the Origin and the Host header are checked, on HTTP and WebSocket alike.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Dash's index carries one inline script, and styles are set by React.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class OriginGuard:
    """ASGI middleware that answers 403 to a foreign origin or an unknown host name."""

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
            await _refuse(socket, receive, send)
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
        name = urlsplit(f"//{host}").hostname
        if self._hosts and name not in self._hosts:
            return False
        if origin is None:
            return not needs_origin
        return urlsplit(origin).netloc == host


async def _refuse(socket: bool, receive: Receive, send: Send) -> None:
    if socket:
        await receive()  # the handshake; closing before accepting answers 403
        await send({"type": "websocket.close", "code": 1008})
        return
    text = b"403: this page is served to its own origin only\n"
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))],
        }
    )
    await send({"type": "http.response.body", "body": text})
