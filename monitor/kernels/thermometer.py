"""What a plausible temperature reading is worth: frozen, stepped further than a cell can, or good.

Compares the reading with the one before it and with what the sensor has shown so far.
"""

from __future__ import annotations

import numpy as np

from monitor.kernels.columns import HEAT_CAPACITY_J_PER_K_AH, Quality, Record
from monitor.kernels.jit import kernel

FROZEN_S = 60.0
# A thermometer that flickers by several of its own steps cannot show one value for long.
STILL_SAMPLES = 30.0
STILL_RUNS = 3.0  # times the longest run that it has shown before: some are read once a minute
FLICKERS = 0.4  # above it changes turn back so often, even under load, that they are noise
FLICKER_STEPS = 3.0  # noise over the smallest step seen
# One that does not flicker is frozen where the load should have moved it by so many steps.
STILL_STEPS = 10.0
STILL_LEAST_C = 3.0  # the balance is no finer
STILL_UNSEEN_C = 2.0  # for a thermometer that has never changed
STILL_LAG_S = 60.0  # from the cell's core to its sensor
USUAL_JOULE, USUAL_COOLING = 0.15, 0.03  # of the heat balance, where no model gives its prior
# A cell has a heat capacity: a reading that steps beyond these is the sensor's, not the cell's.
STEP_MOST_C = 4.0
STEP_MOST_C_PER_S = 0.2  # no healthy cell of 11,000 recorded hours was steeper
CLIMBS = 3.0  # so many impossible steps up in a row are a runaway, no sensor does that
COLLAPSED_SHARE = 0.75  # with the voltage under this share of what it was, a step up is believed
JUMP_S = 120.0  # a step that stays so long is a jump, until then a spike


@kernel
def gauge_inplace(cell: Record, t: int, v: float, i: float, temp: float) -> int:
    """What is wrong with a plausible reading of `temp`, °C, as quality bits; 0 is nothing.

    `t` in ms, `v` in V, `i` in A, both NaN where unknown. After a gap the sensor starts anew:
    nothing can be compared.
    """
    g = cell.thermometer
    since = t - g.raw_ms
    change = temp - g.raw_c
    if not (0.0 <= since <= cell.config.max_gap_ms):
        g.offset_c = 0.0
        g.climb = 0.0
        _new_reading_inplace(g, t, i, temp)
        return 0
    if change == 0.0:
        return _still_inplace(cell, t, i, since) | _stepped(g, t)
    frozen = g.was_frozen == 1.0
    span_s = (t - g.frozen_since_ms if frozen else since) / 1000.0
    if abs(change) > STEP_MOST_C + STEP_MOST_C_PER_S * span_s:
        if g.offset_c == 0.0:
            g.stepped_ms = t
            g.volts_before = cell.voltage_v
        g.offset_c += change
        g.climb = g.climb + 1.0 if change > 0.0 else 0.0
        back = abs(g.offset_c) <= STEP_MOST_C + STEP_MOST_C_PER_S * span_s
        if back or g.climb >= CLIMBS:
            g.offset_c = 0.0
    else:
        g.climb = 0.0
        _flicker_inplace(g, change)
    if g.offset_c > 0.0 and v < COLLAPSED_SHARE * g.volts_before:
        g.offset_c = 0.0
        g.climb = CLIMBS
    g.longest = max(0.99 * g.longest, g.still)
    _new_reading_inplace(g, t, i, temp)
    return _stepped(g, t)


@kernel
def _new_reading_inplace(g: Record, t: int, i: float, temp: float) -> None:
    g.raw_c = temp
    g.raw_ms = t
    g.frozen_since_ms = t
    g.frozen_current_a = i
    g.still = 0.0
    g.expected_c = 0.0
    g.extra_heat = 0.0
    g.was_frozen = 0.0


@kernel
def _flicker_inplace(g: Record, change: float) -> None:
    """The sensor's step, and how large and how frequent its noise is."""
    if not abs(change) >= g.smallest_c:
        g.smallest_c = abs(change)
    turned = change * g.change_c < 0.0
    if turned:
        g.noise_c += 0.02 * (abs(change) - g.noise_c)
        g.turns += 0.01 * (1.0 - g.turns)
    else:
        g.turns -= 0.001 * g.turns
    g.change_c = change


@kernel
def _still_inplace(cell: Record, t: int, i: float, since_ms: float) -> int:
    """An unchanged reading: whether the sensor's own noise or the load says that it is frozen."""
    g = cell.thermometer
    g.raw_ms = t
    g.still += 1.0
    if np.isnan(g.frozen_current_a):
        g.frozen_current_a = i
    elif not np.isnan(i):
        _expect_inplace(cell, i, since_ms / 1000.0)
    step = g.smallest_c
    must_move = max(STILL_LEAST_C, STILL_STEPS * step) if step > 0.0 else STILL_UNSEEN_C
    noisy = g.turns > FLICKERS and g.noise_c >= FLICKER_STEPS * step
    too_long = noisy and g.still >= max(STILL_SAMPLES, STILL_RUNS * g.longest)
    unmoved = abs(g.expected_c) >= must_move
    if t - g.frozen_since_ms >= FROZEN_S * 1000.0 and (too_long or unmoved):
        g.was_frozen = 1.0
        return Quality.TEMPERATURE_FROZEN + 0
    return 0


@kernel
def _expect_inplace(cell: Record, i: float, dt: float) -> None:
    """How far the change of the load since the reading began to stand should have moved it."""
    g = cell.thermometer
    nominal = cell.config.nominal_ah
    c = i / nominal
    c0 = g.frozen_current_a / nominal
    mean = cell.config.balance_mean
    known = not np.isnan(mean[0])
    joule = mean[0] if known else USUAL_JOULE
    cooling = mean[1] if known else USUAL_COOLING
    lag = 1.0 - np.exp(-dt / STILL_LAG_S)
    g.extra_heat += lag * (joule * (c * c - c0 * c0) - g.extra_heat)
    rate = (g.extra_heat - cooling * g.expected_c) / HEAT_CAPACITY_J_PER_K_AH
    g.expected_c += rate * dt


@kernel
def _stepped(g: Record, t: int) -> int:
    """The bits of a reading that stands away from where the cell can be."""
    if g.offset_c == 0.0:
        return 0
    if t - g.stepped_ms >= JUMP_S * 1000.0:
        return Quality.TEMPERATURE_JUMP + 0
    return Quality.TEMPERATURE_SPIKE + 0
