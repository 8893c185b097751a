"""The bridge on real ports and real brokers: pty, TCP serial servers, RFC 2217."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import serial
import serial.rfc2217

from bridge.backoff import Backoff
from bridge.clock import SystemClock
from bridge.device import Told
from bridge.errors import LinkError, MappingError
from bridge.gateway import Gateway
from bridge.link import SerialLink, serial_opener
from bridge.poller import Poller, Rhythm
from bridge.protocols import NAMES
from bridge.pty_board import Faults, Pty
from bridge.publisher import Publisher
from bridge.serve import serve
from bridge.session import Patience
from bridge.settings import address_of
from bridge.simulate import Board
from monitor.contract import (
    AssetConfig,
    DeviceAlarm,
    Frame,
    Topics,
    decode,
    decode_status,
    decode_telemetry,
    encode,
)
from monitor.errors import ConfigurationError
from tests.bridge.test_poller import PACK, Notes
from tests.bridge_brokers import ear, embedded, mosquitto

TOPICS = Topics("bms")
QUICK = Rhythm(interval_s=0.02, patience=Patience(0.3, 2), first_backoff_s=0.05)


@contextlib.asynccontextmanager
async def running(board: Pty) -> AsyncIterator[Pty]:
    """A simulated board that answers while the test runs."""
    task = asyncio.create_task(board.run())
    try:
        yield board
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quick(port: str, name: str, sink: Gateway, **options: Any) -> Poller:
    return Poller(serial_opener(port), name, sink, SystemClock(), rhythm=QUICK, **options)


class Awaited(Notes):
    """Notes that can be waited for."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self._wanted = frames
        self.enough = asyncio.Event()
        self.offline = asyncio.Event()

    def telemetry(self, asset: str, frame: Frame) -> None:
        super().telemetry(asset, frame)
        if len(self.frames) >= self._wanted:
            self.enough.set()

    def status(self, asset: str, online: bool) -> None:
        super().status(asset, online)
        if not online:
            self.offline.set()


async def poll(port: str, name: str, frames: int = 3) -> Awaited:
    """Poll until so many frames came."""
    notes = Awaited(frames)
    poller = quick(port, name, Gateway(notes, Told("pack1", "gw1"), "s1"))
    task = asyncio.create_task(poller.run())
    async with asyncio.timeout(20):
        await notes.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return notes


@pytest.mark.parametrize("name", NAMES)
async def test_pty_with_a_bad_line(name: str) -> None:
    # Replies in pieces, noise before most, a damaged byte now and then: what comes out is whole.
    faults = Faults(piece_bytes=7, piece_gap_s=0.001, noise=0.7, damage=0.1)
    pty = Pty(Board(name, lambda: PACK), faults, seed=5)
    async with running(pty):
        notes = await poll(pty.path, name, frames=8)
    pty.close()
    for frame in notes.frames:
        assert frame.voltage_v == [3.301, 3.302, 3.303, 3.304]
        assert frame.current_a == -12.5


async def test_silence_and_slow_answers() -> None:
    pty = Pty(Board("jbd", lambda: PACK), Faults(silence=0.2, delay_s=0.01), seed=3)
    async with running(pty):
        notes = await poll(pty.path, "jbd", frames=10)
    pty.close()
    assert [frame.seq for frame in notes.frames] == list(range(10))


class _Relay(socketserver.BaseRequestHandler):
    """A TCP serial server in front of a board, raw or with RFC 2217."""

    def handle(self) -> None:
        board = Board("jbd", lambda: PACK)
        rfc2217: bool = self.server.rfc2217  # type: ignore[attr-defined]  # set by relay()
        if not rfc2217:
            while data := self.request.recv(1024):
                for reply in board.receive(data):
                    self.request.sendall(reply)
            return
        port = serial.serial_for_url("loop://", timeout=0)
        writer = _Writer(self.request)
        manager = serial.rfc2217.PortManager(port, writer)
        while data := self.request.recv(1024):
            plain = b"".join(manager.filter(data))
            for reply in board.receive(plain):
                self.request.sendall(b"".join(manager.escape(reply)))


class _Writer:
    def __init__(self, connection: socket.socket) -> None:
        self.write = connection.sendall


@contextlib.contextmanager
def relay(rfc2217: bool) -> Iterator[int]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Relay)
    server.daemon_threads = True
    server.rfc2217 = rfc2217  # type: ignore[attr-defined]  # set by relay()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# pyserial 3.5 still calls Thread.setDaemon and setName in its RFC 2217 client.
@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
async def test_serial_servers(scheme: str) -> None:
    with relay(scheme == "rfc2217") as port:
        notes = await poll(f"{scheme}://127.0.0.1:{port}", "jbd")
        assert notes.frames[0].voltage_v == [3.301, 3.302, 3.303, 3.304]


async def test_ports_that_cannot_be_opened(free_port: int) -> None:
    with pytest.raises(LinkError, match="nowhere"):
        await SerialLink.open("/dev/nowhere", 9_600)
    with pytest.raises(LinkError):
        await SerialLink.open(f"socket://127.0.0.1:{free_port}", 9_600)
    with pytest.raises(MappingError, match="rfc2217://host:port"):
        await SerialLink.open("gopher://x", 9_600)


async def test_unplugged_port_is_an_error_and_closing_it_is_not() -> None:
    pty = Pty(Board("jbd", lambda: PACK))
    link = await SerialLink.open(pty.path, 9_600)
    pty.close()
    with pytest.raises(LinkError):
        await link.read(0.1)
    await link.close()


async def test_two_bridges_cannot_share_a_port() -> None:
    pty = Pty(Board("jbd", lambda: PACK))
    link = await SerialLink.open(pty.path, 9_600)
    with pytest.raises(LinkError, match="exclusively"):
        await SerialLink.open(pty.path, 9_600)
    await link.close()
    pty.close()


async def test_replugged_adapter(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    first, second = (Pty(Board("jbd", lambda: PACK)) for _ in range(2))
    port.symlink_to(first.path)
    notes = Awaited(3)
    poller = quick(str(port), "jbd", Gateway(notes, Told("pack1", "gw1"), "s1"))
    task = asyncio.create_task(poller.run())
    async with asyncio.timeout(20), running(second):
        async with running(first):
            await notes.enough.wait()
        port.unlink()
        first.close()
        notes.enough = asyncio.Event()
        port.symlink_to(second.path)
        before = len(notes.frames)
        notes._wanted = before + 3
        await notes.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    second.close()
    assert notes.states == [True, False, True]


def publisher(port: int, **options: Any) -> Publisher:
    return Publisher(
        address_of(f"mqtt://127.0.0.1:{port}"),
        TOPICS,
        "gw1",
        backoff=Backoff(0.02, 0.1),
        **options,
    )


@pytest.fixture(params=["embedded", "mosquitto"])
def broker(
    request: pytest.FixtureRequest, free_port: int, tmp_path: Path, mosquitto_binary: str
) -> Iterator[int]:
    """Each of the two brokers."""
    started = (
        embedded(free_port)
        if request.param == "embedded"
        else mosquitto(mosquitto_binary, free_port, tmp_path)
    )
    with started:
        yield free_port


async def test_board_to_broker(broker: int) -> None:
    pack = replace(PACK, alarms=("cell_overvoltage",))
    pty = Pty(Board("jbd", lambda: pack), Faults(piece_bytes=9, piece_gap_s=0.001))
    out = publisher(broker)
    poller = quick(pty.path, "auto", Gateway(out, Told("pack1", "gw1"), "s1"))
    stop = asyncio.Event()
    async with running(pty), ear(broker) as heard:
        served = asyncio.create_task(serve(out, [poller.run], ["pack1"], stop))
        await heard.until(lambda: len(heard.on("bms/pack1/telemetry")) >= 5)
        # The retained messages are there for whoever comes later.
        async with ear(broker) as late:
            await late.until(lambda: len(late.heard) >= 3)
            kept = {topic: payload for topic, payload, retained in late.heard if retained}
        stop.set()
        await served
        await heard.until(lambda: heard.on("bms/_gateway/gw1/status")[-1] == b"offline")
    pty.close()
    assert kept["bms/pack1/status"] == b"online"
    assert kept["bms/_gateway/gw1/status"] == b"online"
    assert decode(AssetConfig, kept["bms/pack1/config"]).cells == 4
    first = [topic for topic, _, _ in heard.heard if topic.startswith("bms/pack1/")][:2]
    assert set(first) == {"bms/pack1/config", "bms/pack1/status"}
    frames = [f for payload in heard.on("bms/pack1/telemetry") for f in decode_telemetry(payload)]
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    alarms = [decode(DeviceAlarm, payload) for payload in heard.on("bms/pack1/device_alarm")]
    assert [alarm.name for alarm in alarms if alarm.active] == ["cell_overvoltage"]
    assert decode_status(heard.on("bms/pack1/status")[-1]) is False


async def test_will_when_the_bridge_dies(broker: int) -> None:
    async with ear(broker, "bms/_gateway/gw1/status") as heard:
        out = publisher(broker)
        run = asyncio.create_task(out.run())
        await heard.until(lambda: heard.on("bms/_gateway/gw1/status") == [b"online"])
        # A second bridge under the same name takes the connection over: as abrupt as a crash.
        async with aiomqtt.Client("127.0.0.1", broker, identifier="cellpulse-gateway-gw1"):
            await heard.until(lambda: b"offline" in heard.on("bms/_gateway/gw1/status"))
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_frames_wait_for_a_broker_that_is_away(
    free_port: int, mosquitto_binary: str, tmp_path: Path
) -> None:
    out = publisher(free_port)
    config = AssetConfig(v=1, nominal_capacity_ah=100.0)
    out.config("pack1", config)
    out.status("pack1", True)
    run = asyncio.create_task(out.run())
    for seq in range(1_200):
        out.telemetry("pack1", Frame(v=1, timestamp_ms=seq, session="s", seq=seq))
    out.alarm("pack1", DeviceAlarm(v=1, timestamp_ms=1, name="short_circuit", active=True))
    out.telemetry("pack1", Frame(v=1, timestamp_ms=1_200, session="s", seq=1_200))
    with mosquitto(mosquitto_binary, free_port, tmp_path) as kill:
        async with ear(free_port, "bms/pack1/#") as heard:
            await heard.until(lambda: _frames(heard.on("bms/pack1/telemetry"))[-1:] == [1_200])
            assert _frames(heard.on("bms/pack1/telemetry")) == list(range(1_201))
            assert len(heard.on("bms/pack1/telemetry")) < 40  # sent as arrays
            assert max(map(len, heard.on("bms/pack1/telemetry"))) < 20_000
        kill()
    out.telemetry("pack1", Frame(v=1, timestamp_ms=1_201, session="s", seq=1_201))
    with mosquitto(mosquitto_binary, free_port, tmp_path):
        async with ear(free_port, "bms/pack1/#") as heard:
            await heard.until(lambda: 1_201 in _frames(heard.on("bms/pack1/telemetry")))
            await heard.until(lambda: heard.on("bms/pack1/status") == [b"online"])
            # The new broker has forgotten everything: config is told again.
            assert decode(AssetConfig, heard.on("bms/pack1/config")[0]) == config
        out.finish()
        await run


def _frames(payloads: list[bytes]) -> list[int | None]:
    return [frame.seq for payload in payloads for frame in decode_telemetry(payload)]


async def test_queue_is_bounded_and_its_depth_published(broker: int) -> None:
    out = publisher(broker, limit=10, metrics_s=0.05)
    out.count(lambda: {"polls": 7})
    for seq in range(25):
        out.telemetry("pack1", Frame(v=1, timestamp_ms=seq, session="s", seq=seq))
    assert (out.depth, out.dropped) == (10, 15)
    async with ear(broker) as heard:
        run = asyncio.create_task(out.run())
        await heard.until(lambda: bool(heard.on("bms/_gateway/gw1/metrics")))
        assert _frames(heard.on("bms/pack1/telemetry")) == list(range(15, 25))
        out.finish()
        await run
    assert b'"dropped":15' in heard.on("bms/_gateway/gw1/metrics")[0]
    assert b'"polls":7' in heard.on("bms/_gateway/gw1/metrics")[0]


async def test_overflow_while_a_message_is_on_its_way() -> None:
    out = publisher(1, limit=2)
    first, second, third = (Frame(v=1, timestamp_ms=seq, session="s", seq=seq) for seq in range(3))
    for frame in (first, second):
        out.telemetry("pack1", frame)
    sending = out._queue[0]
    out.telemetry("pack1", third)  # drops the first, which is just being sent
    out._sent(sending, 1)
    assert [waiting.payload for waiting in out._queue] == [encode(second), encode(third)]


async def test_serve_raises_what_a_reader_raised(free_port: int) -> None:
    with embedded(free_port):

        async def broken() -> None:
            raise MappingError("port: expected something else")

        with pytest.raises(ExceptionGroup) as caught:
            await serve(publisher(free_port), [broken], ["pack1"])
        assert caught.group_contains(MappingError, match="expected something else")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", "mqtt://broker:1883"),
        ("broker:1884", "mqtt://broker:1884"),
        ("mqtts://me:secret@broker", "mqtts://me:***@broker:8883"),
    ],
)
def test_broker_addresses(url: str, expected: str) -> None:
    address = address_of(url)
    assert str(address) == expected
    assert "secret" not in repr(address)


def test_broker_address_with_a_password() -> None:
    address = address_of("mqtt://me:p%40ss@broker:1")
    assert (address.user, address.password) == ("me", "p@ss")
    for url in ("http://me:secret@broker", "mqtt://me:secret@broker:0", "mqtt://:99999999", ""):
        with pytest.raises(ConfigurationError) as caught:
            address_of(url)
        assert "secret" not in str(caught.value)


def test_certificate_authority(tmp_path: Path) -> None:
    assert address_of("mqtt://broker").tls_context() is None
    assert address_of("mqtts://broker").tls_context() is not None
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="broker_ca = "):
        address_of("mqtts://broker", str(broken)).tls_context()


def test_backoff() -> None:
    backoff = Backoff(0.5, 4.0)
    waits = [backoff.wait_s() for _ in range(6)]
    for wait, most in zip(waits, (0.5, 1, 2, 4, 4, 4), strict=True):
        assert 0.75 * most <= wait <= most
    backoff.reset()
    assert backoff.wait_s() <= 0.5
