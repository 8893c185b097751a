"""Daly, protocol A5: 13-byte frames over UART and RS485.

`A5 addr cmd 08 data8 sum8`; the host asks from 0x40 (0x3F + board number), the board answers
with its number. 0x90 is the state, 0x93 the switches, 0x94 the counts, 0x95 cells (three a
frame), 0x96 temperatures (seven a frame), 0x97 balancing, 0x98 faults, 0x50 the rated capacity.

Layout: "Daly UART/485 Communications Protocol V1.2"; dbus-serialbattery `daly.py`, batmon-ha
`daly_uart.py` and maland16/daly-bms-uart agree on it. Choices, because the sources differ:
- the current: 30000 is zero; above it the pack discharges (dbus-serialbattery, batmon-ha), so it
  is negated here; some firmware counts the other way, which `--invert-current` undoes;
- the eight idle bytes of a request: 0xAA (dbus-serialbattery and batmon-ha: boards answer more
  often than to the document's zeros).

No intact frame captured from a board's own UART was found in public: the published ones are a
board's payload in a rebuilt envelope, or follow the document.
"""

from __future__ import annotations

import struct
from functools import partial

from bridge.conversation import Ask, Conversation, Protocol
from bridge.errors import FrameError
from bridge.reading import Identity, Reading, fraction, names_of

LENGTH = 13
RATED, STATE, SWITCHES, COUNTS = 0x50, 0x90, 0x93, 0x94
CELLS, TEMPERATURES, BALANCE, FAULTS = 0x95, 0x96, 0x97, 0x98
MAX_CELLS, MAX_SENSORS = 48, 16
CURRENT_ZERO, TEMPERATURE_ZERO = 30_000, 40

_LEVELLED = (
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
    "soc_high",
    "soc_low",
    "cell_difference",
    "temperature_difference",
)
LEVEL_ALARMS = tuple(f"{name}_{level}" for name in _LEVELLED for level in (1, 2))
"""Level 1 is the board's warning, level 2 its alarm."""

# The bits of 0x98, byte 0 bit 0 first.
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
    "voltage_sensor_failure",
    "temperature_sensor_failure",
    "eeprom_failure",
    "clock_failure",
    "precharge_failure",
    "vehicle_communication_failure",
    "internal_communication_failure",
    "current_sensor_failure",
    "pack_voltage_sensor_failure",
    "short_circuit",
    "low_voltage_no_charging",
)
ALARM_NAMES = tuple(name for name in ALARMS if name)


def request(command: int, board: int = 1, fill: int = 0xAA) -> bytes:
    """The request for `command` to board number `board` (from 1)."""
    head = bytes((0xA5, 0x3F + board, command, 8)) + bytes((fill,)) * 8
    return head + _sum(head)


def reply(command: int, data: bytes, board: int = 1) -> bytes:
    """A board's reply, for the simulated board."""
    head = bytes((0xA5, board, command, 8)) + data
    return head + _sum(head)


def split(received: bytes) -> tuple[bytes | None, int]:
    """The first intact reply; see `conversation.Split`. A request's own echo is no reply."""
    start = received.find(b"\xa5")
    if start < 0:
        return None, len(received)
    if start:
        return None, start
    if len(received) < LENGTH:
        return None, 0
    frame = received[:LENGTH]
    if frame[1] >= 0x40 or frame[3] != 8 or _sum(frame[:-1]) != frame[-1:]:
        return None, 1
    return frame, LENGTH


def payload(frame: bytes, command: int) -> bytes:
    """The eight data bytes of an intact reply to `command`; raises FrameError."""
    found, used = split(frame)
    if found is None or used != len(frame):
        raise FrameError("Daly: not one intact frame")
    if frame[2] != command:
        raise FrameError(f"Daly: reply to 0x{frame[2]:02x}, expected 0x{command:02x}")
    return frame[4:12]


def decode_counts(frame: bytes) -> tuple[int, int, int]:
    """(cells, temperature sensors, cycles) of a reply to 0x94; raises FrameError."""
    cells, sensors, _charger, _load, _pins, cycles, _ = struct.unpack(
        ">5BHB", payload(frame, COUNTS)
    )
    if not 1 <= cells <= MAX_CELLS or sensors > MAX_SENSORS:
        raise FrameError(f"Daly: {cells} cells and {sensors} sensors announced")
    return cells, sensors, cycles


def decode_state(frame: bytes) -> tuple[float, float, float | None]:
    """(pack voltage V, current A with positive charging, SOC) of a reply to 0x90."""
    voltage, _gathered, current, soc = struct.unpack(">4H", payload(frame, STATE))
    return voltage / 10, (CURRENT_ZERO - current) / 10, fraction(soc / 10)


def decode_switches(frame: bytes) -> tuple[bool, bool, float]:
    """(charging enabled, discharging enabled, remaining Ah) of a reply to 0x93."""
    _state, charge, discharge, _life, remaining = struct.unpack(">4BI", payload(frame, SWITCHES))
    return charge == 1, discharge == 1, remaining / 1000


def decode_numbered(frames: list[bytes], command: int, count: int) -> list[int]:
    """`count` values of the numbered frames of 0x95 (u16) or 0x96 (u8); raises FrameError."""
    layout = struct.Struct(">B3HB" if command == CELLS else ">8B")
    width = 3 if command == CELLS else 7
    by_number = {}
    for frame in frames:
        number, *values = layout.unpack(payload(frame, command))
        by_number[number] = values[:width]
    wanted = range(1, -(-count // width) + 1)
    if any(number not in by_number for number in wanted):
        raise FrameError(f"Daly: frames {sorted(by_number)} of 0x{command:02x}, 1 to {wanted[-1]}")
    return [value for number in wanted for value in by_number[number]][:count]


def decode(answers: dict[int, list[bytes]]) -> Reading:
    """The reading in the replies, by command; raises FrameError.

    0x90, 0x94 and 0x95 must be there; without one of the others its values are None.
    """
    cell_count, sensors, cycles = decode_counts(_first(answers, COUNTS))
    voltage_v, current_a, soc = decode_state(_first(answers, STATE))
    cells = decode_numbered(answers.get(CELLS, []), CELLS, cell_count)
    charge = discharge = balancing = remaining = None
    temperatures: list[int] = []
    alarms: tuple[str, ...] = ()
    if answers.get(SWITCHES):
        charge, discharge, remaining = decode_switches(_first(answers, SWITCHES))
    if answers.get(TEMPERATURES) and sensors:
        temperatures = decode_numbered(answers[TEMPERATURES], TEMPERATURES, sensors)
    if answers.get(BALANCE):
        balancing = any(payload(_first(answers, BALANCE), BALANCE)[:6])
    if answers.get(FAULTS):
        faults = payload(_first(answers, FAULTS), FAULTS)[:7]
        alarms = names_of(int.from_bytes(faults, "little"), ALARMS)
    return Reading(
        cell_voltage_v=tuple(mv / 1000 for mv in cells),
        temperature_c=tuple(float(raw - TEMPERATURE_ZERO) for raw in temperatures),
        current_a=current_a,
        pack_voltage_v=voltage_v,
        soc=soc,
        remaining_capacity_ah=remaining,
        cycles=cycles,
        charge_enabled=charge,
        discharge_enabled=discharge,
        balancing=balancing,
        alarms=alarms,
    )


def _first(answers: dict[int, list[bytes]], command: int) -> bytes:
    frames = answers.get(command)
    if not frames:
        raise FrameError(f"Daly: no reply to 0x{command:02x}")
    return frames[0]


def _ask(command: int, board: int, count: int = 1, optional: bool = False) -> Ask:
    return Ask(
        request(command, board),
        lambda frame: frame[2] == command and frame[1] == board,
        count,
        optional,
    )


def _poll(board: int) -> Conversation[Reading]:
    answers = {COUNTS: (yield _ask(COUNTS, board))}
    cells, sensors, _ = decode_counts(answers[COUNTS][0])
    answers[STATE] = yield _ask(STATE, board)
    answers[CELLS] = yield _ask(CELLS, board, count=-(-cells // 3))
    if sensors:
        answers[TEMPERATURES] = yield _ask(
            TEMPERATURES, board, count=-(-sensors // 7), optional=True
        )
    for command in (SWITCHES, FAULTS):
        answers[command] = yield _ask(command, board, optional=True)
    return decode(answers)


def _identify(board: int) -> Conversation[Identity]:
    counts = yield _ask(COUNTS, board)
    rated = yield _ask(RATED, board, optional=True)
    capacity = struct.unpack(">II", payload(rated[0], RATED))[0] / 1000 if rated else None
    return Identity(
        cells=decode_counts(counts[0])[0],
        nominal_capacity_ah=capacity or None,
        alarm_names=ALARM_NAMES,
    )


def protocol(board: int = 1) -> Protocol:
    """Daly A5 to one board number on the bus."""
    return Protocol("daly", 9_600, split, partial(_poll, board), partial(_identify, board))


def _sum(data: bytes) -> bytes:
    return bytes((sum(data) & 0xFF,))
