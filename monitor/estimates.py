"""What is told of an asset: its newest estimate, and the state that charging advice starts from.

Read from the fleet's arrays, which hold the newest value of every quantity with the time that it
is of. Pure.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from monitor.charging.advice import ChargeState, charge_state
from monitor.contract import (
    SOH_STATES,
    VERSION,
    Estimate,
    FadeReading,
    Reading,
    Readings,
    RiskLevel,
    RiskReading,
    SohReading,
    Times,
)
from monitor.fleet import Asset, Fleet
from monitor.kernels.columns import Phase, Quality, Result
from monitor.kernels.soh_state import SohCode
from monitor.risk import Assessment, Risk, ThermalSigns, assess, fault_of

RISK_LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)
QUALITY_BITS = tuple((int(bit), bit.name.lower()) for bit in Quality)
UNTROUBLED = Assessment(Risk.NORMAL, (), ())
PHASES = tuple(phase.name.lower() for phase in Phase)


def estimate_of(fleet: Fleet, asset: Asset) -> Estimate | None:
    """The newest of everything about an asset; None where no frame has come."""
    rows = fleet.slice(asset)
    value: list[list[float]] = fleet.value[rows].T.tolist()  # a list a column, of cells
    ms: list[list[int]] = fleet.value_ms[rows].T.tolist()
    newest = max(map(max, ms))
    if newest < 0:
        return None

    def reading(column: Result) -> Reading:
        return Reading(_times(ms[column]), _readings(value[column]))

    return Estimate(
        v=VERSION,
        timestamp_ms=newest,
        phase=[PHASES[int(x) if x == x else 0] for x in value[Result.PHASE]],
        soc=reading(Result.SOC),
        soh=SohReading(
            _times(ms[Result.SOH]),
            _readings(value[Result.SOH]),
            _readings(value[Result.SOH_LOW]),
            _readings(value[Result.SOH_HIGH]),
            [
                SOH_STATES[int(x) if x == x else SohCode.NOT_ENOUGH_SEEN]
                for x in value[Result.SOH_STATE]
            ],
        ),
        resistance_ohm=reading(Result.RESISTANCE_OHM),
        thermal_score=reading(Result.THERMAL_SCORE),
        excess_heat_w=reading(Result.EXCESS_HEAT_W),
        quality=[
            [name for bit, name in QUALITY_BITS if int(x) & bit] if x == x and x else []
            for x in value[Result.QUALITY]
        ],
        risk=_risk(fleet, asset, ms[Result.RISK], value[Result.RISK]),
        fade=_fade_reading(asset) if asset.fades else None,
    )


def charge_state_of(fleet: Fleet, asset: Asset) -> ChargeState:
    """What charging advice needs of an asset; NaN for what is not known or not believed."""
    rows = fleet.slice(asset)
    value = fleet.value[rows].astype(np.float64)
    cells = fleet.cells[rows]
    believed = value[:, Result.SOH_STATE] == SohCode.OK
    quality = np.nan_to_num(value[:, Result.QUALITY]).astype(np.int64)
    broken = [fault_of(int(bits)) is not None for bits in quality]
    return charge_state(
        asset.config,
        soc=value[:, Result.SOC],
        soh=np.where(believed, value[:, Result.SOH], np.nan),
        voltage_v=cells["voltage_v"].copy(),
        temperature_c=np.where(broken, np.nan, cells["temperature_c"]),
        current_a=float(cells["current_a"][0]),
        ambient_c=float("nan"),  # of the newest frame alone, and not kept
    )


def _risk(fleet: Fleet, asset: Asset, ms: list[int], judged: list[float]) -> RiskReading:
    """The risk of every cell; the reasons, which take their time, only where there is one."""
    found = [
        None if at < 0 else UNTROUBLED if risk == 0.0 else _assessed(fleet, asset, row)
        for row, (at, risk) in enumerate(zip(ms, judged, strict=True), asset.first_row)
    ]
    return RiskReading(
        _times(ms),
        [None if one is None else RISK_LEVELS[one.risk] for one in found],
        ["" if one is None else "; ".join(one.reasons) for one in found],
        ["" if one is None else "；".join(one.reasons_zh) for one in found],
    )


def _assessed(fleet: Fleet, asset: Asset, row: int) -> Assessment:
    """What the newest sample of a cell was judged to be, with the reasons."""
    value, ms, cell = fleet.value[row], fleet.value_ms[row], fleet.cells[row]
    quality = int(value[Result.QUALITY])
    fault = fault_of(quality)

    def of_now(column: Result) -> float | None:
        return none_for_nan(value[column]) if ms[column] == ms[Result.RISK] else None

    return assess(
        ThermalSigns(
            temperature_c=None if fault else float(cell.temperature_c),
            temperature_max_c=asset.config.limits.temperature_max_c,
            slope_c_per_s=None if fault else of_now(Result.DT_DT_C_PER_S),
            heating_c_per_s=none_for_nan(cell.slope.heating_c_per_s),
            rising_c_per_s=none_for_nan(cell.slope.rising_c_per_s),
            score=of_now(Result.THERMAL_SCORE),
            excess_heat_w=of_now(Result.EXCESS_HEAT_W),
            sensor_fault=fault,
            ambient_measured=not quality & Quality.AMBIENT_ASSUMED,
            held=Risk(int(value[Result.RISK])) if fault else Risk.NORMAL,
        )
    )


def _fade_reading(asset: Asset) -> FadeReading:
    cells = range(asset.cells)
    now = [asset.fades[cell].now() if cell in asset.fades else None for cell in cells]
    return FadeReading(
        [asset.fades_ms.get(cell) for cell in cells],
        [None if fade is None else fade.slope_per_cycle for fade in now],
        [None if fade is None else fade.acceleration for fade in now],
        [None if fade is None else fade.knee_cycle for fade in now],
    )


def none_for_nan(x: np.floating) -> float | None:
    """A number of an array as a record holds it."""
    return None if np.isnan(x) else float(x)


def _readings(values: list[float]) -> Readings:
    return [x if x == x else None for x in values]


def _times(values: list[int]) -> Times:
    return [x if x >= 0 else None for x in values]
