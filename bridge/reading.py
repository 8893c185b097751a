"""What a board says, whatever its protocol: the one type that every decoder yields.

Positive current charges. Volts, amperes, degrees Celsius, ampere-hours; fractions run 0..1. None
means that the board does not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
