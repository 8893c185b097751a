"""uvicorn inside a program that has its own loop and handles its own signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from monitor.errors import ConfigurationError
from monitor.supervisor import Report

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
STOP_WITHIN_S = 1
ALIVE_S = 1.0
MAX_HEAD_BYTES = 16 * 1024
MAX_AT_ONCE = 2_000  # connections; past it 503
MAX_SOCKET_MESSAGE_BYTES = 4_096


def listen(host: str, port: int, *, option: str) -> socket.socket:
    """A listening socket; raises ConfigurationError, naming the `option`, where it can't be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1_024)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} on {host} is taken by another program; "
                f"stop it or choose another with {option}"
            ) from error
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on: {error}; choose another with {option}"
        ) from error
    listener.setblocking(False)
    return listener


class Server(uvicorn.Server):
    """A server of one ASGI app; set `should_exit` to end it, open sockets are closed within 1 s."""

    def __init__(
        self,
        app: ASGIApp,
        ready: asyncio.Event | None = None,
        *,
        lifespan: Literal["on", "off"] = "off",
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan=lifespan,
                http="h11",  # the one whose limit on a request's head can be set
                limit_concurrency=MAX_AT_ONCE,
                log_config=None,  # the program's own
                log_level="warning",
                access_log=False,
                ws_per_message_deflate=False,
                ws_max_size=MAX_SOCKET_MESSAGE_BYTES,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_graceful_shutdown=STOP_WITHIN_S,
                server_header=False,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and say so."""
        await super().startup(sockets)
        if self._ready is not None:
            self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


async def serve(
    server: Server, listener: socket.socket, alive: Callable[[], None] = lambda: None
) -> None:
    """Serve on a socket until cancelled, then close every open one within 2 s.

    `alive` is called every second. Raises what ends the server otherwise.
    """
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    try:
        while not (await asyncio.wait({serving}, timeout=ALIVE_S))[0]:
            alive()
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
        listener.close()
    serving.result()


def serve_again(
    app: ASGIApp, listener: socket.socket, listen_again: Callable[[], socket.socket]
) -> Callable[[Report], Awaitable[None]]:
    """The work of a supervised server: on the socket at hand, after a failure on a new one."""
    first = [listener]

    async def work(report: Report) -> None:
        await serve(Server(app), first.pop() if first else listen_again(), report.well)

    return work
