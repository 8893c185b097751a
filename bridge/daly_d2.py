"""Daly, protocol D2: Modbus function 3 under the fixed address 0xD2.

`D2 03 address16 count16 crc16`; reply `D2 03 bytes data crc16`, registers big-endian. Registers
0x00.. cells in mV, 0x20.. temperatures, 0x28 voltage, 0x29 current, 0x2A SOC, 0x30 remaining
charge, 0x31 cells, 0x32 sensors, 0x3A-0x3D faults; 0x80.. the settings.

Layout: aiobmsble `daly_bms.py` and batmon-ha `daly2.py` for the state, Daly's register sheet as
public register headers carry it for faults and settings. The current's sign is a choice, because
the sources differ: above 30000 the pack charges (aiobmsble, whose convention is ours), while
batmon-ha reads the same number as discharging. `--invert-current` takes the other side.
"""

from __future__ import annotations

import struct

from bridge.conversation import Ask, Conversation, Protocol
from bridge.crc import crc16_modbus
from bridge.daly import LEVEL_ALARMS
from bridge.errors import FrameError
from bridge.reading import Chemistry, Identity, Reading, fraction, names_of, text

STATE, STATE_COUNT = 0x00, 0x3E
MOS, MOS_COUNT = 0x3E, 0x09
SETTINGS, SETTINGS_COUNT = 0x80, 0x17
VERSIONS, VERSIONS_COUNT = 0xA9, 0x20
MAX_CELLS, MAX_SENSORS = 32, 8
CURRENT_ZERO, TEMPERATURE_ZERO = 30_000, 40
CHEMISTRIES: tuple[Chemistry, ...] = ("LFP", "NMC", "LTO")

# Registers 0x3A (bits 0..15), 0x3B (16..31) and 0x3C (32..47).
ALARMS = (
    *LEVEL_ALARMS,
    *("",) * 4,
    "charge_mosfet_overtemperature",
    "discharge_mosfet_overtemperature",
    "charge_mosfet_sensor_failure",
    "discharge_mosfet_sensor_failure",
    "charge_mosfet_stuck",
    "discharge_mosfet_stuck",
    "charge_mosfet_open",
    "discharge_mosfet_open",
    "front_end_error",
    "cell_disconnected",
    "temperature_sensor_failure",
    "eeprom_failure",
    "clock_failure",
    "precharge_failure",
    "communication_failure",
    "network_failure",
)
ALARM_NAMES = tuple(name for name in ALARMS if name)


def request(address: int, count: int) -> bytes:
    """The request to read `count` registers from `address`."""
    head = struct.pack(">BBHH", 0xD2, 3, address, count)
    return head + crc16_modbus(head)


def reply(data: bytes) -> bytes:
    """A board's reply, for the simulated board."""
    head = bytes((0xD2, 3, len(data))) + data
    return head + crc16_modbus(head)


def split(received: bytes) -> tuple[bytes | None, int]:
    """The first intact reply; see `conversation.Split`."""
    start = received.find(b"\xd2")
    if start < 0:
        return None, len(received)
    if start:
        return None, start
    if len(received) < 3:
        return None, 0
    if received[1] != 3 or received[2] == 0 or received[2] > 250:
        return None, 1
    length = received[2] + 5
    if len(received) < length:
        return None, 0
    frame = received[:length]
    if crc16_modbus(frame[:-2]) != frame[-2:]:
        return None, 1
    return frame, length


def registers(frame: bytes, count: int) -> tuple[int, ...]:
    """The `count` registers of an intact reply; raises FrameError."""
    data = _data(frame)
    if len(data) != 2 * count:
        raise FrameError(f"Daly D2: {len(data)} bytes of data, expected {2 * count}")
    return struct.unpack(f">{count}H", data)


def decode(state: bytes, mos: bytes | None = None) -> Reading:
    """The reading in a reply to 0x00 and, where there is one, to 0x3E; raises FrameError."""
    value = registers(state, STATE_COUNT)
    cells, sensors = value[0x31], value[0x32]
    if not 1 <= cells <= MAX_CELLS or sensors > MAX_SENSORS:
        raise FrameError(f"Daly D2: {cells} cells and {sensors} sensors announced")
    faults = sum(word << 16 * index for index, word in enumerate(value[0x3A:0x3E]))
    mos_raw = registers(mos, MOS_COUNT)[4] if mos is not None else 0
    return Reading(
        cell_voltage_v=tuple(mv / 1000 for mv in value[:cells]),
        temperature_c=tuple(_temperature(raw) for raw in value[0x20 : 0x20 + sensors]),
        mos_temperature_c=_temperature(mos_raw),
        current_a=(value[0x29] - CURRENT_ZERO) / 10,
        pack_voltage_v=value[0x28] / 10,
        soc=fraction(value[0x2A] / 10),
        remaining_capacity_ah=value[0x30] / 10,
        cycles=value[0x33],
        charge_enabled=value[0x35] != 0,
        discharge_enabled=value[0x36] != 0,
        balancing=value[0x34] != 0,
        alarms=names_of(faults, ALARMS),
    )


def decode_identity(state: bytes, settings: bytes | None, versions: bytes | None) -> Identity:
    """What the replies to 0x00, 0x80 and 0xA9 say of the board; raises FrameError."""
    cells = registers(state, STATE_COUNT)[0x31]
    software = hardware = None
    if versions is not None:
        data = _data(versions)
        software, hardware = text(data[:16]), text(data[16:32])
    if settings is None:
        return Identity(
            firmware=software, hardware=hardware, cells=cells or None, alarm_names=ALARM_NAMES
        )
    value = registers(settings, SETTINGS_COUNT)
    kind = value[0x09]
    return Identity(
        firmware=software,
        hardware=hardware,
        chemistry=CHEMISTRIES[kind] if kind < len(CHEMISTRIES) else None,
        cells=cells or None,
        nominal_capacity_ah=value[0] / 10 or None,
        cell_voltage_max_v=value[0x0C] / 1000 or None,
        cell_voltage_min_v=value[0x0E] / 1000 or None,
        charge_current_max_a=_magnitude(value[0x14]),
        discharge_current_max_a=_magnitude(value[0x16]),
        alarm_names=ALARM_NAMES,
    )


def _data(frame: bytes) -> bytes:
    found, used = split(frame)
    if found is None or used != len(frame):
        raise FrameError("Daly D2: not one intact frame")
    return frame[3:-2]


def _temperature(raw: int) -> float | None:
    return float(raw - TEMPERATURE_ZERO) if 0 < raw <= 0xFF else None


def _magnitude(raw: int) -> float | None:
    return abs(raw - CURRENT_ZERO) / 10 or None if raw else None


def _ask(address: int, count: int, optional: bool = False) -> Ask:
    return Ask(request(address, count), lambda frame: frame[2] == 2 * count, optional=optional)


def _poll() -> Conversation[Reading]:
    state = yield _ask(STATE, STATE_COUNT)
    return decode(state[0])


def _identify() -> Conversation[Identity]:
    state = yield _ask(STATE, STATE_COUNT)
    settings = yield _ask(SETTINGS, SETTINGS_COUNT, optional=True)
    versions = yield _ask(VERSIONS, VERSIONS_COUNT, optional=True)
    return decode_identity(
        state[0], settings[0] if settings else None, versions[0] if versions else None
    )


DALY_D2 = Protocol("daly-d2", 9_600, split, _poll, _identify)
