"""A register map: which Modbus registers mean what, from a TOML file. Pure.

device = 1                       # the unit identifier
table = "holding"                # or "input"

[[value]]
to = "cell_voltage_v"
address = 100
count = 16                       # so many values one after the other; 1 where left out
type = "u16"                     # u16, i16, u32, i32, f32; 32 bits are two registers
unit = "mV"                      # then scale and offset: value * scale + offset
absent = 65535                   # the raw value that means "not there"

[[alarm]]
address = 300
names = ["overvoltage", "", "overheat"]   # bit 0 first; "" is a bit that says nothing
"""

from __future__ import annotations

import math
import struct
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bridge.errors import FrameError, MappingError
from bridge.mapping import INDEXED, TARGETS, Rule, is_switch
from bridge.reading import MAX_ALARMS, Reading
from monitor.contract import MAX_CELLS, is_asset_name

MAX_BLOCK = 125  # registers in one Modbus request
MAX_GAP = 8  # unused registers that are read along rather than asked around
_TYPES = {"u16": (">H", 1), "i16": (">h", 1), "u32": (">I", 2), "i32": (">i", 2), "f32": (">f", 2)}


@dataclass(frozen=True, slots=True)
class Value:
    """Consecutive registers that hold one target's values; see the module's text."""

    to: str
    address: int
    count: int = 1
    type: str = "u16"
    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    sign: int = 1
    absent: int | None = None
    words: str = "big"  # the order of the two registers of a 32-bit value: big or little
    first: int = 1  # the number of the first cell or sensor

    def __post_init__(self) -> None:
        if self.to not in TARGETS or self.to in ("alarm", "online"):
            raise MappingError(f"to = {self.to!r}: expected a value, such as current_a")
        if self.type not in _TYPES:
            raise MappingError(f"type = {self.type!r}: expected one of {', '.join(_TYPES)}")
        if self.words not in ("big", "little"):
            raise MappingError(f"words = {self.words!r}: expected big or little")
        if self.count < 1 or self.first < 1 or self.first + self.count - 1 > MAX_CELLS:
            raise MappingError(
                f"count = {self.count}, first = {self.first}: expected 1 or more, up to number "
                f"{MAX_CELLS}"
            )
        if not (math.isfinite(self.scale) and math.isfinite(self.offset)):
            raise MappingError(
                f"scale = {self.scale}, offset = {self.offset}: expected finite numbers"
            )
        if not self.address >= 0 or self.address + self.size > 65_536:
            raise MappingError(f"address = {self.address}: expected 0 to 65535")
        self.rule()

    @property
    def size(self) -> int:
        """Registers taken."""
        return self.count * _TYPES[self.type][1]

    def rule(self) -> Rule:
        """Unit, sign and target checked, and the conversion."""
        return Rule("", self.to, unit=self.unit, sign=self.sign)

    def read(self, registers: dict[int, int]) -> list[float | None]:
        """The values in our unit; raises FrameError where a register is missing."""
        form, width = _TYPES[self.type]
        rule = self.rule()
        values: list[float | None] = []
        for place in range(self.count):
            at = self.address + place * width
            try:
                words = [registers[at + word] for word in range(width)]
            except KeyError as error:
                raise FrameError(f"Modbus: register {error} was not read") from error
            if self.words == "little":
                words.reverse()
            raw = struct.unpack(form, struct.pack(f">{width}H", *words))[0]
            if self.absent is not None and raw == self.absent:
                values.append(None)
            else:
                values.append(rule.number(raw * self.scale + self.offset))
        return values


@dataclass(frozen=True, slots=True)
class AlarmBits:
    """One register whose bits are alarms."""

    address: int
    names: list[str]

    def __post_init__(self) -> None:
        if not 0 <= self.address < 65_536:
            raise MappingError(f"alarm: address = {self.address}: expected 0 to 65535")
        if len(self.names) > 16:
            raise MappingError(f"alarm: {len(self.names)} names: a register has 16 bits")
        for name in self.names:
            if name and not is_asset_name(name):
                raise MappingError(
                    f"alarm: {name!r}: expected up to 64 letters, digits and . _ -, a letter or "
                    "digit first"
                )


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """A whole map; see the module's text."""

    value: list[Value]
    alarm: list[AlarmBits] = field(default_factory=list)
    device: int = 1
    table: str = "holding"

    def __post_init__(self) -> None:
        if self.table not in ("holding", "input"):
            raise MappingError(f"table = {self.table!r}: expected holding or input")
        if not self.value:
            raise MappingError("expected at least one [[value]]")
        if not 0 <= self.device <= 255:
            raise MappingError(f"device = {self.device}: expected 0 to 255")
        if len(self.alarm_names) > MAX_ALARMS:
            raise MappingError(f"{len(self.alarm_names)} alarms: expected at most {MAX_ALARMS}")

    @property
    def alarm_names(self) -> tuple[str, ...]:
        """Every alarm the map names."""
        return tuple(name for bits in self.alarm for name in bits.names if name)

    def blocks(self) -> list[tuple[int, int]]:
        """(address, count) of the requests that bring every register, as few as may be."""
        spans = [(value.address, value.address + value.size) for value in self.value]
        spans += [(bits.address, bits.address + 1) for bits in self.alarm]
        merged: list[list[int]] = []
        for start, end in sorted(spans):
            if merged and start - merged[-1][1] <= MAX_GAP:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        return [
            (at, min(MAX_BLOCK, end - at))
            for start, end in merged
            for at in range(start, end, MAX_BLOCK)
        ]

    def reading(self, registers: dict[int, int]) -> Reading:
        """The reading in the registers; raises FrameError where one is missing."""
        lists: dict[str, list[float | None]] = {}
        single: dict[str, Any] = {}
        for value in self.value:
            found = value.read(registers)
            if value.to in INDEXED:
                held = lists.setdefault(value.to, [])
                held += [None] * (value.first - 1 + len(found) - len(held))
                held[value.first - 1 : value.first - 1 + len(found)] = found
            elif is_switch(value.to):
                single[value.to] = None if found[0] is None else found[0] != 0
            else:
                single[value.to] = found[0]
        for name in ("soc", "soh"):
            if single.get(name) is not None and not 0 <= single[name] <= 1:
                single[name] = None
        if single.get("cycles") is not None:
            single["cycles"] = int(single["cycles"]) if single["cycles"] >= 0 else None
        alarms = tuple(
            name
            for bits in self.alarm
            for place, name in enumerate(bits.names)
            if name and registers.get(bits.address, 0) >> place & 1
        )
        single |= {name: tuple(values) for name, values in lists.items()}
        return Reading(**single, alarms=alarms)


def load(path: Path) -> RegisterMap:
    """A register map from a TOML file; raises MappingError with what is wrong."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(raw, RegisterMap)
    except (OSError, ValueError, RecursionError, MappingError) as error:
        raise MappingError(f"{path}: {error}") from error
