"""The SOH model's input: bins that a half-cycle crossed whole, or a discharge's marks."""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import (
    BIN_FIRST_V,
    BIN_V,
    CHARGE_FIRST_V,
    DISCHARGE_FIRST_V,
    SOH_BINS,
    Floats32,
    Phase,
    Record,
)
from monitor.kernels.jit import kernel

CHARGE_FIRST_BIN = round((CHARGE_FIRST_V - BIN_FIRST_V) / BIN_V)
DISCHARGE_FIRST_BIN = round((DISCHARGE_FIRST_V - BIN_FIRST_V) / BIN_V)
FEWEST_MARKS = 2
MARKS_END = 21.0 / 60.0  # with so much drawn the bins say more
SMALLEST_STEP_V = 0.001  # a smaller drop from mark to mark counts as this


@kernel
def soh_row_inplace(cell: Record, v: float, x: Floats32) -> bool:
    """Fill `x`, (SOH_WIDTH,) in the units of `SOH_INPUTS`; False where there is nothing to say.

    `cell` is a record of CELL after the sample, `v` the sample's voltage in V.
    """
    half = cell.half_cycle
    if half.direction == 0.0 or half.gap == 1.0 or half.loaded_s <= 0.0:
        return False
    phase = int(cell.phase)
    if phase == Phase.REST or phase == Phase.UNKNOWN or np.isnan(v):
        return False
    if cell.config.soh_table < 0.0:
        return False
    nominal = cell.config.nominal_ah
    table = cell.config.soh_table + (0.0 if half.direction > 0.0 else 1.0)
    if half.direction > 0.0:
        start, end = _charge_inplace(cell, x)
    elif half.marks_passed >= FEWEST_MARKS and half.charge_ah < MARKS_END * nominal:
        table += 1.0
        start, end = _marks_inplace(half, x)
    else:
        start, end = _discharge_inplace(cell, x)
    start = min(max(start, 0.0), float(SOH_BINS))
    end = min(max(end, 0.0), float(SOH_BINS))
    x[SOH_BINS] = start
    x[SOH_BINS + 1] = max(end, start)
    x[SOH_BINS + 2] = table
    x[SOH_BINS + 3] = -1.0 if np.isnan(half.r60_ohm) else half.r60_ohm
    mean = half.current_as / half.loaded_s
    x[SOH_BINS + 4] = mean / nominal
    spread = np.sqrt(max(0.0, half.current_squared_a2s / half.loaded_s - mean * mean))
    x[SOH_BINS + 5] = spread / nominal
    return bool(end > start)


@kernel
def _charge_inplace(cell: Record, x: Floats32) -> tuple[float, float]:
    """A charge's bins of 10 mV; the first that was crossed whole, and one past the last."""
    scale = np.float32(1.0 / cell.config.nominal_ah)
    for b in range(SOH_BINS):
        x[b] = cell.histogram[0, CHARGE_FIRST_BIN + b] * scale
    half = cell.half_cycle
    start = np.ceil((half.voltage_min_v - CHARGE_FIRST_V) / BIN_V)
    if half.from_end == 1.0:
        start = 0.0  # below where it began there is no charge to be had
    return float(start), float(np.floor((half.voltage_max_v - CHARGE_FIRST_V) / BIN_V))


@kernel
def _marks_inplace(half: Record, x: Floats32) -> tuple[float, float]:
    """A discharge's marks: the drop below the rest before, and the log of the last step."""
    for b in range(SOH_BINS):
        x[b] = 0.0
    before = 0.0
    for k in range(int(half.marks_passed)):
        drop = half.mark_drop_v[k]
        x[2 * k] = drop
        x[2 * k + 1] = np.log(max(drop - before, SMALLEST_STEP_V))
        before = drop
    return 0.0, float(2.0 * half.marks_passed)


@kernel
def _discharge_inplace(cell: Record, x: Floats32) -> tuple[float, float]:
    """A discharge's bins of 20 mV; the first that was crossed whole, and one past the last."""
    scale = np.float32(1.0 / cell.config.nominal_ah)
    first = DISCHARGE_FIRST_BIN
    for b in range(SOH_BINS):
        two = cell.histogram[1, first + 2 * b] + cell.histogram[1, first + 2 * b + 1]
        x[b] = two * scale
    half = cell.half_cycle
    start = np.ceil((half.voltage_min_v - DISCHARGE_FIRST_V) / (2.0 * BIN_V))
    end = np.floor((half.voltage_max_v - DISCHARGE_FIRST_V) / (2.0 * BIN_V))
    return float(start), float(end)
