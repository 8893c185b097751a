"""JK (Jikong) 300-byte frames: over Bluetooth, and over RS485 on inverter boards (PB series).

`55 AA EB 90 type counter ... sum8`, little-endian; type 1 is the settings, 2 the state, 3 the
names. There are two layouts of the state: up to firmware 10 for 24 cells, from 11 for 32 cells,
where the 8 added cells move what follows by 16 bytes and 8 added resistances by 16 more.

Layout: JK "BMS RS485 Modbus V1.1" register sheet (frame offset = register + 6); aiobmsble
`jikong_bms.py`, batmon-ha `jikong.py` and esphome-jk-bms `jk_bms_ble.cpp` agree but for byte 254,
which the sheet calls battery sensor 3, aiobmsble a second transistor sensor and the others do not
read. In three of four recordings it repeats the transistors' temperature, so it is left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bridge.conversation import Ask, Conversation, Protocol
from bridge.crc import crc16_modbus
from bridge.errors import FrameError
from bridge.numbers import whole
from bridge.reading import Identity, Reading, fraction, names_of, text

HEAD = b"\x55\xaa\xeb\x90"
LENGTH = 300
SETTINGS, STATE, NAMES = 1, 2, 3
NO_SENSOR = -2_000  # tenths of a degree
Layout = Literal["24s", "32s"]

ALARMS = (
    "balance_wire_resistance",
    "mosfet_overtemperature",
    "cell_count_mismatch",
    "current_sensor_failure",
    "cell_overvoltage",
    "pack_overvoltage",
    "charge_overcurrent",
    "charge_short_circuit",
    "charge_overtemperature",
    "charge_undertemperature",
    "internal_communication_failure",
    "cell_undervoltage",
    "pack_undervoltage",
    "discharge_overcurrent",
    "discharge_short_circuit",
    "discharge_overtemperature",
    "charge_mosfet_failure",
    "discharge_mosfet_failure",
    "",
    "",
    "discharge_on_failed",
    "battery_overtemperature",
    "temperature_sensor_failure",
    "current_limiter_failure",
)
ALARM_NAMES = tuple(name for name in ALARMS if name)
_NOTICES = 1 << 18 | 1 << 19  # no GPS, password never changed: nothing about the battery


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the two layouts differ; all else moves by `shift` bytes."""

    cells: int
    mask: int
    average: int
    shift: int
    mos: int


_PLACES: dict[Layout, _Places] = {
    "24s": _Places(cells=24, mask=54, average=58, shift=0, mos=134),
    "32s": _Places(cells=32, mask=70, average=74, shift=32, mos=144),
}


def split(received: bytes) -> tuple[bytes | None, int]:
    """The first intact frame; see `conversation.Split`."""
    start = received.find(HEAD)
    if start < 0:
        keep = next((n for n in (3, 2, 1) if received.endswith(HEAD[:n])), 0)
        return None, len(received) - keep
    if start:
        return None, start
    if len(received) < LENGTH:
        return None, 0
    frame = received[:LENGTH]
    if sum(frame[:-1]) & 0xFF != frame[-1]:
        return None, len(HEAD)
    return frame, LENGTH


def seal(body: bytes) -> bytes:
    """A whole frame from all but its checksum, for the simulated board."""
    return body + bytes((sum(body) & 0xFF,))


def checked(frame: bytes, kind: int) -> bytes:
    """The frame itself if it is intact and of the kind asked for; raises FrameError."""
    found, used = split(frame)
    if found is None or used != len(frame):
        raise FrameError("JK: not one intact 300-byte frame")
    if frame[4] != kind:
        raise FrameError(f"JK: frame of type {frame[4]}, expected {kind}")
    return frame


def layout_of(frame: bytes) -> Layout:
    """The layout of a state frame from the frame alone; raises FrameError where it is not clear.

    In the right layout the cell mask has a bit for just the cells that have a voltage, and the
    average is that of these cells.
    """
    for name, place in _PLACES.items():
        mask = int.from_bytes(frame[place.mask : place.mask + 4], "little")
        raw = struct.unpack_from(f"<{place.cells}H", frame, 6)
        cells = [mv for index, mv in enumerate(raw) if mask >> index & 1]
        average = int.from_bytes(frame[place.average : place.average + 2], "little")
        if cells and all(cells) and abs(sum(cells) / len(cells) - average) <= 20:
            return name
    raise FrameError("JK: neither the 24-cell nor the 32-cell layout fits the frame")


def layout_of_firmware(firmware: str | None) -> Layout | None:
    """The layout by the firmware's main number (aiobmsble): 32 cells from 11 on."""
    major = _major(firmware)
    return None if major is None else ("32s" if major >= 11 else "24s")


def decode(frame: bytes, firmware: str | None = None) -> Reading:
    """The reading in a state frame; raises FrameError.

    `firmware` is the board's version from its names frame; without it the layout is found in the
    frame, and the two battery sensors that came with firmware 14 are not read.
    """
    checked(frame, STATE)
    layout = layout_of_firmware(firmware) or layout_of(frame)
    place = _PLACES[layout]
    at = place.shift
    mask = int.from_bytes(frame[place.mask : place.mask + 4], "little")
    raw_cells = struct.unpack_from(f"<{place.cells}H", frame, 6)
    count = mask.bit_length()
    if count == 0 or count > place.cells:
        raise FrameError(f"JK: cell mask 0x{mask:08x} in the layout for {place.cells} cells")
    voltage, current = struct.unpack_from("<I4xi", frame, 118 + at)
    if layout == "32s":
        alarms = int.from_bytes(frame[166:170], "little")
    else:
        alarms = int.from_bytes(frame[136:138], "little")
    balance, soc, remaining, full, cycles = struct.unpack_from("<BBIII", frame, 140 + at)
    sensors = [130 + at, 132 + at]
    if (_major(firmware) or 0) >= 14:
        sensors += [256, 258]
    return Reading(
        cell_voltage_v=tuple(
            mv / 1000 if mask >> index & 1 else None for index, mv in enumerate(raw_cells[:count])
        ),
        temperature_c=tuple(_temperature(frame, where) for where in sensors),
        mos_temperature_c=_temperature(frame, place.mos),
        current_a=current / 1000,
        pack_voltage_v=voltage / 1000,
        soc=fraction(soc),
        soh=fraction(frame[158 + at]),
        remaining_capacity_ah=remaining / 1000,
        nominal_capacity_ah=full / 1000 or None,
        cycles=cycles,
        charge_enabled=frame[166 + at] != 0,
        discharge_enabled=frame[167 + at] != 0,
        balancing=balance != 0,
        alarms=names_of(alarms & ~_NOTICES, ALARMS),
    )


def decode_identity(names: bytes | None, settings: bytes | None, state: bytes | None) -> Identity:
    """What the frames of type 3, 1 and 2 say of the board; raises FrameError.

    The settings hold the capacity that the owner set; the state frame's is the board's own
    estimate of what the aged pack still takes, and stands in where there are no settings.
    """
    model = hardware = firmware = serial = None
    if names is not None:
        checked(names, NAMES)
        model, hardware, firmware = text(names[6:22]), text(names[22:30]), text(names[30:38])
        serial = text(names[86:97])
    reading = decode(state, firmware) if state is not None else Reading()
    cells = len(reading.cell_voltage_v)
    capacity = reading.nominal_capacity_ah
    if settings is None:
        return Identity(
            model,
            hardware,
            firmware,
            serial,
            None,
            cells or None,
            capacity,
            alarm_names=ALARM_NAMES,
        )
    checked(settings, SETTINGS)

    def number(where: int) -> int:
        value: int = struct.unpack_from("<i", settings, where)[0]
        return value

    return Identity(
        model=model,
        hardware=hardware,
        firmware=firmware,
        serial=serial,
        cells=number(114) or cells or None,
        nominal_capacity_ah=number(130) / 1000 or capacity,
        cell_voltage_max_v=number(18) / 1000 or None,
        cell_voltage_min_v=number(10) / 1000 or None,
        charge_current_max_a=number(50) / 1000 or None,
        discharge_current_max_a=number(62) / 1000 or None,
        temperature_max_c=number(90) / 10 or None,
        temperature_min_c=number(98) / 10 or None,
        alarm_names=ALARM_NAMES,
    )


def request(register: int, board: int = 1) -> bytes:
    """The RS485 request for a frame: 0x161C names, 0x161E settings, 0x1620 state.

    A Modbus write (function 16) of one zero word; the board sends the frame, then the usual
    acknowledgement, which is no frame and is dropped.
    """
    head = struct.pack(">BBHHBH", board, 0x10, register, 1, 2, 0)
    return head + crc16_modbus(head)


def _temperature(frame: bytes, where: int) -> float | None:
    raw: int = struct.unpack_from("<h", frame, where)[0]
    return None if raw == NO_SENSOR else raw / 10


def _major(firmware: str | None) -> int | None:
    digits = (firmware or "").lstrip("Vv").split(".", 1)[0]
    return whole(digits, 999)


def _ask(kind: int, board: int, optional: bool = False) -> Ask:
    register = {NAMES: 0x161C, SETTINGS: 0x161E, STATE: 0x1620}[kind]
    return Ask(request(register, board), lambda frame: frame[4] == kind, optional=optional)


def protocol(board: int = 1) -> Protocol:
    """JK frames over RS485 (PB boards) to one address; remembers the firmware it was told."""
    known: dict[str, str | None] = {"firmware": None}

    def poll(board: int) -> Conversation[Reading]:
        state = yield _ask(STATE, board)
        return decode(state[0], known["firmware"])

    def identify(board: int) -> Conversation[Identity]:
        names = yield _ask(NAMES, board, optional=True)
        settings = yield _ask(SETTINGS, board, optional=True)
        state = yield _ask(STATE, board)
        identity = decode_identity(
            names[0] if names else None, settings[0] if settings else None, state[0]
        )
        known["firmware"] = identity.firmware
        return identity

    return Protocol("jk-pb", 115_200, split, partial(poll, board), partial(identify, board))
