"""Alarm rules: what is compared with which limit, how long it must last, and what to say and do.

A rule looks at one quantity of a sample. Its limit comes from the asset's published limits or is
fixed; a deadband and two delays in event time keep it from chattering. Severities: 1 notice, 2 low,
3 medium, 4 high, 5 critical.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from monitor.contract import AssetConfig
from monitor.features import Feature


class Extra(IntEnum):
    """Quantities that rules may look at beside `Feature`'s: their columns follow the features'."""

    THERMAL_SCORE = len(Feature)
    SOH = len(Feature) + 1
    VOLTAGE_FAULT = len(Feature) + 2  # 1 where the voltage is impossible or frozen
    TEMPERATURE_FAULT = len(Feature) + 3


EXTRAS = len(Extra)
Scope = Literal["cell", "sensor", "pack"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm. `above` is True where the value must stay below the limit.

    `limit` gives the limit of an asset, None where the rule does not apply. `deadband` is in the
    quantity's unit: the alarm returns to normal only so far inside the limit.
    """

    code: str
    severity: int
    quantity: Feature | Extra
    above: bool
    unit: str
    scope: Scope
    limit: Callable[[AssetConfig], float | None]
    deadband: float
    on_delay_ms: int
    off_delay_ms: int
    says: str
    says_zh: str
    action: str
    action_zh: str


@dataclass(frozen=True, slots=True)
class Notice:
    """An alarm about the data itself, raised by the engine rather than by a limit."""

    code: str
    severity: int
    unit: str
    says: str
    says_zh: str
    action: str
    action_zh: str


def _limit(name: str) -> Callable[[AssetConfig], float | None]:
    def read(config: AssetConfig) -> float | None:
        value: float | None = getattr(config.limits, name)
        return value

    return read


def _fixed(value: float) -> Callable[[AssetConfig], float | None]:
    return lambda config: value


def _negative(name: str) -> Callable[[AssetConfig], float | None]:
    read = _limit(name)

    def negated(config: AssetConfig) -> float | None:
        value = read(config)
        return None if value is None else -value

    return negated


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "over_voltage", 4, Feature.VOLTAGE_V, True, "V", "cell", _limit("voltage_max_v"),
        0.03, 2_000, 10_000,
        "cell voltage is above its maximum", "电芯电压高于上限",
        "Stop charging; check the charger's voltage setting.", "停止充电，检查充电器电压设置。",
    ),
    Rule(
        "under_voltage", 3, Feature.VOLTAGE_V, False, "V", "cell", _limit("voltage_min_v"),
        0.1, 2_000, 10_000,
        "cell voltage is below its minimum", "电芯电压低于下限",
        "Stop discharging; charge gently or take the cell out.", "停止放电，小电流充电或取出电芯。",
    ),
    Rule(
        "over_temperature", 5, Feature.TEMPERATURE_C, True, "°C", "sensor",
        _limit("temperature_max_c"), 3.0, 2_000, 30_000,
        "temperature is above its maximum", "温度高于上限",
        "Stop the current, cool the pack and keep away.", "切断电流，冷却电池并远离。",
    ),
    Rule(
        "under_temperature", 3, Feature.TEMPERATURE_C, False, "°C", "sensor",
        _limit("temperature_min_c"), 2.0, 10_000, 30_000,
        "temperature is below its minimum", "温度低于下限",
        "Do not charge until the cell is warmer.", "回温之前不要充电。",
    ),
    Rule(
        "charge_over_current", 4, Feature.CURRENT_A, True, "A", "pack",
        _limit("charge_current_max_a"), 0.0, 2_000, 5_000,
        "charge current is above its maximum", "充电电流高于上限",
        "Lower the charge current.", "降低充电电流。",
    ),
    Rule(
        "discharge_over_current", 4, Feature.CURRENT_A, False, "A", "pack",
        _negative("discharge_current_max_a"), 0.0, 2_000, 5_000,
        "discharge current is above its maximum", "放电电流高于上限",
        "Lower the load.", "降低负载。",
    ),
    Rule(
        "thermal_anomaly", 4, Extra.THERMAL_SCORE, True, "1", "sensor", _fixed(1.0),
        0.2, 60_000, 300_000,
        "the cell makes heat that its current does not explain", "电芯发热无法由电流解释",
        "Stop charging, inspect the cell and its cooling.", "停止充电，检查电芯与散热。",
    ),
    Rule(
        "voltage_signal_fault", 3, Extra.VOLTAGE_FAULT, True, "1", "cell", _fixed(0.5),
        0.0, 10_000, 10_000,
        "the voltage signal is impossible or frozen and is not used", "电压信号异常或冻结，已停用",
        "Check the sense wire and the BMS.", "检查采样线与 BMS。",
    ),
    Rule(
        "temperature_signal_fault", 3, Extra.TEMPERATURE_FAULT, True, "1", "sensor", _fixed(0.5),
        0.0, 10_000, 10_000,
        "the temperature signal is impossible or frozen and is not used",
        "温度信号异常或冻结，已停用",
        "Check the temperature sensor; heat cannot be judged until then.",
        "检查温度传感器；在此之前无法判断发热。",
    ),
)  # fmt: skip

STALE = Notice(
    "stale", 3, "s", "no frame has come for longer than expected", "超时未收到数据",
    "Check the device, its link and the broker.", "检查设备、链路与消息代理。",
)  # fmt: skip
OFFLINE = Notice(
    "offline", 3, "1", "the device or its gateway says that it is offline", "设备或网关已离线",
    "Check the device and its gateway.", "检查设备与网关。",
)  # fmt: skip
CLOCK_JUMP = Notice(
    "clock_jump", 2, "s", "the device's clock was set back", "设备时钟被回拨",
    "Check the device's clock; the running half-cycle counts as incomplete.",
    "检查设备时钟；当前半循环记为不完整。",
)  # fmt: skip
SEQUENCE_GAP = Notice(
    "sequence_gap", 2, "frames", "frames are missing; the broker's queue may have overflowed",
    "数据帧缺失，消息代理队列可能溢出",
    "Check the broker's queue limits (max_queued_messages) and the link.",
    "检查消息代理的队列上限（max_queued_messages）与链路。",
)  # fmt: skip
