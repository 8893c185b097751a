"""What a page shows of one asset at a glance, made from its newest messages; pure.

A pack is summed up by the cell that matters most: the lowest state of health and charge, the
hottest sensor, the highest thermal score, the gravest risk with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Literal, get_args

from msgspec import Struct

from monitor.charging.advice import sentence
from monitor.contract import (
    AlarmRecord,
    AssetConfig,
    Estimate,
    Frame,
    Limits,
    Readings,
    RiskLevel,
    RiskReading,
    SohState,
    as_list,
    sensor_of_cell,
)
from monitor.gaps import OLD_FRAMES, gap_ms
from monitor.risk import Risk, ThermalSigns, assess

RiskName = Literal["unknown", "ok", "watch", "warning", "danger"]


_QUIET_STATES = frozenset({"normal", "shelved", "suppressed", "out of service"})
THERMAL_CODES = ("thermal_", "over_temperature", "fast_heating")
_RISK_OF_SEVERITY = (Risk.NORMAL, Risk.WATCH, *(Risk.WARNING,) * 3, Risk.DANGER)
_NAMES: dict[Risk, RiskName] = {
    Risk.NORMAL: "ok",
    Risk.WATCH: "watch",
    Risk.WARNING: "warning",
    Risk.DANGER: "danger",
}


class Row(Struct, omit_defaults=True):
    """One asset in the fleet; times are milliseconds UTC, missing values are absent."""

    id: str
    limit: int  # how old, ms, it may grow before it is stale
    cells: int = 1
    v: float | None = None  # V: the cell's, or the pack's sum
    vmin: float | None = None  # V, packs only: lowest and highest cell
    vmax: float | None = None
    i: float | None = None  # A, positive charges
    t: float | None = None  # degrees Celsius, the hottest sensor
    score: float | None = None  # thermal score, 1 at the alarm threshold
    soc: float | None = None
    soh: float | None = None
    lo: float | None = None
    hi: float | None = None
    st: SohState | None = None  # what stands for the SOH where there is no figure
    r: float | None = None  # ohm
    heat: float | None = None  # W of unexplained heat
    phase: str | None = None
    risk: RiskName = "unknown"
    why: str | None = None  # what gave the risk, in words
    why_zh: str | None = None
    advice: str | None = None  # how to charge, in words; nothing is commanded
    advice_zh: str | None = None
    alarms: int = 0
    unack: int = 0
    sev: int = 0
    at: int | None = None  # when the newest frame came in, by the server's clock
    ts: int | None = None  # event time of the newest frame
    stale: bool = True
    off: bool = False  # the device, or its gateway, says that it is offline


def is_active(alarm: AlarmRecord) -> bool:
    """Whether the alarm asks for an operator's attention now."""
    return alarm.state not in _QUIET_STATES


def risk_of(signs: ThermalSigns | None, alarms: Iterable[AlarmRecord]) -> RiskName:
    """The risk lamp: what the thermal signs mean, raised by any thermal alarm that stands.

    Without signs, before the first frame, it is unknown unless an alarm stands.
    """
    return _lamp(None if signs is None else assess(signs).risk, alarms)


def gravest_of(*risks: RiskName) -> RiskName:
    """The gravest of some risks."""
    return max(risks, key=list(get_args(RiskName)).index)


def _lamp(judged: Risk | None, alarms: Iterable[AlarmRecord]) -> RiskName:
    severity = max(
        (
            alarm.severity
            for alarm in alarms
            if is_active(alarm) and alarm.code.startswith(THERMAL_CODES)
        ),
        default=0,
    )
    by_alarm = _RISK_OF_SEVERITY[severity]
    if judged is None:
        return "unknown" if by_alarm is Risk.NORMAL else _NAMES[by_alarm]
    return _NAMES[max(by_alarm, judged)]


def make_row(
    name: str,
    config: AssetConfig | None,
    frame: Frame | None,
    estimate: Estimate | None,
    alarms: Sequence[AlarmRecord],
) -> Row:
    """The row of an asset, without what depends on the clock (`at`, `stale`, `off`)."""
    row = Row(id=name, limit=gap_ms(config, OLD_FRAMES))
    row.cells = config.cells if config is not None else 1
    if frame is not None:
        _fill_measured(row, frame)
    if estimate is not None:
        _fill_estimated(row, estimate)
    active = [alarm for alarm in alarms if is_active(alarm)]
    row.alarms = len(active)
    row.unack = sum(alarm.state != "acknowledged" for alarm in active)
    row.sev = max((alarm.severity for alarm in active), default=0)
    judged = None
    if frame is not None:
        judged, row.why, row.why_zh = _judged(config, row, estimate)
    row.risk = _lamp(judged, alarms)
    return row


def _judged(
    config: AssetConfig | None, row: Row, estimate: Estimate | None
) -> tuple[Risk, str | None, str | None]:
    """The gravest cell's risk as the engine judged it; before an estimate, the frame's own."""
    reading = None if estimate is None else estimate.risk
    known = [] if reading is None else _levels(reading)
    if reading is not None and known:
        level, first = max(known, key=lambda pair: pair[0])
        return Risk(level), reading.reason[first] or None, reading.reason_zh[first] or None
    found = assess(_signs(config, row, estimate))
    return found.risk, "; ".join(found.reasons) or None, "；".join(found.reasons_zh) or None


def _levels(risk: RiskReading) -> list[tuple[int, int]]:
    order = get_args(RiskLevel)
    return [(order.index(level), k) for k, level in enumerate(risk.level) if level is not None]


def sensor_maps(config: AssetConfig | None) -> Callable[[int], list[int]]:
    """By the number of sensors, which of them watches each cell; made once for each number."""
    return cache(lambda sensors: [] if config is None else sensor_of_cell(config, sensors))


def cell_values(
    config: AssetConfig | None, frame: Frame, cell: int, maps: Callable[[int], list[int]]
) -> tuple[float | None, float | None]:
    """Voltage in V and temperature in degrees Celsius of one cell (from 0).

    `maps` are the config's (`sensor_maps`).
    """
    voltages = as_list(frame.voltage_v)
    temperatures = as_list(frame.temperature_c)
    voltage = voltages[cell] if cell < len(voltages) else None
    if not temperatures:
        return voltage, None
    if config is None:
        return voltage, temperatures[min(cell, len(temperatures) - 1)]
    if cell >= config.cells:
        return voltage, None
    sensor = maps(len(temperatures))[cell]
    return voltage, temperatures[sensor] if 0 <= sensor < len(temperatures) else None


def at(values: Readings, cell: int) -> float | None:
    """The value of one cell, or None where the list is shorter."""
    return values[cell] if cell < len(values) else None


def _signs(config: AssetConfig | None, row: Row, estimate: Estimate | None) -> ThermalSigns:
    limits = config.limits if config is not None else Limits()
    flags = [flag for cell in estimate.quality for flag in cell] if estimate is not None else []
    faults = [flag for flag in flags if flag.startswith("temperature_")]
    return ThermalSigns(
        temperature_c=row.t,
        temperature_max_c=limits.temperature_max_c,
        score=row.score,
        excess_heat_w=row.heat,
        sensor_fault=faults[0].removeprefix("temperature_") if faults else None,
    )


def _fill_measured(row: Row, frame: Frame) -> None:
    voltages = [value for value in as_list(frame.voltage_v) if value is not None]
    row.cells = max(row.cells, len(as_list(frame.voltage_v)))
    if frame.pack_voltage_v is not None:
        row.v = frame.pack_voltage_v
    elif len(voltages) == row.cells:
        row.v = sum(voltages)
    if row.cells > 1 and voltages:
        row.vmin, row.vmax = min(voltages), max(voltages)
    row.i = frame.current_a
    row.t = _largest(as_list(frame.temperature_c))
    row.ts = frame.timestamp_ms


def _fill_estimated(row: Row, estimate: Estimate) -> None:
    row.soc = _smallest(estimate.soc.value)
    row.score = _largest(estimate.thermal_score.value)
    row.heat = _largest(estimate.excess_heat_w.value)
    row.r = _largest(estimate.resistance_ohm.value)
    row.phase = estimate.phase[0] if estimate.phase else None
    if estimate.advice is not None:
        row.advice = sentence(estimate.advice)
        row.advice_zh = sentence(estimate.advice, zh=True)
    soh = estimate.soh
    known = [
        (value, cell)
        for cell, value in enumerate(soh.value)
        if value is not None and soh.state[cell] in ("ok", "unlike_training")
    ]
    if known:
        row.soh, weakest = min(known)
        row.lo, row.hi, row.st = soh.low[weakest], soh.high[weakest], soh.state[weakest]
    elif soh.state:
        row.st = soh.state[0]


def _smallest(values: Readings) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _largest(values: Readings) -> float | None:
    return max((value for value in values if value is not None), default=None)
