"""paho's client with a receive path for a busy stream: blocks in, many messages a call.

paho reads a packet with three or four system calls, each of which lets another thread take the
interpreter, and makes several objects of it. Here whole blocks are read and PUBLISH packets of QoS
0 and 1 are cut out of them; every other packet goes paho's own way. Acknowledges go out as one
write. It rests on six of paho's private names, which is why paho is pinned to one major version
and a test passes every kind of packet through here.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

BLOCK_BYTES = 1 << 18
READ_EVERY_S = 0.002  # on a busy stream; what comes meanwhile is read at once
MOST_BLOCKS = 4  # before what is to be sent gets its turn
MOST_TOPICS = 10_000  # remembered as text
LONGEST_HEAD = 4  # bytes after the first: a packet's length has at most four
PUBLISH = 3
PUBACK = 0x40


class Received(NamedTuple):
    """One PUBLISH as it came; `mid` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int


class BlockSocket:
    """A socket whose bytes are read in blocks and handed out as asked for."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.block = b""
        self.at = 0

    def fill(self) -> bool:
        """Read one block; False where nothing is there now. Raises EOFError at the end, OSError."""
        try:
            data = self.raw.recv(BLOCK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not data:
            raise EOFError
        self.block = self.block[self.at :] + data
        self.at = 0
        return True

    def recv(self, size: int) -> bytes:
        """As a socket's."""
        if self.at == len(self.block):
            return self.raw.recv(size)
        data = self.block[self.at : self.at + size]
        self.at += len(data)
        return data

    def pending(self) -> int:
        """Bytes that TLS has decrypted and `select` does not know of."""
        return self.raw.pending() if isinstance(self.raw, ssl.SSLSocket) else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class BlockClient(paho.Client):
    """Hands messages to `on_batch` instead of `on_message`.

    `on_turn` is called in the network thread after every pass of reading and writing, and says
    within how many seconds it wants to be called again, None for whenever something comes.
    """

    on_batch: Callable[[list[Received]], None]
    on_turn: Callable[[], float | None] | None = None

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._topics_seen: dict[bytes, str] = {}
        self._read_s = -1e9
        self._again_s: float | None = None
        self._network_thread = 0
        self.hung_up = False  # whether the other side closed the newest connection that ended

    def _loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        self._network_thread = threading.get_ident()
        code = super()._loop(timeout if self._again_s is None else min(timeout, self._again_s))
        if self.on_turn is not None:
            self._again_s = self.on_turn()
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and self._sock is None:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST  # the broker's DISCONNECT was obeyed
        return code

    def send_now(self) -> None:
        """Write what waits to be written; in another thread than the network's it is told to."""
        if threading.get_ident() == self._network_thread and self.want_write():
            self.loop_write()

    def ack_all(self, mids: Sequence[int]) -> None:
        """Acknowledge messages of QoS 1, in order."""
        if mids:
            packets = b"".join([b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids])
            self._packet_queue(PUBACK, packets, mids[-1], 1)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what is there, at most some blocks of it."""
        if not isinstance(self._sock, BlockSocket):
            return super().loop_read(max_packets)
        link: BlockSocket = self._sock
        early_s = self._read_s + READ_EVERY_S - time.monotonic()
        if early_s > 0.0:
            time.sleep(early_s)
        self._read_s = time.monotonic()
        for _ in range(MOST_BLOCKS):
            try:
                if not link.fill():
                    break
            except (EOFError, OSError) as error:
                self.hung_up = isinstance(error, EOFError)
                return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            batch: list[Received] = []
            code = self._take(link, batch)
            if batch:
                self.on_batch(batch)
            if code:
                return self._loop_rc_handle(code)
            if self._sock is not link:
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, link: BlockSocket, batch: list[Received]) -> MQTTErrorCode:
        """Take every whole packet of the block."""
        block = link.block
        v5 = self._protocol == paho.MQTTv5
        while True:
            start = link.at
            body, length = _length(block, start + 1)
            if length is None and len(block) - start > LONGEST_HEAD:
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            if length is None or body + length > len(block):
                return MQTTErrorCode.MQTT_ERR_SUCCESS  # the rest comes with the next block
            received = None
            if block[start] >> 4 == PUBLISH:
                received = self._publish(block, start, body, body + length, v5)
            if received is not None:
                batch.append(received)
                link.at = body + length
                continue
            if batch:
                self.on_batch(batch[:])
                batch.clear()
            code = self._packet_read()
            if code or self._sock is not link:
                return code

    def _publish(self, block: bytes, start: int, at: int, end: int, v5: bool) -> Received | None:
        """A PUBLISH of QoS 0 or 1; None where paho is to judge it."""
        qos = block[start] >> 1 & 3
        head = at + 2
        if qos > 1 or head > end:
            return None
        at = head + (block[at] << 8 | block[at + 1])
        if at + 2 * qos > end:
            return None
        name = block[head:at]
        topic = self._topics_seen.get(name)
        if topic is None:
            try:
                topic = name.decode()
            except UnicodeDecodeError:
                return None
            if len(self._topics_seen) >= MOST_TOPICS:
                self._topics_seen.clear()
            self._topics_seen[name] = topic
        mid = 0
        if qos:
            mid = block[at] << 8 | block[at + 1]
            at += 2
        if v5:
            at, length = _length(block, at)
            if length is None:
                return None
            at += length
        if at > end:
            return None
        return Received(topic, block[at:end], qos, bool(block[start] & 1), mid)

    def _create_socket(self) -> Any:
        raw = cast(socket.socket, super()._create_socket())  # no WebSocket here
        # Without it an alarm behind an acknowledge waits for the broker's delayed ACK, 40 ms.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return BlockSocket(raw)


def _length(block: bytes, at: int) -> tuple[int, int | None]:
    """A variable byte integer and where it ends; None where it is cut off or has no end.

    MQTT 5.0, section 1.5.5.
    """
    value = 0
    for k in range(4):
        if at + k >= len(block):
            return at, None
        byte = block[at + k]
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return at + k + 1, value
    return at, None
