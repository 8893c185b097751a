"""Flags what is missing, impossible, frozen or a glitch; such a value goes on as NaN."""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import Quality, Record
from monitor.kernels.frames import Sample
from monitor.kernels.jit import kernel
from monitor.kernels.thermometer import FROZEN_S, gauge_inplace

PLAUSIBLE_V = (0.0, 5.0)
PLAUSIBLE_C = (-60.0, 1_000.0)  # a burning cell is hot, not impossible
PLAUSIBLE_C_RATE = 50.0
FROZEN_C_RATE = 0.2
GLITCH_V = 0.5  # a larger jump in one sample has to be confirmed by the next
GLITCH_C_RATE = 0.1  # a voltage may jump when the current changes by this much
GLITCH_S = 30.0  # and after this time without a good sample any value may be true
GLITCH_TAU_S = 600.0  # glitches are counted with this memory


@kernel
def forget_times_inplace(cell: Record) -> None:
    """The clock was set back: no earlier instant may be compared with what comes."""
    cell.voltage_ms = np.nan
    cell.temperature_ms = np.nan
    cell.rest_voltage_v = np.nan
    cell.rest_ms = np.nan
    cell.voltage_signal.raw_v = np.nan
    cell.thermometer.raw_c = np.nan
    cell.dv_dt_v_per_s = np.nan
    cell.dt_dt_c_per_s = np.nan
    cell.thermometer.raw_ms = np.nan
    cell.voltage_signal.good_ms = np.nan


@kernel
def screen_inplace(cell: Record, sample: Sample) -> tuple[int, Sample]:
    """A sample's quality bits, and the sample with what is not believed as NaN."""
    q = Quality.NO_CONFIG + 0 if cell.config.configured == 0.0 else 0
    nominal = cell.config.nominal_ah
    t = sample.t_ms
    last = cell.timestamp_ms
    late = not sample.new_segment and not np.isnan(last) and t - last > cell.config.max_gap_ms
    if late:
        q |= Quality.AFTER_GAP
    i = sample.current_a
    if np.isnan(i):
        q |= Quality.CURRENT_MISSING
    elif not abs(i) <= PLAUSIBLE_C_RATE * nominal:
        q |= Quality.CURRENT_IMPOSSIBLE
        i = np.nan
    v = sample.voltage_v
    broken = late or sample.new_segment or np.isnan(last)
    fault = _voltage_fault_inplace(cell, t, v, i, broken)
    if fault != 0:
        q |= fault
        v = np.nan
    temp = sample.temperature_c
    fault = _temperature_fault_inplace(cell, t, v, i, temp)
    if fault != 0:
        q |= fault
        temp = np.nan
    if _glitch_inplace(cell, t, v, i, (q & Quality.TEMPERATURE_SPIKE) != 0):
        q |= Quality.VOLTAGE_GLITCH
        v = np.nan
    return q, Sample(t, v, i, temp, sample.ambient_c, sample.new_segment)


@kernel
def _voltage_fault_inplace(cell: Record, t: int, v: float, i: float, broken: bool) -> int:
    """Missing, impossible, or unchanged for long while the current changed; 0 where it is good."""
    if np.isnan(v):
        return Quality.VOLTAGE_MISSING + 0
    if not PLAUSIBLE_V[0] <= v <= PLAUSIBLE_V[1]:
        return Quality.VOLTAGE_IMPOSSIBLE + 0
    s = cell.voltage_signal
    if v != s.raw_v or broken:
        s.raw_v = v
        s.frozen_since_ms = t
        s.frozen_current_a = i
        s.frozen_deviation_a = 0.0
        return 0
    if np.isnan(s.frozen_current_a):
        s.frozen_current_a = i
    elif abs(i - s.frozen_current_a) > s.frozen_deviation_a:
        s.frozen_deviation_a = abs(i - s.frozen_current_a)
    if (
        t - s.frozen_since_ms >= FROZEN_S * 1000.0
        and s.frozen_deviation_a >= FROZEN_C_RATE * cell.config.nominal_ah
    ):
        return Quality.VOLTAGE_FROZEN + 0
    return 0


@kernel
def _temperature_fault_inplace(cell: Record, t: int, v: float, i: float, temp: float) -> int:
    if np.isnan(temp):
        return Quality.TEMPERATURE_MISSING + 0
    if not PLAUSIBLE_C[0] <= temp <= PLAUSIBLE_C[1]:
        return Quality.TEMPERATURE_IMPOSSIBLE + 0
    return gauge_inplace(cell, t, v, i, temp)


@kernel
def _glitch_inplace(cell: Record, t: int, v: float, i: float, spiked: bool) -> bool:
    """Count glitches and the beginnings of spikes; whether this voltage is a glitch."""
    s = cell.voltage_signal
    last = cell.timestamp_ms
    if t > last:
        s.glitches *= np.exp(-(t - last) / (1000.0 * GLITCH_TAU_S))
    spike = 1.0 if spiked else 0.0
    if spike > cell.thermometer.spiked:
        s.glitches += 1.0
    cell.thermometer.spiked = spike
    if np.isnan(v):
        return False
    if _jumped_inplace(s, t, v, i, cell.config.nominal_ah):
        s.glitches += 1.0
        return True
    s.good_v = v
    s.good_ms = t
    s.good_current_a = i
    s.suspect_v = np.nan
    return False


@kernel
def _jumped_inplace(s: Record, t: int, v: float, i: float, nominal: float) -> bool:
    """Whether v jumps from the last good voltage and the sample before does not bear it out."""
    going, s.run = s.run, 0.0
    # A change of current explains a step; so may one that is not known.
    explained = not abs(i - s.good_current_a) < GLITCH_C_RATE * nominal
    step = v - s.good_v
    if explained or not t - s.good_ms <= GLITCH_S * 1000.0 or abs(step) <= GLITCH_V:
        return False
    before = s.suspect_v
    stays = abs(v - before) <= GLITCH_V
    if stays or (v - before) * (before - s.good_v) > 0.0 or going * step > 0.0:
        s.run = 1.0 if step > 0.0 else -1.0  # it stays there, or goes on in the same direction
        return False
    s.suspect_v = v
    return True
