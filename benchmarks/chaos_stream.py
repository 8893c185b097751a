"""What `cellpulse chaos` sends: recordings as messages of seeded sizes, what must be refused, and
the sender.

Half-way through, the clock of the last asset is set back by an hour, as a device's clock may be.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from monitor.contract import (
    MAX_PAYLOAD_BYTES,
    MAX_TIMESTAMP_MS,
    AssetConfig,
    Frame,
    Provenance,
    Topics,
    as_list,
    decode_telemetry,
    encode,
)
from monitor.kernels.admission import BACKWARD_FRAMES
from monitor.mqtt.address import BrokerAddress
from recordings.types import Recording
from simulator.replay import ReplayOptions, asset_config, merged

OPTIONS = ReplayOptions(speed=None, longest_gap_s=600.0)
TOPICS = Topics()
SET_BACK_MS = 3_600_000
MOST_FRAMES = 12  # in one message
IN_FLIGHT = 500
CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Packet:
    """One message as it is published."""

    topic: str
    payload: bytes
    retain: bool = False
    frames: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """Configs, and telemetry in the order that it is sent."""

    configs: list[Packet]
    telemetry: list[Packet]
    frames: int
    accepted: int  # those that come before a clock's step back is believed are late

    @property
    def assets(self) -> list[str]:
        """Their names."""
        return [packet.topic.split("/")[1] for packet in self.configs]

    def parts(self, count: int) -> list[list[Packet]]:
        """The telemetry in so many parts of about the same size."""
        n = len(self.telemetry)
        edges = [n * k // count for k in range(count + 1)]
        return [self.telemetry[a:b] for a, b in pairwise(edges)]


def make_stream(recordings: Sequence[Recording], frames: int, dice: random.Random) -> Stream:
    """The first `frames` frames of the recordings, which all start together."""
    names = [recording.info.asset for recording in recordings]
    timed = islice((t for t in merged(recordings, OPTIONS) if isinstance(t.message, Frame)), frames)
    taken = [(t.track, t.message) for t in timed if isinstance(t.message, Frame)]
    last = len(names) - 1
    half = sum(track == last for track, _ in taken) // 2
    packets: list[Packet] = []
    waiting: dict[int, list[Frame]] = {}
    size = dict.fromkeys(range(len(names)), 1)
    seen = 0
    for track, frame in taken:
        if track == last:
            seen += 1
            if seen > half:
                moved = frame.timestamp_ms - SET_BACK_MS
                frame = msgspec.structs.replace(frame, timestamp_ms=moved)
        waiting.setdefault(track, []).append(frame)
        if len(waiting[track]) >= size[track]:
            packets.append(_telemetry(names[track], waiting.pop(track)))
            size[track] = dice.randint(1, MOST_FRAMES)
    packets += [_telemetry(names[track], rest) for track, rest in waiting.items()]
    configs = [
        Packet(
            TOPICS.of(recording.info.asset, "config"),
            encode(_live(asset_config(recording.info, OPTIONS, "chaos"))),
            True,
        )
        for recording in recordings
    ]
    late = BACKWARD_FRAMES - 1 if seen - half >= BACKWARD_FRAMES else seen - half
    return Stream(configs, packets, len(taken), len(taken) - late)


def _live(config: AssetConfig) -> AssetConfig:
    """As a device says it: of a declared replay a frame ahead of its time would be taken."""
    return msgspec.structs.replace(config, provenance=Provenance("chaos"))


def hostile(sent: Sequence[Packet], dice: random.Random) -> list[Packet]:
    """Frames that must change nothing: too far ahead of their time, in another session, or come
    before with other readings; with other numbers of cells and sensors, and hot.
    """
    packets = []
    for packet in sent:
        frame = dice.choice(decode_telemetry(packet.payload))
        changed = msgspec.structs.replace(
            frame,
            temperature_c=[95.0] * (len(as_list(frame.temperature_c)) + dice.choice((1, 2))),
            voltage_v=[0.5] * dice.randint(1, 5),
            current_a=-900.0,
        )
        if dice.random() < 0.5:
            changed = msgspec.structs.replace(
                changed, timestamp_ms=MAX_TIMESTAMP_MS, session=dice.choice(("other", None))
            )
        name = packet.topic.split("/")[1]
        packets.append(Packet(TOPICS.of(name, "telemetry"), encode(changed)))
    return packets


def _telemetry(name: str, frames: list[Frame]) -> Packet:
    payload = encode(frames[0]) if len(frames) == 1 else encode(frames)
    return Packet(TOPICS.of(name, "telemetry"), payload, frames=len(frames))


def garbage(assets: Sequence[str], count: int, dice: random.Random) -> list[Packet]:
    """Messages that must be refused, each for a reason of its own."""
    payloads = [
        b"{", b"\xff\xfe\x00", b"null", b"[]", b"[[[[" * 5_000, b"maybe", b"0" * MAX_PAYLOAD_BYTES,
        b'{"v":2,"timestamp_ms":1}', b'{"v":1}', b'{"v":1,"timestamp_ms":"now"}',
        b'{"v":1,"timestamp_ms":1,"voltage_v":NaN}', b'{"v":1,"timestamp_ms":1,"voltage_v":{}}',
        b'{"v":1,"timestamp_ms":-5}', b'{"v":1,"timestamp_ms":1,"seq":-1}',
        b'{"v":1,"timestamp_ms":1e99,"voltage_v":[' + b"3.7," * 9_999 + b"3.7]}",
    ]  # fmt: skip
    names = [
        *assets, "a b", "x" * 300, "\u00e9", "_monitor", "'; DROP TABLE input;--", "a,b=c d", "-",
    ]  # fmt: skip
    ends = ["telemetry", "config", "status", "device_alarm", "command/chaos", "nothing"]
    return [
        Packet(
            f"bms/{dice.choice(names)}/{dice.choice(ends)}",
            dice.choice(payloads) if dice.random() < 0.8 else dice.randbytes(dice.randint(1, 200)),
        )
        for _ in range(count)
    ]


class Sender:
    """Publishes at QoS 1, in order, and again what a broker that went away had not confirmed."""

    def __init__(self, address: BrokerAddress) -> None:
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="chaos", clean_session=False
        )
        self._client.username_pw_set(address.user or "", address.password)
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.reconnect_delay_set(0.1, 1.0)  # type: ignore[arg-type]  # fractions may be
        self._client.connect(address.host, address.port)
        self._client.loop_start()
        self._sent: list[paho.MQTTMessageInfo] = []
        self.frames_sent = 0

    def send(self, packets: Sequence[Packet], over_s: float = 0.0) -> None:
        """Publish, spread over so many seconds; does not wait for the broker's confirmation."""
        began = time.monotonic()
        for k, packet in enumerate(packets):
            self._sent.append(self._client.publish(packet.topic, packet.payload, 1, packet.retain))
            self.frames_sent += packet.frames
            ahead = over_s * k / len(packets) - (time.monotonic() - began)
            if ahead > 0.005:
                time.sleep(ahead)

    def settle(self, timeout_s: float = 300.0) -> None:
        """Return once the broker has confirmed everything; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        for info in self._sent:
            while not info.is_published():
                if time.monotonic() > deadline:
                    raise TimeoutError("the broker does not confirm what was published")
                time.sleep(0.002)
        self._sent.clear()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()
