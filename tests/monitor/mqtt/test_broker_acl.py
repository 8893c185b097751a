"""The shipped mosquitto configuration and ACL, in a real mosquitto, against SECURITY.md's table.

The table is the only place where the powers are written down: each of its cells is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiomqtt
import pytest

from tests.acl_broker import OBSERVER, SHIPPED, GuardedBroker, guarded_broker
from tests.conftest import ROOT, free_ports


class Who(NamedTuple):
    """A broker's user: the column that it belongs to, its assets, and the name of its like."""

    column: str
    user: str
    assets: tuple[str, ...]
    other: str


WHO = (
    Who("monitor", "monitor", ("monitor",), "ann"),
    Who("page", "dashboard", ("dashboard",), "ann"),
    Who("operator", "operator", ("operator",), "ann"),
    Who("operator", "ann", ("ann",), "operator"),
    Who("device", "rack7", ("rack7",), "rack8"),
    Who("device", "rack8", ("rack8",), "rack7"),
    Who("gateway", "garage", ("rack1", "rack2"), "rack7"),
    Who("simulator", "simulator", ("simulator",), "rack7"),
    Who("Home Assistant", "homeassistant", ("homeassistant",), "rack7"),
)


class Power(NamedTuple):
    """A user and a topic."""

    user: str
    topic: str


def table() -> tuple[list[str], list[tuple[list[str], list[str]]]]:
    """SECURITY.md's table of topics: its columns, and each row's topics and cells."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    lines = text[text.index("| topic |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[0][1:], [(re.findall(r"`([^`]+)`", row[0]), row[1:]) for row in rows[2:]]


def powers(sign: str) -> tuple[set[Power], set[Power]]:
    """What the table says that may be done, `w` or `r`, and all that it has a cell for."""
    allowed, tried = set(), set()
    columns, rows = table()
    for who in WHO:
        for topics, cells in rows:
            for topic in topics:
                for asset in who.assets:
                    power = Power(who.user, filled(topic, who, asset))
                    tried.add(power)
                    if sign in cells[columns.index(who.column)]:
                        allowed.add(power)
    return allowed, tried


def filled(topic: str, who: Who, asset: str) -> str:
    """A topic of the table with the names of one user in it."""
    names = {
        "<own asset>": asset, "<other asset>": who.other, "<own name>": who.user,
        "<other name>": who.other,
    }  # fmt: skip
    for mark, name in names.items():
        topic = topic.replace(mark, name)
    assert "<" not in topic
    return topic


@pytest.fixture(scope="module")
def broker(
    mosquitto_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedBroker]:
    folder = tmp_path_factory.mktemp("acl")
    with guarded_broker(mosquitto_binary, free_ports(1)[0], folder) as running:
        yield running


def client(broker: GuardedBroker, user: str) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", broker.port, username=user, password=user)


async def say(broker: GuardedBroker, user: str, topic: str) -> None:
    """Sign in and publish the user's name at QoS 1, MQTT 3.1.1, on a connection of its own.

    mosquitto 2.0.11 acknowledges what it refuses and then, with `max_queued_messages 0`, hangs up.
    """

    def field(text: str) -> bytes:
        return len(text).to_bytes(2, "big") + text.encode()

    connect = field("MQTT") + b"\x04\xc2\x00\x1e" + field("") + field(user) + field(user)
    publish = field(topic) + b"\x00\x01" + user.encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(b"\x10" + bytes([len(connect)]) + connect)
    writer.write(b"\x32" + bytes([len(publish)]) + publish)
    assert await reader.readexactly(8) == b"\x20\x02\x00\x00\x40\x02\x00\x01"
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def heard(client: aiomqtt.Client) -> list[tuple[str, str]]:
    """Topic and payload of what has come; a subscription's answer comes behind all of it."""
    await client.subscribe("fence")
    return [
        (str(message.topic), bytes(message.payload).decode())
        for message in [await anext(client.messages) for _ in range(len(client.messages))]
    ]


async def test_who_may_say_what(broker: GuardedBroker) -> None:
    allowed, tried = powers("w")
    async with client(broker, OBSERVER) as observer:
        await observer.subscribe("#", 1)
        for power in tried:
            await say(broker, power.user, power.topic)
        came = {Power(user, topic) for topic, user in await heard(observer)}
    assert came == allowed


async def test_who_may_hear_what(broker: GuardedBroker) -> None:
    allowed, tried = powers("r")
    came = set()
    async with contextlib.AsyncExitStack() as stack:
        hearers = {
            who.user: await stack.enter_async_context(client(broker, who.user)) for who in WHO
        }
        for hearer in hearers.values():
            await hearer.subscribe("#", 1)
        observer = await stack.enter_async_context(client(broker, OBSERVER))
        for topic in {power.topic for power in tried}:
            await observer.publish(topic, b"x", 1)
        for user, hearer in hearers.items():
            came |= {Power(user, topic) for topic, _ in await heard(hearer)}
    assert came & tried == allowed


def test_the_table_has_every_topic_of_the_contract() -> None:
    from docs.generate import TOPICS

    columns, rows = table()
    assert set(columns) == {who.column for who in WHO}
    assert all(len(cells) == len(columns) for _, cells in rows)
    assert all(set(cell) <= {"r", "w"} for _, cells in rows for cell in cells)
    marks = r"<[^>]*>|(?<=_simulator/)simulator|(?<=_monitor/)monitor"
    said = {re.sub(marks, "+", topic) for topics, _ in rows for topic in topics}
    said = {re.sub(r"/alarm/.*", "/alarm/+/+", topic) for topic in said}
    contract = {re.sub("<[^>]*>", "+", topic) for topic, *_ in TOPICS}
    assert contract <= said, contract - said


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_stranger_is_refused(broker: GuardedBroker, password: str | None) -> None:
    user = None if password is None else "monitor"
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client("127.0.0.1", broker.port, username=user, password=password):
            pass


def test_who_is_no_device_is_denied_a_device_s_topics() -> None:
    """Patterns hold for everybody: each block of one who is no device takes them away."""
    text = Path(SHIPPED / "acl").read_text(encoding="utf-8")
    blocks = re.findall(r"^user (\w+)\n((?:topic .*\n)+)", text, flags=re.MULTILINE)
    assert {user for user, _ in blocks} == {
        "monitor", "dashboard", "operator", "simulator", "homeassistant",
    }  # fmt: skip
    for user, rules in blocks:
        if user not in ("monitor", "simulator"):  # the first may all, the second is a gateway
            assert f"topic deny bms/{user}/#\n" in rules
            assert f"topic deny bms/_gateway/{user}/#\n" in rules
    assert not re.findall(r"^pattern .*command", text, flags=re.MULTILINE)
