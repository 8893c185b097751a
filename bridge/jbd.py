"""JBD (Jiabaida, Xiaoxiang, Overkill Solar): serial protocol "v4".

Request `DD A5 cmd 00 crc16 77`; reply `DD cmd status len data crc16 77`, where crc16 is
0x10000 minus the sum of status (in a request: command), length and data, big-endian. 0x03 is the
state, 0x04 the cells in mV, 0x05 the board's name. Current is signed, positive charges.

Layout: JBD "RS485/UART general protocol V4"; esphome-jbd-bms `jbd_bms.cpp`, aiobmsble
`jbd_bms.py` and batmon-ha `jbd.py` agree on it.
"""

from __future__ import annotations

import struct

from bridge.conversation import Ask, Conversation, Protocol, need
from bridge.errors import FrameError
from bridge.reading import Identity, Reading, fraction, names_of, text

STATE, CELLS, NAME = 0x03, 0x04, 0x05
MAX_CELLS = 32

# Bits of the protection word; esphome-jbd-bms `ERRORS`.
ALARMS = (
    "cell_overvoltage",
    "cell_undervoltage",
    "pack_overvoltage",
    "pack_undervoltage",
    "charge_overtemperature",
    "charge_undertemperature",
    "discharge_overtemperature",
    "discharge_undertemperature",
    "charge_overcurrent",
    "discharge_overcurrent",
    "short_circuit",
    "front_end_error",
    "mosfet_software_lock",
    "charge_timeout",
)
_STATE = struct.Struct(">HhHHHHIHBBBBB")


def request(command: int) -> bytes:
    """The request to read a register."""
    return b"\xdd\xa5" + bytes((command, 0)) + _checksum(bytes((command, 0))) + b"\x77"


def reply(command: int, data: bytes, status: int = 0) -> bytes:
    """A board's reply, for the simulated board."""
    return (
        b"\xdd"
        + bytes((command, status, len(data)))
        + data
        + _checksum(bytes((status, len(data))) + data)
        + b"\x77"
    )


def split(received: bytes) -> tuple[bytes | None, int]:
    """The first intact reply; see `conversation.Split`."""
    start = received.find(b"\xdd")
    if start < 0:
        return None, len(received)
    if start:
        return None, start
    if len(received) < 4:
        return None, 0
    length = 7 + received[3]
    if len(received) < length:
        # A false start inside noise would otherwise wait for bytes that never come.
        return (None, 0) if received[2] in (0x00, 0x80) else (None, 1)
    frame = received[:length]
    if frame[-1] != 0x77 or frame[-3:-1] != _checksum(frame[2:-3]):
        return None, 1
    return frame, length


def payload(frame: bytes, command: int) -> bytes:
    """The data of an intact reply to `command`; raises FrameError for anything else."""
    found, used = split(frame)
    if found is None or used != len(frame):
        raise FrameError("JBD: not one intact frame")
    if frame[1] != command:
        raise FrameError(f"JBD: reply to 0x{frame[1]:02x}, expected 0x{command:02x}")
    if frame[2] != 0:
        raise FrameError(f"JBD: the board refuses 0x{command:02x} with status 0x{frame[2]:02x}")
    return frame[4:-3]


def decode(state: bytes, cells: bytes) -> Reading:
    """The reading in a reply to 0x03 and one to 0x04; raises FrameError."""
    data = payload(state, STATE)
    need(data, _STATE.size, "JBD state")
    (
        voltage,
        current,
        remaining,
        nominal,
        cycles,
        _date,
        balance,
        protection,
        _version,
        soc,
        fets,
        cell_count,
        sensors,
    ) = _STATE.unpack_from(data)
    need(data, _STATE.size + 2 * sensors, "JBD temperatures")
    raw_temperatures = struct.unpack_from(f">{sensors}H", data, _STATE.size)
    raw_cells = payload(cells, CELLS)
    if len(raw_cells) != 2 * cell_count or not 1 <= cell_count <= MAX_CELLS:
        raise FrameError(f"JBD: {cell_count} cells announced, {len(raw_cells)} bytes of cells")
    return Reading(
        cell_voltage_v=tuple(mv / 1000 for mv in struct.unpack(f">{cell_count}H", raw_cells)),
        # 0.1 K above 0 K, rounded by the board to 273.1; zero is a sensor that is not there.
        temperature_c=tuple((t - 2731) / 10 if t else None for t in raw_temperatures),
        current_a=current / 100,
        pack_voltage_v=voltage / 100,
        soc=fraction(soc),
        remaining_capacity_ah=remaining / 100,
        nominal_capacity_ah=nominal / 100,
        cycles=cycles,
        charge_enabled=bool(fets & 1),
        discharge_enabled=bool(fets & 2),
        balancing=balance != 0,
        alarms=names_of(protection, ALARMS),
    )


def decode_identity(state: bytes, name: bytes | None) -> Identity:
    """What a reply to 0x03 and, where there is one, to 0x05 say of the board."""
    data = payload(state, STATE)
    need(data, _STATE.size, "JBD state")
    nominal, version, cells = struct.unpack_from(">H", data, 6)[0], data[18], data[21]
    return Identity(
        model=text(payload(name, NAME)) if name is not None else None,
        firmware=f"{version >> 4}.{version & 15}",
        cells=cells or None,
        nominal_capacity_ah=nominal / 100 or None,
        alarm_names=ALARMS,
    )


def _ask(command: int, optional: bool = False) -> Ask:
    return Ask(request(command), lambda frame: frame[1] == command, optional=optional)


def _poll() -> Conversation[Reading]:
    state = yield _ask(STATE)
    cells = yield _ask(CELLS)
    return decode(state[0], cells[0])


def _identify() -> Conversation[Identity]:
    state = yield _ask(STATE)
    name = yield _ask(NAME, optional=True)
    return decode_identity(state[0], name[0] if name else None)


def _checksum(data: bytes) -> bytes:
    return (-sum(data) & 0xFFFF).to_bytes(2, "big")


JBD = Protocol("jbd", 9_600, split, _poll, _identify)
