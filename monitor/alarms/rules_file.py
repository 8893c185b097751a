"""Alarm rules from a TOML file: changes to the built-in ones, and rules of one's own.

    [over_temperature]               # a built-in code: what is named is changed
    deadband = 3.0                   # in the quantity's unit
    on_delay_s = 2
    off_delay_s = 30
    [[over_temperature.levels]]      # replaces its severities and limits
    severity = 3
    limit = 45
    [[over_temperature.levels]]
    severity = 5
    limit = "temperature_max_c"      # one of the asset's limits, also "temperature_max_c - 5"

    [under_temperature]
    enabled = false

    [slow_heating]                   # a new code
    quantity = "dt_dt_c_per_s"       # a name of kernels.columns.Feature or Extra
    when = "above"
    scope = "sensor"                 # cell, sensor or pack
    unit = "°C/s"
    says = "temperature rises steadily"
    action = "Stop the current."
    [[slow_heating.levels]]
    severity = 4
    limit = 0.02

Pure: text in, rules out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from monitor.alarms.rules import AssetLimit, FixedLimit, Rule
from monitor.contract import AssetConfig, Limits
from monitor.errors import ConfigurationError
from monitor.kernels.columns import Extra, Feature

_SHARED = {"enabled", "deadband", "on_delay_s", "off_delay_s", "levels"}
_OWN = {"quantity", "when", "scope", "unit", "says", "says_zh", "action", "action_zh"}
_EXPRESSION = re.compile(r"^\s*([a-z_]+)\s*(?:([+-])\s*([0-9.]+))?\s*$")
_CODE = re.compile(r"^[a-z][a-z0-9_]{0,63}\Z")
_QUANTITIES: dict[str, Feature | Extra] = {
    **{feature.name.lower(): feature for feature in Feature},
    **{extra.name.lower(): extra for extra in Extra},
}


def parse_rules(text: str, defaults: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that a file asks for; raises ConfigurationError naming the code and the key."""
    try:
        sections = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"rules file: {error}") from error
    by_code: dict[str, list[Rule]] = {}
    for rule in defaults:
        by_code.setdefault(rule.code, []).append(rule)
    for code, section in sections.items():
        if not isinstance(section, dict) or not _CODE.match(code):
            raise ConfigurationError(f"rules file: [{code}]: expected a section named by a code")
        by_code[code] = _section(code, section, by_code.get(code))
    return tuple(rule for rules in by_code.values() for rule in rules)


def _section(code: str, section: dict[str, Any], known: list[Rule] | None) -> list[Rule]:
    unknown = sorted(section.keys() - (_SHARED if known else _SHARED | _OWN))
    if unknown:
        what = "is unknown" if unknown[0] not in _OWN else "cannot be changed on a built-in rule"
        raise ConfigurationError(f"rules file: {code}.{unknown[0]} {what}")
    if section.get("enabled", True) is False:
        return []
    rules = known or [_new(code, section)]
    first = replace(
        rules[0],
        deadband=_number(code, section, "deadband", rules[0].deadband),
        on_delay_ms=round(1000 * _number(code, section, "on_delay_s", rules[0].on_delay_ms / 1000)),
        off_delay_ms=round(
            1000 * _number(code, section, "off_delay_s", rules[0].off_delay_ms / 1000)
        ),
    )
    if "levels" not in section:
        if not known:
            raise ConfigurationError(f"rules file: {code}.levels is missing")
        return [
            replace(
                rule,
                deadband=first.deadband,
                on_delay_ms=first.on_delay_ms,
                off_delay_ms=first.off_delay_ms,
            )
            for rule in rules
        ]
    levels = section["levels"]
    if not isinstance(levels, list) or not levels:
        raise ConfigurationError(f"rules file: {code}.levels: expected [[{code}.levels]] entries")
    found = [_level(code, first, level) for level in levels]
    if len({rule.severity for rule in found}) != len(found):
        raise ConfigurationError(f"rules file: {code}.levels: two levels have one severity")
    return sorted(found, key=lambda rule: rule.severity)


def _new(code: str, section: dict[str, Any]) -> Rule:
    for key in ("quantity", "when", "unit", "says", "action"):
        if key not in section:
            raise ConfigurationError(f"rules file: {code}.{key} is missing on a new rule")
    quantity = _QUANTITIES.get(str(section["quantity"]))
    if quantity is None:
        raise ConfigurationError(
            f"rules file: {code}.quantity = {section['quantity']!r}: expected one of "
            f"{', '.join(sorted(_QUANTITIES))}"
        )
    when = _choice(code, section, "when", ("above", "below"))
    scope: Literal["cell", "sensor", "pack"] = _choice(  # type: ignore[assignment]
        code, {"scope": "cell", **section}, "scope", ("cell", "sensor", "pack")
    )
    return Rule(
        code=code,
        severity=3,
        quantity=quantity,
        above=when == "above",
        unit=str(section["unit"]),
        scope=scope,
        limit=FixedLimit(0.0),
        deadband=0.0,
        on_delay_ms=0,
        off_delay_ms=0,
        says=str(section["says"]),
        says_zh=str(section.get("says_zh", section["says"])),
        action=str(section["action"]),
        action_zh=str(section.get("action_zh", section["action"])),
    )


def _level(code: str, rule: Rule, level: Any) -> Rule:
    if not isinstance(level, dict) or set(level) != {"severity", "limit"}:
        raise ConfigurationError(f"rules file: {code}.levels: expected severity and limit")
    severity = level["severity"]
    if not isinstance(severity, int) or not 1 <= severity <= 5:
        raise ConfigurationError(f"rules file: {code}.severity = {severity!r}: expected 1 to 5")
    return replace(rule, severity=severity, limit=_limit(code, level["limit"]))


def _limit(code: str, value: Any) -> Callable[[AssetConfig], float | None]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return FixedLimit(float(value))
    found = _EXPRESSION.match(value) if isinstance(value, str) else None
    if found is None or found[1] not in Limits.__struct_fields__:
        raise ConfigurationError(
            f"rules file: {code}.limit = {value!r}: expected a number or one of "
            f"{', '.join(Limits.__struct_fields__)}, with `+ number` or `- number`"
        )
    offset = float(found[3]) if found[3] else 0.0
    return AssetLimit(found[1], -offset if found[2] == "-" else offset)


def _number(code: str, section: dict[str, Any], key: str, default: float) -> float:
    value = section.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise ConfigurationError(f"rules file: {code}.{key} = {value!r}: expected 0 or more")
    return float(value)


def _choice(code: str, section: dict[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = str(section[key])
    if value not in allowed:
        raise ConfigurationError(
            f"rules file: {code}.{key} = {value!r}: expected {' or '.join(allowed)}"
        )
    return value
