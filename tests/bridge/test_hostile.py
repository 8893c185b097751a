"""Hostile and broken input of translators: each value has its right meaning, and nothing raises.

A bad number is a missing value and is named; a message that cannot be read is refused with a
reason. The same messages go through the real process and a real broker at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from bridge import jk_ble, sparkplug
from bridge.device import Told, config_of
from bridge.errors import FrameError, MappingError
from bridge.jsonpath import Path as JsonPath
from bridge.jsonpath import read_json
from bridge.link import SerialLink
from bridge.mapping import Mapping, Rule, is_true, load
from bridge.modbus_map import load as load_map
from bridge.numbers import measured, real, whole
from bridge.presets import preset
from bridge.protocols import Choices
from bridge.publisher import Publisher
from bridge.quarantine import Quarantine
from bridge.reading import Identity, Reading
from bridge.recording import Recorder, read
from bridge.run_modbus import client_of
from bridge.run_translate import Assets, Listener
from bridge.settings import TranslateSettings, address_of, milliseconds
from bridge.simulate import Board
from bridge.translate import MAX_ASSETS, MAX_TOPIC, MAX_VALUES, Timing, Translator
from monitor.contract import Frame, Topics, decode, decode_telemetry, encode
from monitor.errors import ConfigurationError
from monitor.mqtt.client import Client
from tests.bridge.test_poller import PACK
from tests.bridge.test_serial import Awaited
from tests.bridge.test_translate import NOW, Payload, birth
from tests.bridge_brokers import ear, mosquitto
from tests.conftest import ROOT

NAN = struct.pack("<d", float("nan"))
INFINITE = struct.pack("<d", float("inf"))
DEEP = b"[" * 100_000 + b"]" * 100_000
LONG = "9" * 5_000  # past what Python's int reads


def field(number: int, wire: int, content: bytes) -> bytes:
    """One protobuf field; lengths of up to 127 bytes."""
    size = bytes((len(content),)) if wire == 2 else b""
    return bytes((number << 3 | wire,)) + size + content


def payload_of(*fields: bytes) -> bytes:
    """A Sparkplug payload of one metric."""
    metric = b"".join(fields)
    assert len(metric) < 2**14
    size = bytes((len(metric) & 0x7F | 0x80, len(metric) >> 7))
    return b"\x12" + size + metric


def named(name: str) -> bytes:
    raw = name.encode()
    return b"\x0a" + bytes((len(raw) & 0x7F | 0x80, len(raw) >> 7)) + raw


def known(payload: bytes) -> sparkplug.Known:
    heard = sparkplug.Edge().receive("spBv1.0/g/DDATA/n/d", payload)
    assert isinstance(heard, sparkplug.Known)
    return heard


@pytest.mark.parametrize("number", [10, 11, 12, 14])
@pytest.mark.parametrize("content", [NAN, INFINITE])
def test_a_sparkplug_value_of_another_wire_type_is_missing(number: int, content: bytes) -> None:
    heard = known(payload_of(named("current_a"), field(number, 1, content)))
    assert heard.metrics == {"current_a": None}
    assert heard.unusable == ("current_a: its value is no finite number of its type",)


@pytest.mark.parametrize("number", [2, 4, 7])
def test_a_sparkplug_alias_type_or_null_that_is_a_float_is_not_one(number: int) -> None:
    whole_value = field(10, 0, b"\x05")
    heard = known(payload_of(named("current_a"), field(number, 1, NAN), whole_value))
    assert heard == sparkplug.Known("sparkplug/g/n/d", {"current_a": 5})


@pytest.mark.parametrize(("number", "content"), [(13, NAN), (13, INFINITE)])
def test_a_sparkplug_nan_is_a_missing_value_with_a_name(number: int, content: bytes) -> None:
    heard = known(payload_of(named("voltage_v/1"), field(number, 1, content)))
    assert heard.metrics == {"voltage_v": {"1": None}}
    assert heard.unusable[0].startswith("voltage_v/1: ")


@pytest.mark.parametrize("index", [LONG, "4096", "٣"])
def test_a_sparkplug_index_that_no_pack_has(index: str) -> None:
    raw = payload_of(named(f"v[{index}]"), field(10, 0, b"\x01"))
    heard = known(raw)
    if index == "٣":  # no digit to us: a name like any other
        assert heard.metrics == {"v[٣]": 1}
    else:
        assert heard.metrics == {}
        assert len(heard.unusable) == 1
    assert known(payload_of(named("v[0004095]"), field(10, 0, b"\x01"))).metrics == {
        "v": {"4096": 1}
    }


def test_a_sparkplug_edge_remembers_a_bounded_number_of_devices() -> None:
    edge = sparkplug.Edge()
    for number in range(sparkplug.MAX_DEVICES):
        edge.receive(f"spBv1.0/g/DBIRTH/n/d{number}", birth())
    for number in range(10_000):  # data alone take no place
        edge.receive(f"spBv1.0/g/DDATA/n/x{number}", b"")
    assert len(edge._names) == sparkplug.MAX_DEVICES
    with pytest.raises(FrameError, match="past 1000 devices"):
        edge.receive("spBv1.0/g/DBIRTH/n/another", birth())
    # Those that are known go on, are born again, and leave room by their death.
    edge.receive("spBv1.0/g/DBIRTH/n/d0", birth())
    edge.receive("spBv1.0/g/DDEATH/n/d1", b"")
    edge.receive("spBv1.0/g/DBIRTH/n/another", birth())
    with pytest.raises(FrameError, match="a topic of"):
        edge.receive(f"spBv1.0/g/DBIRTH/n/{'x' * 2_000}", birth())


def test_a_sparkplug_edge_remembers_a_bounded_number_of_aliases() -> None:
    edge = sparkplug.Edge()
    message = Payload()
    for alias in range(9_000):
        message.metrics.add(name=f"m{alias}", alias=alias)
    raw = bytes(message.SerializeToString())
    for number in range(11):
        edge.receive(f"spBv1.0/g/DBIRTH/n/d{number}", raw)
    with pytest.raises(FrameError, match="aliases of all devices"):
        edge.receive("spBv1.0/g/DBIRTH/n/d11", raw)
    assert sum(map(len, edge._names.values())) <= sparkplug.MAX_ALIASES
    long = Payload()
    long.metrics.add(name="x" * 300, alias=1, int_value=1)
    heard = edge.receive("spBv1.0/g/DBIRTH/n/d0", bytes(long.SerializeToString()))
    assert isinstance(heard, sparkplug.Known)
    assert heard.metrics == {}
    assert "of 300 characters" in heard.unusable[0]


def told_of(mapping: Mapping, *messages: tuple[str, bytes]) -> tuple[Reading | None, list[str]]:
    translator = Translator(mapping, Timing(settle_ms=0))
    unusable = [reason for topic, raw in messages for reason in translator.receive(topic, raw, NOW)]
    told = list(translator.due(NOW))
    return (told[0].reading if told else None), unusable


@pytest.mark.parametrize("digits", [LONG, "0", "4097"])
def test_a_cell_number_in_a_topic_that_no_pack_has(digits: str) -> None:
    # `{n}` of a topic is bounded by the topic's own length, before its digits are read.
    topic = f"a/cell_voltages/{digits}"
    translator = Translator(preset("batmon-ha"))
    if len(topic) > MAX_TOPIC:
        with pytest.raises(FrameError, match="characters"):
            translator.receive(topic, b"3.3", NOW)
    else:
        (reason,) = translator.receive(topic, b"3.3", NOW)
        assert reason == "cell_voltage_v: its number is not one of 1 to 4096"
    assert list(translator.due(NOW + 999)) == []
    assert whole(LONG, 4_096) is None


@pytest.mark.parametrize("key", [f"Cell{LONG}", "Cell0"])
def test_a_cell_number_in_a_key_that_no_pack_has(key: str) -> None:
    raw = json.dumps({"value": {"Voltages": {key: 3.3, "Cell2": 3.4}}}).encode()
    reading, unusable = told_of(preset("dbus-serialbattery"), ("N/x/battery/1/JsonData", raw))
    assert reading == Reading(cell_voltage_v=(None, 3.4))
    assert unusable == ["cell_voltage_v: its number is not one of 1 to 4096"]


@pytest.mark.parametrize("number", ["1e999", "inf", "1e308", "-3", "٤", "1_0"])
def test_a_number_of_cycles_that_none_is(number: str) -> None:
    reading, _ = told_of(
        preset("batmon-ha"), ("a/soc/num_cycles", number.encode()), ("a/soc/current", b"1")
    )
    assert reading == Reading(current_a=-1.0)


def test_cycles_past_a_float_by_the_scale() -> None:
    mapping = Mapping("m", (Rule("a/{asset}", "cycles", scale=1e300),))
    reading, unusable = told_of(mapping, ("a/b", b"100000000000"))
    assert reading == Reading()
    assert unusable == ["cycles: 100000000000 is no number that can be used"]


@pytest.mark.parametrize("number", ["1" + "0" * 400, LONG, "1e999", "NaN", "-Infinity", "1e7"])
def test_a_json_number_past_every_measure_costs_that_number_only(number: str) -> None:
    mapping = Mapping(
        "m",
        (
            Rule("a/{asset}", "current_a", path="$.i", unit="A"),
            Rule("a/{asset}", "pack_voltage_v", path="$.u", unit="V"),
        ),
    )
    raw = b'{"i": %s, "u": 13.2}' % number.encode()
    reading, unusable = told_of(mapping, ("a/b", raw))
    assert reading == Reading(pack_voltage_v=13.2)
    assert len(unusable) == 1
    assert unusable[0].startswith("current_a: ")
    assert len(unusable[0]) < 100
    assert Rule("t", "current_a").number(10**400) is None


def test_json_too_deep_is_refused() -> None:
    translator = Translator(preset("dbus-serialbattery"))
    with pytest.raises(FrameError, match="nested too deeply"):
        translator.receive("N/x/battery/1/Soc", DEEP, NOW)
    # Also as the value of a string that is opened on the way.
    raw = json.dumps({"value": DEEP.decode()}).encode()
    assert translator.receive("N/x/battery/1/JsonData", raw, NOW) == []
    assert list(JsonPath("$.value[0].x").find(json.loads(raw))) == []
    with pytest.raises(FrameError, match="not JSON"):
        read_json(b"\xff\xfe{")
    assert translator.receive("N/x/battery/1/Soc", b"", NOW) == []  # a deleted retained message
    with pytest.raises(FrameError, match="expected at most 1048576"):
        translator.receive("N/x/battery/1/Soc", b" " * 1_048_577, NOW)


def test_a_translator_holds_a_bounded_number_of_assets_and_values() -> None:
    translator = Translator(preset("batmon-ha"))
    for number in range(MAX_ASSETS):
        assert not translator.receive(f"a{number}/soc/current", b"1", NOW)
    assert translator.receive("another/soc/current", b"1", NOW) == ["an asset past 1000"]
    translator._values = MAX_VALUES
    assert "past 200000" in translator.receive("a1/cell_voltages/1", b"3.3", NOW)[0]
    assert not translator.receive("a1/soc/current", b"2", NOW)  # what is known goes on


def test_numbers_from_outside() -> None:
    for text in ("", "-1", "1.0", "٣", "²", "1_0", "4097", LONG, " 1"):
        assert whole(text, 4_096) is None
    assert whole("0" * 9_999 + "7", 4_096) == 7
    for value in ("٣.٣", "1_0", "nan", "inf", "1e999", LONG, 10**400, None, [1], float("nan")):
        assert real(value) is None
    assert (real("-1.5e3"), real(".5"), real(True)) == (-1_500.0, 0.5, 1.0)
    assert (measured(1e6), measured(1.1e6)) == (1e6, None)
    assert is_true(float("nan")) is None
    assert jk_ble.layout_of_firmware(f"V{LONG}.1") is None
    assert jk_ble.layout_of_firmware("²") is None


def one_rule(text: str) -> str:
    return f'[[rule]]\ntopic = "a/{{asset}}"\nto = "cell_voltage_v"\n{text}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (one_rule("scale = nan"), "finite"),
        (one_rule('scale = "1"'), "rule 1: .*scale"),
        (one_rule("n = 0"), "expected 1 to 4096"),
        (one_rule(f"n = {'9' * 400}"), "m.toml"),
        (one_rule(f"n = {LONG}"), "m.toml"),
        (one_rule("sign = true"), "rule 1: .*sign"),
        (one_rule(f'path = "$[{"9" * 5_000}]"'), "cannot read"),
        (f"x = {'[' * 5_000}", "m.toml"),
        ('[[rule]]\ntopic = "a/+"\nto = "current_a"', "without \\+ and #"),
        ('[[rule]]\ntopic = "a/#"\nto = "current_a"', "without \\+ and #"),
        ('[[rule]]\ntopic = ""\nto = "current_a"', "without \\+ and #"),
        ("rule = [1]", "rule 1: expected"),
    ],
)
def test_a_mapping_that_would_raise_later_is_refused_at_the_start(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(MappingError, match=message):
        load(path)


def test_a_path_may_name_an_empty_key() -> None:
    assert [found.value for found in JsonPath("$['']").find({"": 3})] == [3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale = inf", "finite"),
        ("first = 1000000000", "up to number 4096"),
        (f"absent = {LONG}", "map.toml"),
        ("[[alarm]]\naddress = -1\nnames = []", "0 to 65535"),
        ('[[alarm]]\naddress = 1\nnames = ["too hot"]', "letters, digits"),
        (f"[[alarm]]\naddress = 1\nnames = {['a'] * 17}", "16 bits"),
        (f"[[alarm]]\naddress = 1\nnames = {['a'] * 16}\n" * 5, "at most 64"),
    ],
)
def test_a_register_map_that_would_raise_later(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(f'[[value]]\nto = "cell_voltage_v"\naddress = 1\n{text}\n')
    with pytest.raises(MappingError, match=message):
        load_map(path)


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ({}, '{"t": -1, "rx": "00"}', "line 2: t: expected"),
        ({}, '{"t": 1' + "0" * 30 + ', "rx": "00"}', "line 2: t: expected"),
        ({}, '{"t": true, "rx": "00"}', "line 2: t: expected"),
        ({}, "[" * 60_000, "line 2: .*recursion"),
        ({}, " " * 70_000, "line 2: a line of"),
        ({"choices": {"board": "x"}}, "", "not a recording"),
        ({"choices": {"board": 10**30}}, "", "not a recording"),
        ({"protocol": "x" * 10_000}, "", "not a recording"),
    ],
)
def test_a_recording_that_would_raise_later(
    tmp_path: Path, header: dict[str, Any], line: str, message: str
) -> None:
    path = tmp_path / "x.frames"
    path.write_text(json.dumps({"cellpulse_frames": 1, "protocol": "jbd"} | header) + f"\n{line}\n")
    with pytest.raises(MappingError, match=message) as caught:
        read(path)
    assert len(str(caught.value)) < 300


def test_a_full_disk_ends_the_recording_and_not_the_polling() -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    recorder = Recorder(Full(), Choices())  # type: ignore[arg-type]  # a fake of what is called
    recorder.tap("tx", b"\1", NOW)
    recorder.tap("rx", b"\1", NOW)


@pytest.mark.parametrize("url", ["mqtt://[", f"mqtt://{'a' * 64}.b", "mqtt://x:70000"])
def test_a_broker_that_no_look_up_takes(url: str) -> None:
    with pytest.raises(ConfigurationError, match="broker: expected"):
        address_of(url)
    with pytest.raises(MappingError, match="expected tcp"):
        client_of(url.replace("mqtt", "tcp"), 9_600, "N")


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e12])
def test_seconds_that_are_no_time(seconds: float) -> None:
    with pytest.raises(MappingError, match="expected a number of seconds"):
        milliseconds("interval", seconds)
    with pytest.raises(MappingError):
        TranslateSettings(asset="a", interval_s=seconds).told("x")


def test_a_capacity_that_no_battery_has() -> None:
    for capacity_ah in (float("inf"), float("nan"), 0.0, 1e7):
        with pytest.raises(MappingError, match="capacity"):
            Told("a", "g", capacity_ah=capacity_ah)


@pytest.mark.parametrize(
    "identity",
    [
        Identity(nominal_capacity_ah=4e6),
        Identity(nominal_capacity_ah=1e-300),
        Identity(temperature_max_c=-2e8, temperature_min_c=-2e8),
        Identity(temperature_max_c=-25.0),
        Identity(cell_voltage_max_v=-1.0, cell_voltage_min_v=-2e6),
        Identity(charge_current_max_a=2e9),
        Identity(model="x" * 1_000),
    ],
)
def test_what_a_board_says_of_itself_always_makes_a_config(identity: Identity) -> None:
    config = config_of(identity, PACK, Told("a", "g"))
    assert config is not None
    assert decode(type(config), encode(config)) == config
    assert config.nominal_capacity_ah == 100.0
    assert config.limits.temperature_max_c == 60.0


@pytest.mark.parametrize("name", ["jbd", "daly", "daly-d2", "jk", "jk-pb"])
def test_a_simulated_board_survives_every_pack(name: str) -> None:
    from bridge.crc import crc16_modbus
    from bridge.protocols import protocol

    huge = Reading(
        cell_voltage_v=(1e9, None, float("nan")),
        temperature_c=(-1e9, 1e9, 20.0),
        mos_temperature_c=-400.0,
        current_a=-1e9,
        pack_voltage_v=float("inf"),
        soc=7.0,
        remaining_capacity_ah=1e12,
        nominal_capacity_ah=1e12,
        cycles=10**9,
    )
    for reading in (huge, Reading(cell_voltage_v=(3.3,), current_a=1e9)):
        board = Board(name, lambda reading=reading: reading)  # type: ignore[misc]  # a default binds the loop's value
        spoken = protocol(name)
        for start in (spoken.identify, spoken.poll):
            conversation = start()
            with contextlib.suppress(StopIteration, FrameError):
                ask = next(conversation)
                while True:
                    ask = conversation.send(
                        [
                            frame
                            for reply in board.receive(ask.request)
                            if (frame := spoken.split(reply)[0]) is not None
                        ]
                    )
    head = struct.pack(">BBHH", 0xD2, 3, 0, 0xFFFF)
    board = Board("daly-d2", lambda: PACK)
    assert board.receive(head + crc16_modbus(head)) == []
    with pytest.raises(MappingError, match="at most 32"):
        Board(name, lambda: Reading(cell_voltage_v=(3.3,) * 33))


async def test_a_batch_is_bounded_by_its_bytes_and_not_by_its_first_frame() -> None:
    class Sent:
        def __init__(self) -> None:
            self.payloads: list[bytes] = []

        async def publish(self, topic: str, payload: bytes, qos: int) -> None:
            self.payloads.append(payload)

    outbox = Publisher(address_of("127.0.0.1:1"), Topics("bms"), "gw1")
    frames = [Frame(v=1, timestamp_ms=0), *_long_frames(20)]
    for frame in frames:
        outbox.telemetry("pack1", frame)
    client = Sent()
    while outbox.depth:
        await outbox._send_next(client)  # type: ignore[arg-type]  # a fake of what is called
    assert [one for raw in client.payloads for one in decode_telemetry(raw)] == frames
    assert outbox._queued_bytes == 0


async def test_messages_that_wait_are_bounded_by_their_bytes() -> None:
    outbox = Publisher(address_of("127.0.0.1:1"), Topics("bms"), "gw1")
    (long,) = _long_frames(1)
    for _ in range(3_000):
        outbox.telemetry("pack1", long)
    assert outbox._queued_bytes <= 64 * 1024 * 1024 + 100_000
    assert outbox.depth + outbox.dropped == 3_000
    assert outbox.dropped > 0


def _long_frames(count: int) -> list[Frame]:
    return [
        Frame(v=1, timestamp_ms=n, voltage_v=[3.123456789] * 4_096) for n in range(1, count + 1)
    ]


def test_a_line_that_never_falls_silent_is_read_in_pieces() -> None:
    class Endless:
        in_waiting = 1_000_000

        def read(self, count: int) -> bytes:
            return b"\xdd" * count

    link = SerialLink(Endless(), None, "port")  # type: ignore[arg-type]  # a fake of what is called
    assert len(link._read(1.0)) <= 2 * 8_192


async def broker_that_says(*packets: bytes) -> tuple[asyncio.Server, int, list[asyncio.Event]]:
    """A broker that accepts a connection and its subscription, then says these bytes."""
    ended: list[asyncio.Event] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.Event()
        ended.append(gone)
        await reader.read(1_024)  # CONNECT
        writer.write(b"\x20\x02\x00\x00")
        subscribe = await reader.read(1_024)
        if subscribe[:1] == b"\x82":
            writer.write(b"\x90\x03" + subscribe[2:4] + b"\x01" + b"".join(packets))
        with contextlib.suppress(ConnectionError):
            while await reader.read(1_024):
                pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], ended


def published(topic: bytes, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + payload
    return b"\x30" + bytes((len(body),)) + body


async def test_a_topic_that_is_no_text_is_set_aside_and_the_next_message_comes() -> None:
    packets = (
        published(b"a/\xff\xfe/current", b"1"),
        published(b"a/+", b"2"),
        published(b"a/soc/current", b"7"),
    )
    server, port, ended = await broker_that_says(*packets)
    aside = Quarantine()
    notes = Awaited(1)
    mapping = Mapping("m", preset("batmon-ha").rules[1:2])  # one filter, one answer
    listener = Listener(
        address_of(f"127.0.0.1:{port}"),
        mapping,
        Translator(mapping, Timing(settle_ms=0)),
        Assets(notes, TranslateSettings(asset="", gateway="g"), "m", aside),
        aside,
    )
    task = asyncio.create_task(listener.run())
    async with asyncio.timeout(20):
        await notes.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()
    await server.wait_closed()
    assert notes.frames[0].current_a == -7.0
    assert len(ended) == 1  # one connection all the time
    assert [said.source for said in aside.newest] == ["MQTT"] * 2


async def test_a_packet_that_is_none_ends_the_connection_and_its_socket() -> None:
    server, port, ended = await broker_that_says(b"\x32\x01\x00")  # a PUBLISH cut off inside

    async def listen() -> None:
        async with Client("127.0.0.1", port) as client:
            await client.subscribe("a", 1)
            async for _ in client.messages:
                pass

    with pytest.raises(aiomqtt.MqttError):
        await listen()
    async with asyncio.timeout(20):
        await ended[0].wait()
    server.close()
    await server.wait_closed()


RULES = """
[[rule]]
topic = "rack/{asset}/i"
path = "$.i"
to = "current_a"

[[rule]]
topic = "rack/{asset}/s"
path = "$.s.x"
to = "current_a"

[[rule]]
topic = "rack/{asset}/u"
to = "pack_voltage_v"

[[rule]]
topic = "rack/{asset}/v"
path = "$[*]"
to = "cell_voltage_v"

[[rule]]
topic = "rack/{asset}/v/{n}"
to = "cell_voltage_v"

[[rule]]
topic = "rack/{asset}/cycles"
to = "cycles"
scale = 1e300
"""
SPARKPLUG = [
    *[
        ("spBv1.0/g/DDATA/n/d", payload_of(named("current_a"), field(number, 1, content)))
        for number in (2, 4, 7, 10, 13)
        for content in (NAN, INFINITE)
    ],
    ("spBv1.0/g/DDATA/n/d", payload_of(named(f"voltage_v[{LONG}]"), field(10, 0, b"\x01"))),
    ("spBv1.0/g/DBIRTH/n/d", b"\x12\x05broken"),
]
GENERIC = [
    ("rack/d/i", b'{"i": 1%s}' % (b"0" * 400)),
    ("rack/d/i", b'{"i": NaN}'),
    ("rack/d/i", DEEP),
    ("rack/d/s", json.dumps({"s": DEEP.decode()}).encode()),
    ("rack/d/u", b"1" + b"0" * 400),
    ("rack/d/v", json.dumps({f"Cell{LONG}": 3.3}).encode()),
    (f"rack/d/v/{LONG}", b"3.3"),
    ("rack/d/cycles", b"1e300"),
    ("rack/d/i", b"\xff\xfe"),
]


@contextlib.contextmanager
def translating(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`cellpulse bridge translate` as a process; its log is in `folder`."""
    command = [sys.executable, "-m", "cellpulse", "bridge", "translate", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (folder / "bridge.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--broker", f"mqtt://127.0.0.1:{port}"], stderr=log, env=environment
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize(
    ("poison", "good", "options"),
    [
        (SPARKPLUG, ("spBv1.0/g/DBIRTH/n/d", birth()), ("--from", "sparkplug")),
        (GENERIC, ("rack/d/i", b'{"i": -2.5}'), ("--mapping", "rules.toml")),
    ],
    ids=["sparkplug", "mapping"],
)
async def test_the_process_stays_and_translates_the_next_good_message(
    poison: list[tuple[str, bytes]],
    good: tuple[str, bytes],
    options: tuple[str, ...],
    mosquitto_binary: str,
    free_port: int,
    tmp_path: Path,
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    options = tuple(option.replace("rules.toml", str(rules)) for option in options)
    with mosquitto(mosquitto_binary, free_port, tmp_path):
        async with (
            asyncio.timeout(90),
            ear(free_port, "bms/#") as heard,
            aiomqtt.Client("127.0.0.1", free_port) as client,
        ):
            frames = "bms/d/telemetry"
            for topic, payload in poison:  # the last of a topic is what stays retained
                await client.publish(topic, payload, qos=1, retain=True)
            with translating(tmp_path, free_port, *options) as process:
                while not heard.on(frames):  # it may still be subscribing
                    assert process.poll() is None, (tmp_path / "bridge.log").read_text()
                    await client.publish(*good, qos=1)
                    await asyncio.sleep(0.3)
                for topic, payload in poison:
                    count = len(heard.on(frames))
                    for retain in (True, False):
                        await client.publish(topic, payload, qos=1, retain=retain)
                    await client.publish(*good, qos=1)
                    await heard.until(lambda count=count: len(heard.on(frames)) > count)  # type: ignore[misc]  # a default binds the loop's value
                await heard.until(
                    lambda: b"input_quarantined" in b"".join(heard.on("bms/d/device_alarm"))
                )
                assert process.poll() is None
        log = (tmp_path / "bridge.log").read_text()
    assert log.count("listening to") == 1
    assert "Traceback" not in log
    assert "set aside from" in log
    for raw in heard.on(frames):
        for frame in decode_telemetry(raw):
            assert frame.current_a in (-2.5, None)
