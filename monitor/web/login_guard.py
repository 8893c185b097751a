"""Who is not signed in sees the sign-in page and `/healthz`, nothing else.

A session is a random number in a cookie (HttpOnly, SameSite=Strict); the server keeps its hash,
in memory. It guards HTTP, the `/live` WebSocket and uploads alike, since all of them pass here; a
socket that is open when its session ends is closed with the next frame.
"""

from __future__ import annotations

import hashlib
import html
import secrets
from base64 import b64decode
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from monitor.web.login import BusyError, Logins

COOKIE = "cellpulse_session"
SESSION_S = 12 * 3_600.0
MAX_SESSIONS = 1_000
MAX_FORM_BYTES = 8 * 1024
OPEN_PATHS = ("/healthz", "/assets/favicon.svg")
UNKEPT = {"cache-control": "no-store"}

signed_in: ContextVar[str | None] = ContextVar("signed_in", default=None)
"""The user of the request that is being answered; None where no login is demanded."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Cellpulse</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
<style>body{{font:1rem/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh}}
form{{display:grid;gap:.75rem;width:min(20rem,90vw)}}label{{display:grid}}
input,button{{font:inherit;padding:.5rem}}</style></head>
<body><form method="post" action="/login"><h1>Cellpulse</h1>
<p role="alert">{problem}</p><input type="hidden" name="next" value="{next}">
<label>Name · 姓名<input name="name" autocomplete="username" required autofocus></label>
<label>Password · 密码<input name="password" type="password" autocomplete="current-password"
required></label><button>Sign in · 登录</button></form></body></html>
"""
_WRONG = "Name or password is wrong. · 姓名或密码错误。"
_BUSY = "Too many tries; wait a moment. · 尝试过多，请稍候。"


@dataclass(frozen=True, slots=True)
class _Session:
    user: str
    until_s: float


class LoginGuard:
    """ASGI middleware in front of the whole page; inside the origin's guard."""

    def __init__(self, app: ASGIApp, logins: Logins, clock_s: Callable[[], float]) -> None:
        """`clock_s` is a monotonic clock."""
        self._app = app
        self._logins = logins
        self._clock_s = clock_s
        self._sessions: dict[bytes, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a user, or ask who it is."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path, http = scope["path"], scope["type"] == "http"
        if http and path in OPEN_PATHS:
            await self._app(scope, receive, send)
        elif http and path == "/login":
            await (await self._login(Request(scope, receive)))(scope, receive, send)
        elif http and path == "/logout" and scope["method"] == "POST":
            self._sessions.pop(_key(scope), None)
            await _away("/login", _cookie("", scope, 0))(scope, receive, send)
        else:
            key = _key(scope)
            user = self._user(key)
            if user is None:
                await (_refusal(Request(scope)) if http else _closed)(scope, receive, send)
                return
            mark = signed_in.set(user)
            try:
                guarded = send if http else self._while_signed_in(key, send)
                await self._app(scope, receive, guarded)
            finally:
                signed_in.reset(mark)

    def _while_signed_in(self, key: bytes, send: Send) -> Send:
        async def checked(message: Message) -> None:
            if message["type"] == "websocket.send" and self._user(key) is None:
                message = {"type": "websocket.close", "code": 1008, "reason": "signed out"}
            await send(message)

        return checked

    def _user(self, key: bytes) -> str | None:
        session = self._sessions.get(key)
        if session is None:
            return None
        if session.until_s < self._clock_s() or not self._logins.knows(session.user):
            del self._sessions[key]
            return None
        return session.user

    async def _login(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD"):
            return _page(200, "", request.query_params.get("next", "/"))
        if request.method != "POST":
            allow = {"allow": "GET, HEAD, POST", **UNKEPT}
            return PlainTextResponse("405: GET or POST\n", 405, allow)
        form = await _form(request)
        if form is None:
            return PlainTextResponse("413: that is no sign-in\n", 413, UNKEPT)
        name, target = form.get("name", ""), form.get("next", "/")
        try:
            fits = await self._logins.check(name, form.get("password", ""))
        except BusyError:
            return _page(429, _BUSY, target)
        if not fits:
            return _page(403, _WRONG, target)
        return _away(_local(target), _cookie(self._begin(name), request.scope))

    def _begin(self, user: str) -> str:
        now_s = self._clock_s()
        alive = {k: s for k, s in self._sessions.items() if s.until_s >= now_s}
        while len(alive) >= MAX_SESSIONS:
            del alive[next(iter(alive))]  # the oldest
        token = secrets.token_urlsafe(32)
        alive[_digest(token)] = _Session(user, now_s + SESSION_S)
        self._sessions = alive
        return token


class BasicGuard:
    """ASGI middleware that demands HTTP Basic of the same users, for scrapers; not of /healthz."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app = app
        self._logins = logins
        self._good: tuple[bytes, str] | None = None  # the last that fitted: one hash a scraper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 401."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            header = Headers(scope=scope).get("authorization", "")
            if not await self._fits(header):
                how = {"www-authenticate": 'Basic realm="Cellpulse", charset="UTF-8"', **UNKEPT}
                answer = PlainTextResponse("401: name and password\n", 401, how)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _fits(self, header: str) -> bool:
        kind, _, rest = header.partition(" ")
        if kind.lower() != "basic" or len(rest) > MAX_FORM_BYTES:
            return False
        try:
            name, colon, password = b64decode(rest, validate=True).decode().partition(":")
        except ValueError:  # no base64, no ASCII or no UTF-8
            return False
        digest = _digest(rest)
        if self._good == (digest, name) and self._logins.knows(name):
            return True
        try:
            fits = bool(colon) and await self._logins.check(name, password)
        except BusyError:
            return False
        if fits:
            self._good = (digest, name)
        return fits


def _key(scope: Scope) -> bytes:
    """Of the session that a request names."""
    return _digest(HTTPConnection(scope).cookies.get(COOKIE, ""))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _cookie(token: str, scope: Scope, max_age_s: float = SESSION_S) -> str:
    secure = "; Secure" if scope.get("scheme") in ("https", "wss") else ""
    return f"{COOKIE}={token}; Path=/; Max-Age={max_age_s:.0f}; HttpOnly; SameSite=Strict{secure}"


def _local(target: str) -> str:
    """A path on this page, whatever was asked for."""
    parts = urlsplit(target)
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc
    return quote(parts.path, safe="/") if good and target.isprintable() else "/"


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a posted form, None where it is too long or not one."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                return None
        fields = parse_qs(body.decode(), max_num_fields=10)
    except (ClientDisconnect, ValueError):
        return None
    return {name: values[0] for name, values in fields.items()}


def _page(status: int, problem: str, target: str) -> Response:
    page = _PAGE.format(problem=problem, next=html.escape(_local(target)))
    return HTMLResponse(page, status, UNKEPT)


def _away(target: str, cookie: str) -> Response:
    return Response(b"", 303, {"location": target, "set-cookie": cookie, **UNKEPT})


def _refusal(request: Request) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        where = f"/login?next={quote(request.scope['path'], safe='')}"
        return Response(b"", 303, {"location": where, **UNKEPT})
    return PlainTextResponse("401: sign in first\n", 401, UNKEPT)


async def _closed(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # the handshake; closing before accepting answers 403
    await WebSocketClose(1008)(scope, receive, send)
