"""What a board says, whatever its protocol: the one type that every decoder yields.

Positive current charges. Volts, amperes, degrees Celsius, ampere-hours; fractions run 0..1. None
means that the board does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from bridge.numbers import MOST
from monitor.contract import MAX_CELLS

Chemistry = Literal["LFP", "NMC", "LTO"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one board.

    `temperature_c` holds the battery's own sensors; the power transistors' is apart, because it
    says nothing about a cell. `alarms` are the names of what the board itself raises now.
    """

    cell_voltage_v: tuple[float | None, ...] = ()
    temperature_c: tuple[float | None, ...] = ()
    mos_temperature_c: float | None = None
    current_a: float | None = None
    pack_voltage_v: float | None = None
    soc: float | None = None
    soh: float | None = None
    remaining_capacity_ah: float | None = None
    nominal_capacity_ah: float | None = None
    cycles: int | None = None
    charge_enabled: bool | None = None
    discharge_enabled: bool | None = None
    balancing: bool | None = None
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a board says of itself: names, and the protection limits it enforces, for one cell.

    `alarm_names` are all names that the board can raise.
    """

    model: str | None = None
    hardware: str | None = None
    firmware: str | None = None
    serial: str | None = None
    chemistry: Chemistry | None = None
    cells: int | None = None
    nominal_capacity_ah: float | None = None
    cell_voltage_max_v: float | None = None
    cell_voltage_min_v: float | None = None
    charge_current_max_a: float | None = None
    discharge_current_max_a: float | None = None
    temperature_max_c: float | None = None
    temperature_min_c: float | None = None
    alarm_names: tuple[str, ...] = ()


MAX_ALARMS = 64  # as many flags as a frame may hold
_NUMBERS = (
    *("mos_temperature_c", "current_a", "pack_voltage_v"),
    *("remaining_capacity_ah", "nominal_capacity_ah"),
)


def plausible(reading: Reading) -> tuple[Reading, list[str]]:
    """The reading without what cannot be sent, and what that was, in words.

    A number that is not finite or past `numbers.MOST` is a missing value; cells and sensors past
    the contract's number, alarms past `MAX_ALARMS` and what is no fraction are left out.
    """
    changes: dict[str, Any] = {}
    unusable = []
    for name in ("cell_voltage_v", "temperature_c"):
        values = getattr(reading, name)
        kept = tuple(_finite(value) for value in values[:MAX_CELLS])
        if kept != values:
            changes[name] = kept
            bad = sum(a is None and b is not None for a, b in zip(kept, values, strict=False))
            unusable.append(f"{name}: {bad} of {len(values)} values cannot be used")
    for name in _NUMBERS:
        value = getattr(reading, name)
        if value is not None and _finite(value) is None:
            changes[name] = None
            unusable.append(f"{name}: {value} cannot be used")
    for name in ("soc", "soh"):
        value = getattr(reading, name)
        if value is not None and not 0 <= value <= 1:
            changes[name] = None
            unusable.append(f"{name}: {value} is no fraction from 0 to 1")
    if len(reading.alarms) > MAX_ALARMS:
        changes["alarms"] = reading.alarms[:MAX_ALARMS]
        unusable.append(f"{len(reading.alarms)} alarms: the first {MAX_ALARMS} are kept")
    return (replace(reading, **changes) if changes else reading), unusable


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= MOST else None


def fraction(percent: float) -> float | None:
    """A percentage as 0..1, or None where the board sends something that is no percentage."""
    return percent / 100 if 0 <= percent <= 100 else None


def names_of(bits: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the bits that are set, from bit 0; a bit without a name is `bit_<n>`."""
    return tuple(
        names[index] if index < len(names) and names[index] else f"bit_{index}"
        for index in range(bits.bit_length())
        if bits >> index & 1
    )


def text(raw: bytes) -> str | None:
    """ASCII up to the first zero byte; None where nothing printable is left."""
    cut = raw.split(b"\0", 1)[0].decode("ascii", errors="replace")
    kept = "".join(sign for sign in cut if sign.isprintable() and sign != "�").strip()
    return kept or None
