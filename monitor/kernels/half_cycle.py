"""Counters, state of charge, resistance, and half-cycles with their incremental-capacity histogram.

* charge and energy: trapezoidal integrals of I and of V·I, apart for each direction;
* state of charge: coulomb counting from the last full (CV with the current under C/20) or empty (a
  discharge at the cut-off voltage) instant, over the capacity last measured between the two, else
  nominal;
* resistance: ΔV/ΔI at a current step of at least C/4, averaged over steps; r60: (V(60 s after the
  start) - V at rest) / I;
* the histogram: charge moved per 10 mV (dQ/dV times the bin's width), each step's charge spread
  evenly over the voltages it crossed.
"""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import (
    BIN_FIRST_V,
    BIN_V,
    BINS,
    CV_BAND_V,
    MARKS,
    Ended,
    Floats32,
    Phase,
    Record,
)
from monitor.kernels.frames import Sample
from monitor.kernels.jit import kernel

REST_C_RATE = 0.01  # below it a current counts as rest
FULL_C_RATE = 0.05
STEP_C_RATE = 0.25  # the smallest current step that gives a resistance
STEP_MAX_S = 20.0
STEP_WEIGHT = 0.3
R60_S = 60.0
R_MOST_OHM = 5.0  # a larger resistance is no cell's
V_REST_VALID_S = 1_200.0  # a rest voltage older than this says nothing about the load that follows
REST_SURVIVES_S = 10.0  # a load this short leaves the rest voltage standing (NASA's false current)
REST_ENDS_S = 600.0  # so long a rest ends a half-cycle
SMALLEST_HALF_CYCLE = 0.01  # of nominal capacity; a smaller one is a blip and is not reported
FULL_REST_V = 0.05  # a cell that rests so little below its charge voltage is full
MARK_SLACK = 1e-9  # of nominal: how far a sum of charges may round


@kernel
def half_cycle_inplace(cell: Record, sample: Sample, end: Record) -> bool:
    """Take a screened sample in; True if a half-cycle ended, which is then in `end`.

    `cell` is a record of CELL, `end` one of END; its `sample` is not touched.
    """
    t, i = sample.t_ms, sample.current_a
    v = sample.voltage_v
    last = cell.timestamp_ms
    half = cell.half_cycle
    gap = sample.new_segment or (not np.isnan(last) and t - last > cell.config.max_gap_ms)
    bridged = not np.isnan(last) and not gap and t > last
    before = int(cell.phase)
    phase = _phase(cell.config, v, i)
    direction = _direction(phase)

    finished = False
    if gap:
        finished = _gap_inplace(cell, before, sample.new_segment, end)
    # Rest ends a half-cycle only when it lasts: a pulse train is one discharge.
    if phase == Phase.REST:
        if bridged and before == Phase.REST:
            cell.rest_s += (t - last) / 1000.0
        if half.direction != 0.0 and cell.rest_s >= REST_ENDS_S:
            finished = _end_inplace(cell, end)
    else:
        cell.rest_s = 0.0
    if direction != 0 and direction != half.direction:
        if half.direction != 0.0:
            finished = _end_inplace(cell, end)
        _start_inplace(cell, t, last if bridged else float(t), direction, v)

    if bridged:
        _count_inplace(cell, (t - last) / 1000.0, v, i, phase)
    if direction != 0:
        _load_inplace(cell, t, v, i, phase == Phase.CV_CHARGE and before == Phase.CV_CHARGE)
    elif phase == Phase.REST and not np.isnan(v):
        cell.rest_voltage_v = v
        cell.rest_ms = t
    _anchor_inplace(cell, phase, v, i)
    cell.phase = phase
    return finished


@kernel
def _phase(config: Record, v: float, i: float) -> int:
    """From the current and the CC-CV corner."""
    if np.isnan(i):
        return Phase.UNKNOWN + 0
    if abs(i) < REST_C_RATE * config.nominal_ah:
        return Phase.REST + 0
    if i < 0.0:
        return Phase.DISCHARGE + 0
    if v >= config.charge_v - CV_BAND_V:
        return Phase.CV_CHARGE + 0
    return Phase.CC_CHARGE + 0


@kernel
def _direction(phase: int) -> int:
    if phase == Phase.CC_CHARGE or phase == Phase.CV_CHARGE:
        return 1
    return -1 if phase == Phase.DISCHARGE else 0


@kernel
def _gap_inplace(cell: Record, before: int, segment: bool, end: Record) -> bool:
    """Nothing was seen for too long, or the clock was set back; True if a half-cycle ended."""
    half = cell.half_cycle
    finished = False
    if half.direction != 0.0:
        if segment:
            half.gap = 1.0  # the old clock's half-cycle ends here, incomplete
        if segment or before == Phase.REST or half.reached_end == 1.0:
            finished = _end_inplace(cell, end)
        else:
            half.gap = 1.0
    if _direction(before) != 0:
        cell.since_full_ah = np.nan  # charge may have moved unseen
        cell.at_end = 0.0
    return finished


@kernel
def _count_inplace(cell: Record, dt: float, v: float, i: float, phase: int) -> None:
    """The step of `dt` s from the newest sample to this one, in every counter."""
    half = cell.half_cycle
    i0 = cell.current_a
    if np.isnan(i) or np.isnan(i0):
        if half.direction != 0.0:
            half.gap = 1.0
        cell.since_full_ah = np.nan
        return
    dq = 0.5 * (i + i0) * dt / 3600.0
    _charge_inplace(cell, dq)
    v0 = cell.voltage_v
    dw = 0.0
    if not np.isnan(v) and not np.isnan(v0):
        dw = 0.5 * (v * i + v0 * i0) * dt / 3600.0
        if dw > 0.0:
            cell.energy_in_wh += dw
        else:
            cell.energy_out_wh -= dw
        if dt <= STEP_MAX_S:
            _step_inplace(cell, v - v0, i - i0)
    sign = half.direction
    if sign != 0.0 and dq * sign > 0.0:
        half.charge_ah += dq * sign
        half.energy_wh += dw * sign
        before = int(cell.phase)
        constant = _direction(phase) == sign and _direction(before) == sign
        if constant and before != Phase.CV_CHARGE:
            mean = 0.5 * (i + i0) * sign
            half.current_as += mean * dt
            half.current_squared_a2s += mean * mean * dt
            half.loaded_s += dt
            if not np.isnan(v) and not np.isnan(v0):
                _spread_inplace(cell.histogram[0 if sign > 0.0 else 1], v0, v, dq * sign)
                if sign < 0.0:
                    _mark_inplace(half, cell.config.nominal_ah, v0, v, dq * sign)


@kernel
def _charge_inplace(cell: Record, dq: float) -> None:
    """Charge counters and the state of charge; `dq` in Ah."""
    if dq > 0.0:
        cell.charge_in_ah += dq
    else:
        cell.charge_out_ah -= dq
    if not np.isnan(cell.since_full_ah):
        cell.since_full_ah -= dq
    if not np.isnan(cell.soc):
        capacity = cell.config.nominal_ah if np.isnan(cell.capacity_ah) else cell.capacity_ah
        cell.soc = min(1.0, max(0.0, cell.soc + dq / capacity))
    if cell.at_end != 0.0:
        cell.at_end_ah += abs(dq)


@kernel
def _step_inplace(cell: Record, dv: float, di: float) -> None:
    """A step of the current gives a resistance."""
    if abs(di) >= STEP_C_RATE * cell.config.nominal_ah:
        r = dv / di
        if 0.0 < r < R_MOST_OHM:
            if np.isnan(cell.resistance_ohm):
                cell.resistance_ohm = r
            else:
                cell.resistance_ohm += STEP_WEIGHT * (r - cell.resistance_ohm)


@kernel
def _load_inplace(cell: Record, t: int, v: float, i: float, stays_cv: bool) -> None:
    """A sample under load: the running half-cycle's end, voltages and r60."""
    half = cell.half_cycle
    half.end_ms = t
    if np.isnan(v):
        return
    half.voltage_end_v = v
    if not stays_cv:
        if not half.voltage_min_v <= v:
            half.voltage_min_v = v
        if not half.voltage_max_v >= v:
            half.voltage_max_v = v
    if (
        np.isnan(half.r60_ohm)
        and t - half.start_ms >= R60_S * 1000.0
        and not np.isnan(half.rest_voltage_v)
    ):
        r = (v - half.rest_voltage_v) / i
        if 0.0 < r < R_MOST_OHM:
            half.r60_ohm = r


@kernel
def _start_inplace(cell: Record, t: int, start_ms: float, direction: int, v: float) -> None:
    half = cell.half_cycle
    half.direction = direction
    half.start_ms = start_ms
    half.end_ms = t
    half.charge_ah = 0.0
    half.energy_wh = 0.0
    half.voltage_start_v = v
    half.voltage_end_v = v
    half.voltage_min_v = np.nan
    half.voltage_max_v = np.nan
    half.current_as = 0.0
    half.current_squared_a2s = 0.0
    half.loaded_s = 0.0
    half.temperature_cs = 0.0
    half.temperature_s = 0.0
    half.temperature_max_c = np.nan
    half.r60_ohm = np.nan
    half.gap = 0.0
    half.reached_end = 0.0
    half.from_end = 1.0 if cell.at_end == -direction else 0.0
    fresh = t - cell.rest_ms <= V_REST_VALID_S * 1000.0
    half.rest_voltage_v = cell.rest_voltage_v if fresh else np.nan
    from_full = direction < 0 and half.rest_voltage_v >= cell.config.charge_v - FULL_REST_V
    half.marks_passed = 0.0 if from_full else -1.0
    cell.histogram[:, :] = 0.0


@kernel
def _end_inplace(cell: Record, end: Record) -> bool:
    """Close the running half-cycle; a blip leaves no trace. True if it was written to `end`."""
    half = cell.half_cycle
    direction = half.direction
    half.direction = 0.0
    if half.charge_ah < SMALLEST_HALF_CYCLE * cell.config.nominal_ah:
        return False
    if direction > 0.0:
        cell.charges += 1.0
    else:
        cell.discharges += 1.0
    if cell.rest_ms < half.end_ms - REST_SURVIVES_S * 1000.0:
        cell.rest_voltage_v = np.nan
        cell.rest_ms = np.nan
    row = end.values
    row[Ended.KIND] = direction
    row[Ended.START_MS] = half.start_ms
    row[Ended.END_MS] = half.end_ms
    row[Ended.CHARGE_AH] = half.charge_ah
    row[Ended.ENERGY_WH] = half.energy_wh
    row[Ended.VOLTAGE_START_V] = half.voltage_start_v
    row[Ended.VOLTAGE_END_V] = half.voltage_end_v
    hours = (half.end_ms - half.start_ms) / 3.6e6
    row[Ended.CURRENT_MEAN_A] = direction * half.charge_ah / hours if hours > 0.0 else np.nan
    known = half.temperature_s > 0.0
    row[Ended.TEMPERATURE_MEAN_C] = half.temperature_cs / half.temperature_s if known else np.nan
    row[Ended.TEMPERATURE_MAX_C] = half.temperature_max_c
    row[Ended.R60_OHM] = half.r60_ohm
    whole = half.gap == 0.0 and half.from_end == 1.0 and half.reached_end == 1.0
    row[Ended.COMPLETE] = 1.0 if whole else 0.0
    row[Ended.NUMBER] = cell.charges if direction > 0.0 else cell.discharges
    side = 0 if direction > 0.0 else 1
    for b in range(BINS):
        end.histogram[b] = cell.histogram[side, b]
    return True


@kernel
def _anchor_inplace(cell: Record, phase: int, v: float, i: float) -> None:
    """Set the state of charge where it is known: full at the end of CV, empty at the cut-off."""
    nominal = cell.config.nominal_ah
    half = cell.half_cycle
    if phase == Phase.CV_CHARGE and i < FULL_C_RATE * nominal:
        cell.soc = 1.0
        cell.since_full_ah = 0.0
        cell.at_end = 1.0
        cell.at_end_ah = 0.0
        half.reached_end = 1.0
    elif phase == Phase.DISCHARGE and v <= cell.config.discharge_v:
        cell.soc = 0.0
        if not np.isnan(cell.since_full_ah) and cell.since_full_ah > 0.1 * nominal:
            cell.capacity_ah = cell.since_full_ah
        cell.at_end = -1.0
        cell.at_end_ah = 0.0
        half.reached_end = 1.0
    elif cell.at_end != 0.0 and cell.at_end_ah > 0.03 * nominal and half.reached_end == 0.0:
        cell.at_end = 0.0


@kernel
def _spread_inplace(histogram: Floats32, v0: float, v1: float, charge_ah: float) -> None:
    """Add charge to the (BINS,) bins between two voltages, in proportion to the span in each."""
    low = (min(v0, v1) - BIN_FIRST_V) / BIN_V
    high = (max(v0, v1) - BIN_FIRST_V) / BIN_V
    first = int(np.floor(low))
    final = int(np.floor(high))
    if first == final:
        if 0 <= first < BINS:
            histogram[first] += charge_ah
        return
    for b in range(max(first, 0), min(final, BINS - 1) + 1):
        share = (min(high, b + 1.0) - max(low, b + 0.0)) / (high - low)
        histogram[b] += charge_ah * share


@kernel
def _mark_inplace(half: Record, nominal: float, v0: float, v: float, charge_ah: float) -> None:
    """Keep the voltage's drop at each mark that a discharge's newest step has passed."""
    drawn = half.charge_ah / nominal
    before = drawn - charge_ah / nominal
    passed = int(half.marks_passed)
    while 0 <= passed < len(MARKS) and MARKS[passed] <= drawn + MARK_SLACK:
        if MARKS[passed] < before - MARK_SLACK:
            passed = -1  # it fell where the voltage was not known under load
        else:
            share = min(1.0, max(0.0, (MARKS[passed] - before) / (drawn - before)))
            half.mark_drop_v[passed] = half.rest_voltage_v - (v0 + share * (v - v0))
            passed += 1
    half.marks_passed = passed
