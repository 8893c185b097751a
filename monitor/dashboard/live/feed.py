"""The page's ear on the broker: every message of the contract into the hub, commands back out.

Telemetry is shed first when the server cannot keep up: only alarms and status must all arrive,
of readings the page shows the newest anyway. The journal, not this feed, is the record.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from typing import Literal, TypeVar

import aiomqtt
from msgspec import Struct

from monitor.contract import (
    GROUP_ASSET,
    AlarmRecord,
    AssetConfig,
    Command,
    CycleSummary,
    Estimate,
    Event,
    MonitorMetrics,
    Reply,
    SimulatorCommand,
    SimulatorState,
    Topics,
    Truth,
    decode,
    decode_status,
    decode_telemetry,
    encode,
)
from monitor.dashboard.live.checks import check_estimate, check_names
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.texts import text
from monitor.errors import CellpulseError, PayloadError
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client
from monitor.supervisor import Report

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Struct)

WAIT_S = (0.25, 0.75)  # between two tries: the page is to live again 2 s after the broker
SHED_ABOVE = 2_000  # messages waiting, above which telemetry is skipped
KEEPALIVE_S = 15
REPLY_WITHIN_S = 5.0
_SUBSCRIPTIONS = (
    ("+/config", 1),
    ("+/status", 1),
    ("+/telemetry", 0),
    ("+/estimate", 0),
    ("+/cycle", 1),
    ("+/alarm/+/+", 1),
    ("+/event", 1),
    ("+/truth", 0),
    ("+/reply", 1),
    ("_gateway/+/status", 1),
    ("_simulator/+/state", 1),
    ("_monitor/+/status", 1),
    ("_monitor/+/metrics", 0),
)


class FeedError(CellpulseError):
    """A command could not be sent, or was not answered; `key` is the reason among the texts."""

    def __init__(self, key: Literal["feed_away", "feed_silent"]) -> None:
        super().__init__(text(key, "en"))
        self.key = key


def wall_clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Feed:
    """One subscription to a broker that feeds a hub, and the way for commands back.

    Raises ConfigurationError where a certificate of the address cannot be used.
    """

    def __init__(
        self,
        hub: Hub,
        address: BrokerAddress,
        root: str = "bms",
        *,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.topics = Topics(root)
        self.rejected = 0
        self.failed = 0  # messages that the page could not take though it should; a fault of ours
        self.shed = 0
        self._hub = hub
        self._clock_ms = clock_ms
        self._client: aiomqtt.Client | None = None
        self._replies: dict[str, asyncio.Future[Reply]] = {}
        self._address = address
        self._tls = address.tls_context()

    async def run(self, report: Report | None = None) -> None:
        """Stay connected until cancelled: a try about twice a second, with jitter, without end."""
        report = report or Report("feed", self._clock_ms)
        self._hub.on_feed(False, self._clock_ms())
        while True:
            try:
                async with self._new_client() as client:
                    self._hub.doubt(self._clock_ms())
                    for topic, qos in _SUBSCRIPTIONS:
                        await client.subscribe(f"{self.topics.root}/{topic}", qos)
                    self._client = client
                    self._hub.on_feed(True, self._clock_ms())
                    report.well()
                    await self._receive(client)
            except aiomqtt.MqttError as error:
                report.trouble(f"the broker is away: {error}")
            finally:
                self._client = None
                self._hub.on_feed(False, self._clock_ms())
            await asyncio.sleep(random.uniform(*WAIT_S))

    async def request(self, asset: str, command: Command, user: str) -> Reply:
        """Publish an operator's command and wait for the monitor's reply.

        Raises FeedError when there is no broker or no reply within 5 s.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[command.id] = future
        try:
            await self._publish(self.topics.of(asset, "command", user), encode(command))
            async with asyncio.timeout(REPLY_WITHIN_S):
                return await future
        except TimeoutError as error:
            raise FeedError("feed_silent") from error
        finally:
            self._replies.pop(command.id, None)

    async def send_to_simulator(self, simulator: str, command: SimulatorCommand) -> None:
        """Publish a replay control; raises FeedError when there is no broker."""
        await self._publish(self.topics.ours("simulator", simulator, "command"), encode(command))

    async def _publish(self, topic: str, payload: bytes) -> None:
        client = self._client
        if client is None:
            raise FeedError("feed_away")
        try:
            await client.publish(topic, payload, qos=1, timeout=REPLY_WITHIN_S)
        except aiomqtt.MqttError as error:
            raise FeedError("feed_away") from error

    async def _receive(self, client: aiomqtt.Client) -> None:
        messages = client.messages
        handled = 0
        async for message in messages:
            payload = message.payload
            shed = len(messages) > SHED_ABOVE
            try:
                self.handle(message.topic.value, payload, self._clock_ms(), shed=shed)
            except PayloadError as error:
                self.rejected += 1
                log.debug("refused %s: %s", message.topic.value, error)
            except Exception:  # no message is worth every page
                self.failed += 1
                if self.failed == 1:
                    log.exception("a message on %s cannot be taken", message.topic.value)
            handled += 1
            if handled % 200 == 0:
                await asyncio.sleep(0)  # a flood must not starve the page's own sockets

    def handle(self, topic: str, payload: bytes, arrival_ms: int, *, shed: bool = False) -> None:
        """One message into the hub; raises PayloadError where the contract refuses it."""
        name, rest = self.topics.split(topic)
        kind = rest[0] if rest else ""
        if name == GROUP_ASSET and kind == "alarm" and len(rest) == 3:
            record = _checked(AlarmRecord, payload) if payload else None
            self._hub.on_group(rest[1], rest[2], record)
        elif name.startswith("_") and not (name == GROUP_ASSET and kind in ("event", "reply")):
            self._handle_ours(name, rest, payload)
        elif kind == "telemetry":
            if shed:
                self.shed += 1
                return
            for frame in decode_telemetry(payload):
                self._hub.on_frame(name, frame, arrival_ms)
        elif kind == "estimate":
            if payload:
                estimate = decode(Estimate, payload)
                check_estimate(estimate)
                self._hub.on_estimate(name, estimate)
        elif kind == "reply":
            reply = decode(Reply, payload)
            future = self._replies.get(reply.id)
            if future is not None and not future.done():
                future.set_result(reply)
        else:
            self._handle_other(name, rest, payload)

    def _handle_other(self, name: str, rest: tuple[str, ...], payload: bytes) -> None:
        """What an asset says seldom, and what is said of it."""
        kind = rest[0] if rest else ""
        if kind == "config":
            self._hub.on_config(name, _checked(AssetConfig, payload) if payload else None)
        elif kind == "status":
            self._hub.on_status(name, bool(payload) and decode_status(payload))
        elif kind == "alarm" and len(rest) == 3:
            record = _checked(AlarmRecord, payload) if payload else None
            self._hub.on_alarm(name, rest[1], rest[2], record)
        elif kind == "event":
            self._hub.on_event(name, _checked(Event, payload))
        elif kind == "cycle":
            self._hub.on_cycle(name, _checked(CycleSummary, payload))
        elif kind == "truth":
            self._hub.on_truth(name, _checked(Truth, payload))

    def _new_client(self) -> Client:
        return Client.to(
            self._address, tls=self._tls, identifier=f"cellpulse-page-{uuid.uuid4().hex[:12]}",
            keepalive=KEEPALIVE_S, timeout=REPLY_WITHIN_S,
        )  # fmt: skip

    def _handle_ours(self, service: str, rest: tuple[str, ...], payload: bytes) -> None:
        if len(rest) != 2:
            return
        name, kind = rest
        if kind == "status":
            online = bool(payload) and decode_status(payload)
            if service == "_gateway":
                self._hub.on_gateway_status(name, online)
            elif service == "_monitor":
                self._hub.on_monitor_status(name, online)
        elif service == "_simulator" and kind == "state":
            self._hub.on_simulator(name, _checked(SimulatorState, payload) if payload else None)
        elif service == "_monitor" and kind == "metrics":
            self._hub.on_metrics(_checked(MonitorMetrics, payload))


def _checked(kind: type[M], payload: bytes) -> M:
    message = decode(kind, payload)
    check_names(message)
    return message
