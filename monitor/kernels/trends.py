"""Means, variances and slopes of voltage, current and temperature; the temperature's quick slope.

Mean, variance and slope are exponential in event time with `TAU_S`, weight 1 - exp(-dt/τ); the
variance recursion is Finch (2009), "Incremental calculation of weighted mean and variance",
equation 143. The quick slope is that of the last second or two, for what happens in seconds.
"""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import Record
from monitor.kernels.frames import Sample
from monitor.kernels.jit import kernel

TAU_S = 60.0
QUICK_S = 0.9  # the least span of the quick slope; thermal runaway is a matter of seconds
RISING_TIMES = 4.0  # a reading that stands alone on a steady temperature is no rise
RISING_NOISES = 6.0  # nor is one that the thermometer's own flicker may have made


@kernel
def heating_inplace(cell: Record, t: int, temp: float) -> float:
    """The quick slope of the temperature, °C/s; two in a row, so that one odd reading is none.

    `slope.rising_c_per_s` is the newest slope as far as the one before rose too: an odd reading
    stands on a steady temperature, a cell that heats has begun to.
    """
    s = cell.slope
    s.rising_c_per_s = np.nan
    if np.isnan(temp):
        return np.nan
    last = cell.temperature_ms
    if np.isnan(last) or t < last or t - last > cell.config.max_gap_ms:
        s.start_ms = t
        s.start_c = temp
        s.next_ms = t
        s.next_c = temp
        s.slope_c_per_s = np.nan
        return np.nan
    if t - s.next_ms >= QUICK_S * 1000.0:
        s.start_ms = s.next_ms
        s.start_c = s.next_c
        s.next_ms = t
        s.next_c = temp
    span_ms = t - s.start_ms
    if span_ms < QUICK_S * 1000.0:
        return np.nan
    before = s.slope_c_per_s
    s.slope_c_per_s = (temp - s.start_c) * 1000.0 / span_ms
    if np.isnan(before):
        return np.nan
    s.rising_c_per_s = min(s.slope_c_per_s, RISING_TIMES * before)
    if temp - s.start_c < RISING_NOISES * cell.thermometer.noise_c:
        s.rising_c_per_s = min(s.rising_c_per_s, 0.0)
    return float(min(before, s.slope_c_per_s))


@kernel
def remember_inplace(cell: Record, sample: Sample) -> None:
    """Means, variances and slopes; then this screened sample becomes the newest one."""
    t, v, i, temp = sample.t_ms, sample.voltage_v, sample.current_a, sample.temperature_c
    last = cell.timestamp_ms
    gap_ms = cell.config.max_gap_ms
    a = 1.0
    if not np.isnan(last) and t > last:
        a = 1.0 - np.exp(-(t - last) / (1000.0 * TAU_S))
    if not np.isnan(v):
        cell.voltage_mean_v, cell.voltage_var = _smoothed(
            cell.voltage_mean_v, cell.voltage_var, v, a
        )
        seen = cell.voltage_ms
        if np.isnan(seen) or t - seen > gap_ms or t < seen:
            cell.dv_dt_v_per_s = np.nan
        elif seen == last and t > last:
            slope = (v - cell.voltage_v) * 1000.0 / (t - last)
            cell.dv_dt_v_per_s = _followed(cell.dv_dt_v_per_s, slope, a)
        cell.voltage_ms = t
    if not np.isnan(i):
        cell.current_mean_a, cell.current_var = _smoothed(
            cell.current_mean_a, cell.current_var, i, a
        )
    if not np.isnan(temp):
        cell.temperature_mean_c, cell.temperature_var = _smoothed(
            cell.temperature_mean_c, cell.temperature_var, temp, a
        )
        seen = cell.temperature_ms
        if np.isnan(seen) or t - seen > gap_ms or t < seen:
            cell.dt_dt_c_per_s = np.nan
        elif seen == last and t > last:
            slope = (temp - cell.temperature_c) * 1000.0 / (t - last)
            cell.dt_dt_c_per_s = _followed(cell.dt_dt_c_per_s, slope, a)
        cell.temperature_ms = t
        cell.temperature_c = temp
    cell.voltage_v = v
    cell.current_a = i
    cell.timestamp_ms = t


@kernel
def _smoothed(mean: float, var: float, x: float, a: float) -> tuple[float, float]:
    """Mean and variance with x in them at the weight a."""
    if np.isnan(mean):
        return x, 0.0
    difference = x - mean
    return mean + a * difference, (1.0 - a) * (var + a * difference * difference)


@kernel
def _followed(before: float, slope: float, a: float) -> float:
    start = 0.0 if np.isnan(before) else before
    return start + a * (slope - start)
