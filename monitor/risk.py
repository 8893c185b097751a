"""From a cell's thermal signals to a risk level, with the reason in words.

Pure and per cell: the engine has the numbers, this says what they mean. The physical limits stand
beside the model and need no model. A sensor that is missing or faulty never reads as safe: without
a temperature the level is at least `watch`, and the reason names the sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

WATCH_SCORE = 0.6
WARNING_SCORE = 1.0
DANGER_SCORE = 3.0
NEAR_LIMIT_C = 5.0  # this close under the maximum temperature is worth a look
WARNING_SLOPE_C_PER_S = 0.1  # no healthy cell of 11,000 recorded hours was steeper than 0.2
DANGER_SLOPE_C_PER_S = 0.5
DANGER_OVER_LIMIT_C = 10.0


class Risk(IntEnum):
    """How much a cell's heat worries."""

    NORMAL = 0
    WATCH = 1
    WARNING = 2
    DANGER = 3


@dataclass(frozen=True, slots=True)
class ThermalSigns:
    """What is known of one cell now; None is unknown.

    `score` is the thermal model's, 1 at its alarm threshold. `slope_c_per_s` is the temperature's,
    `expected_rise_c` what the load explains of the rise over ambient, where the caller knows it.
    """

    temperature_c: float | None
    temperature_max_c: float
    slope_c_per_s: float | None = None
    score: float | None = None
    excess_heat_w: float | None = None
    sensor_fault: str | None = None  # "missing", "impossible", "frozen"
    ambient_measured: bool = True


@dataclass(frozen=True, slots=True)
class Assessment:
    """A level and why; reasons stand with the gravest first."""

    risk: Risk
    reasons: tuple[str, ...]


def assess(signs: ThermalSigns) -> Assessment:
    """The risk that a cell's signs mean."""
    found = [*_limits(signs), *_model(signs), *_sensor(signs)]
    found.sort(key=lambda pair: -pair[0])
    risk = found[0][0] if found else Risk.NORMAL
    return Assessment(risk, tuple(reason for _, reason in found))


def _limits(signs: ThermalSigns) -> list[tuple[Risk, str]]:
    found: list[tuple[Risk, str]] = []
    t, top = signs.temperature_c, signs.temperature_max_c
    if t is not None and t > top - NEAR_LIMIT_C:
        over = t - top
        if over > DANGER_OVER_LIMIT_C:
            found.append((Risk.DANGER, f"temperature {t:.1f} °C is {over:.1f} K over its maximum"))
        elif over > 0.0:
            found.append((Risk.WARNING, f"temperature {t:.1f} °C is over its maximum, {top:g} °C"))
        else:
            found.append((Risk.WATCH, f"temperature {t:.1f} °C is {-over:.1f} K under its maximum"))
    slope = signs.slope_c_per_s
    if slope is not None and slope > WARNING_SLOPE_C_PER_S:
        risk = Risk.DANGER if slope > DANGER_SLOPE_C_PER_S else Risk.WARNING
        found.append((risk, f"temperature rises by {slope:.2f} °C/s"))
    return found


def _model(signs: ThermalSigns) -> list[tuple[Risk, str]]:
    score = signs.score
    if score is None or score <= WATCH_SCORE:
        return []
    heat = "" if signs.excess_heat_w is None else f", {signs.excess_heat_w:.2f} W"
    doubt = "" if signs.ambient_measured else "; the ambient is not measured and may have warmed"
    reason = f"heat that the load does not explain{heat}: {score:.1f} times the limit{doubt}"
    if score > DANGER_SCORE:
        return [(Risk.DANGER, reason)]
    return [(Risk.WARNING if score > WARNING_SCORE else Risk.WATCH, reason)]


def _sensor(signs: ThermalSigns) -> list[tuple[Risk, str]]:
    if signs.sensor_fault is not None:
        return [(Risk.WATCH, f"temperature sensor is {signs.sensor_fault}: heat cannot be judged")]
    if signs.temperature_c is None:
        return [(Risk.WATCH, "no temperature: heat cannot be judged")]
    return []
