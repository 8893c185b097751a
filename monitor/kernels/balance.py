"""The adaptive heat balance of eight terms: what it leaves over is the thermal model's input.

Per nominal Ah:

    C dT/dt = r j(c², T) - h (T - T_ambient) + b + s c' + d q + e u + f w + g T_fix + what is left.

j is Joule heat with Arrhenius resistance, b an offset of an ambient that nobody measures, s c'
reversible heat (Bernardi et al. 1985, J. Electrochem. Soc. 132, 5, eq. 25), q the discharge rate
times how far the voltage is below DEEP_V, u and w the charge and the discharge rate times where in
its window the voltage is (the entropic coefficient and the resistance depend on the state of
charge), T_fix the rise of what holds the cell; the heat terms pass a lag. The coefficients start at
the prior and follow the cell as a random walk (Kalman 1960), with an innovation that is clipped and
a stop while evidence stands, so that a fault is not learned away. What is left over, less a share
of the load's heat and clipped, goes into two windows of evidence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.kernels.cell import AMBIENT_UNKNOWN_C
from monitor.kernels.columns import HEAT_CAPACITY_J_PER_K_AH, SLOT_MS, TERMS, Record
from monitor.kernels.frames import Sample
from monitor.kernels.heat import AMBIENT_RISE_C_PER_S
from monitor.kernels.jit import kernel

BALANCE_LAG_S = 45.0  # from the core to the sensor
FIXTURE_S = 3_600.0  # what holds the cell warms with it and gives the heat back
ARRHENIUS_K = 2_000.0  # of the Joule term, over the gas constant
REFERENCE_K = 298.15
DEEP_V = 3.4  # below it polarisation grows out of proportion
DEEP_MOST_V = 1.0
USUAL_V = 3.8  # where no voltage is known
WALK_S = 2.0 * 86_400.0  # in this time the coefficients' walk has the prior's variance again
BALANCE_NOISE_W_PER_AH = 0.3  # of one slot; model error lasts many slots, so it is large
INNOVATION_MOST_W_PER_AH = 0.2
HOLD_W_PER_AH = 0.08  # slow evidence above which nothing is learned
# Two windows of evidence. The fast one is for much heat at once and must allow for what a heavy
# load's start does to the balance; the slow one is for little heat that stays, so a slot cannot
# weigh much in it. Neither falls under zero: heat that was missing earlier pays for nothing.
EVIDENCE_FAST_S = 150.0
EVIDENCE_SLOW_S = 400.0
FAST_MOST_W_PER_AH = 0.6
SLOW_MOST_W_PER_AH = 0.15
EVIDENCE_LEAST_W_PER_AH = -0.4
FAST_MODEL_SHARE = 0.5  # of the load's own heat that the balance may be wrong by
SLOW_MODEL_SHARE = 0.1  # the same, of the Joule heat
UNSEEN_S = 1e9  # before the first slot


class Slot(NamedTuple):
    """What was seen in one slot; means are over its duration."""

    gap_s: float  # unseen time before it, -1 for none; evidence fades through it
    duration_s: float
    warming_c: float  # last temperature less the first
    temperature_c: float
    ambient_c: float  # NaN where nobody measures it
    c_rate: float
    c_rate_squared: float
    voltage_v: float  # NaN where unknown


@kernel
def gather_inplace(cell: Record, sample: Sample) -> None:
    """Gather a sample with current and temperature into the running slot; close full slots.

    `cell` is a record of CELL. Nothing is done where its config has no prior of the balance.
    """
    config = cell.config
    if np.isnan(config.balance_mean[0]):
        return
    b = cell.balance
    t = sample.t_ms
    last = b.last_ms
    segment = sample.new_segment
    if not segment and t == last:
        return
    if segment or np.isnan(last) or t < last or t - last > config.max_gap_ms:
        if b.duration_s > 0.0:
            _close_slot_inplace(cell)
        forward = not segment and not np.isnan(last) and t > last
        b.gap_s = (t - last) / 1000.0 if forward else UNSEEN_S
        b.origin_ms = t
        b.number = 0.0
    else:
        number = (t - b.origin_ms - 1.0) // SLOT_MS
        if number != b.number:
            if b.duration_s > 0.0:
                _close_slot_inplace(cell)
            b.number = number
        _add_inplace(b, sample, sample.current_a / config.nominal_ah, (t - last) / 1000.0)
    b.last_ms = t
    b.c_rate = sample.current_a / config.nominal_ah
    b.temperature_c = sample.temperature_c
    b.ambient_c = sample.ambient_c
    b.voltage_v = sample.voltage_v


@kernel
def _add_inplace(b: Record, sample: Sample, c: float, dt: float) -> None:
    """The step of `dt` s to this sample, in the running slot's sums."""
    before = b.c_rate
    b.duration_s += dt
    b.warming_c += sample.temperature_c - b.temperature_c
    b.sum_temperature_cs += 0.5 * (sample.temperature_c + b.temperature_c) * dt
    b.sum_ambient_cs += 0.5 * (sample.ambient_c + b.ambient_c) * dt
    b.sum_c_rate_s += 0.5 * (c + before) * dt
    b.sum_c_rate_squared_s += (c * c + c * before + before * before) / 3.0 * dt
    b.sum_voltage_vs += 0.5 * (sample.voltage_v + b.voltage_v) * dt


@kernel
def _close_slot_inplace(cell: Record) -> None:
    b = cell.balance
    dt = b.duration_s
    slot = Slot(
        b.gap_s, dt, b.warming_c, b.sum_temperature_cs / dt, b.sum_ambient_cs / dt,
        b.sum_c_rate_s / dt, b.sum_c_rate_squared_s / dt, b.sum_voltage_vs / dt,
    )  # fmt: skip
    balance_slot_inplace(cell, slot, True)
    b.gap_s = -1.0
    b.duration_s = 0.0
    b.warming_c = 0.0
    b.sum_temperature_cs = 0.0
    b.sum_ambient_cs = 0.0
    b.sum_c_rate_s = 0.0
    b.sum_c_rate_squared_s = 0.0
    b.sum_voltage_vs = 0.0


@kernel
def balance_slot_inplace(cell: Record, slot: Slot, adapt: bool) -> tuple[float, float]:
    """One slot of the balance; what is left over, W per nominal Ah, and the rise over ambient, °C.

    `cell` is a record of CELL. Without `adapt` the coefficients stay as they are.
    """
    b = cell.balance
    if np.isnan(b.coefficient[0]):
        _begin_inplace(b, cell.config)
    if slot.gap_s >= 0.0:
        _fade_inplace(b, slot.gap_s)
    dt = slot.duration_s
    rise = slot.temperature_c - _ambient_inplace(b, slot)
    _heat_inplace(b, slot, rise)
    x = (
        b.joule, -rise, 1.0, b.reversible, b.deep, b.charge_voltage, b.discharge_voltage,
        b.fixture_c,
    )  # fmt: skip
    expected = 0.0
    for j in range(TERMS):
        expected += x[j] * b.coefficient[j]
    excess = HEAT_CAPACITY_J_PER_K_AH * slot.warming_c / dt - expected
    own = x[0] * abs(b.coefficient[0])
    load = own + x[4] * abs(b.coefficient[4])
    fast = _evidence(excess, FAST_MODEL_SHARE * load, FAST_MOST_W_PER_AH)
    slow = _evidence(excess, SLOW_MODEL_SHARE * own, SLOW_MOST_W_PER_AH)
    b.fast += (1.0 - np.exp(-dt / EVIDENCE_FAST_S)) * (fast - b.fast)
    b.slow += (1.0 - np.exp(-dt / EVIDENCE_SLOW_S)) * (slow - b.slow)
    b.fast = max(b.fast, 0.0)
    b.slow = max(b.slow, 0.0)
    if adapt and not b.slow >= HOLD_W_PER_AH:
        _learn_inplace(cell, x, excess, dt)
    return excess, rise


@kernel
def _begin_inplace(b: Record, config: Record) -> None:
    """The coefficients of a cell of which nothing is known: the prior."""
    for j in range(TERMS):
        b.coefficient[j] = config.balance_mean[j]
        for n in range(TERMS):
            b.covariance[j, n] = 0.0
        b.covariance[j, j] = config.balance_spread[j] ** 2


@kernel
def _fade_inplace(b: Record, gap_s: float) -> None:
    """Unseen time: evidence fades, and the lagged terms are not known any more."""
    b.fast *= np.exp(-gap_s / EVIDENCE_FAST_S)
    b.slow *= np.exp(-gap_s / EVIDENCE_SLOW_S)
    b.fixture_c *= np.exp(-gap_s / FIXTURE_S)
    b.joule = 0.0
    b.reversible = 0.0
    b.deep = 0.0
    b.charge_voltage = 0.0
    b.discharge_voltage = 0.0


@kernel
def _ambient_inplace(b: Record, slot: Slot) -> float:
    """The ambient as measured, else the lowest temperature seen, which may rise slowly; °C."""
    temp = slot.temperature_c
    if not np.isnan(slot.ambient_c):
        b.ambient_used_c = slot.ambient_c
    elif b.ambient_used_c == AMBIENT_UNKNOWN_C or temp < b.ambient_used_c:
        b.ambient_used_c = temp
    else:
        risen = b.ambient_used_c + AMBIENT_RISE_C_PER_S * slot.duration_s
        b.ambient_used_c = min(temp, risen)
    return float(b.ambient_used_c)


@kernel
def _heat_inplace(b: Record, slot: Slot, rise: float) -> None:
    """The terms that pass a lag: from the core to the sensor, and the fixture's."""
    dt = slot.duration_s
    a = 1.0 - np.exp(-dt / BALANCE_LAG_S)
    v = USUAL_V if np.isnan(slot.voltage_v) else slot.voltage_v
    charging = max(slot.c_rate, 0.0)
    discharging = max(-slot.c_rate, 0.0)
    arrhenius = np.exp(ARRHENIUS_K * (1.0 / (slot.temperature_c + 273.15) - 1.0 / REFERENCE_K))
    joule = slot.c_rate_squared * arrhenius
    below = min(max(DEEP_V - v, 0.0), DEEP_MOST_V)
    b.joule += a * (joule - b.joule)
    b.reversible += a * (slot.c_rate - b.reversible)
    b.deep += a * (discharging * below - b.deep)
    full = min(max((v - 4.0) / 0.2, -2.0), 1.0)
    b.charge_voltage += a * (charging * full - b.charge_voltage)
    where = min(max((v - DEEP_V) / 0.3, -1.0), 1.5)
    b.discharge_voltage += a * (discharging * where - b.discharge_voltage)
    b.fixture_c += (1.0 - np.exp(-dt / FIXTURE_S)) * (rise - b.fixture_c)


@kernel
def _learn_inplace(cell: Record, x: tuple[float, ...], excess: float, dt: float) -> None:
    """One step of the coefficients' Kalman filter, with a clipped innovation."""
    b = cell.balance
    spread = BALANCE_NOISE_W_PER_AH * BALANCE_NOISE_W_PER_AH * 30.0 / max(dt, 1.0)
    for j in range(TERMS):
        prior = cell.config.balance_spread[j] ** 2
        b.covariance[j, j] = min(b.covariance[j, j] + prior * dt / WALK_S, 4.0 * prior)
    gain = (
        _gain(b, x, 0), _gain(b, x, 1), _gain(b, x, 2), _gain(b, x, 3), _gain(b, x, 4),
        _gain(b, x, 5), _gain(b, x, 6), _gain(b, x, 7),
    )  # fmt: skip
    for j in range(TERMS):
        spread += x[j] * gain[j]
    innovation = min(max(excess, -INNOVATION_MOST_W_PER_AH), INNOVATION_MOST_W_PER_AH)
    for j in range(TERMS):
        b.coefficient[j] += gain[j] / spread * innovation
        for n in range(TERMS):
            b.covariance[j, n] -= gain[j] * gain[n] / spread


@kernel
def _evidence(excess: float, margin: float, most: float) -> float:
    """What of the excess the balance's own error does not explain, clipped."""
    left: float = max(0.0, excess - margin) if excess > 0.0 else min(0.0, excess + margin)
    return float(min(max(left, EVIDENCE_LEAST_W_PER_AH), most))


@kernel
def _gain(b: Record, x: tuple[float, ...], row: int) -> float:
    """One element of the covariance times x."""
    total = 0.0
    for n in range(TERMS):
        total += b.covariance[row, n] * x[n]
    return total
