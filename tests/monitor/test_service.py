"""The running monitor around its pipeline: rules, Home Assistant, operators, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from cellpulse.embedded import embedded_broker
from cellpulse.wiring import connector
from monitor.config import Config
from monitor.contract import AlarmRecord, AssetConfig, Command, Frame, Topics, decode, encode
from monitor.inputs import FrameIn, Input
from monitor.mqtt.address import BrokerAddress
from monitor.results import Results
from monitor.service import Monitor

TOPICS = Topics("bms")


@asynccontextmanager
async def monitoring(config: Config) -> AsyncIterator[Monitor]:
    """A monitor without models, until the block ends."""
    monitor = Monitor(config, None, None)
    task = asyncio.create_task(monitor.run())
    await monitor.ready.wait()
    try:
        yield monitor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def broker() -> AsyncIterator[BrokerAddress]:
    async with embedded_broker() as address:
        yield address


async def told(client: aiomqtt.Client, topic: str, fits: Callable[[bytes], bool] = bool) -> bytes:
    """The next payload on a topic that fits."""
    async with asyncio.timeout(20):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            if str(message.topic) == topic and fits(message.payload):
                return message.payload
    raise AssertionError("the broker went away")


async def introduce(client: aiomqtt.Client, temperature_c: float, start: int = 0) -> None:
    """A pack whose config and five seconds of frames are published."""
    config = AssetConfig(v=1, nominal_capacity_ah=2.0)
    await client.publish(TOPICS.of("pack", "config"), encode(config), 1, True)
    for k in range(start, start + 5):
        frame = Frame(
            v=1, timestamp_ms=1_000 * k, session="a", seq=k, voltage_v=3.7, current_a=1.0,
            temperature_c=temperature_c,
        )  # fmt: skip
        await client.publish(TOPICS.of("pack", "telemetry"), encode(frame), 1)


async def test_rules_are_read_again_without_losing_state(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("")
    config = Config(broker=broker, store=tmp_path / "store.sqlite", rules=rules)
    async with (
        monitoring(config) as monitor,
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("bms/+/alarm/#", 1)
        await introduce(client, 70.0)
        topic = TOPICS.of("pack", "alarm", "over_temperature", "t01")
        record = json.loads(await told(client, topic))
        assert record["severity"] == 5
        rules.write_text("[over_temperature]\nlimits = 3")  # wrong: it is said and not used
        rules.write_text("[over_temperature]\nenabled = false\n")
        await told(client, topic, lambda p: b'"state":"returned-unacknowledged"' in p)
        assert len(monitor.engine.alarm_records()) >= 1


async def test_an_operator_is_answered_and_the_alarm_follows(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    topic = TOPICS.of("pack", "alarm", "over_temperature", "t01")
    async with (
        monitoring(config),
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("bms/+/alarm/#", 1)
        await client.subscribe("bms/+/reply", 1)
        await introduce(client, 70.0)
        await told(client, topic)
        command = Command(v=1, id="1", action="acknowledge", code="over_temperature", source="t01")
        await client.publish(TOPICS.of("pack", "command", "ann"), encode(command), 1)
        await told(client, topic, lambda p: b'"state":"acknowledged"' in p)
        reply = json.loads(await told(client, TOPICS.of("pack", "reply")))
        assert (reply["id"], reply["result"], reply["user"]) == ("1", "done", "ann")
    # After a restart the acknowledged alarm stands as it was, and nothing is said twice.
    async with (
        monitoring(config) as again,
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        states = {(r.code, r.state) for r in again.engine.alarm_records()}
        assert ("over_temperature", "acknowledged") in states
        await client.subscribe("bms/+/alarm/#", 1)
        retained = json.loads(await told(client, topic))
        assert retained["state"] == "acknowledged"


async def test_home_assistant_is_told_and_told_again(broker: BrokerAddress, tmp_path: Path) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite", homeassistant="homeassistant")
    topic = "homeassistant/device/cellpulse_pack/config"
    async with (
        monitoring(config),
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("homeassistant/#", 1)
        await introduce(client, 59.0)
        first = json.loads(await told(client, topic))
        assert first["dev"]["name"] == "pack"
        await introduce(client, 61.0, start=5)
        hot = await told(client, topic, lambda p: b"alarm_over_temperature_t01" in p)
        await client.publish("homeassistant/status", b"online", 1)
        assert await told(client, topic) == hot


async def test_what_came_is_committed_though_nothing_follows(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    """The last messages of a burst wait a moment for others to share their commit, not longer."""
    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    async with (
        monitoring(config) as monitor,
        connector(config, "user")(aiomqtt.Will("unused/will", b"")) as client,
    ):
        for start in (0, 5, 10):
            await introduce(client, 25.0, start)
        expected = 15 + 3
        for _ in range(2_000):
            if monitor.journal.last_id >= expected:
                break
            await asyncio.sleep(0.005)
        assert monitor.journal.last_id == expected
        assert monitor.link.waiting == 0
        assert monitor.pipeline.commit_in_s(0.0) is None


async def test_what_raises_is_set_aside_and_the_monitor_goes_on(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    async with (
        monitoring(config) as monitor,
        connector(config, "user")(aiomqtt.Will("unused/will", b"")) as client,
    ):
        process = monitor.engine.process

        def mistaken(inputs: Sequence[Input]) -> Results:
            if any(isinstance(item, FrameIn) for item in inputs):
                raise ZeroDivisionError("a mistake of ours")
            return process(inputs)

        monitor.engine.process = mistaken  # type: ignore[method-assign]  # a fault put in
        await client.subscribe("bms/+/alarm/input_quarantined/+", 1)
        await introduce(client, 25.0)
        record = await told(client, "bms/pack/alarm/input_quarantined/pack")
        assert decode(AlarmRecord, record).state == "unacknowledged"
        for _ in range(2_000):  # one by one, each with a commit of its own
            if monitor.pipeline.quarantined >= 5:
                break
            await asyncio.sleep(0.005)
        monitor.engine.process = process  # type: ignore[method-assign]  # the fault taken out
        await introduce(client, 25.0, 5)
        for _ in range(2_000):
            if monitor.engine.counters.frames >= 5 and monitor.pipeline.quarantined >= 5:
                break
            await asyncio.sleep(0.005)
        assert monitor.pipeline.quarantined == 5
        assert monitor.checks()["pipeline"]


async def test_who_takes_the_client_id_over_is_an_alarm(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    async with (
        monitoring(config) as monitor,
        connector(config, "user")(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("bms/_group/alarm/+/+", 1)
        own = monitor.link._client_id
        async with aiomqtt.Client(broker.host, broker.port, identifier=own, clean_session=True):
            pass
        record = decode(
            AlarmRecord, await told(client, "bms/_group/alarm/client_taken_over/monitor")
        )
        assert (record.state, record.severity) == ("unacknowledged", 4)
        assert own not in record.message
        assert monitor.link.taken_over >= 1


async def test_a_tick_that_raises_is_tried_again_and_messages_are_taken(
    broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    monkeypatch.setattr("monitor.service.TICK_S", 0.01)
    async with (
        monitoring(config) as monitor,
        connector(config, "user")(aiomqtt.Will("unused/will", b"")) as client,
    ):
        tick = monitor.pipeline.tick
        tried = asyncio.Event()
        loop = asyncio.get_running_loop()

        def mistaken(now_ms: int) -> Results:
            loop.call_soon_threadsafe(tried.set)
            raise ZeroDivisionError("a mistake of ours")

        monitor.pipeline.tick = mistaken  # type: ignore[method-assign]  # a fault put in
        await tried.wait()
        ticked_s = monitor._ticked_s
        await introduce(client, 25.0)
        for _ in range(2_000):
            if monitor.engine.counters.frames >= 5:
                break
            await asyncio.sleep(0.005)
        assert monitor.engine.counters.frames == 5
        assert monitor._ticked_s == ticked_s
        monitor.pipeline.tick = tick  # type: ignore[method-assign]  # the fault taken out
        for _ in range(2_000):
            if monitor._ticked_s > ticked_s:
                break
            await asyncio.sleep(0.005)
        assert monitor._ticked_s > ticked_s


async def test_a_programming_error_around_the_pipeline_ends_the_monitor(
    broker: BrokerAddress, tmp_path: Path
) -> None:
    """It happens in the network's thread, which nobody would miss."""

    config = Config(broker=broker, store=tmp_path / "store.sqlite")
    monitor = Monitor(config, None, None)

    def mistaken(now_s: float) -> float | None:
        raise ZeroDivisionError("a mistake of ours")

    monitor.pipeline.commit_in_s = mistaken  # type: ignore[method-assign]  # a fault put in
    task = asyncio.create_task(monitor.run())
    await monitor.ready.wait()
    async with connector(config, "user")(aiomqtt.Will("unused/will", b"")) as client:
        await introduce(client, 25.0)
        with pytest.raises(ExceptionGroup, match="TaskGroup") as caught:
            async with asyncio.timeout(20):
                await task
    assert caught.group_contains(ZeroDivisionError, match="a mistake of ours")
