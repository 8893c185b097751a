"""Larger packs by configuration alone: Modbus against pymodbus's server, CAN on a virtual bus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import can
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from bridge.clock import SystemClock
from bridge.device import AssetOptions
from bridge.errors import MappingError
from bridge.gateway import Gateway
from bridge.mapping import load as load_mapping
from bridge.modbus_map import RegisterMap, Value, load
from bridge.poller import Rhythm
from bridge.reading import Reading
from bridge.run_can import CanListener, open_database, run_can
from bridge.run_modbus import ModbusReader, client_of, run_modbus
from bridge.settings import CanSettings, ModbusSettings
from bridge.translate import Timing, Translator
from monitor.contract import decode_telemetry
from tests.bridge.test_serial import Awaited
from tests.bridge_brokers import ear, embedded

MAP = """
device = 7

[[value]]
to = "cell_voltage_v"
address = 100
count = 4
unit = "mV"
absent = 65535

[[value]]
to = "temperature_c"
address = 110
count = 2
type = "i16"
scale = 0.1

[[value]]
to = "current_a"
address = 200
type = "i32"
words = "little"
unit = "mA"
sign = -1

[[value]]
to = "pack_voltage_v"
address = 202
type = "f32"

[[value]]
to = "soc"
address = 204
unit = "%"
scale = 0.1

[[value]]
to = "nominal_capacity_ah"
address = 205

[[value]]
to = "charge_enabled"
address = 206

[[alarm]]
address = 300
names = ["overvoltage", "", "overheat"]
"""
PACK = Reading(
    cell_voltage_v=(3.301, None, 3.303, 3.304),
    temperature_c=(-5.5, 21.0),
    current_a=-12.5,
    pack_voltage_v=13.25,
    soc=0.785,
    nominal_capacity_ah=100.0,
    charge_enabled=True,
    alarms=("overvoltage", "overheat"),
)
# By hand: 12500 = 0x000030D4, the low word first; 13.25 is 0x41540000 as IEEE 754.
REGISTERS = {
    100: 3301,
    101: 65535,
    102: 3303,
    103: 3304,
    110: 65536 - 55,
    111: 210,
    200: 0x30D4,
    201: 0x0000,
    202: 0x4154,
    203: 0x0000,
    204: 785,
    205: 100,
    206: 1,
    300: 0b101,
}


@pytest.fixture
def register_map(tmp_path: Path) -> Path:
    path = tmp_path / "map.toml"
    path.write_text(MAP)
    return path


def test_registers_to_reading(register_map: Path) -> None:
    assert load(register_map).reading(REGISTERS) == PACK


def test_few_requests(register_map: Path) -> None:
    assert load(register_map).blocks() == [(100, 12), (200, 7), (300, 1)]
    long = RegisterMap([Value("cell_voltage_v", 0, count=300)])
    assert long.blocks() == [(0, 125), (125, 125), (250, 50)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit = "%"', 'unit = "V"', "no unit of soc"),
        ('type = "f32"', 'type = "f16"', "expected one of u16"),
        ("device = 7", 'table = "coils"', "holding or input"),
        ("address = 300", "address = 'x'", "Expected `int`"),
        ("count = 4", "count = 0", "1 or more"),
        ("address = 206", "address = 65536", "0 to 65535"),
        ('words = "little"', 'words = "middle"', "big or little"),
        ('to = "charge_enabled"', 'to = "alarm"', "expected a value"),
        ("[[alarm]]", "[[alarm", "map.toml"),
    ],
)
def test_a_map_says_what_is_wrong(register_map: Path, old: str, new: str, message: str) -> None:
    register_map.write_text(MAP.replace(old, new))
    with pytest.raises(MappingError, match=message):
        load(register_map)


@contextlib.asynccontextmanager
async def modbus_server(port: int, framer: FramerType) -> AsyncIterator[ModbusTcpServer]:
    data = [
        SimData(address, values=value, datatype=DataType.REGISTERS)
        for address, value in REGISTERS.items()
    ]
    data += [SimData(gap, count=n, values=0, datatype=DataType.REGISTERS) for gap, n in ((104, 6),)]
    server = ModbusTcpServer(
        SimDevice(7, simdata=sorted(data, key=lambda one: one.address)),
        framer=framer,
        address=("127.0.0.1", port),
    )
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()


@pytest.mark.parametrize(("scheme", "framer"), [("tcp", "socket"), ("rtu+tcp", "rtu")])
async def test_modbus_server(scheme: str, framer: str, free_port: int, register_map: Path) -> None:
    notes = Awaited(3)
    reader = ModbusReader(
        client_of(f"{scheme}://127.0.0.1:{free_port}", 9_600, "N"),
        load(register_map),
        Gateway(notes, AssetOptions("rack1", "gw1"), "s1"),
        SystemClock(),
        Rhythm(interval_s=0.02, first_backoff_s=0.05),
    )
    task = asyncio.create_task(reader.run())
    async with asyncio.timeout(20):
        await notes.offline.wait()  # nobody listens yet: the asset is told off line
        async with modbus_server(free_port, FramerType(framer)):
            await notes.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert notes.states[:2] == [False, True]
    assert notes.frames[0].voltage_v == [3.301, None, 3.303, 3.304]
    assert (notes.frames[0].current_a, notes.frames[0].device_soc) == (-12.5, 0.785)
    assert notes.configs[0].nominal_capacity_ah == 100.0
    told = [(alarm.name, alarm.active) for alarm in notes.alarms[:2]]
    assert told == [("overvoltage", True), ("overheat", True)]


async def test_modbus_to_broker(free_port: int, register_map: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        modbus_port = probe.getsockname()[1]
    settings = ModbusSettings(
        broker=f"mqtt://127.0.0.1:{free_port}",
        asset="rack1",
        port=f"tcp://127.0.0.1:{modbus_port}",
        map=str(register_map),
        interval_s=0.05,
    )
    with embedded(free_port):
        async with modbus_server(modbus_port, FramerType.SOCKET), ear(free_port) as heard:
            task = asyncio.create_task(run_modbus(settings))
            await heard.until(lambda: len(heard.on("bms/rack1/telemetry")) >= 2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await heard.until(lambda: heard.on("bms/rack1/status")[-1:] == [b"offline"])
        (frame,) = decode_telemetry(heard.on("bms/rack1/telemetry")[0])
        assert frame.pack_voltage_v == 13.25


def test_modbus_addresses() -> None:
    for port in ("udp://x", "tcp://"):
        with pytest.raises(MappingError, match="expected tcp"):
            client_of(port, 9_600, "N")


DBC = """VERSION ""
NS_ :
BS_:
BU_: BMS
BO_ 256 PackStatus: 8 BMS
 SG_ PackVoltage : 0|16@1+ (0.1,0) [0|6553.5] "V" Vector__XXX
 SG_ PackCurrent : 16|16@1- (0.1,0) [-3276|3276] "A" Vector__XXX
 SG_ StateOfCharge : 32|8@1+ (0.5,0) [0|100] "%" Vector__XXX
 SG_ Overheat : 40|1@1+ (1,0) [0|1] "" Vector__XXX
BO_ 257 Cells: 8 BMS
 SG_ Group M : 0|8@1+ (1,0) [0|255] "" Vector__XXX
 SG_ Cell1 m0 : 8|16@1+ (0.001,0) [0|65] "V" Vector__XXX
 SG_ Cell2 m0 : 24|16@1+ (0.001,0) [0|65] "V" Vector__XXX
 SG_ Cell3 m1 : 8|16@1+ (0.001,0) [0|65] "V" Vector__XXX
 SG_ Cell4 m1 : 24|16@1+ (0.001,0) [0|65] "V" Vector__XXX
"""
SIGNALS = """
[[rule]]
topic = "PackStatus/PackVoltage"
to = "pack_voltage_v"

[[rule]]
topic = "PackStatus/PackCurrent"
to = "current_a"
sign = -1

[[rule]]
topic = "PackStatus/StateOfCharge"
to = "soc"
unit = "%"

[[rule]]
topic = "PackStatus/{name}"
to = "alarm"

[[rule]]
topic = "Cells/Cell{n}"
to = "cell_voltage_v"
"""
# By hand from the DBC, little-endian: 356.7 V, 25.0 A, 78.5 %, overheated; cells in mV.
CAN_FRAMES = (
    (256, bytes.fromhex("ef0dfa009d010000")),
    (257, bytes.fromhex("00e50ce60c000000")),
    (257, bytes.fromhex("01e70ce80c000000")),
)


def message(identifier: int, data: bytes) -> can.Message:
    return can.Message(arbitration_id=identifier, data=data, is_extended_id=False)


@pytest.fixture
def can_files(tmp_path: Path) -> tuple[Path, Path]:
    dbc, mapping = tmp_path / "pack.dbc", tmp_path / "signals.toml"
    dbc.write_text(DBC)
    mapping.write_text(
        SIGNALS.replace("{name}", "Overheat").replace(
            'to = "alarm"', 'to = "alarm"\nname = "overheat"'
        )
    )
    return dbc, mapping


def listener(files: tuple[Path, Path], notes: Awaited, silence_ms: int = 60_000) -> CanListener:
    return CanListener(
        "virtual",
        "cellpulse-test",
        None,
        open_database(files[0]),
        Translator(load_mapping(files[1]), Timing(settle_ms=20, longest_ms=50), "truck"),
        Gateway(notes, AssetOptions("truck", "gw1"), "s1"),
        silence_ms,
    )


def test_can_frames_to_reading(can_files: tuple[Path, Path]) -> None:
    listening = listener(can_files, Awaited(1))
    for identifier, data in (*CAN_FRAMES, (0x7FF, b"\0"), (256, b"\1")):
        listening.take(identifier, data, 1_000)
    assert listening.translator.ignored >= 2  # an unknown frame and a short one
    (told,) = listening.translator.due(9_000)
    assert told.reading == Reading(
        cell_voltage_v=(3.301, 3.302, 3.303, 3.304),
        current_a=-25.0,
        pack_voltage_v=356.7,
        soc=0.785,
        alarms=("overheat",),
    )


async def test_can_on_a_virtual_bus(can_files: tuple[Path, Path]) -> None:
    notes = Awaited(2)
    listening = listener(can_files, notes, silence_ms=150)
    task = asyncio.create_task(listening.run())
    with can.Bus(interface="virtual", channel="cellpulse-test") as bus:
        async with asyncio.timeout(20):
            while not notes.enough.is_set():
                for identifier, data in CAN_FRAMES:
                    bus.send(
                        can.Message(arbitration_id=identifier, data=data, is_extended_id=False)
                    )
                await asyncio.sleep(0.03)
            await notes.offline.wait()  # then nobody sends
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert notes.frames[-1].voltage_v == [3.301, 3.302, 3.303, 3.304]
    assert notes.frames[-1].current_a == -25.0
    assert notes.states == [True, False]


async def test_can_to_broker(free_port: int, can_files: tuple[Path, Path]) -> None:
    dbc, mapping = can_files
    settings = CanSettings(
        broker=f"mqtt://127.0.0.1:{free_port}",
        asset="truck",
        dbc=str(dbc),
        mapping=str(mapping),
        interface="virtual",
        channel="cellpulse-broker",
        interval_s=0.05,
    )
    with embedded(free_port), can.Bus(interface="virtual", channel="cellpulse-broker") as bus:
        async with ear(free_port, "bms/#") as heard:
            task = asyncio.create_task(run_can(settings))
            async with asyncio.timeout(20):
                while not heard.on("bms/truck/telemetry"):
                    for identifier, data in CAN_FRAMES:
                        bus.send(message(identifier, data))
                    await asyncio.sleep(0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await heard.until(lambda: heard.on("bms/truck/status")[-1:] == [b"offline"])


async def test_can_files_that_cannot_be_used(can_files: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dbc"
    broken.write_text("BO_ nonsense")
    settings: Any = CanSettings(asset="t", dbc=str(broken), mapping=str(can_files[1]))
    with pytest.raises(MappingError, match=r"broken\.dbc"):
        await run_can(settings)
    with pytest.raises(MappingError, match=r"no\.toml"):
        await run_can(replace(settings, dbc=str(can_files[0]), mapping=str(tmp_path / "no.toml")))
