"""Charging advice for one asset: how fast now, how long still, what it costs, and why.

In shadow: nothing here or elsewhere in the monitor commands a charger. The policy comes as ONNX
bytes with a card; what it wishes goes through `charging.allowed_c` and is never above it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from monitor.charging.shield import Limits, allowed_c, which_limit
from monitor.contract import Advice, AssetConfig, ChargingStyle
from monitor.models.onnx import Card, Floats32, open_session

# What the policy sees, ordered: name, unit. C is of nominal capacity.
ADVICE_INPUTS = (
    ("soc", "1"),
    ("voltage_v", "V a cell"),
    ("current_c", "C, positive charges"),
    ("temperature_c", "degC"),
    ("ambient_c", "degC"),
    ("soh", "1"),
    ("allowed_c", "C"),
    ("wear_weight", "1"),
)
ADVICE_OUTPUTS = ("current_c", "minutes", "loss")
SEEN = {name: column for column, (name, _) in enumerate(ADVICE_INPUTS)}
END_SOC = 0.8
Style = ChargingStyle
STYLES: tuple[Style, ...] = get_args(Style)
WEIGHTS: dict[Style, float] = {"fast": 0.5, "normal": 6.0, "gentle": 25.0}  # on wear
STYLES_ZH: dict[Style, str] = {"fast": "快速", "normal": "标准", "gentle": "温和"}
UNKNOWN_SOH = 0.8  # what an unknown state of health is taken for: the careful side
HOTTEST_LIMIT_C = 45.0  # charging above it is not advised, whatever the maker allows

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChargeState:
    """What is known of an asset's cells now; arrays have one entry a cell, NaN where unknown."""

    soc: Floats
    soh: Floats
    voltage_v: Floats
    temperature_c: Floats
    current_a: float
    ambient_c: float | None
    nominal_capacity_ah: float
    voltage_max_v: float = 4.2
    temperature_max_c: float = HOTTEST_LIMIT_C
    charge_current_max_a: float | None = None

    def at_soc(self, soc: float) -> ChargeState:
        """The same with another state of charge in every cell."""
        return replace(self, soc=np.full(len(self.soc), soc))


def charge_state(
    config: AssetConfig, *, soc: Floats, soh: Floats, voltage_v: Floats, temperature_c: Floats,
    current_a: float, ambient_c: float,
) -> ChargeState:  # fmt: skip
    """What is known of an asset, with the limits of its config; NaN is unknown."""
    limits = config.limits
    return ChargeState(
        soc=soc,
        soh=soh,
        voltage_v=voltage_v,
        temperature_c=temperature_c,
        current_a=0.0 if np.isnan(current_a) else current_a,
        ambient_c=None if np.isnan(ambient_c) else ambient_c,
        nominal_capacity_ah=config.nominal_capacity_ah,
        voltage_max_v=min(limits.charge_voltage_v, limits.voltage_max_v),
        temperature_max_c=limits.temperature_max_c,
        charge_current_max_a=limits.charge_current_max_a,
    )


class AdviceModel:
    """The policy; (n, len(ADVICE_INPUTS)) float32 in."""

    def __init__(self, onnx: bytes, card: Card) -> None:
        """Raises ModelError where card and file do not belong together."""
        self.card = card
        self._session = open_session(onnx, card, ADVICE_INPUTS, ADVICE_OUTPUTS)

    def run(self, seen: Floats32) -> tuple[Floats32, Floats32, Floats32]:
        """Current in C before the shield, minutes and loss until 80 %, a row each."""
        current_c, minutes, loss = self._session.run(None, {"x": seen})
        return current_c, minutes, loss


def advise(model: AdviceModel, state: ChargeState, style: Style = "normal") -> Advice:
    """Advice for one asset; in a string the cell that may take least decides."""
    known = ~(np.isnan(state.soc) | np.isnan(state.voltage_v) | np.isnan(state.temperature_c))
    if not known.all() or not len(known):
        missing = "state of charge, voltage or temperature is not known yet"
        return _none(style, (missing, "荷电状态、电压或温度尚未知"))
    if state.soc.max() >= END_SOC:
        full = f"{state.soc.max():.0%}"
        done = f"a cell is at {full}; the policy charges to 80 %"
        return _none(style, (done, f"有电芯已达 {full}，充电策略只充到 80 %"))
    limits = limits_of(state)
    soh = np.where(np.isnan(state.soh), UNKNOWN_SOH, state.soh)
    allowed = allowed_c(state.soc, soh, state.temperature_c, limits)
    ambient_c = state.temperature_c.min() if state.ambient_c is None else state.ambient_c
    rows = [
        state.soc,
        state.voltage_v,
        np.full(len(soh), state.current_a / state.nominal_capacity_ah),
        state.temperature_c,
        np.full(len(soh), ambient_c),
        soh,
        allowed,
        np.full(len(soh), WEIGHTS[style]),
    ]
    wished, minutes, loss = model.run(np.column_stack(rows).astype(np.float32))
    weakest = int(np.minimum(wished, allowed).argmin())
    bound = float(allowed.min())
    current = min(float(wished[weakest]), bound)
    cell = int(allowed.argmin())
    why = _why(
        current, float(wished[weakest]), bound, float(state.soc[cell]), float(soh[cell]),
        float(state.temperature_c[cell]), limits, style,
    )  # fmt: skip
    # What the outlook says of a state unlike its training is not told.
    least = 60.0 * (END_SOC - state.soc[weakest]) * soh[weakest] / max(current, 1e-3)
    ample = current > 0.0 and 0.7 * least <= minutes[weakest] <= 4.0 * least
    return Advice(
        current_a=round(current * state.nominal_capacity_ah, 2),
        current_c=round(current, 2),
        allowed_a=round(bound * state.nominal_capacity_ah, 2),
        minutes=round(float(minutes[weakest]), 1) if ample else None,
        loss=round(float(loss[weakest]), 7) if ample else None,
        why=why[0],
        why_zh=why[1],
        style=style,
    )


def limits_of(state: ChargeState) -> Limits:
    """The maker's limits and the policy's own, whichever is tighter."""
    ours = Limits()
    most = ours.current_max_c
    if state.charge_current_max_a is not None:
        most = min(most, state.charge_current_max_a / state.nominal_capacity_ah)
    return Limits(
        voltage_max_v=min(ours.voltage_max_v, state.voltage_max_v),
        current_max_c=most,
        temperature_max_c=min(ours.temperature_max_c, state.temperature_max_c),
        anode_min_v=ours.anode_min_v,
    )


def _none(style: Style, why: tuple[str, str]) -> Advice:
    return Advice(None, None, None, None, None, *why, style)


def _why(
    current: float, wished: float, bound: float, soc: float, soh: float, temperature_c: float,
    limits: Limits, style: Style,
) -> tuple[str, str]:  # fmt: skip
    """The reason in English and Chinese."""
    t, limit = f"{temperature_c:.0f}", f"{limits.temperature_max_c:.0f}"
    if bound <= 0.0:
        return f"no charging at {t} degC", f"{t} °C 时不应充电"
    if current < wished or current >= 0.97 * bound:
        return {
            "current": ("it is the largest current allowed", "已是允许的最大电流"),
            "temperature": (
                f"more would warm a cell of {t} degC towards its limit of {limit} degC",
                f"电流再大会使 {t} °C 的电芯接近 {limit} °C 的上限",
            ),
            "plating": (
                f"more would risk lithium plating at {soc:.0%} and {t} degC",
                f"在 {soc:.0%}、{t} °C 下电流再大有析锂风险",
            ),
        }[which_limit(soc, soh, temperature_c, limits)]
    return (
        f"{bound:.2f}C would be allowed; faster wears more than the time is worth in the style "
        f"{style}",
        f"允许 {bound:.2f}C；更快时磨损超过所省时间的价值（{STYLES_ZH[style]}）",
    )


def sentence(advice: Advice, *, zh: bool = False) -> str:
    """The advice as one line for people."""
    if advice.current_a is None or advice.current_c is None or advice.allowed_a is None:
        return f"没有充电建议：{advice.why_zh}" if zh else f"no charging advice: {advice.why}"
    if advice.minutes is None or advice.loss is None:
        outlook = (
            "状态与训练数据不同，不给出时间与损耗"
            if zh
            else "time and wear not told, the state is unlike the training"
        )
    elif zh:
        outlook = f"{advice.minutes:.0f} 分钟到 80 %，损耗额定容量的 {100 * advice.loss:.3f} %"
    else:
        outlook = (
            f"80 % in {advice.minutes:.0f} min, wear {100 * advice.loss:.3f} % of nominal capacity"
        )
    if zh:
        rate = f"{advice.current_c:g}C，允许 {advice.allowed_a:g} A"
        told = f"建议以 {advice.current_a:g} A 充电（{rate}）；{outlook}。"
        return f"{told}原因：{advice.why_zh}。仅供参考，不控制充电器。"
    return (
        f"charge at {advice.current_a:g} A ({advice.current_c:g}C, of {advice.allowed_a:g} A "
        f"allowed); {outlook}. Why: {advice.why}. In shadow: nothing is commanded."
    )
