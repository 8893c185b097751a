"""The lumped heat balance, and the window of slots that the thermal model sees.

What is left when the lumped heat balance (Bernardi et al. 1985 without the entropic term) is paid,
each term through the same filter: C·dT/dt + hA·(T - T_ambient) - I²R.
"""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import CHANNELS, SLOT_MS, SLOTS, Floats32, Quality, Record
from monitor.kernels.frames import Sample
from monitor.kernels.jit import kernel
from monitor.kernels.trends import TAU_S

# How fast an ambient that nobody measures may be believed to rise.
AMBIENT_RISE_C_PER_S = 2.0 / 3600.0


@kernel
def heat_inplace(cell: Record, sample: Sample, q: int) -> tuple[int, bool]:
    """Take a screened sample in; its quality bits, and whether the window can be scored.

    `cell` is a record of CELL whose newest sample is still the one before; `q` the bits so far.
    """
    temp = sample.temperature_c
    if np.isnan(temp):
        return q, False
    t, i = sample.t_ms, sample.current_a
    heat, half = cell.heat, cell.half_cycle
    last = cell.temperature_ms
    broken = sample.new_segment or np.isnan(last) or t - last > cell.config.max_gap_ms
    if np.isnan(sample.ambient_c):
        q |= Quality.AMBIENT_ASSUMED
        if np.isnan(heat.ambient_c) or temp < heat.ambient_c:
            heat.ambient_c = temp
        elif not broken:
            rise = AMBIENT_RISE_C_PER_S * (t - last) / 1000.0
            heat.ambient_c = min(temp, heat.ambient_c + rise)
    else:
        heat.ambient_c = sample.ambient_c
    rise_c = temp - heat.ambient_c
    if half.direction != 0.0 and not half.temperature_max_c >= temp:
        half.temperature_max_c = temp
    if broken or np.isnan(i) or np.isnan(cell.current_a):
        heat.stored_w = 0.0
        heat.cooled_w = 0.0
        heat.joule_w = 0.0
        heat.slots_filled = 0.0
        heat.slot_start_ms = t
        return q, False
    dt = (t - last) / 1000.0
    if dt <= 0.0:
        return q, False
    if half.direction != 0.0:
        half.temperature_cs += 0.5 * (temp + cell.temperature_c) * dt
        half.temperature_s += dt
    _lumped_inplace(cell, dt, i, temp)
    _window_inplace(cell, t, i, rise_c)
    return q, not np.isnan(cell.balance.coefficient[0])


@kernel
def _lumped_inplace(cell: Record, dt: float, i: float, temp: float) -> None:
    """The three terms of the lumped balance over a step of `dt` s, filtered; W."""
    heat, config = cell.heat, cell.config
    a = 1.0 - np.exp(-dt / TAU_S)
    mean_i = 0.5 * (i + cell.current_a)
    stored = config.heat_capacity_j_per_k * (temp - cell.temperature_c) / dt
    cooled = config.cooling_w_per_k * (0.5 * (temp + cell.temperature_c) - heat.ambient_c)
    joule = config.resistance_ohm * mean_i * mean_i
    heat.stored_w += a * (stored - heat.stored_w)
    heat.cooled_w += a * (cooled - heat.cooled_w)
    heat.joule_w += a * (joule - heat.joule_w)


@kernel
def _window_inplace(cell: Record, t: int, i: float, rise_c: float) -> None:
    """Shift the window's slots where the newest is over, and write the newest."""
    heat, window = cell.heat, cell.window
    steps = int((t - heat.slot_start_ms) // SLOT_MS)
    if steps > 0 or heat.slots_filled == 0.0:
        # What came before the first slot is taken to have been like it.
        shift = SLOTS if heat.slots_filled == 0.0 else min(max(steps, 1), SLOTS)
        for slot in range(SLOTS - shift):
            for channel in range(CHANNELS):
                window[slot, channel] = window[slot + shift, channel]
        for slot in range(SLOTS - shift, SLOTS - 1):
            _slot_inplace(window[slot], cell, i, rise_c)
        heat.slot_start_ms += steps * SLOT_MS
        heat.slots_filled = min(heat.slots_filled + shift, SLOTS)
    _slot_inplace(window[SLOTS - 1], cell, i, rise_c)


@kernel
def _slot_inplace(slot: Floats32, cell: Record, i: float, rise_c: float) -> None:
    """One slot in the units of `SLOT_CHANNELS`."""
    slot[0] = cell.balance.fast
    slot[1] = cell.balance.slow
    slot[2] = i / cell.config.nominal_ah
    slot[3] = rise_c
