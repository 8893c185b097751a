"""The monitor's link to the broker: what waits is bounded, what is not acknowledged comes again."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path

import aiomqtt

from cellpulse.wiring import connector
from monitor.config import Config
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.link import MESSAGE_BYTES, Message, MqttLink

MESSAGES = 400
PAYLOAD = 1_000
LIMIT = 50 * (PAYLOAD + MESSAGE_BYTES)


async def publish(address: BrokerAddress, tmp_path: Path) -> None:
    config = Config(broker=address, store=tmp_path / "unused.sqlite")
    async with connector(config)(aiomqtt.Will("unused/will", b"")) as client:
        for k in range(MESSAGES):
            await client.publish("a/b", str(k).encode().ljust(PAYLOAD), 1)


def collect(link: MqttLink, woken: threading.Event, most: int) -> list[Message]:
    """What comes until the last message is there, acknowledged as it is taken."""
    taken: list[Message] = []
    while not taken or int(taken[-1].payload) < MESSAGES - 1:
        assert woken.wait(20), f"only {len(taken)} messages came"
        woken.clear()
        while link.waiting:
            assert link.waiting_bytes <= link._queue_limit + PAYLOAD + MESSAGE_BYTES
            messages = link.drain(most)
            link.acknowledge(messages)
            taken += messages
    return taken


async def test_a_full_queue_leaves_the_rest_with_the_broker_in_order(
    mosquitto: BrokerAddress, tmp_path: Path
) -> None:
    woken = threading.Event()
    link = MqttLink(
        mosquitto, "reader", subscriptions=[("a/b", 1)], queue_bytes=LIMIT,
        turn=lambda: woken.set() if link.waiting else None,
    )  # fmt: skip
    link.open()
    await publish(mosquitto, tmp_path)  # nobody drains: the queue fills up to its limit
    try:
        taken = collect(link, woken, most=17)
    finally:
        link.close()
    numbers = [int(message.payload) for message in taken]
    assert numbers == list(range(MESSAGES))
    assert len({message.connection for message in taken}) > 1  # it had to ask again


async def test_what_was_not_acknowledged_comes_once_more_and_not_twice(
    mosquitto: BrokerAddress, tmp_path: Path
) -> None:
    woken = threading.Event()
    link = MqttLink(
        mosquitto, "reader", subscriptions=[("a/b", 1)],
        turn=lambda: woken.set() if link.waiting else None,
    )  # fmt: skip
    link.open()
    await publish(mosquitto, tmp_path)
    try:
        assert woken.wait(20)
        early = link.drain(5)
        link.acknowledge(early)
        connection = link.connection
        link.hang_up()
        while link.connection == connection:
            woken.wait(0.1)
            woken.clear()
        woken.set()
        late = collect(link, woken, most=MESSAGES)
    finally:
        link.close()
    assert [int(message.payload) for message in late] == list(range(5, MESSAGES))


async def test_a_turn_comes_after_what_was_read_and_when_it_was_asked_for(
    mosquitto: BrokerAddress, tmp_path: Path
) -> None:
    """On a silent link too, and what is published in a turn leaves without waiting for the next."""
    turns: list[tuple[float, int]] = []
    done = threading.Event()

    def turn() -> float | None:
        messages = link.drain(MESSAGES)
        link.acknowledge(messages)
        turns.append((time.monotonic(), len(messages)))
        if len(turns) >= 200 and sum(count for _, count in turns) >= MESSAGES:
            done.set()
            return None
        return 0.005

    link = MqttLink(mosquitto, "reader", subscriptions=[("a/b", 1)], turn=turn)
    link.open()
    try:
        await publish(mosquitto, tmp_path)
        assert await asyncio.to_thread(done.wait, 20)  # 200 turns; without asking, one a second
        raw = link._client._sock.raw  # type: ignore[union-attr]  # it is connected
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        link.close()
    assert sum(count for _, count in turns) == MESSAGES
