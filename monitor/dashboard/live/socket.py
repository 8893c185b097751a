"""The `/live` WebSocket: shared frames to every browser, one latest-only slot each.

A browser says what it looks at (`{"look": "asset", "asset": "B0005", "cell": 0}`) and confirms
each frame that it has painted (`{"got": 1}`). At most `WINDOW` frames are on their way to it; a
browser that does not keep up is sent the difference to the newest state when it next confirms, so
nothing is buffered for it however long it sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import msgspec
from fastapi import FastAPI
from msgspec import Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from monitor.contract import MAX_CELLS
from monitor.dashboard.live.hub import Hub, Kind, View
from monitor.supervisor import Report

log = logging.getLogger(__name__)

TICK_S = 0.1
BEAT_S = 1.0  # a frame at least this often, so that a browser knows that the server lives
WINDOW = 2
STANDS_S = 5.0  # without a tick for so long, /healthz says that the page stands
MAX_COMPLAINTS = 100  # views that are logged as not to be made
MAX_CLIENTS = 1_000
SEND_WITHIN_S = 20.0
MAX_MESSAGE_CHARS = 500


class Ask(Struct, frozen=True):
    """What a browser says: a new view, or that it has painted a frame."""

    look: Kind | None = None
    asset: str = ""
    cell: int = 0
    got: int = 0


_ask_decoder = msgspec.json.Decoder(Ask)


class Live:
    """All connected browsers of one hub."""

    def __init__(
        self,
        hub: Hub,
        clock_ms: Callable[[], int],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hub = hub
        self._now_s = now_s
        self.clients = 0
        self.frames_sent = 0
        self._clock_ms = clock_ms
        self._pulse: asyncio.Future[None] | None = None
        self._ticked_s = now_s()
        self._complained: set[View] = set()

    async def run(self, report: Report) -> None:
        """Tick the hub ten times a second until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self.hub.tick(self._clock_ms())
            pulse, self._pulse = self._pulse, None
            if pulse is not None and not pulse.done():
                pulse.set_result(None)
            self._ticked_s = self._now_s()
            report.well()
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())

    @property
    def ticks(self) -> bool:
        """Whether pages are told anything: the last tick is not `STANDS_S` ago."""
        return self._now_s() - self._ticked_s < STANDS_S

    def payload(self, view: View, since: int) -> tuple[str, int]:
        """The frame for a client at version `since`, and at which it is then.

        Where a view cannot be made the client gets the head alone, and all of the view once it can.
        """
        try:
            return self.hub.frame(view, since).decode(), self.hub.version
        except Exception:
            if view not in self._complained and len(self._complained) < MAX_COMPLAINTS:
                self._complained.add(view)
                log.exception("the view %s of %r cannot be made", view.kind, view.asset)
            return self.hub.frame(View("none"), since).decode(), 0

    async def next_tick(self) -> None:
        """Wait for the hub's next tick."""
        if self._pulse is None:
            self._pulse = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._pulse)

    async def endpoint(self, socket: WebSocket) -> None:
        """Serve one browser until it goes away."""
        if self.clients >= MAX_CLIENTS:
            await socket.close(code=1013, reason="too many pages are open")
            return
        await socket.accept()
        self.clients += 1
        client = _Client(self, socket)
        sender = asyncio.create_task(client.send(), name="live sender")
        try:
            await client.receive()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the browser left; Starlette raises RuntimeError where we closed first
        finally:
            self.clients -= 1
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender


class _Client:
    def __init__(self, live: Live, socket: WebSocket) -> None:
        self._live = live
        self._socket = socket
        self._view = View("none")
        self._since = 0
        self._in_flight = 0
        self._credit = asyncio.Event()
        self._credit.set()

    async def receive(self) -> None:
        while True:
            try:
                text = await self._socket.receive_text()
                if len(text) > MAX_MESSAGE_CHARS:
                    raise msgspec.ValidationError("too long")
                ask = _ask_decoder.decode(text)
            except (msgspec.DecodeError, UnicodeError, KeyError):  # KeyError: bytes, not text
                await self._socket.close(code=1008, reason="not a message of this page")
                return
            if ask.got:
                self._in_flight = max(0, self._in_flight - 1)
                self._credit.set()
            if ask.look is not None:
                self._view = View(ask.look, ask.asset[:64], min(max(0, ask.cell), MAX_CELLS))
                self._since = 0

    async def send(self) -> None:
        loop = asyncio.get_running_loop()
        hub = self._live.hub
        sent_at = -BEAT_S
        sent_view: View | None = None
        try:
            while True:
                await self._live.next_tick()
                await self._credit.wait()
                view = self._view
                now = loop.time()
                fresh = hub.version > self._since and (
                    (now - sent_at) * 1_000 > hub.interval_ms(view) - 500 * TICK_S
                )
                if not (fresh or view != sent_view or now - sent_at >= BEAT_S):
                    continue
                payload, self._since = self._live.payload(view, self._since)
                sent_view, sent_at = view, now
                self._in_flight += 1
                if self._in_flight >= WINDOW:
                    self._credit.clear()
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self._socket.send_text(payload)
                self._live.frames_sent += 1
        except TimeoutError:
            log.info("a browser took nothing for %s s, closing it", SEND_WITHIN_S)
            await self._socket.close(code=1013)
        except (WebSocketDisconnect, RuntimeError):
            pass  # it left while we were sending; receive() sees it too


def mount_live(server: FastAPI, live: Live) -> None:
    """Add the endpoint to the page's server; the origin check stands in front of it (guard)."""
    server.add_api_websocket_route("/live", live.endpoint)
