"""Who may command: people, no device and no program; a refused command changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiomqtt
import pytest

from monitor.alarms.operators import PROGRAMS, Operators
from monitor.config import Config, load
from monitor.contract import (
    AlarmRecord,
    Command,
    DeviceAlarm,
    Frame,
    Rejected,
    Reply,
    Topics,
    decode,
    encode,
)
from monitor.engine import Engine
from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress
from monitor.pipeline import Pipeline
from monitor.store.journal import Journal
from tests.acl_broker import guarded_broker
from tests.engine_world import T0, FakePublisher, make_config
from tests.monitor.test_pipeline import message
from tests.monitor.test_service import monitoring

TOPICS = Topics("bms")
HOT_C = 90.0


def is_device(name: str) -> bool:
    return name in ("rack7", "garage")


@pytest.mark.parametrize(
    ("listed", "asset", "user", "reason"),
    [
        ("", "rack7", "ann", None),
        ("", "_group", "ann", None),
        ("", "rack7", "rack7", "the asset itself"),
        ("", "rack8", "rack7", "an asset or a gateway"),
        ("", "rack7", "garage", "an asset or a gateway"),
        ("", "rack7", "device", "a program's name"),
        ("ann", "rack7", "ann", None),
        ("ann, bob", "_group", "bob", None),
        ("ann", "rack7", "bob", "not among the monitor's `operators`: add the name there"),
        ("ann", "rack7", "garage", "not among"),
        ("ann", "rack7", "simulator", "a program's name"),
        ("ann", "ann", "ann", "the asset itself"),
        ("garage", "rack7", "garage", None),  # a name that a device took does not silence a person
    ],
)
def test_who_may_command(listed: str, asset: str, user: str, reason: str | None) -> None:
    said = Operators.parse(listed).refusal(asset, user, is_device)
    assert said is None if reason is None else said is not None and reason in said


def test_the_setting_is_checked() -> None:
    assert load(environment={"CELLPULSE_OPERATORS": "ann, bob"}).operators == "ann, bob"
    with pytest.raises(ConfigurationError, match="'device' is a program's name"):
        load(environment={"CELLPULSE_OPERATORS": "ann,device"})
    with pytest.raises(ConfigurationError, match="'an n': expected letters"):
        load(operators="an n")


class World:
    """A pipeline with an alarm that stands on `rack7`, behind the gateway `garage`."""

    def __init__(self, path: Path, operators: str) -> None:
        self.out = FakePublisher()
        self.journal = Journal(path)
        self.pipeline = Pipeline(
            Engine(None, None), self.journal, self.out, TOPICS, "m",
            operators=Operators.parse(operators),
        )  # fmt: skip
        config = make_config(1, gateway="garage")
        hot = [Frame(v=1, timestamp_ms=T0 + 3_000 * k, temperature_c=HOT_C) for k in range(3)]
        arrivals = [message("bms/rack7/config", config), message("bms/rack7/telemetry", hot)]
        self.pipeline.step(arrivals, T0)
        assert self.state() == "unacknowledged"
        self.out.log.clear()

    def state(self) -> str:
        records = self.pipeline.engine.alarm_records()
        return next(record.state for record in records if record.code == "over_temperature")

    def command(self, user: str, action: str = "out_of_service", code: str = "asset") -> Command:
        command = Command(v=1, id=f"1-{user}", action=action, code=code)  # type: ignore[arg-type]  # a command's own word
        self.pipeline.step([message(f"bms/rack7/command/{user}", command)], T0 + 9_000)
        return command


@pytest.fixture(params=["", "ann"])
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path / "j.sqlite", request.param)
    with closing(made.journal):
        yield made


@pytest.mark.parametrize("user", ["rack7", "garage", *sorted(PROGRAMS)])
def test_a_device_takes_nothing_out_of_service(world: World, user: str) -> None:
    last, before = world.journal.last_id, world.pipeline.snapshot()
    command = world.command(user)
    assert world.state() == "unacknowledged"
    assert (world.journal.last_id, world.pipeline.snapshot()) == (last, before)
    reply = decode(Reply, world.out.published("rack7/reply")[0][1])
    assert (reply.id, reply.result, reply.user) == (command.id, "refused", user)
    refusal = decode(Rejected, world.out.published("/rejected")[0][1])
    assert refusal.reason == reply.reason
    assert reply.reason is not None
    assert reply.reason.startswith(user)
    assert world.pipeline.rejected == 1


def test_an_operator_does(world: World) -> None:
    world.command("ann")
    assert world.state() == "suppressed"
    assert decode(Reply, world.out.published("rack7/reply")[0][1]).result == "done"


async def hot_pack(client: aiomqtt.Client) -> None:
    """`rack7` at 90 °C."""
    await client.publish(TOPICS.of("rack7", "config"), encode(make_config(1)), 1, True)
    frames = [Frame(v=1, timestamp_ms=T0 + 3_000 * k, temperature_c=HOT_C) for k in range(3)]
    await client.publish(TOPICS.of("rack7", "telemetry"), encode(frames), 1)


async def fence(client: aiomqtt.Client, hearer: aiomqtt.Client) -> dict[str, str]:
    """The states of the alarms on `rack7` once all that `client` sent before has been judged."""
    alarm = DeviceAlarm(v=1, timestamp_ms=T0 + 20_000, name="fence", active=True)
    await client.publish(TOPICS.of("rack7", "device_alarm"), encode(alarm), 1)
    states: dict[str, str] = {}
    async with asyncio.timeout(30):
        async for heard in hearer.messages:
            record = decode(AlarmRecord, bytes(heard.payload))
            states[record.code] = record.state
            if record.code == "device_fence":
                return states
    raise AssertionError("the broker went away")


@asynccontextmanager
async def client(address: BrokerAddress) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(
        address.host, address.port, username=address.user, password=address.password
    ) as connected:
        yield connected


@pytest.mark.parametrize("user", ["rack7", "device", "operator"])
async def test_by_the_shipped_acl_a_device_silences_nothing(
    mosquitto_binary: str, free_port: int, tmp_path: Path, user: str
) -> None:
    """The ACL alone: the monitor is told of no operators."""
    with guarded_broker(mosquitto_binary, free_port, tmp_path) as broker:
        config = Config(broker=broker.address("monitor"), store=tmp_path / "store.sqlite")
        wish = encode(Command(v=1, id="1", action="out_of_service", code="asset"))
        async with (
            monitoring(config) as monitor,
            client(broker.address("operator")) as hearer,
            client(broker.address("rack7")) as device,
        ):
            await hearer.subscribe("bms/rack7/alarm/+/+", 1)
            await hot_pack(device)
            async with client(broker.address("rack7")) as other:  # mosquitto hangs up on it
                await other.publish(TOPICS.of("rack7", "command", user), wish, 1)
            assert (await fence(device, hearer))["over_temperature"] == "unacknowledged"
            assert monitor.pipeline.rejected == 0  # it did not come so far


async def test_without_an_acl_the_monitor_looks_itself(
    mosquitto: BrokerAddress, tmp_path: Path
) -> None:
    config = Config(broker=mosquitto, store=tmp_path / "store.sqlite", operators="ann")
    wish = encode(Command(v=1, id="1", action="out_of_service", code="asset"))
    async with (
        monitoring(config) as monitor,
        client(mosquitto) as hearer,
        client(mosquitto) as device,
    ):
        await hearer.subscribe("bms/rack7/alarm/+/+", 1)
        await hot_pack(device)
        for user in ("rack7", "device", "simulator", "bob"):
            await device.publish(TOPICS.of("rack7", "command", user), wish, 1)
        assert (await fence(device, hearer))["over_temperature"] == "unacknowledged"
        assert monitor.pipeline.rejected == 4
