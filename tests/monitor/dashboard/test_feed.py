"""The page's ear on the broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest
from iotcore import Broker

from monitor.contract import Command, SimulatorCommand, encode
from monitor.dashboard.live.feed import Feed, FeedError
from monitor.dashboard.live.hub import Hub, View
from monitor.dashboard.texts import text
from monitor.errors import ConfigurationError, PayloadError
from monitor.mqtt.address import BrokerAddress
from tests.conftest import wait_for_port
from tests.dashboard_world import (
    START_MS,
    World,
    background,
    make_alarm,
    make_config,
    make_cycle,
    make_estimate,
    make_frame,
)

NOW = 1_800_000_000_000


@pytest.fixture
async def broker(free_port: int) -> AsyncIterator[int]:
    def start() -> Broker:
        return Broker(port=free_port, listen="127.0.0.1").start()

    running = await asyncio.to_thread(start)
    yield free_port
    await asyncio.to_thread(running.stop)


@contextlib.contextmanager
def mosquitto_on(binary: str, port: int, folder: Path) -> Iterator[None]:
    """A mosquitto that forgets everything when it ends, which is at once."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.kill()
        process.wait(10)


async def until(condition: Callable[[], bool], hub: Hub) -> None:
    """Tick the hub until the condition holds; the test's time-out bounds it."""
    for now in range(NOW, NOW + 10**9, 50):
        hub.tick(now)
        if condition():
            return
        await asyncio.sleep(0.01)


def test_every_message_reaches_the_hub() -> None:
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse("mqtt://127.0.0.1:1"))
    alarm = make_alarm("a")
    feed.handle("bms/a/config", encode(make_config()), NOW)
    feed.handle("bms/a/status", b"online", NOW)
    feed.handle(
        "bms/a/telemetry", encode([make_frame(0, START_MS), make_frame(1, START_MS + 1)]), NOW
    )
    feed.handle("bms/a/estimate", encode(make_estimate(1, START_MS)), NOW)
    feed.handle("bms/a/cycle", encode(make_cycle("a", 1)), NOW)
    feed.handle("bms/a/alarm/thermal_anomaly/c001", encode(alarm), NOW)
    feed.handle("bms/_monitor/m/status", b"offline", NOW)
    hub.on_feed(True, NOW)
    hub.tick(NOW)
    frame = json.loads(hub.frame(View("asset", "a"), 0))
    assert frame["s"][0] == [START_MS, START_MS + 1]
    assert frame["alarms"][0]["code"] == "thermal_anomaly"
    assert len(frame["c"]) == 1
    assert frame["head"]["monitor"] is False
    feed.handle("bms/a/alarm/thermal_anomaly/c001", b"", NOW)
    assert hub.alarms() == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("bms/a/telemetry", b"{"),
        ("bms/a/telemetry", b'{"v": 2, "timestamp_ms": 1}'),
        ("bms/a/config", b'{"v": 1}'),
        ("bms/a/status", b"maybe"),
        ("bms/-a/telemetry", b"{}"),
        ("other/a/telemetry", b"{}"),
        ("bms/_monitor/m/status", b"?"),
    ],
)
def test_what_the_contract_refuses_is_refused(topic: str, payload: bytes) -> None:
    with pytest.raises(PayloadError):
        Feed(Hub(), BrokerAddress.parse("mqtt://127.0.0.1:1")).handle(topic, payload, NOW)


def test_in_a_flood_telemetry_is_shed_but_never_an_alarm() -> None:
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse("mqtt://127.0.0.1:1"))
    feed.handle("bms/a/telemetry", encode(make_frame(0, START_MS)), NOW, shed=True)
    feed.handle("bms/a/alarm/x/pack", encode(make_alarm("a", "x")), NOW, shed=True)
    assert feed.shed == 1
    assert hub.newest_ms("a") is None
    assert len(hub.alarms()) == 1


@pytest.mark.parametrize("url", ["", "http://x", "mqtt://", "mqtt://h:99999999", "127.0.0.1:1883"])
def test_a_bad_url_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError):
        BrokerAddress.parse(url)
    with pytest.raises(ConfigurationError) as refused:
        BrokerAddress.parse("amqp://user:secret@host")
    assert "secret" not in str(refused.value)


async def test_telemetry_comes_over_a_real_broker_and_a_command_is_answered(broker: int) -> None:
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse(f"mqtt://127.0.0.1:{broker}"))
    world = World(broker, {"a": 1}, None)
    ready = asyncio.Event()
    async with background(world.run(ready), feed.run()):
        await until(lambda: hub.newest_ms("a") is not None, hub)
        command = Command(v=1, id="c1", action="acknowledge", code="x")
        reply = await feed.request("a", command, "mei")
        assert reply.result == "done"
        assert world.commands == [("a", "mei", command)]
    assert json.loads(hub.frame(View("fleet"), 0))["k"] == "fleet"


async def test_a_bad_payload_does_not_stop_the_feed(broker: int) -> None:
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse(f"mqtt://127.0.0.1:{broker}"))
    async with background(feed.run()), aiomqtt.Client("127.0.0.1", broker) as client:
        while hub.newest_ms("a") is None:
            await client.publish("bms/a/telemetry", b"\xff\x00", qos=1)
            await client.publish("bms/a/telemetry", encode(make_frame(0, START_MS)), qos=1)
    assert feed.rejected > 0


async def test_the_feed_comes_back_with_its_broker(free_port: int) -> None:
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse(f"mqtt://127.0.0.1:{free_port}"))

    def is_connected() -> bool:
        head = json.loads(hub.frame(View("none"), 0))["head"]
        return bool(head.get("feed"))

    async with background(feed.run()):
        for _ in range(2):
            broker = Broker(port=free_port, listen="127.0.0.1")
            await asyncio.to_thread(broker.start)
            await until(is_connected, hub)
            await asyncio.to_thread(broker.stop)
            await until(lambda: not is_connected(), hub)


async def test_an_alarm_that_ended_while_the_broker_was_away_is_not_shown_for_ever(
    mosquitto_binary: str, free_port: int, tmp_path: Path
) -> None:
    """The broker forgets what it retained; a monitor tells again what still stands."""
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse(f"mqtt://127.0.0.1:{free_port}"), clock_ms=lambda: NOW)

    async def tell(*alarms: str) -> None:
        async with aiomqtt.Client("127.0.0.1", free_port) as client:
            await client.publish("bms/_monitor/m/status", b"online", 1, True)
            for code in alarms:
                topic = f"bms/a/alarm/{code}/pack"
                await client.publish(topic, encode(make_alarm("a", code)), 1, True)

    def codes() -> list[str]:
        return sorted(record.code for record in hub.alarms())

    async with background(feed.run()):
        with mosquitto_on(mosquitto_binary, free_port, tmp_path):
            await tell("old", "new")
            await until(lambda: codes() == ["new", "old"], hub)
        with mosquitto_on(mosquitto_binary, free_port, tmp_path):
            await tell("new")
            await until(lambda: codes() == ["new"], hub)


async def test_without_a_broker_a_command_says_so() -> None:
    feed = Feed(Hub(), BrokerAddress.parse("mqtt://127.0.0.1:1"))
    with pytest.raises(FeedError, match="broker is away"):
        await feed.request("a", Command(v=1, id="c", action="acknowledge", code="x"), "mei")
    assert text(FeedError("feed_away").key, "zh") == "消息代理连接已断开，命令未发出"
    with pytest.raises(FeedError, match="broker is away"):
        await feed.send_to_simulator("s1", SimulatorCommand(v=1, action="pause"))
