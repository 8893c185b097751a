"""From a cell's thermal signals to a risk level, with the reason in words.

The engine judges every sample (`kernels.risk.assess_inplace`); the words are made when somebody
reads them (`assess`), from the same levels (`kernels.levels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from monitor.kernels.columns import Quality
from monitor.kernels.levels import WARNING_SLOPE_C_PER_S, levels


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


def fault_of(quality: int) -> str | None:
    """The temperature sensor's fault in a sample's quality bits, by name."""
    for bit, name, _, _ in _FAULTS:
        if quality & bit:
            return name
    return None


def assess(signs: ThermalSigns) -> Assessment:
    """The risk that a cell's signs mean, and each reason for it."""
    lost = signs.temperature_c is None or signs.sensor_fault is not None
    found = levels(
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
