"""A simulated board: speaks the wire protocol from any source of readings.

Pure: bytes of requests in, bytes of replies out. `pty_board` puts it on a pseudo-terminal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from bridge import daly, daly_d2, jbd, jk, jk_ble
from bridge.crc import crc16_modbus
from bridge.errors import MappingError
from bridge.protocols import NAMES
from bridge.reading import Reading

MAX_CELLS, MAX_SENSORS = 32, 8
_MOST = 1e12  # of a reading; past it a number only says that it is too large
Source = Callable[[], Reading]
"""The pack as it stands now."""


class Board:
    """Answers requests in one protocol. A request that it does not know gets no answer."""

    def __init__(self, name: str, source: Source) -> None:
        answers: dict[str, Callable[[bytes], tuple[list[bytes], int]]] = {
            "jbd": self._jbd,
            "daly": self._daly,
            "daly-d2": self._daly_d2,
            "jk": self._jk,
            "jk-pb": self._jk_pb,
        }
        if name not in answers:
            raise MappingError(f"protocol {name!r}: expected one of {', '.join(NAMES)}")
        now = source()
        if len(now.cell_voltage_v) > MAX_CELLS or len(now.temperature_c) > MAX_SENSORS:
            raise MappingError(
                f"{len(now.cell_voltage_v)} cells, {len(now.temperature_c)} sensors: a simulated "
                f"board has at most {MAX_CELLS} and {MAX_SENSORS}"
            )
        self._answer = answers[name]
        self._source = source
        self._held = b""

    def receive(self, data: bytes) -> list[bytes]:
        """The replies to the requests that are complete now, one item a reply."""
        self._held = (self._held + data)[-4_096:]
        replies: list[bytes] = []
        while self._held:
            found, used = self._answer(self._held)
            if not used:
                break
            self._held = self._held[used:]
            replies += found
        return replies

    def _jbd(self, held: bytes) -> tuple[list[bytes], int]:
        if not b"\xdd".startswith(held[:1]):
            return [], 1
        if len(held) < 7:
            return [], 0
        command = held[2]
        if held[:7] != jbd.request(command):
            return [], 1
        reading = self._source()
        if command == jbd.STATE:
            return [jbd.reply(command, _jbd_state(reading))], 7
        if command == jbd.CELLS:
            return [jbd.reply(command, _words(reading.cell_voltage_v, 1000))], 7
        if command == jbd.NAME:
            return [jbd.reply(command, b"CELLPULSE-SIMULATED")], 7
        return [jbd.reply(command, b"", status=0x80)], 7

    def _daly(self, held: bytes) -> tuple[list[bytes], int]:
        if held[:1] != b"\xa5":
            return [], 1
        if len(held) < daly.LENGTH:
            return [], 0
        if sum(held[:12]) & 0xFF != held[12] or held[1] != 0x40:
            return [], 1
        return _daly_replies(held[2], self._source()), daly.LENGTH

    def _daly_d2(self, held: bytes) -> tuple[list[bytes], int]:
        if held[:1] != b"\xd2":
            return [], 1
        if len(held) < 8:
            return [], 0
        if crc16_modbus(held[:6]) != held[6:8]:
            return [], 1
        address, count = struct.unpack(">HH", held[2:6])
        if not 1 <= count <= 125:  # as Modbus has it; more does not fit in a reply
            return [], 8
        table = _daly_d2_registers(self._source())
        words = [table.get(address + index, 0) for index in range(count)]
        return [daly_d2.reply(struct.pack(f">{count}H", *words))], 8

    def _jk(self, held: bytes) -> tuple[list[bytes], int]:
        request = jk.request()
        if not request.startswith(held[: len(request)]):
            return [], 1
        if len(held) < len(request):
            return [], 0
        return [jk.reply(_jk_body(self._source()))], len(request)

    def _jk_pb(self, held: bytes) -> tuple[list[bytes], int]:
        if held[:2] != b"\x01\x10"[: len(held)]:
            return [], 1
        if len(held) < 11:
            return [], 0
        kinds = {0x161C: jk_ble.NAMES, 0x161E: jk_ble.SETTINGS, 0x1620: jk_ble.STATE}
        register = int.from_bytes(held[2:4], "big")
        if register not in kinds or held[:11] != jk_ble.request(register):
            return [], 1
        frame = _jk_ble_frame(kinds[register], self._source())
        acknowledged = held[:6] + crc16_modbus(held[:6])
        return [frame + acknowledged], 11


def _words(values: tuple[float | None, ...], scale: float) -> bytes:
    return b"".join(_word(value, scale).to_bytes(2, "big") for value in values)


def _word(value: float | None, scale: float, zero: int = 0) -> int:
    return _clamped(value, scale, 0, 0xFFFF, zero)


def _clamped(value: float | None, scale: float, low: int, high: int, zero: int = 0) -> int:
    """A number as the wire can hold it; 0 where the pack does not know."""
    if value is None or not abs(value) < _MOST:
        return 0 if value is None or value != value else (low if value < 0 else high)
    return min(max(round(value * scale) + zero, low), high)


def _percent(fraction: float | None) -> int:
    """A byte; 255, which is no percentage, where the pack does not know."""
    return 0xFF if fraction is None else _clamped(fraction, 100, 0, 0xFF)


def _permille(fraction: float | None) -> int:
    return 0xFFFF if fraction is None else _word(fraction, 1000)


def _bits(reading: Reading, names: tuple[str, ...]) -> int:
    return sum(1 << names.index(name) for name in reading.alarms if name in names)


def _jbd_state(reading: Reading) -> bytes:
    temperatures = tuple(t for t in reading.temperature_c if t is not None)
    fets = (reading.charge_enabled is not False) | (reading.discharge_enabled is not False) << 1
    return struct.pack(
        ">HhHHHHIHBBBBB",
        _word(reading.pack_voltage_v, 100),
        _clamped(reading.current_a, 100, -0x8000, 0x7FFF),
        _word(reading.remaining_capacity_ah, 100),
        _word(reading.nominal_capacity_ah, 100),
        _word(reading.cycles, 1),
        0x2C7C,
        1 if reading.balancing else 0,
        _bits(reading, jbd.ALARMS),
        0x20,
        _percent(reading.soc),
        fets,
        len(reading.cell_voltage_v),
        len(temperatures),
    ) + b"".join(_word(t, 10, 2731).to_bytes(2, "big") for t in temperatures)


def _daly_replies(command: int, reading: Reading) -> list[bytes]:
    cells, temperatures = reading.cell_voltage_v, reading.temperature_c
    if command == daly.STATE:
        current = _word(-(reading.current_a or 0), 10, daly.CURRENT_ZERO)
        data = struct.pack(
            ">4H", _word(reading.pack_voltage_v, 10), 0, current, _permille(reading.soc)
        )
        return [daly.reply(command, data)]
    if command == daly.COUNTS:
        counts = (len(cells), len(temperatures), 0, 0, 0, _word(reading.cycles, 1))
        return [daly.reply(command, struct.pack(">5BHx", *counts))]
    if command == daly.CELLS:
        mv = [_word(v, 1000) for v in cells] + [0, 0]
        return [
            daly.reply(command, struct.pack(">B3Hx", n // 3 + 1, *mv[n : n + 3]))
            for n in range(0, len(cells), 3)
        ]
    if command == daly.TEMPERATURES:
        zero = daly.TEMPERATURE_ZERO
        raw = [_clamped(t, 1, 0, 0xFF, zero) for t in temperatures] + [0] * 6
        return [
            daly.reply(command, bytes((n // 7 + 1, *raw[n : n + 7])))
            for n in range(0, len(temperatures), 7)
        ]
    if command == daly.SWITCHES:
        on = (reading.charge_enabled is not False, reading.discharge_enabled is not False)
        remaining = _clamped(reading.remaining_capacity_ah, 1000, 0, 0xFFFFFFFF)
        return [daly.reply(command, struct.pack(">B??BI", 0, *on, 0, remaining))]
    if command == daly.FAULTS:
        return [daly.reply(command, _bits(reading, daly.ALARMS).to_bytes(8, "little"))]
    if command == daly.RATED:
        rated = _clamped(reading.nominal_capacity_ah, 1000, 0, 0xFFFFFFFF)
        return [daly.reply(command, struct.pack(">II", rated, 3_200))]
    return []


def _daly_d2_registers(reading: Reading) -> dict[int, int]:
    faults = _bits(reading, daly_d2.ALARMS)
    return {
        **{n: _word(v, 1000) for n, v in enumerate(reading.cell_voltage_v)},
        **{0x20 + n: _word(t, 1, 40) for n, t in enumerate(reading.temperature_c)},
        0x28: _word(reading.pack_voltage_v, 10),
        0x29: _word(reading.current_a, 10, daly_d2.CURRENT_ZERO),
        0x2A: _permille(reading.soc),
        0x30: _word(reading.remaining_capacity_ah, 10),
        0x31: len(reading.cell_voltage_v),
        0x32: len(reading.temperature_c),
        0x33: _word(reading.cycles, 1),
        0x34: int(reading.balancing is True),
        0x35: int(reading.charge_enabled is not False),
        0x36: int(reading.discharge_enabled is not False),
        **{0x3A + n: faults >> 16 * n & 0xFFFF for n in range(4)},
        0x80: _word(reading.nominal_capacity_ah, 10),
        0x89: 1,
    }


def _jk_body(reading: Reading) -> bytes:
    cells = b"".join(
        bytes((n,)) + _word(v, 1000).to_bytes(2, "big")
        for n, v in enumerate(reading.cell_voltage_v, 1)
    )
    current = reading.current_a or 0
    raw_current = _clamped(abs(current), 100, 0, 0x7FFF) | (0x8000 if current > 0 else 0)
    switches = (reading.charge_enabled is not False) | (reading.discharge_enabled is not False) << 1
    sensors = (reading.mos_temperature_c, *reading.temperature_c[:2])
    temperatures = b"".join(
        bytes((0x80 + n,)) + _word(t if t >= 0 else 100 - t, 1).to_bytes(2, "big")
        for n, t in enumerate(sensors)
        if t is not None
    )
    return (
        bytes((0x79, len(cells)))
        + cells
        + temperatures
        + struct.pack(">BH", 0x83, _word(reading.pack_voltage_v, 100))
        + struct.pack(">BH", 0x84, raw_current)
        + struct.pack(">BB", 0x85, _percent(reading.soc))
        + struct.pack(">BH", 0x87, _word(reading.cycles, 1))
        + struct.pack(">BH", 0x8A, len(reading.cell_voltage_v))
        + struct.pack(">BH", 0x8B, _bits(reading, jk.ALARMS))
        + struct.pack(">BH", 0x8C, switches | (4 if reading.balancing else 0))
        + struct.pack(">BI", 0xAA, _clamped(reading.nominal_capacity_ah, 1, 0, 0xFFFFFFFF))
        + struct.pack(">BB", 0xC0, 1)
    )


def _jk_ble_frame(kind: int, reading: Reading) -> bytes:
    frame = bytearray(jk_ble.LENGTH - 1)
    frame[:6] = jk_ble.HEAD + bytes((kind, 0))
    if kind == jk_ble.NAMES:
        frame[6:15] = b"CELLPULSE"
        frame[22:27] = b"SIM.1"
        frame[30:35] = b"11.01"
        return jk_ble.seal(bytes(frame))
    capacity = _clamped(reading.nominal_capacity_ah, 1000, 0, 0xFFFFFFFF)
    if kind == jk_ble.SETTINGS:
        struct.pack_into("<I", frame, 114, len(reading.cell_voltage_v))
        struct.pack_into("<I", frame, 130, capacity)
        return jk_ble.seal(bytes(frame))
    cells = [_word(v, 1000) for v in reading.cell_voltage_v]
    struct.pack_into(f"<{len(cells)}H", frame, 6, *cells)
    struct.pack_into("<IH", frame, 70, (1 << len(cells)) - 1, sum(cells) // max(1, len(cells)))
    for where, value in zip(
        (144, 162, 164), (reading.mos_temperature_c, *reading.temperature_c[:2]), strict=False
    ):
        raw = jk_ble.NO_SENSOR if value is None else _clamped(value, 10, -0x8000, 0x7FFF)
        struct.pack_into("<h", frame, where, raw)
    struct.pack_into("<I", frame, 150, _clamped(reading.pack_voltage_v, 1000, 0, 0xFFFFFFFF))
    struct.pack_into("<i", frame, 158, _clamped(reading.current_a, 1000, -(2**31), 2**31 - 1))
    struct.pack_into("<I", frame, 166, _bits(reading, jk_ble.ALARMS))
    struct.pack_into(
        "<BBIII",
        frame,
        172,
        int(reading.balancing is True),
        _percent(reading.soc),
        _clamped(reading.remaining_capacity_ah, 1000, 0, 0xFFFFFFFF),
        capacity,
        _clamped(reading.cycles, 1, 0, 0xFFFFFFFF),
    )
    frame[190] = 100 if reading.soh is None else _percent(reading.soh)
    frame[198] = int(reading.charge_enabled is not False)
    frame[199] = int(reading.discharge_enabled is not False)
    return jk_ble.seal(bytes(frame))
