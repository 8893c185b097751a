"""Messages to the broker: kept while it is away, sent in order, each until it is acknowledged.

QoS 1 throughout; config and status are retained and told again after each reconnect; the gateway's
will says `offline` when the bridge dies. The queue is bounded: when the broker is away for longer
than it holds, the oldest frames go first and are counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiomqtt
import msgspec

from bridge.backoff import Backoff
from bridge.quarantine import ALARM
from monitor.contract import AssetConfig, DeviceAlarm, Frame, Topics, encode
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client

_log = logging.getLogger("cellpulse.bridge")
_BATCH_BYTES = 16_000  # below the embedded broker's own default limit of 20 kB
_BATCH_FRAMES = 500
_LIMIT_BYTES = 64 * 1024 * 1024  # that wait; 3,600 frames of 4,096 cells would be 400 MB


@dataclass(frozen=True, slots=True)
class _Waiting:
    topic: str
    payload: bytes
    is_frame: bool


class Publisher:
    """One connection to the broker on behalf of one gateway.

    `telemetry`, `alarm`, `config` and `status` only enqueue; `run` sends. The gateway's metrics
    (`_gateway/<id>/metrics`) are published every `metrics_s` seconds.
    """

    def __init__(
        self,
        address: BrokerAddress,
        topics: Topics,
        gateway: str,
        *,
        limit: int = 3_600,
        metrics_s: float = 30.0,
        backoff: Backoff | None = None,
        wall_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._address = address
        self._tls = address.tls_context()
        self._topics = topics
        self._gateway = gateway
        self._status_topic = topics.ours("gateway", gateway, "status")
        self._limit = limit
        self._metrics_s = metrics_s
        self._backoff = backoff or Backoff(0.5, 30.0)
        self._counters: list[Callable[[], Mapping[str, int | str]]] = []
        self._wall_ms = wall_ms
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._retained: dict[str, bytes] = {}
        self._changed: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._stopping = False
        self.connected = asyncio.Event()
        self.dropped = 0

    @property
    def depth(self) -> int:
        """Messages that wait for the broker."""
        return len(self._queue)

    def count(self, counters: Callable[[], Mapping[str, int | str]]) -> None:
        """Add a reader's counters to the metrics."""
        self._counters.append(counters)

    def telemetry(self, asset: str, frame: Frame) -> None:
        """Enqueue one frame."""
        self._enqueue(_Waiting(self._topics.of(asset, "telemetry"), encode(frame), True))

    def alarm(self, asset: str, alarm: DeviceAlarm) -> None:
        """Enqueue a device alarm's change."""
        self._enqueue(_Waiting(self._topics.of(asset, "device_alarm"), encode(alarm), False))

    def quarantined(self, asset: str, active: bool, reason: str) -> None:
        """Enqueue that input of an asset was set aside, or was not for a while."""
        self.alarm(
            asset,
            DeviceAlarm(
                v=1, timestamp_ms=self._wall_ms(), name=ALARM, active=active, detail=reason
            ),
        )

    def config(self, asset: str, config: AssetConfig) -> None:
        """Tell, and keep telling after each reconnect, what the asset is."""
        self._retain(self._topics.of(asset, "config"), encode(config))

    def status(self, asset: str, online: bool) -> None:
        """Tell, and keep telling after each reconnect, whether the asset answers."""
        self._retain(self._topics.of(asset, "status"), b"online" if online else b"offline")

    async def until_at_most(self, depth: int) -> None:
        """Wait until no more than so many messages wait: for a source that can be slowed down."""
        while len(self._queue) > depth:
            self._progress.clear()
            await self._progress.wait()

    def finish(self) -> None:
        """Let `run` send what waits, say goodbye and return."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Connect, send, reconnect, until `finish`. A broker that refuses is asked again."""
        while not self._stopping:
            try:
                async with self._client() as client:
                    await self._say(client, self._status_topic, b"online")
                    self._changed = dict(self._retained)
                    self._backoff.reset()
                    self.connected.set()
                    _log.info("connected to %s", self._address)
                    async with asyncio.TaskGroup() as group:
                        watch = group.create_task(_watch(client), name="connection")
                        await self._serve(client)
                        watch.cancel()
            except* aiomqtt.MqttError as errors:
                _log.warning("broker %s: %s", self._address, errors.exceptions[0])
            except* Exception:
                # paho lets through what broken packets and sockets bring; the link is gone.
                _log.warning("broker %s: connecting again after", self._address, exc_info=True)
            finally:
                self.connected.clear()
            if not self._stopping:
                await asyncio.sleep(self._backoff.wait_s())

    def _client(self) -> aiomqtt.Client:
        return Client.to(
            self._address,
            tls=self._tls,
            identifier=f"cellpulse-gateway-{self._gateway}",
            will=aiomqtt.Will(self._status_topic, b"offline", qos=1, retain=True),
            keepalive=30,
            timeout=10,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        while True:
            # Config goes before the telemetry that it explains.
            while self._changed:
                topic, payload = next(iter(self._changed.items()))
                await self._say(client, topic, payload)
                if self._changed.get(topic) is payload:
                    del self._changed[topic]
            if self._queue:
                await self._send_next(client)
            if self._changed or self._queue:
                continue
            if self._stopping:
                await self._say(client, self._status_topic, b"offline")
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(self._metrics_s):
                    await self._wake.wait()
            except TimeoutError:
                # Also finds out, on a quiet line, that the broker has gone.
                await client.publish(
                    self._topics.ours("gateway", self._gateway, "metrics"), self._metrics(), qos=0
                )

    async def _send_next(self, client: aiomqtt.Client) -> None:
        first = self._queue[0]
        frames: list[bytes] = []
        size = 0
        for waiting in self._queue:
            size += len(waiting.payload) + 1
            if frames and (size > _BATCH_BYTES or len(frames) == _BATCH_FRAMES):
                break
            if waiting.topic != first.topic or not waiting.is_frame:
                break
            frames.append(waiting.payload)
        many = len(frames) > 1
        await client.publish(
            first.topic, b"[" + b",".join(frames) + b"]" if many else first.payload, qos=1
        )
        self._sent(first, max(1, len(frames)))

    def _sent(self, first: _Waiting, count: int) -> None:
        self._progress.set()
        # Meanwhile the queue may have overflowed and lost its front.
        for _ in range(count):
            if self._queue and self._queue[0] is first:
                self._leave()
                if self._queue:
                    first = self._queue[0]

    async def _say(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        await client.publish(topic, payload, qos=1, retain=True)

    def _retain(self, topic: str, payload: bytes) -> None:
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._changed[topic] = payload
            self._wake.set()

    def _enqueue(self, waiting: _Waiting) -> None:
        while self._queue and (
            len(self._queue) >= self._limit or self._queued_bytes >= _LIMIT_BYTES
        ):
            self._leave()
            self.dropped += 1
            if self.dropped == 1 or self.dropped % self._limit == 0:
                _log.warning("broker away: %d messages dropped, the oldest first", self.dropped)
        self._queue.append(waiting)
        self._queued_bytes += len(waiting.payload)
        self._wake.set()

    def _leave(self) -> None:
        self._queued_bytes -= len(self._queue.popleft().payload)

    def _metrics(self) -> bytes:
        told: dict[str, int | str] = {
            "v": 1,
            "timestamp_ms": self._wall_ms(),
            "queue": self.depth,
            "dropped": self.dropped,
        }
        for counters in self._counters:
            told.update(counters())
        return msgspec.json.encode(told)


async def _watch(client: aiomqtt.Client) -> None:
    """Raise MqttError when the connection is lost; a publish alone waits out its time-out."""
    async for _ in client.messages:
        pass
