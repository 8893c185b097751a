"""From a cell's thermal signals to a risk level, with the reason in words.

The engine judges every sample (`judge_inplace`); the words are made when somebody reads them
(`assess`), from the same levels. The physical limits stand beside the model and need no model. A
sensor that is missing or faulty never reads as safe: without a believable temperature the level is
at least `watch`, and not below what it was when the sensor was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import FEATURES, RESULTS, Feature, Quality, Result
from monitor.kernels.jit import kernel, plain, unfit

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

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


class Cause(IntEnum):
    """What gave a level; of two with the same level the first stands."""

    NONE = 0
    TEMPERATURE = 1
    SLOPE = 2
    UNEXPLAINED_HEAT = 3
    SENSOR = 4


_FAULTS: tuple[tuple[Quality, str, str, str], ...] = (
    (Quality.TEMPERATURE_MISSING, "missing", "is missing", "缺失"),
    (Quality.TEMPERATURE_IMPOSSIBLE, "impossible", "reads what cannot be", "读数不可能"),
    (Quality.TEMPERATURE_FROZEN, "frozen", "is frozen", "冻结"),
    (Quality.TEMPERATURE_SPIKE, "spike", "stepped faster than the cell can", "跳变快于电芯所能"),
    (
        Quality.TEMPERATURE_JUMP,
        "jump",
        "stepped faster than the cell can and stays",
        "跳变后未恢复",
    ),
)
SENSOR_FAULTS = tuple(name for _, name, _, _ in _FAULTS)
_FAULT_WORDS = {name: (words, words_zh) for _, name, words, words_zh in _FAULTS}


@dataclass(frozen=True, slots=True)
class ThermalSigns:
    """What is known of one cell now; None is unknown.

    `score` is the thermal model's, 1 at its alarm threshold. `held` is the level at which the
    temperature was last believed.
    """

    temperature_c: float | None
    temperature_max_c: float
    slope_c_per_s: float | None = None  # over a minute
    heating_c_per_s: float | None = None  # over a second or two, twice in a row
    rising_c_per_s: float | None = None  # the newest, where the temperature rose before it too
    score: float | None = None
    excess_heat_w: float | None = None
    sensor_fault: str | None = None  # one of SENSOR_FAULTS
    ambient_measured: bool = True
    held: Risk = Risk.NORMAL


@dataclass(frozen=True, slots=True)
class Assessment:
    """A level and why, in English and in Chinese; reasons stand with the gravest first."""

    risk: Risk
    reasons: tuple[str, ...]
    reasons_zh: tuple[str, ...]


@kernel
def levels(
    temperature_c: float, temperature_max_c: float, slope_c_per_s: float, heating_c_per_s: float,
    rising_c_per_s: float, score: float, lost: bool, held: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The level that each of `Cause` 1 to 4 gives; NaN is unknown, `lost` without temperature.

    A reading that stepped up further than a cell can may be a broken sensor or a runaway: until it
    is known which, that is a warning. A steep reading is a warning at once where the one before
    rose too, and a danger when the next one is as steep.
    """
    hot = 0
    over = temperature_c - temperature_max_c
    if over > DANGER_OVER_LIMIT_C:
        hot = 3
    elif over > 0.0:
        hot = 2
    elif over > -NEAR_LIMIT_C:
        hot = 1
    steep = 0
    if slope_c_per_s > DANGER_SLOPE_C_PER_S or heating_c_per_s > DANGER_SLOPE_C_PER_S:
        steep = 3
    elif slope_c_per_s > WARNING_SLOPE_C_PER_S or rising_c_per_s > DANGER_SLOPE_C_PER_S:
        steep = 2
    unexplained = 0
    if score > DANGER_SCORE:
        unexplained = 3
    elif score > WARNING_SCORE:
        unexplained = 2
    elif score > WATCH_SCORE:
        unexplained = 1
    blind = 0
    if lost:
        stepped_up = heating_c_per_s > 0.0
        blind = max(2 if stepped_up else 1, held)
        steep = 0
    return hot, steep, unexplained, blind


def judge_inplace(
    row: Ints, t: Ints, features: Floats, temperature_max_c: Floats, n: int, result: Floats32,
    value: Floats, value_ms: Ints,
) -> None:  # fmt: skip
    """Level and cause of n samples, into their settled results and each cell's newest values.

    `temperature_max_c` has one entry a row. While a temperature is not believed its slope says
    nothing. Raises ValueError where sizes do not fit.
    """
    if not _judge_inplace(row, t, features, temperature_max_c, n, result, value, value_ms):
        raise unfit(
            f"risk: {n:,} samples", row=row, t=t, features=features,
            temperature_max_c=temperature_max_c, result=result, value=value, value_ms=value_ms,
        )  # fmt: skip


@kernel
def _judge_inplace(
    row: Ints, t: Ints, features: Floats, temperature_max_c: Floats, n: int, result: Floats32,
    value: Floats, value_ms: Ints,
) -> bool:  # fmt: skip
    """As above; False, and nothing done, where sizes do not fit."""
    rows = len(temperature_max_c)
    if value.shape != (rows, RESULTS) or value_ms.shape != (rows, RESULTS):
        return False
    if features.shape[1] != FEATURES or result.shape[1] != RESULTS:
        return False
    if n < 0 or n > min(len(row), len(t), len(features), len(result)):
        return False
    for k in range(n):
        if row[k] < 0 or row[k] >= rows:
            return False
    for k in range(n):
        r = row[k]
        temperature = features[k, Feature.TEMPERATURE_C]
        lost = np.isnan(temperature)
        slope = np.nan if lost else float(result[k, Result.DT_DT_C_PER_S])
        score = float(result[k, Result.THERMAL_SCORE])
        held = value[r, Result.RISK]
        before = 0 if np.isnan(held) else int(held)
        heating = features[k, Feature.HEATING_C_PER_S]
        rising = features[k, Feature.RISING_C_PER_S]
        found = levels(
            temperature, temperature_max_c[r], slope, heating, rising, score, lost, before
        )
        most = max(found[0], found[1], found[2], found[3])
        why = 0
        if most > 0:
            for position in range(3, -1, -1):
                if found[position] == most:
                    why = position + 1
        result[k, Result.RISK] = most
        result[k, Result.RISK_CAUSE] = why
        value[r, Result.RISK] = most
        value[r, Result.RISK_CAUSE] = why
        value_ms[r, Result.RISK] = t[k]
        value_ms[r, Result.RISK_CAUSE] = t[k]
    return True


def fault_of(quality: int) -> str | None:
    """The temperature sensor's fault in a sample's quality bits, by name."""
    for bit, name, _, _ in _FAULTS:
        if quality & bit:
            return name
    return None


def assess(signs: ThermalSigns) -> Assessment:
    """The risk that a cell's signs mean, and each reason for it."""
    lost = signs.temperature_c is None or signs.sensor_fault is not None
    found = plain(levels)(
        _number(signs.temperature_c),
        signs.temperature_max_c,
        _number(signs.slope_c_per_s),
        _number(signs.heating_c_per_s),
        _number(signs.rising_c_per_s),
        _number(signs.score),
        lost,
        int(signs.held),
    )
    words = (_temperature, _slope, _unexplained, _sensor)
    order = sorted((k for k in range(len(found)) if found[k]), key=lambda k: -found[k])
    reasons = [words[k](signs) for k in order]
    return Assessment(
        Risk(max(found)), tuple(en for en, _ in reasons), tuple(zh for _, zh in reasons)
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _temperature(signs: ThermalSigns) -> tuple[str, str]:
    t, top = _number(signs.temperature_c), signs.temperature_max_c
    if t > top:
        return (
            f"temperature {t:.1f} °C is {t - top:.1f} K over its maximum, {top:g} °C",
            f"温度 {t:.1f} °C，超过上限 {top:g} °C 达 {t - top:.1f} K",
        )
    return (
        f"temperature {t:.1f} °C is {top - t:.1f} K under its maximum, {top:g} °C",
        f"温度 {t:.1f} °C，距上限 {top:g} °C 仅 {top - t:.1f} K",
    )


def _slope(signs: ThermalSigns) -> tuple[str, str]:
    seen = (signs.slope_c_per_s, signs.heating_c_per_s, signs.rising_c_per_s)
    slope = max(one or 0.0 for one in seen)
    return (
        f"temperature rises by {slope:.2f} °C/s, expected at most {WARNING_SLOPE_C_PER_S:g} °C/s",
        f"温度以 {slope:.2f} °C/s 上升，预期不超过 {WARNING_SLOPE_C_PER_S:g} °C/s",
    )


def _unexplained(signs: ThermalSigns) -> tuple[str, str]:
    score, watts = _number(signs.score), _number(signs.excess_heat_w)
    heat, heat_zh = (f", {watts:.2f} W", f"（{watts:.2f} W）") if watts > 0.0 else ("", "")
    doubt, doubt_zh = "", ""
    if not signs.ambient_measured:
        doubt = "; the ambient is not measured and may have warmed"
        doubt_zh = "；未测量环境温度，环境可能升温"
    return (
        f"heat that the load does not explain{heat}: {score:.1f} times the limit{doubt}",
        f"负载无法解释的发热{heat_zh}：为阈值的 {score:.1f} 倍{doubt_zh}",
    )


def _sensor(signs: ThermalSigns) -> tuple[str, str]:
    words, words_zh = _FAULT_WORDS[signs.sensor_fault or "missing"]
    before, before_zh = "", ""
    if (signs.heating_c_per_s or 0.0) > 0.0:
        before, before_zh = "; a broken sensor, or a runaway", "；传感器故障或热失控"
    elif signs.held > Risk.WATCH:
        before = f"; it was at {signs.held.name.lower()} when the sensor was lost"
        before_zh = f"；传感器失效前为{_LEVEL_ZH[signs.held]}"
    return (
        f"the temperature sensor {words}: heat cannot be judged{before}",
        f"温度传感器{words_zh}：无法判断发热{before_zh}",
    )


_LEVEL_ZH = {Risk.NORMAL: "正常", Risk.WATCH: "关注", Risk.WARNING: "警告", Risk.DANGER: "危险"}
