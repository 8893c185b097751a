"""Boards over Bluetooth LE, through aiobmsble: its samples as our readings.

aiobmsble (Apache-2.0, Python 3.12 and later) knows some fifty kinds of board and counts charging
as positive, as we do. What it works out of a board's bytes comes from outside all the same: a
number that is none is a missing value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.errors import FrameError
from bridge.numbers import measured
from bridge.reading import Identity, Reading, fraction
from monitor.contract import MAX_CELLS

_NOT_THE_BATTERY = frozenset(("PCB", "HEATER", "BALANCER", "AMBIENT"))
PROBLEM = "problem"  # aiobmsble gives a code without names


def reading_of(sample: Mapping[str, Any]) -> Reading:
    """An aiobmsble `BMSSample` as a reading; what the sample lacks is None.

    Sensors that are not on the battery are left out, the transistors' is apart. Raises FrameError
    for a sample whose lists are none, or are longer than a pack can be.
    """
    battery: list[float | None] = []
    mos: float | None = None
    for sensor in _list(sample, "temp_values"):
        kind = getattr(getattr(sensor, "type", None), "name", "GENERIC")
        if kind == "MOSFET":
            mos = _number(sensor) if mos is None else mos
        elif kind not in _NOT_THE_BATTERY:
            battery.append(_number(sensor))
    level, health = _number(sample.get("battery_level")), _number(sample.get("battery_health"))
    cycles = _number(sample.get("cycles"))
    balancer = sample.get("balancer")
    return Reading(
        cell_voltage_v=tuple(map(_number, _list(sample, "cell_voltages"))),
        temperature_c=tuple(battery),
        mos_temperature_c=mos,
        current_a=_number(sample.get("current")),
        pack_voltage_v=_number(sample.get("voltage")),
        soc=None if level is None else fraction(level),
        soh=None if health is None else fraction(health),
        remaining_capacity_ah=_number(sample.get("cycle_charge")),
        nominal_capacity_ah=_number(sample.get("design_capacity")) or None,
        cycles=None if cycles is None else int(cycles),
        charge_enabled=sample.get("chrg_mosfet"),
        discharge_enabled=sample.get("dischrg_mosfet"),
        balancing=None if balancer is None else bool(balancer),
        alarms=(PROBLEM,) if sample.get("problem_code") else (),
    )


def identity_of(info: Mapping[str, str]) -> Identity:
    """An aiobmsble `BMSInfo` as an identity."""
    return Identity(
        model=_text(info.get("model")) or _text(info.get("default_model")),
        hardware=_text(info.get("hw_version")),
        firmware=_text(info.get("sw_version")) or _text(info.get("fw_version")),
        serial=_text(info.get("serial_number")),
        alarm_names=(PROBLEM,),
    )


def _text(said: str | None) -> str | None:
    if said is None:
        return None
    return "".join(sign for sign in said[:100] if sign.isprintable()).strip() or None


def _list(sample: Mapping[str, Any], name: str) -> list[Any] | tuple[Any, ...]:
    values = sample.get(name, ())
    if not isinstance(values, list | tuple) or len(values) > MAX_CELLS:
        raise FrameError(f"Bluetooth: {name} is no list of at most {MAX_CELLS} values")
    return values


def _number(value: Any) -> float | None:
    """Also of aiobmsble's sensors, which are no numbers but become one."""
    if value is None or isinstance(value, str | int | float):
        return measured(value)
    try:
        return measured(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
