"""Alarm rules: what is compared with which limit, how long it must last, and what to say and do.

A rule looks at one quantity of a sample. Its limit comes from the asset's published limits or is
fixed; a deadband and two delays in event time keep it from chattering. Severities: 1 notice, 2 low,
3 medium, 4 high, 5 critical.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from monitor.contract import AssetConfig
from monitor.kernels.columns import Extra, Feature
from monitor.kernels.levels import (
    DANGER_SCORE,
    DANGER_SLOPE_C_PER_S,
    WARNING_SCORE,
    WARNING_SLOPE_C_PER_S,
    WATCH_SCORE,
)

Scope = Literal["cell", "sensor", "pack"]


@dataclass(frozen=True, slots=True)
class AssetLimit:
    """Reads one of an asset's published limits, times a sign, plus an offset; None for none."""

    name: str
    offset: float = 0.0
    sign: float = 1.0

    def __call__(self, config: AssetConfig) -> float | None:
        """The limit of an asset, None where its config has none."""
        value: float | None = getattr(config.limits, self.name)
        return None if value is None else self.sign * value + self.offset


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """The same limit for every asset."""

    value: float

    def __call__(self, config: AssetConfig) -> float:
        """The same limit for every asset."""
        return self.value


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm. `above` is True where the value must stay below the limit.

    `limit` gives the limit of an asset, None where the rule does not apply. `deadband` is in the
    quantity's unit: the alarm returns to normal only so far inside the limit. Rules of one code are
    the severities of one alarm. While an alarm named in `suppressed_by` stands at the same place,
    this one is suppressed by design.
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
    suppressed_by: tuple[str, ...] = ()


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


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "over_voltage", 4, Feature.VOLTAGE_V, True, "V", "cell", AssetLimit("voltage_max_v"),
        0.03, 2_000, 10_000,
        "cell voltage is above its maximum", "电芯电压高于上限",
        "Stop charging; check the charger's voltage setting.", "停止充电，检查充电器电压设置。",
    ),
    Rule(
        "under_voltage", 3, Feature.VOLTAGE_V, False, "V", "cell", AssetLimit("voltage_min_v"),
        0.1, 2_000, 10_000,
        "cell voltage is below its minimum", "电芯电压低于下限",
        "Stop discharging; charge gently or take the cell out.", "停止放电，小电流充电或取出电芯。",
    ),
    Rule(
        "over_temperature", 5, Feature.TEMPERATURE_C, True, "°C", "sensor",
        AssetLimit("temperature_max_c"), 3.0, 2_000, 30_000,
        "temperature is above its maximum", "温度高于上限",
        "Stop the current, cool the pack and keep away.", "切断电流，冷却电池并远离。",
    ),
    Rule(
        "under_temperature", 3, Feature.TEMPERATURE_C, False, "°C", "sensor",
        AssetLimit("temperature_min_c"), 2.0, 10_000, 30_000,
        "temperature is below its minimum", "温度低于下限",
        "Do not charge until the cell is warmer.", "回温之前不要充电。",
    ),
    Rule(
        "charge_over_current", 4, Feature.CURRENT_A, True, "A", "pack",
        AssetLimit("charge_current_max_a"), 0.0, 2_000, 5_000,
        "charge current is above its maximum", "充电电流高于上限",
        "Lower the charge current.", "降低充电电流。",
    ),
    Rule(
        "discharge_over_current", 4, Feature.CURRENT_A, False, "A", "pack",
        AssetLimit("discharge_current_max_a", sign=-1.0), 0.0, 2_000, 5_000,
        "discharge current is above its maximum", "放电电流高于上限",
        "Lower the load.", "降低负载。",
    ),
    *(
        Rule(
            "thermal_anomaly", severity, Extra.THERMAL_SCORE, True, "1", "sensor",
            FixedLimit(score), 0.2, delay_ms, 300_000,
            "the cell makes heat that its current does not explain", "电芯发热无法由电流解释",
            action, action_zh, ("temperature_signal_fault",),
        )
        for severity, score, delay_ms, action, action_zh in (
            (1, WATCH_SCORE, 300_000, "Watch it; look at its cooling.", "注意观察，检查散热。"),
            (4, WARNING_SCORE, 60_000, "Stop charging, inspect the cell and its cooling.",
             "停止充电，检查电芯与散热。"),
            (5, DANGER_SCORE, 60_000, "Stop the current, keep away, be ready for fire.",
             "切断电流，远离电池，做好灭火准备。"),
        )
    ),
    *(
        Rule(
            "fast_heating", severity, Feature.DT_DT_C_PER_S, True, "°C/s", "sensor",
            FixedLimit(slope), 0.03, 0, 60_000,
            "temperature rises fast", "温度快速上升",
            "Stop the current and keep away.", "切断电流并远离。", ("temperature_signal_fault",),
        )
        for severity, slope in ((4, WARNING_SLOPE_C_PER_S), (5, DANGER_SLOPE_C_PER_S))
    ),
    Rule(
        "cell_imbalance", 3, Extra.IMBALANCE_V, True, "V", "pack", AssetLimit("imbalance_max_v"),
        0.05, 60_000, 60_000,
        "cells differ too much in voltage", "电芯之间压差过大",
        "Balance the pack; look at the lowest and the highest cell.",
        "均衡电池组，检查最高与最低电芯。",
    ),
    Rule(
        "high_resistance", 3, Feature.RESISTANCE_OHM, True, "ohm", "cell",
        AssetLimit("resistance_max_ohm"), 0.005, 60_000, 600_000,
        "internal resistance is above its maximum", "内阻高于上限",
        "Check contacts; plan to replace the cell.", "检查连接，计划更换电芯。",
    ),
    Rule(
        "low_soc", 1, Feature.SOC, False, "1", "cell", AssetLimit("soc_min"),
        0.05, 10_000, 10_000,
        "state of charge is low", "荷电状态过低", "Charge soon.", "尽快充电。",
    ),
    Rule(
        "soh_end_of_life", 2, Extra.SOH_HIGH, False, "1", "cell", AssetLimit("soh_end_of_life"),
        0.02, 600_000, 600_000,
        "even the upper end of the state of health's interval is below end of life",
        "健康状态区间的上限也已低于寿命终点",
        "Plan to replace the cell.", "计划更换电芯。",
    ),
    Rule(
        "accelerated_fade", 2, Extra.FADE_ACCELERATION, True, "1", "cell", FixedLimit(2.0),
        0.5, 0, 0,
        "the cell fades faster than it did", "容量衰减加快",
        "Look at what changed in its use; watch its state of health.",
        "检查使用条件有何变化，关注健康状态。",
    ),
    Rule(
        "knee", 3, Extra.KNEE_CYCLE, True, "cycle", "cell", FixedLimit(0.5),
        0.0, 0, 0,
        "the capacity fade has passed its knee", "容量衰减已过拐点",
        "Plan to replace the cell soon: from here it fades fast.", "尽快计划更换：此后衰减很快。",
    ),
    Rule(
        "voltage_signal_fault", 3, Extra.VOLTAGE_FAULT, True, "", "cell", FixedLimit(0.5),
        0.0, 10_000, 10_000,
        "the voltage signal is impossible or frozen and is not used", "电压信号异常或冻结，已停用",
        "Check the sense wire and the BMS.", "检查采样线与 BMS。",
    ),
    Rule(
        "temperature_signal_fault", 3, Extra.TEMPERATURE_FAULT, True, "", "sensor",
        FixedLimit(0.5), 0.0, 10_000, 10_000,
        "the temperature signal is impossible or frozen and is not used",
        "温度信号异常或冻结，已停用",
        "Check the temperature sensor; heat cannot be judged until then.",
        "检查温度传感器；在此之前无法判断发热。",
    ),
    Rule(
        "current_signal_fault", 3, Extra.CURRENT_FAULT, True, "", "pack", FixedLimit(0.5),
        0.0, 10_000, 10_000,
        "the current signal is impossible and is not used", "电流信号异常，已停用",
        "Check the current sensor and its scale; charge is not counted until then.",
        "检查电流传感器及其量程；在此之前不计电量。",
    ),
    Rule(
        "signal_glitches", 2, Feature.GLITCHES, True, "1", "cell", FixedLimit(3.0),
        2.0, 0, 60_000,
        "single samples jump and are rejected, more than three in ten minutes",
        "单点跳变被剔除，十分钟内超过三次",
        "Check the sense wires, connectors and shielding.", "检查采样线、接插件与屏蔽。",
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
ASSET = Notice(
    "asset", 1, "1", "the asset is out of service; its alarms are suppressed",
    "资产已停用，其报警被抑制", "Put it back into service when the work is done.",
    "作业完成后恢复使用。",
)  # fmt: skip
INPUT_QUARANTINED = Notice(
    "input_quarantined", 3, "1", "a message could not be processed and was set aside",
    "一条消息无法处理，已被搁置",
    "The others are processed. Look into the view `quarantine` of the store, and report it.",
    "其余消息照常处理。请查看存储中的视图 `quarantine` 并反馈该问题。",
)  # fmt: skip
ESTIMATE_FAILED = Notice(
    "estimate_failed", 3, "1", "no estimate can be made of this asset",
    "无法给出该资产的估计", "Its limits are watched as ever. Look into the log, and report it.",
    "限值监测不受影响。请查看日志并反馈该问题。",
)  # fmt: skip
CLIENT_TAKEN_OVER = Notice(
    "client_taken_over", 4, "1", "another client seems to have taken the monitor's client id",
    "似有另一客户端以监测程序的客户端标识连接了消息代理",
    "Stop the other monitor, or find who knows the broker's password: messages may be lost.",
    "请停止另一监测程序，或查明何人持有代理密码：消息可能丢失。",
)  # fmt: skip
# What a `Trouble` may tell.
TROUBLES = {one.code: one for one in (INPUT_QUARANTINED, ESTIMATE_FAILED, CLIENT_TAKEN_OVER)}
DATA_NOTICES = (STALE, OFFLINE, CLOCK_JUMP, SEQUENCE_GAP, *TROUBLES.values())
