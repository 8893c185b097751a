"""The `/live` socket and the page's server, spoken to as a browser would, without a browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from monitor.dashboard.app import make_app, serve
from monitor.dashboard.live.feed import wall_clock_ms
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.live.socket import WINDOW, Live
from monitor.errors import ConfigurationError
from monitor.web.origin_guard import OriginGuard
from tests.dashboard_world import START_MS, make_frame


class Served:
    """A hub behind a real server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.hub = Hub()
        self.hub.on_feed(True, wall_clock_ms())
        self.app = make_app(self.hub, None)
        self.live: Live = self.app.server.state.live
        self.step = 0

    def publish(self) -> None:
        self.step += 1
        self.hub.on_frame("a", make_frame(self.step, START_MS + self.step), wall_clock_ms())

    def connect(self, origin: str | None = None) -> connect:
        own = f"http://127.0.0.1:{self.port}"
        return connect(f"ws://127.0.0.1:{self.port}/live", origin=origin or own)  # type: ignore[arg-type]  # Origin is a NewType of str

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        def fetch() -> tuple[int, str, dict[str, str]]:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read().decode(), dict(answer.headers)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode(), dict(error.headers)

        return await asyncio.to_thread(fetch)


@pytest.fixture
async def served(free_port: int) -> AsyncIterator[Served]:
    one = Served(free_port)
    started = asyncio.Event()
    task = asyncio.create_task(serve(one.app, "127.0.0.1", free_port, started=started))
    await started.wait()
    yield one
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def say(socket: ClientConnection, **words: object) -> None:
    await socket.send(json.dumps(words))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await socket.recv())
    return answer


async def hear_to_the_end(socket: ClientConnection) -> None:
    while True:
        await hear(socket)


async def hear_until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame = await hear(socket)
        if frame["k"] == kind:
            return frame
        await say(socket, got=1)


async def test_a_browser_gets_what_it_looks_at(served: Served) -> None:
    served.publish()
    async with served.connect() as socket:
        await say(socket, look="fleet")
        frame = await hear_until(socket, "fleet")
        assert frame["full"]
        assert frame["rows"][0]["id"] == "a"
        await say(socket, got=1)
        await say(socket, look="asset", asset="a", cell=0)
        frame = await hear_until(socket, "asset")
        assert frame["s"][0] == [START_MS + 1]


async def test_a_client_that_confirms_nothing_is_sent_nothing_more(served: Served) -> None:
    async with served.connect() as sleeper, served.connect() as reader:
        await say(sleeper, look="asset", asset="a")
        await say(reader, look="asset", asset="a")
        heard = 0
        while heard < 12:
            served.publish()
            frame = await hear(reader)
            await say(reader, got=1)
            heard += frame["k"] == "asset"
        held = [await hear(sleeper) for _ in range(WINDOW)]
        assert len(held) == WINDOW
        newest = served.step
        await say(sleeper, got=1)
        # What it gets next is the difference to now in one frame, not the frames that it slept by.
        frame = await hear(sleeper)
        assert frame["s"][0][-1] == START_MS + newest


async def test_clients_that_never_read_are_sent_two_frames_and_no_more(served: Served) -> None:
    """Whole sockets that nobody reads, as of laptops that were closed: nothing grows for them."""
    count = 20
    sockets = []
    own = f"127.0.0.1:{served.port}"
    look = json.dumps({"look": "asset", "asset": "a"}).encode()
    try:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            sockets.append(writer)
            writer.write(
                f"GET /live HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n".encode()
            )
            # RFC 6455, section 5.2: a masked text frame, the mask all zeros.
            writer.write(bytes([0x81, 0x80 | len(look)]) + bytes(4) + look)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket's
        async with served.connect() as reader:
            await say(reader, look="asset", asset="a")
            heard = 0
            while heard < 30:
                served.publish()
                frame = await hear(reader)
                await say(reader, got=1)
                heard += frame["k"] == "asset"
            heard = served.live.frames_sent
            assert served.live.clients == count + 1
            assert heard >= 30 + count * WINDOW
            for _ in range(15):
                served.publish()
                await hear(reader)
                await say(reader, got=1)
            # What is sent from here on is for the one that reads.
            assert served.live.frames_sent - heard <= 17
    finally:
        for writer in sockets:
            writer.close()


async def test_a_browser_that_is_silent_still_hears_the_beat(served: Served) -> None:
    async with served.connect() as socket:
        await say(socket, look="fleet")
        first = await hear_until(socket, "fleet")
        await say(socket, got=1)
        second = await hear(socket)
        assert second["now"] > first["now"]
        assert second["rows"] == []


async def test_a_foreign_origin_or_host_is_refused(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with served.connect(origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    assert (await served.get("/", Host="evil.example"))[0] == 403
    assert (await served.get("/", Origin="http://evil.example"))[0] == 403
    assert (await served.get("/"))[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [("Content-Length: 2000000", {413}), ("Content-Length: nine", {400}),
     ("Transfer-Encoding: chunked", {411}), ("X: " + "x" * 50_000, {400, 431})],
)  # fmt: skip
async def test_a_long_request_is_refused_unread(
    served: Served, head: str, status: set[int]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    request = f"POST /_dash-update-component HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n\r\n"
    try:
        writer.write(request.encode())
        async with asyncio.timeout(10):
            assert int((await reader.readline()).split()[1]) in status
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("words", ["{", '{"look": "everything"}', "[1]", '{"asset": 5}', "x" * 900])
async def test_nonsense_closes_the_socket_and_harms_nobody(served: Served, words: str) -> None:
    async with served.connect() as socket:
        await socket.send(words)
        with pytest.raises(ConnectionClosed):
            await hear_to_the_end(socket)
    async with served.connect() as socket:
        await say(socket, look="alarms")
        assert (await hear_until(socket, "alarms"))["alarms"] == []


async def test_the_first_request_may_be_any_page(served: Served) -> None:
    status, body, headers = await served.get("/asset/B0005")
    assert status == 200
    assert "/assets/1-core.js" in body
    assert "default-src 'self'" in headers["content-security-policy"]


async def test_pages_load_nothing_from_elsewhere(served: Served) -> None:
    body = (await served.get("/"))[1]
    for piece in body.split("src=")[1:]:
        assert piece.startswith('"/')
    for piece in body.split("href=")[1:]:
        assert piece.startswith('"/')


async def test_a_busy_port_is_one_clear_sentence(served: Served) -> None:
    with pytest.raises(ConfigurationError, match=f"port {served.port} on 127.0.0.1 is taken"):
        await serve(make_app(Hub(), None), "127.0.0.1", served.port)


async def test_stopping_closes_open_browsers_at_once(free_port: int) -> None:
    one = Served(free_port)
    started = asyncio.Event()
    task = asyncio.create_task(serve(one.app, "127.0.0.1", free_port, started=started))
    await started.wait()
    async with one.connect() as socket:
        await say(socket, look="fleet")
        await hear(socket)
        task.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ConnectionClosed):
                await hear_to_the_end(socket)


def test_the_guard_knows_its_own_names() -> None:
    async def nothing(scope: object, receive: object, send: object) -> None: ...

    guard = OriginGuard(nothing, {"127.0.0.1", "localhost", "::1"})
    assert guard.allows("127.0.0.1:8050", "http://127.0.0.1:8050", needs_origin=True)
    assert guard.allows("[::1]:8050", "http://[::1]:8050", needs_origin=True)
    assert not guard.allows("127.0.0.1:8050", None, needs_origin=True)
    assert not guard.allows("127.0.0.1:8050", "null", needs_origin=True)
    assert not guard.allows("127.0.0.1:8050", "http://127.0.0.1:9", needs_origin=True)
    assert not guard.allows("rebound.example:8050", None, needs_origin=False)
    assert not guard.allows(None, None, needs_origin=False)
    anywhere = OriginGuard(nothing, ())
    assert anywhere.allows("plant.example", "http://plant.example", needs_origin=True)
    assert not anywhere.allows("plant.example", "http://evil.example", needs_origin=True)
