"""JK (Jikong) over UART: tagged values in a `4E 57` frame.

`4E 57 length16 address32 06 source type` then tag-value pairs, then `record32 68 0000 sum16`;
length counts itself and all that follows, the sum all before it. 0x79 is the cells (byte count,
then number and mV of each), 0x80-0x82 temperatures, 0x83 voltage, 0x84 current, 0x85 SOC, 0x8B
warnings, 0x8C switches, 0x90... settings, 0xAA capacity.

Layout: "JK BMS general protocol" as esphome-jk-bms `jk_bms.cpp` quotes it; batmon-ha
`jikong_uart.py` and dbus-serialbattery `jkbms.py` agree but for the cold: the document and
esphome-jk-bms read 101 as -1 C (100 - raw), batmon-ha reads 100 as -1 C (99 - raw). The first is
the default, `cold_zero=99` (`--jk-cold 99`) the other.
"""

from __future__ import annotations

import struct
from functools import partial

from bridge.conversation import Ask, Conversation, Protocol
from bridge.errors import FrameError
from bridge.reading import Chemistry, Identity, Reading, fraction, names_of, text

HEAD = b"\x4e\x57"
MAX_LENGTH = 1_024
CHEMISTRIES: tuple[Chemistry, ...] = ("LFP", "NMC", "LTO")

ALARMS = (
    "low_capacity",
    "mosfet_overtemperature",
    "pack_overvoltage",
    "pack_undervoltage",
    "battery_overtemperature",
    "charge_overcurrent",
    "discharge_overcurrent",
    "cell_difference",
    "box_overtemperature",
    "battery_undertemperature",
    "cell_overvoltage",
    "cell_undervoltage",
    "protection_309_a",
    "protection_309_b",
)

# Tag -> number of value bytes (the JK document; 0x79 brings its own count).
_WIDTHS = {
    **dict.fromkeys((0x80, 0x81, 0x82, 0x83, 0x84, 0x87, 0x8A, 0x8B, 0x8C), 2),
    **dict.fromkeys(range(0x8E, 0x9D), 2),
    **dict.fromkeys(range(0x9E, 0xA9), 2),
    **dict.fromkeys((0x85, 0x86, 0x9D, 0xA9, 0xAB, 0xAC, 0xAE, 0xAF, 0xB1, 0xB3, 0xB8, 0xC0), 1),
    **dict.fromkeys((0x89, 0xAA, 0xB5, 0xB6, 0xB9), 4),
    0xAD: 2,
    0xB0: 2,
    0xB2: 10,
    0xB4: 8,
    0xB7: 15,
    0xBA: 24,
}


def request() -> bytes:
    """The request for all registers."""
    head = HEAD + struct.pack(">H4xBBBB4xBxx", 19, 6, 3, 0, 0, 0x68)
    return head + _sum(head)


def reply(body: bytes) -> bytes:
    """A board's reply around tag-value pairs, for the simulated board."""
    head = HEAD + struct.pack(">H4xBBB", len(body) + 18, 6, 0, 1)
    head += body + bytes(4) + b"\x68\x00\x00"
    return head + _sum(head)


def split(received: bytes) -> tuple[bytes | None, int]:
    """The first intact reply; see `conversation.Split`."""
    start = received.find(HEAD)
    if start < 0:
        keep = 1 if received.endswith(HEAD[:1]) else 0
        return None, len(received) - keep
    if start:
        return None, start
    if len(received) < 4:
        return None, 0
    length = int.from_bytes(received[2:4], "big") + 2
    if not 20 <= length <= MAX_LENGTH:
        return None, 2
    if len(received) < length:
        return None, 0
    frame = received[:length]
    if frame[-5] != 0x68 or frame[-2:] != _sum(frame[:-4]):
        return None, 2
    return frame, length


def values(frame: bytes) -> dict[int, bytes]:
    """Tag -> value bytes of an intact reply; raises FrameError.

    Reading stops at a tag that is not known, because its width is not: newer firmware may append
    tags, and what comes before them is still good.
    """
    found, used = split(frame)
    if found is None or used != len(frame):
        raise FrameError("JK: not one intact frame")
    body = frame[11:-9]
    result: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        tag = body[at]
        if tag == 0x79 and at + 1 < len(body):
            width, at = body[at + 1], at + 2
        elif tag in _WIDTHS:
            width, at = _WIDTHS[tag], at + 1
        else:
            break
        if at + width > len(body):
            raise FrameError(f"JK: tag 0x{tag:02x} is cut off")
        result[tag] = body[at : at + width]
        at += width
    return result


def decode(frame: bytes, cold_zero: int = 100) -> Reading:
    """The reading in one reply; raises FrameError."""
    value = values(frame)
    for tag in (0x79, 0x83, 0x84, 0x85):
        if tag not in value:
            raise FrameError(f"JK: tag 0x{tag:02x} is missing")
    capacity = _number(value, 0xAA)
    switches = _number(value, 0x8C)
    return Reading(
        cell_voltage_v=_cells(value[0x79]),
        temperature_c=tuple(
            _temperature(_number(value, tag), cold_zero) for tag in (0x81, 0x82) if tag in value
        ),
        mos_temperature_c=_temperature(_number(value, 0x80), cold_zero),
        current_a=_current(int.from_bytes(value[0x84], "big"), _number(value, 0xC0)),
        pack_voltage_v=int.from_bytes(value[0x83], "big") / 100,
        soc=fraction(value[0x85][0]),
        nominal_capacity_ah=float(capacity) if capacity else None,
        cycles=_number(value, 0x87),
        charge_enabled=None if switches is None else bool(switches & 1),
        discharge_enabled=None if switches is None else bool(switches & 2),
        balancing=None if switches is None else bool(switches & 4),
        alarms=names_of(_number(value, 0x8B) or 0, ALARMS),
    )


def decode_identity(frame: bytes) -> Identity:
    """What one reply says of the board; raises FrameError.

    "Input Userdata" is the app's prompt, stored where nobody has filled the fields in.
    """
    value = values(frame)
    kind = _number(value, 0xAF)
    return Identity(
        model=text(value.get(0xBA, b"").removeprefix(b"Input Userda")),
        firmware=text(value.get(0xB7, b"").rstrip(b"_")),
        serial=text(value.get(0xB4, b"").removeprefix(b"Input Us")),
        chemistry=CHEMISTRIES[kind] if kind is not None and kind < len(CHEMISTRIES) else None,
        cells=_number(value, 0x8A) or None,
        nominal_capacity_ah=_scaled(value, 0xAA, 1),
        cell_voltage_max_v=_scaled(value, 0x90, 1000),
        cell_voltage_min_v=_scaled(value, 0x93, 1000),
        discharge_current_max_a=_scaled(value, 0x97, 1),
        charge_current_max_a=_scaled(value, 0x99, 1),
        temperature_max_c=_scaled(value, 0xA4, 1),
        temperature_min_c=_signed(value, 0xA7),
        alarm_names=ALARMS,
    )


def _cells(raw: bytes) -> tuple[float, ...]:
    if not raw or len(raw) % 3:
        raise FrameError(f"JK: {len(raw)} bytes of cells, expected three a cell")
    numbers = raw[::3]
    if list(numbers) != list(range(1, len(numbers) + 1)):
        raise FrameError("JK: cells are not numbered from 1")
    return tuple(int.from_bytes(raw[at + 1 : at + 3], "big") / 1000 for at in range(0, len(raw), 3))


def _temperature(raw: int | None, cold_zero: int) -> float | None:
    if raw is None or raw > 240:
        return None
    return float(raw) if raw <= cold_zero else float(cold_zero - raw)


def _current(raw: int, version: int | None) -> float | None:
    """Ampere in 10 mA, bit 15 says charging (dbus-serialbattery, batmon-ha, esphome-jk-bms).

    A board that calls itself protocol version 0 counts otherwise and the sources do not agree
    how: its current is not known.
    """
    if version == 0:
        return None
    magnitude = (raw & 0x7FFF) / 100
    return magnitude if raw & 0x8000 else 0.0 - magnitude


def _number(value: dict[int, bytes], tag: int) -> int | None:
    raw = value.get(tag)
    return None if raw is None else int.from_bytes(raw, "big")


def _signed(value: dict[int, bytes], tag: int) -> float | None:
    raw = value.get(tag)
    return None if raw is None else float(int.from_bytes(raw, "big", signed=True))


def _scaled(value: dict[int, bytes], tag: int, scale: int) -> float | None:
    number = _number(value, tag)
    return number / scale if number else None


def _ask() -> Ask:
    # Boards answer with command 6 or 3, but always as type 1; an adapter's echo of the request is
    # type 0.
    return Ask(request(), lambda frame: frame[10] == 1)


def _poll(cold_zero: int) -> Conversation[Reading]:
    frames = yield _ask()
    return decode(frames[0], cold_zero)


def _identify() -> Conversation[Identity]:
    frames = yield _ask()
    return decode_identity(frames[0])


def protocol(cold_zero: int = 100) -> Protocol:
    """JK UART; `cold_zero` is the raw value from which cold counts down, 100 or 99."""
    return Protocol("jk", 115_200, split, partial(_poll, cold_zero), _identify)


def _sum(data: bytes) -> bytes:
    return (sum(data) & 0xFFFF).to_bytes(2, "big")
