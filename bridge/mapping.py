"""Which foreign topic and value means what: rules, from a TOML file or built in.

[[rule]]
topic = "rack/{asset}/cells"     # {asset}, {n} (a number from 1), {name}; {_} is anything
path = "$.cells[*].mv"           # where in the JSON; left out: the payload is the value
to = "cell_voltage_v"
unit = "mV"
sign = 1                         # -1 where the source counts discharge as positive
scale = 1.0                      # after the unit
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path as File
from typing import Any

import msgspec

from bridge.errors import MappingError
from bridge.jsonpath import Path
from bridge.numbers import MOST, real
from monitor.contract import MAX_CELLS

INDEXED = ("cell_voltage_v", "temperature_c")
SINGLE = (
    *("mos_temperature_c", "current_a", "pack_voltage_v", "soc", "soh"),
    *("remaining_capacity_ah", "nominal_capacity_ah", "cycles"),
    *("charge_enabled", "discharge_enabled", "balancing"),
)
TARGETS = (*INDEXED, *SINGLE, "alarm", "online")
_SWITCHES = ("charge_enabled", "discharge_enabled", "balancing")
# Unit -> (quantity, factor, offset): value * factor + offset is in our unit.
_UNITS = {
    "V": ("V", 1.0, 0.0),
    "mV": ("V", 1e-3, 0.0),
    "A": ("A", 1.0, 0.0),
    "mA": ("A", 1e-3, 0.0),
    "C": ("C", 1.0, 0.0),
    "K": ("C", 1.0, -273.15),
    "F": ("C", 5 / 9, -160 / 9),
    "Ah": ("Ah", 1.0, 0.0),
    "mAh": ("Ah", 1e-3, 0.0),
    "%": ("1", 1e-2, 0.0),
    "1": ("1", 1.0, 0.0),
}
_QUANTITY = {
    **dict.fromkeys(("cell_voltage_v", "pack_voltage_v"), "V"),
    **dict.fromkeys(("temperature_c", "mos_temperature_c"), "C"),
    **dict.fromkeys(("remaining_capacity_ah", "nominal_capacity_ah"), "Ah"),
    **dict.fromkeys(("soc", "soh", "cycles"), "1"),
    "current_a": "A",
}
_NOTHING = frozenset(("", "unavailable", "unknown", "none", "nan", "null"))
_FALSE = frozenset(("0", "off", "false", "ok", "normal", "offline", "no", "0.0"))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; see the module's text. Raises MappingError where it cannot be used."""

    topic: str
    to: str
    path: str | None = None
    unit: str | None = None
    sign: int = 1
    scale: float = 1.0
    name: str | None = None  # an alarm's, where neither topic nor key gives it
    n: int | None = None  # a cell's or sensor's number, where neither topic nor place gives it

    def __post_init__(self) -> None:
        if self.to not in TARGETS:
            raise MappingError(f"to = {self.to!r}: expected one of {', '.join(TARGETS)}")
        if self.sign not in (1, -1):
            raise MappingError(f"sign = {self.sign}: expected 1 or -1")
        quantity = _QUANTITY.get(self.to)
        if self.unit is not None and self.unit not in _UNITS:
            raise MappingError(f"unit = {self.unit!r}: expected one of {', '.join(_UNITS)}")
        if self.unit is not None and quantity not in (None, _UNITS[self.unit][0]):
            raise MappingError(f"unit = {self.unit!r} is no unit of {self.to}")
        if self.to in ("soc", "soh") and self.unit is None:
            raise MappingError(f"{self.to}: expected unit = '%' or '1', because sources differ")
        if not math.isfinite(self.scale):
            raise MappingError(f"scale = {self.scale}: expected a finite number")
        if self.n is not None and not 1 <= self.n <= MAX_CELLS:
            raise MappingError(f"n = {str(self.n)[:20]}: expected 1 to {MAX_CELLS}")

    def number(self, value: Any) -> float | None:
        """A payload's value in our unit, or None: the source does not know it, or it is none.

        No number is what is not finite, or past `numbers.MOST` in our unit.
        """
        number = real(value.strip() if isinstance(value, str) else value)
        if number is None:
            return None
        _, factor, offset = _UNITS[self.unit or "1"]
        number = (number * factor + offset) * self.scale * self.sign
        return round(number, 9) if abs(number) <= MOST else None  # NaN is not <= either


def is_true(value: Any) -> bool | None:
    """A switch, an alarm or a status as published: 1, "ON", "online", true; None: not known."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return None if value != value else value != 0
    text = str(value).strip().lower()
    return None if value is None or text in _NOTHING else text not in _FALSE


def says_nothing(value: Any) -> bool:
    """Whether a source says with this that it does not know: null, "unavailable", NaN as text."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


class Compiled:
    """A rule ready to be matched; raises MappingError for a topic that cannot be one."""

    def __init__(self, rule: Rule) -> None:
        if not rule.topic or any(sign in rule.topic for sign in "+#\0"):
            raise MappingError(
                f"topic = {rule.topic!r}: expected a topic without + and #; {{_}} is any one level"
            )
        self.rule = rule
        self.path = Path(rule.path) if rule.path is not None else None
        pattern = re.escape(rule.topic)
        for mark, group in (
            ("asset", r"(?P<asset>[^/]+?)"),
            ("n", r"(?P<n>[0-9]+)"),
            ("name", r"(?P<name>[^/]+)"),
            ("_", r"[^/]+"),
            # ESPHome writes the node's name before the sensor's, or not.
            ("prefix", r"(?:(?P=asset)_)?"),
        ):
            pattern = pattern.replace(re.escape("{" + mark + "}"), group)
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise MappingError(f"topic = {rule.topic!r}: {error}") from error
        if "{" in rule.topic.replace("{asset}", "").replace("{n}", "").replace(
            "{name}", ""
        ).replace("{_}", "").replace("{prefix}", ""):
            raise MappingError(
                f"topic = {rule.topic!r}: expected {{asset}}, {{n}}, {{name}} or {{_}}"
            )

    @property
    def filter(self) -> str:
        """The MQTT filter that brings this rule's topics."""
        levels = self.rule.topic.split("/")
        return "/".join("+" if "{" in level else level for level in levels)

    def match(self, topic: str) -> dict[str, str] | None:
        """The placeholders' values, or None where the topic is another."""
        found = self._pattern.fullmatch(topic)
        return None if found is None else found.groupdict()


@dataclass(frozen=True, slots=True)
class Mapping:
    """Rules; of those that match a topic and lead to the same value, the first counts."""

    name: str
    rules: tuple[Rule, ...]
    sparkplug: bool = False

    def compiled(self) -> list[Compiled]:
        """The rules ready to be matched; raises MappingError."""
        return [Compiled(rule) for rule in self.rules]


def load(path: File) -> Mapping:
    """A mapping file; raises MappingError with the rule and the key that is wrong."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MappingError(f"{path}: {error}") from error
    known = {field.name for field in fields(Rule)}
    rules = []
    entries = raw.get("rule")
    if not isinstance(entries, list) or not entries:
        raise MappingError(f"{path}: expected at least one [[rule]]")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise MappingError(f"{path}, rule {number}: expected [[rule]] with keys and values")
        if unknown := set(entry) - known:
            raise MappingError(
                f"{path}, rule {number}: {sorted(unknown)[0]!r} is unknown; expected "
                f"{', '.join(sorted(known))}"
            )
        try:
            rule = msgspec.convert(entry, Rule)
            Compiled(rule)
        except (MappingError, msgspec.ValidationError) as error:
            raise MappingError(f"{path}, rule {number}: {error}") from error
        rules.append(rule)
    return Mapping(path.stem, tuple(rules), bool(raw.get("sparkplug", False)))


def is_switch(target: str) -> bool:
    """Whether a target is on or off rather than a number."""
    return target in _SWITCHES
