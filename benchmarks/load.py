"""A publisher that costs little: MQTT 3.1.1 over a plain socket, QoS 1, at a fixed rate.

    python -m benchmarks.load BROKER_URL ASSETS CELLS HZ SECONDS

Each asset is in constant-current charge (`benchmarks.stream`), first ten minutes of it at once,
then HZ frames a second of CELLS cells. A frame's `timestamp_ms` is when it was due, so that a
publisher or broker that falls behind shows in what is measured from it. Prints "begun" and, at the
end, a JSON object of what was sent.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.stream import AMBIENT_C, CURRENT_A, FIRST_S, WARM_S, FleetStream
from monitor.contract import Topics, encode
from monitor.mqtt.address import BrokerAddress

TOPICS = Topics()
PREPARED_S = 8  # seconds of readings, sent forwards and then backwards
SLICE_S = 0.002  # how often it looks what is due
MOST_UNCONFIRMED = 60_000
CONFIRM_S = 60.0
STAMP = slice(22, 35)  # where `timestamp_ms` stands in a payload of ours


@dataclass(frozen=True, slots=True)
class Load:
    """What is published."""

    assets: int
    cells: int
    hz: float
    seconds: float

    @property
    def messages_per_s(self) -> float:
        """Messages a second of all assets."""
        return self.assets * self.hz

    @property
    def samples_per_s(self) -> float:
        """Cell-samples a second of all assets."""
        return self.messages_per_s * self.cells

    @property
    def stream(self) -> FleetStream:
        """The stream that is played."""
        return FleetStream(self.assets * self.cells, self.cells)


class RawPublisher:
    """One MQTT connection; publishes blocks of messages and counts their confirmations."""

    def __init__(self, address: BrokerAddress, client_id: str) -> None:
        self.sent = 0
        self.confirmed = 0
        self._socket = socket.create_connection((address.host, address.port), 10.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name, user, password = (
            text.encode() for text in (client_id, address.user or "", address.password or "")
        )
        body = b"\x00\x04MQTT\x04\xc2\x00\x00" + _text(name) + _text(user) + _text(password)
        self._socket.sendall(b"\x10" + _length(len(body)) + body)
        answer = self._socket.recv(4)
        if answer[:1] != b"\x20" or answer[3:4] != b"\x00":
            raise ConnectionError(f"the broker does not take the publisher: {answer!r}")
        self._socket.setblocking(False)
        self._came = 0

    def packet(self, topic: bytes, payload: bytes, *, retain: bool = False) -> bytes:
        """The next message, QoS 1."""
        self.sent += 1
        number = struct.pack(">H", (self.sent - 1) % 65_535 + 1)
        body = _length(len(topic) + 4 + len(payload)) + _text(topic) + number + payload
        return (b"\x33" if retain else b"\x32") + body

    def send(self, block: bytes) -> None:
        """Write, and read what the broker confirms meanwhile."""
        view = memoryview(block)
        while len(view):
            readable, writable, _ = select.select([self._socket], [self._socket], [], 1.0)
            if readable:
                self.read()
            if writable:
                view = view[self._socket.send(view) :]

    def read(self) -> None:
        """Count the confirmations (four bytes each) that have come."""
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._came += len(data)
        self.confirmed = self._came // 4

    def settle(self) -> None:
        """Return once everything is confirmed, or no more of it comes for a while."""
        deadline = time.monotonic() + CONFIRM_S
        while self.confirmed < self.sent and time.monotonic() < deadline:
            select.select([self._socket], [], [], 0.1)
            self.read()

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()


def bodies(load: Load) -> list[list[list[bytes]]]:
    """What follows session and number in a payload, by second, step and asset."""
    steps = max(1, round(load.hz))
    stream = load.stream
    rng = np.random.default_rng(1)
    prepared = []
    for second in range(FIRST_S, FIRST_S + PREPARED_S):
        now, then = stream.instant(second), stream.instant(second + 1)
        rows = []
        for step in range(steps):
            share = step / steps
            volts = now.volts + share * (then.volts - now.volts)
            celsius = now.celsius + share * (then.celsius - now.celsius)
            volts = volts + rng.normal(0.0, 3e-4, volts.shape)
            celsius = celsius + rng.normal(0.0, 0.01, celsius.shape)
            current = CURRENT_A + rng.normal(0.0, 1e-3)
            rows.append(_bodies(volts, celsius, current))
        prepared.append(rows)
    return prepared


def _bodies(volts: np.ndarray, celsius: np.ndarray, current: float) -> list[bytes]:
    return [
        b'"current_a":%.3f,"voltage_v":%s,"temperature_c":%s,"ambient_c":%.1f}'
        % (current, _list(v, 4), _list(c, 2), AMBIENT_C)
        for v, c in zip(volts.tolist(), celsius.tolist(), strict=True)
    ]


def _list(values: list[float], digits: int) -> bytes:
    texts = [str(round(value, digits)) for value in values]
    return (texts[0] if len(texts) == 1 else f"[{','.join(texts)}]").encode()


def warm_up(publisher: RawPublisher, load: Load) -> None:
    """Configs, and ten minutes of charge that end now."""
    stream = load.stream
    config = encode(stream.config)
    block = [
        publisher.packet(_topic(name, "config"), config, retain=True) for name in stream.assets
    ]
    now_ms = time.time_ns() // 1_000_000
    for second in WARM_S:
        instant = stream.instant(second)
        rows = _bodies(instant.volts, instant.celsius, instant.current_a)
        head = b'{"v":1,"timestamp_ms":%d,"session":"load",' % (now_ms - 1_000 * (FIRST_S - second))
        for name, body in zip(stream.assets, rows, strict=True):
            block.append(publisher.packet(_topic(name, "telemetry"), head + body))
    publisher.send(b"".join(block))
    publisher.settle()


def publish(publisher: RawPublisher, load: Load) -> dict[str, float]:
    """Send at the rate; what was sent, and how far the sender itself was behind."""
    prepared = bodies(load)
    steps = len(prepared[0])
    topics = [_topic(name, "telemetry") for name in load.stream.assets]
    n = len(topics)
    total = int(load.seconds * load.hz) * n
    before = publisher.sent
    period_s = 1.0 / load.messages_per_s
    began = time.time() + 0.1
    k = 0
    behind_s = 0.0
    while k < total:
        due = min(total, int((time.time() - began) / period_s) + 1)
        if due <= k or publisher.sent - publisher.confirmed > MOST_UNCONFIRMED:
            time.sleep(SLICE_S)
            publisher.read()
            continue
        due = min(due, k + 5_000)
        block = []
        for j in range(k, due):
            number, asset = divmod(j, n)
            second, step = divmod(number, steps)
            turn = second % (2 * PREPARED_S)
            if turn >= PREPARED_S:  # backwards, so that nothing jumps
                turn, step = 2 * PREPARED_S - 1 - turn, steps - 1 - step
            stamp = int((began + j * period_s) * 1000.0)
            head = b'{"v":1,"timestamp_ms":%d,"session":"load","seq":%d,' % (stamp, number)
            block.append(publisher.packet(topics[asset], head + prepared[turn][step][asset]))
        behind_s = max(behind_s, time.time() - (began + k * period_s))
        publisher.send(b"".join(block))
        k = due
    ended = time.time()
    publisher.settle()
    return {
        "messages": total,
        "unconfirmed": publisher.sent - publisher.confirmed,
        "first": before,
        "began_s": began,
        "seconds": ended - began,
        "behind_ms": behind_s * 1000.0,
    }


def _topic(name: str, last: str) -> bytes:
    return TOPICS.of(name, last).encode()


def _text(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def main() -> None:
    """The process."""
    url, assets, cells, hz, seconds = sys.argv[1:]
    load = Load(int(assets), int(cells), float(hz), float(seconds))
    publisher = RawPublisher(BrokerAddress.parse(url), "load")
    warm_up(publisher, load)
    print("begun", flush=True)
    print(json.dumps(publish(publisher, load)), flush=True)


if __name__ == "__main__":
    main()
