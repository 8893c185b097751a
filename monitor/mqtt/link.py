"""The broker's edge: messages in with a manual acknowledge, messages out.

paho's network thread only appends to a bounded queue; the pipeline drains it. A message is
acknowledged when `acknowledge` is called with it, after the journal has committed it. The session
is persistent, so what is not acknowledged comes again. MQTT 5 where the broker speaks it, else
3.1.1.

While the store does not take data the broker holds what is not acknowledged. It sends on up to the
Receive Maximum; should that be more than `QUEUE_BYTES`, what comes after is not kept here but asked
for again by connecting anew once the queue is empty. So memory stays flat and the order is kept.

The module is long because a connection's whole life stands in one place.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client
from monitor.mqtt.receive import BlockClient, BlockSocket, Received
from monitor.mqtt.takeover import ADVICE, WORDS, Sign, Takeovers

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 7 * 86_400
RECEIVE_MAXIMUM = 65_535
QUEUE_MESSAGES = 200_000  # past it, QoS 0 is dropped and counted; QoS 1 is held by the broker
QUEUE_BYTES = 256 * 1024 * 1024
MESSAGE_BYTES = 300  # what a queued message takes beside its payload, about
CONNECT_TIMEOUT_S = 5.0
RECONNECT_S = (0.25, 1.0)  # the first wait, then twice that, and so on up to the longest
Clock = Callable[[], int]


def wall_clock_ms() -> int:
    """Unix time, ms."""
    return time.time_ns() // 1_000_000


class Message(NamedTuple):
    """One message as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int
    arrival_ms: int
    connection: int  # which connection brought it; an acknowledge is good for that one only


class MqttLink:
    """One client with a will. Start it with `open`; `close` says goodbye with `farewell`."""

    def __init__(  # noqa: PLR0913 - settings of a connection, each with a default
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        subscriptions: Sequence[tuple[str, int]] = (),
        presence: str | None = None,
        turn: Callable[[], float | None] | None = None,
        home_assistant: str | None = None,
        clock: Clock = wall_clock_ms,
        queue_bytes: int = QUEUE_BYTES,
        keeps_session: bool = True,
        on_taken_over: Callable[[], None] | None = None,
    ) -> None:
        """`presence` is the topic that says `online`, and by the will `offline`, retained.

        `turn` is called in the network thread after every pass of reading and writing, and returns
        within how many seconds it wants to be called again (None: when something comes).
        Without `keeps_session` the broker ends the session under this id and begins none.
        `on_taken_over` is called in the network thread whenever another client took the id.
        """
        self.address = address
        self.connected = threading.Event()
        self.dropped = 0
        self.connection = 0
        self.session_kept = False  # whether the broker had a session of ours at the newest connect
        self.subscribed = threading.Event()
        self._keeps_session = keeps_session
        self._takeovers = Takeovers()
        self._on_taken_over = on_taken_over
        self._client_id = client_id
        self._subscriptions = list(subscriptions)
        self._presence = presence
        self._turn = turn
        self._home_assistant = None if home_assistant is None else f"{home_assistant}/status"
        self._returned = threading.Event()
        self._clock_ms = clock
        self._queue: deque[Message] = deque()
        self._queue_lock = threading.Lock()
        self._queue_limit = queue_bytes
        self._queue_bytes = 0
        self._overflowed = False  # QoS 1 is left with the broker until the queue is empty
        self._refusal: str | None = None
        self._client: BlockClient | None = None

    def open(self) -> None:
        """Connect, subscribe and keep connected; raises ConfigurationError if nobody answers."""
        for protocol in (paho.MQTTv5, paho.MQTTv311):
            client = self._make(protocol)
            try:
                client.connect(
                    self.address.host,
                    self.address.port,
                    keepalive=30,
                    **_start(protocol, keeps_session=self._keeps_session),
                )
            except OSError as error:
                raise ConfigurationError(
                    f"broker {self.address}: {error}; is it running, and is the address right?"
                ) from error
            self._client = client
            client.loop_start()
            if self.connected.wait(CONNECT_TIMEOUT_S if protocol == paho.MQTTv311 else 2.0):
                log.info(
                    "connected to %s, MQTT %s", self.address, "5" if protocol == 5 else "3.1.1"
                )
                return
            client.loop_stop()
            client.disconnect()
            if self._refusal is not None and "protocol" not in self._refusal.lower():
                break
        silent = "it does not answer as an MQTT broker"
        if self.address.tls:
            silent += ", or wants another client certificate"
        raise ConfigurationError(f"broker {self.address}: {self._refusal or silent}")

    def drain(self, most: int) -> list[Message]:
        """At most so many of the messages that have come, oldest first."""
        queue = self._queue
        with self._queue_lock:
            messages = [queue.popleft() for _ in range(min(most, len(queue)))]
            self._queue_bytes -= sum([_size(message) for message in messages])
        return messages

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """What they take, about."""
        return self._queue_bytes

    def oldest_ms(self) -> int | None:
        """When the oldest message that waits arrived, None where none does."""
        try:
            return self._queue[0].arrival_ms
        except IndexError:
            return None

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these are kept; those of an earlier connection come again."""
        client = self._client
        if client is None or not self.connected.is_set():
            return
        now = self.connection
        client.ack_all([m.mid for m in messages if m.qos and m.connection == now])
        if self._overflowed and not self._queue:
            log.warning("what came is stored: connecting anew for what the broker holds")
            self.hang_up()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        expiry_s: int | None = None,
    ) -> None:  # fmt: skip
        """Send now; while the link is down paho keeps QoS 1 and sends it later."""
        client = self._client
        if client is None:
            return
        properties = None
        if expiry_s is not None and client.protocol == paho.MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = expiry_s
        client.publish(topic, payload, qos, retain, properties)

    def send(self) -> None:
        """In the network thread: let what was published leave now, not after what is done next."""
        if self._client is not None:
            self._client.send_now()

    def home_assistant_returned(self) -> bool:
        """Whether Home Assistant has said `online` since the last call."""
        returned = self._returned.is_set()
        self._returned.clear()
        return returned

    def subscribe(self, topic: str, qos: int = 1) -> None:
        """Listen to one more topic, on this connection and the next ones."""
        self._subscriptions.append((topic, qos))
        if self._client is not None and self.connected.is_set():
            self._client.subscribe(topic, qos)

    def unsubscribe(self, topic: str) -> None:
        """Stop listening to a topic."""
        self._subscriptions = [entry for entry in self._subscriptions if entry[0] != topic]
        if self._client is not None:
            self._client.unsubscribe(topic)

    def close(self) -> None:
        """Say offline, send what is queued, and leave; waits at most two seconds."""
        client = self._client
        if client is None:
            return
        if self.connected.is_set():
            if self._presence is not None:
                info = client.publish(self._presence, b"offline", 1, True)
                deadline = time.monotonic() + 2.0
                while not info.is_published() and time.monotonic() < deadline:
                    time.sleep(0.01)
            client.disable_logger()  # its thread calls the connection that we end here an error
            client.disconnect()
        client.loop_stop()
        self._client = None

    def hang_up(self) -> None:
        """End the connection once what is to be sent is sent; paho's thread connects anew."""
        client = self._client
        link = None if client is None else client.socket()
        if client is None or link is None:
            return
        self.connected.clear()
        deadline = time.monotonic() + 1.0
        while client.want_write() and time.monotonic() < deadline:
            client.send_now()
            time.sleep(0.001)
        with suppress(OSError):
            # The base class's method: the one of a TLS socket forgets that it is encrypted.
            socket.socket.shutdown(cast(BlockSocket, link).raw, socket.SHUT_WR)

    def _forget_what_comes_again(self) -> None:
        """Leave QoS 1 of earlier connections out of the queue: the kept session sends it again."""
        with self._queue_lock:
            kept = [message for message in self._queue if not message.qos]
            self._queue.clear()
            self._queue.extend(kept)
            self._queue_bytes = sum([_size(message) for message in kept])

    def _make(self, protocol: Any) -> BlockClient:
        v5 = protocol == paho.MQTTv5
        client = BlockClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if v5 else not self._keeps_session,
            protocol=protocol,
            manual_ack=True,
        )
        client.enable_logger(logging.getLogger("paho"))
        logging.getLogger("paho").setLevel(logging.WARNING)
        client.max_inflight_messages_set(0 if not v5 else 10_000)
        client.reconnect_delay_set(*RECONNECT_S)  # type: ignore[arg-type]  # seconds, and fractions
        if self.address.user is not None:
            client.username_pw_set(self.address.user, self.address.password)
        if self.address.tls:
            client.tls_set_context(self.address.tls_context())
        if self._presence is not None:
            client.will_set(self._presence, b"offline", 1, True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect  # type: ignore[assignment]  # our own class
        client.on_connect_fail = lambda *_: self._takeovers.away()
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_batch = partial(self._on_batch, client)
        client.on_turn = self._turn
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self.session_kept = bool(flags.session_present)
        if self.session_kept:
            self._forget_what_comes_again()
        self._taken_over(self._takeovers.opened(self.session_kept, time.monotonic()))
        self._overflowed = False
        self.connection += 1
        if self._subscriptions:
            client.subscribe(list(self._subscriptions))
        if self._presence is not None:
            client.publish(self._presence, b"online", 1, True)
        self.connected.set()

    def _on_disconnect(
        self, client: BlockClient, _data: Any, flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        now_s = time.monotonic()
        if not self.connected.is_set():
            self._takeovers.away()
        elif reason.is_failure:
            said = flags.is_disconnect_packet_from_server
            code = reason.value if said else None
            sign = self._takeovers.closed(code, now_s, orderly=client.hung_up)
            if sign is None:
                known = self._takeovers.wait_s(now_s) is not None  # then it has been warned of
                level = logging.INFO if known else logging.WARNING
                words = str(reason) if said else "the connection ended without a reason"
                log.log(level, "lost the broker %s: %s", self.address, words)
            self._taken_over(sign)
        self.connected.clear()
        wait_s = self._takeovers.wait_s(now_s)
        delays = RECONNECT_S if wait_s is None else (wait_s * random.uniform(0.75, 1.25),) * 2
        client.reconnect_delay_set(*delays)  # type: ignore[arg-type]  # seconds, and fractions

    @property
    def taken_over(self) -> int:
        """How often another client has taken our id."""
        return self._takeovers.count

    def _taken_over(self, sign: Sign | None) -> None:
        """Tell of a takeover: the log once for a row of them, the callback each time."""
        if sign is None:
            return
        if self._takeovers.first:
            log.warning("%s: %s; %s", self.address, WORDS[sign], ADVICE)  # the id is not told
        if self._on_taken_over is not None:
            self._on_taken_over()

    def _on_batch(self, client: BlockClient, batch: list[Received]) -> None:
        """Queue what came, in one go; called from the network thread."""
        now_ms, connection = self._clock_ms(), self.connection
        queue = self._queue
        with self._queue_lock:
            for one in batch:
                if one.topic == self._home_assistant:
                    if one.payload == b"online":
                        self._returned.set()
                    client.ack_all([one.mid] if one.qos else [])
                    continue
                if one.qos == 0 and len(queue) >= QUEUE_MESSAGES:
                    self.dropped += 1
                    continue
                if one.qos and (self._overflowed or self._queue_bytes > self._queue_limit):
                    self._overflowed = True
                    continue
                self._queue_bytes += len(one.payload) + MESSAGE_BYTES
                queue.append(Message(*one, now_ms, connection))


def _size(message: Message) -> int:
    return len(message.payload) + MESSAGE_BYTES


async def collect_retained(address: BrokerAddress, topic: str) -> dict[str, bytes]:
    """The retained messages under a filter: what comes until half a second passes without one."""
    found: dict[str, bytes] = {}
    async with Client.to(address, timeout=CONNECT_TIMEOUT_S) as client:
        await client.subscribe(topic, qos=1)
        messages = aiter(client.messages)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    message = await anext(messages)
            except TimeoutError:
                return found
            if message.retain and isinstance(message.payload, bytes):
                found[str(message.topic)] = message.payload


def _start(protocol: Any, *, keeps_session: bool) -> dict[str, Any]:
    if protocol != paho.MQTTv5:
        return {}
    if not keeps_session:
        return {"clean_start": True}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    return {"clean_start": False, "properties": properties}
