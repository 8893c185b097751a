"""Incremental features: one plain loop over samples, O(1) each, for 1 cell or 100,000.

A cell's memory is one record (`cell`). `update_inplace` walks the samples of a batch in order, so
no result depends on where a stream was cut into batches. Positive current charges; time is event
time, and dt the real step between a cell's consecutive samples. What is computed stands, with its
sources, in the modules that this one calls, in their order:

* `screen`: what is missing, impossible, frozen or jumps is flagged and goes on as missing. So does
  a voltage that jumps from the last good one while the current did not, unless the next one
  confirms it: a true jump is believed one sample late;
* `half_cycle`: charge and energy, state of charge, resistance, half-cycles and their histogram;
* `balance`, `heat`: what heat is left when the load's is paid;
* `trends`: means, variances and slopes;
* `soh_inputs`: what the SOH model is fed with.
"""

from __future__ import annotations

import numpy as np

from monitor.kernels.balance import gather_inplace
from monitor.kernels.cell import CELL
from monitor.kernels.columns import (
    CHANNELS,
    SLOTS,
    SOH_WIDTH,
    THERMAL_WIDTH,
    Feature,
    Floats,
    Floats32,
    Quality,
    Record,
    Records,
)
from monitor.kernels.frames import END, FRAME, SAMPLE, Frames, Outputs, Sample, first_unfit
from monitor.kernels.half_cycle import half_cycle_inplace
from monitor.kernels.heat import heat_inplace
from monitor.kernels.jit import kernel, unfit
from monitor.kernels.screen import forget_times_inplace, screen_inplace
from monitor.kernels.soh_inputs import soh_row_inplace
from monitor.kernels.trends import heating_inplace, remember_inplace


def update_inplace(cells: Records, frames: Frames, out: Outputs) -> tuple[int, int]:
    """Run frames through the features; returns how many samples and half-cycle ends were written.

    `cells` is (rows,) of CELL. `out.size` must be at least the sum of the frames' cells. Raises
    ValueError where it is not, where a frame reaches past the cells or its own values, and where
    an array is of another dtype.
    """
    samples, ended = -1, -1
    right = (cells.dtype, frames.rows.dtype, out.samples.dtype, out.ends.dtype)
    if right == (CELL, FRAME, SAMPLE, END):
        samples, ended = _update_inplace(
            cells, frames.rows, frames.volts, frames.temperatures,
            out.samples, out.soh_inputs, out.thermal_inputs, out.ends,
        )  # fmt: skip
    if samples < 0:
        raise _unfit(cells, frames, out, int(ended))
    return int(samples), int(ended)


def _unfit(cells: Records, frames: Frames, out: Outputs, frame: int) -> ValueError:
    """What does not fit: a frame by its number, -1 for the arrays' lengths and dtypes."""
    if frame < 0:
        return unfit(
            "cells, frames and outputs", cells=cells, frames=frames.rows, volts=frames.volts,
            temperatures=frames.temperatures, samples=out.samples, soh_inputs=out.soh_inputs,
            thermal_inputs=out.thermal_inputs, ends=out.ends,
        )  # fmt: skip
    f = frames.rows[frame]
    return ValueError(
        f"frame {frame:,} of {len(frames):,}: cells {f['row']:,} and {f['cells']:,} on, "
        f"voltages {f['volts_from']:,} and {f['volts_count']:,} on, temperatures "
        f"{f['temperatures_from']:,} and {f['temperatures_count']:,} on do not fit "
        f"{len(cells):,} cells, {len(frames.volts):,} voltages, {len(frames.temperatures):,} "
        f"temperatures and room for {out.size:,} samples"
    )


@kernel
def _update_inplace(
    cells: Records, frames: Records, volts: Floats, temperatures: Floats,
    samples: Records, soh_inputs: Floats32, thermal_inputs: Floats32, ends: Records,
) -> tuple[int, int]:  # fmt: skip
    """As above; -1 and the frame that does not fit, -1 for sizes, and nothing done.

    Shapes: cells (rows,) of CELL; frames (n,) of FRAME; volts in V and temperatures in °C flat;
    samples (size,) of SAMPLE; soh_inputs (size, SOH_WIDTH); thermal_inputs (size, THERMAL_WIDTH);
    ends (size,) of END.
    """
    size = len(samples)
    if len(ends) != size or soh_inputs.shape != (size, SOH_WIDTH):
        return -1, -1
    if thermal_inputs.shape != (size, THERMAL_WIDTH):
        return -1, -1
    wrong = first_unfit(frames, len(cells), size, len(volts), len(temperatures))
    if wrong >= 0:
        return -1, wrong
    n = 0
    m = 0
    for k in range(len(frames)):
        f = frames[k]
        for c in range(f.cells):
            row = f.row + c
            cell = cells[row]
            v = volts[f.volts_from + c] if c < f.volts_count else np.nan
            s = cell.config.sensor
            known = 0 <= s < f.temperatures_count
            temp = temperatures[f.temperatures_from + s] if known else np.nan
            out = samples[n]
            out.row = row
            out.frame = k
            seen = Sample(f.timestamp_ms, v, f.current_a, temp, f.ambient_c, f.new_segment)
            if _sample_inplace(cell, seen, out, soh_inputs[n], ends[m]):
                ends[m].sample = n
                m += 1
            if out.thermal_usable:
                for slot in range(SLOTS):
                    for channel in range(CHANNELS):
                        at = slot * CHANNELS + channel
                        thermal_inputs[n, at] = cell.window[slot, channel]
            n += 1
    return n, m


@kernel
def _sample_inplace(
    cell: Record, seen: Sample, out: Record, soh_row: Floats32, end: Record
) -> bool:
    """One sample of one cell; True if a half-cycle ended with it, which is then in `end`."""
    if seen.new_segment:
        forget_times_inplace(cell)
    q, sample = screen_inplace(cell, seen)
    temp = sample.temperature_c
    finished = half_cycle_inplace(cell, sample, end)
    if not np.isnan(temp) and not np.isnan(sample.current_a):
        gather_inplace(cell, sample)
    q, usable = heat_inplace(cell, sample, q)
    heating = heating_inplace(cell, sample.t_ms, temp)
    if q & Quality.TEMPERATURE_SPIKE and cell.thermometer.offset_c > 0.0:
        heating = cell.thermometer.offset_c  # a broken sensor, or a runaway
    cell.slope.heating_c_per_s = heating
    remember_inplace(cell, sample)
    out.timestamp_ms = sample.t_ms
    out.quality = q
    out.thermal_usable = usable
    out.soh_usable = soh_row_inplace(cell, sample.voltage_v, soh_row)
    _features_inplace(cell, sample, out.features)
    return finished


@kernel
def _features_inplace(cell: Record, sample: Sample, x: Floats) -> None:
    """The features, (FEATURES,), of a screened sample that the cell has taken in."""
    config, half, heat = cell.config, cell.half_cycle, cell.heat
    nominal = config.nominal_ah if config.configured == 1.0 else np.nan
    temp = sample.temperature_c
    x[Feature.CHARGE_IN_AH] = cell.charge_in_ah
    x[Feature.CHARGE_OUT_AH] = cell.charge_out_ah
    x[Feature.ENERGY_IN_WH] = cell.energy_in_wh
    x[Feature.ENERGY_OUT_WH] = cell.energy_out_wh
    x[Feature.C_RATE] = sample.current_a / nominal
    x[Feature.SOC] = cell.soc if config.configured == 1.0 else np.nan
    x[Feature.DV_DT_V_PER_S] = cell.dv_dt_v_per_s
    x[Feature.DT_DT_C_PER_S] = cell.dt_dt_c_per_s
    x[Feature.VOLTAGE_MEAN_V] = cell.voltage_mean_v
    x[Feature.VOLTAGE_VAR] = cell.voltage_var
    x[Feature.CURRENT_MEAN_A] = cell.current_mean_a
    x[Feature.CURRENT_VAR] = cell.current_var
    x[Feature.TEMPERATURE_MEAN_C] = cell.temperature_mean_c
    x[Feature.TEMPERATURE_VAR] = cell.temperature_var
    x[Feature.RISE_C] = temp - sample.ambient_c
    x[Feature.PHASE] = cell.phase
    x[Feature.RESISTANCE_OHM] = cell.resistance_ohm
    running = half.direction != 0.0
    x[Feature.HALF_CYCLE_AH] = half.charge_ah if running else np.nan
    x[Feature.HALF_CYCLE_S] = (half.end_ms - half.start_ms) / 1000.0 if running else np.nan
    known = heat.slots_filled > 0.0 and not np.isnan(temp) and not np.isnan(sample.current_a)
    balance = heat.stored_w + heat.cooled_w - heat.joule_w
    x[Feature.EXCESS_HEAT_W] = balance if known else np.nan
    x[Feature.VOLTAGE_V] = sample.voltage_v
    x[Feature.CURRENT_A] = sample.current_a
    x[Feature.TEMPERATURE_C] = temp
    x[Feature.AMBIENT_C] = sample.ambient_c
    x[Feature.DIRECTION] = half.direction
    x[Feature.GLITCHES] = cell.voltage_signal.glitches
    x[Feature.HEATING_C_PER_S] = cell.slope.heating_c_per_s
    x[Feature.RISING_C_PER_S] = cell.slope.rising_c_per_s
