"""The adaptive heat balance: what heat a cell should make, learned slowly, and what is left over.

Per 30 s slot and per nominal Ah, with C of `HEAT_CAPACITY_J_PER_K_AH`:

    C dT/dt = r j(c², T) - h (T - T_ambient) + b + s c' + d q + excess

j is Joule heat, C-rate squared with Arrhenius resistance; b an offset of the ambient that nobody
measures; s c' the reversible heat, first order in the current (Bernardi et al. 1985, J.
Electrochem. Soc. 132, 5, eq. 25, with a constant entropic coefficient); q the discharge rate times
how far the voltage is below 3.4 V, where polarisation grows out of proportion. Heat terms pass a
lag of `LAG_S`, the way from the core to the sensor.

The five coefficients start at a prior from other groups of cells and follow the cell as a random
walk (a Kalman filter, Kalman 1960) with three safeguards against learning a fault away: a prior
spread that is also the walk's scale, an innovation that is clipped, and a stop while evidence
stands.

Evidence is the mean of what is left over in two exponential windows. Before that, the leftover is
shrunk by `MODEL_SHARE` of the load's own heat, which is how far the balance may be wrong there, and
clipped, so that one wild slot is not an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from monitor.jit import njit
from training.thermal_data import Floats, Ints, Mask
from training.thermal_prior import HEAT_CAPACITY_J_PER_K_AH
from training.thermal_slots import Slots

TERMS = 5  # joule, cooling, offset, reversible, deep discharge
LAG_S = 45.0
ARRHENIUS_K = 2_000.0
REFERENCE_K = 298.15
DEEP_V = 3.4
DEEP_MOST_V = 1.0
WALK_S = 2.0 * 86_400.0  # in this time the walk's variance is the prior's again
NOISE_W_PER_AH = 0.3  # of one slot; model error lasts many slots, so it is large
INNOVATION_MOST_W_PER_AH = 0.2
HOLD_W_PER_AH = 0.06  # slow evidence above which nothing is learned
MODEL_SHARE = 0.2
EVIDENCE_MOST_W_PER_AH = 0.4
FAST_S = 300.0
SLOW_S = 1_200.0
AMBIENT_RISE_C_PER_S = 2.0 / 3600.0  # of an ambient that nobody measures
AMBIENT_UNKNOWN_C = -1_000.0


class B(IntEnum):
    """Columns of the balance's state; the covariance follows as rows of a full matrix."""

    COEFFICIENT = 0  # TERMS of them
    JOULE = 5  # lagged heat terms
    REVERSIBLE = 6
    DEEP = 7
    FAST = 8
    SLOW = 9
    EXCESS = 10
    AMBIENT = 11
    COVARIANCE = 12  # TERMS * TERMS of them


BALANCE_WIDTH = int(B.COVARIANCE) + TERMS * TERMS


@dataclass(frozen=True, slots=True)
class BalancePrior:
    """Mean and standard deviation of the five coefficients over groups of cells."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BalanceTrace:
    """What the balance says of every slot of one stream, W per nominal Ah."""

    excess: Floats
    fast: Floats
    slow: Floats
    rise_c: Floats


def start_state(prior: BalancePrior) -> Floats:
    """The state of a cell of which nothing is known."""
    state = np.zeros(BALANCE_WIDTH)
    state[B.COEFFICIENT : B.COEFFICIENT + TERMS] = prior.mean
    state[B.COVARIANCE :] = np.diag(np.square(prior.spread)).ravel()
    state[B.AMBIENT] = AMBIENT_UNKNOWN_C
    return state


def follow(slots: Slots, prior: BalancePrior, *, adapt: bool = True) -> BalanceTrace:
    """Run the balance over a stream's slots; without `adapt` the coefficients stay the prior's."""
    out = np.empty((len(slots), 4))
    _follow_inplace(
        start_state(prior), np.square(np.array(prior.spread)), adapt,
        slots.timestamp_ms, slots.duration_s, slots.warming_c, slots.temperature_c,
        slots.ambient_c, slots.c_rate, slots.c_rate_squared, slots.voltage_v, slots.begins, out,
        np.empty((0, TERMS)),
    )  # fmt: skip
    return BalanceTrace(*np.ascontiguousarray(out.T))


def terms(slots: Slots) -> tuple[Floats, Floats]:
    """The (n, TERMS) regressors and the stored heat, W per nominal Ah, of every slot."""
    prior = BalancePrior((0.0,) * TERMS, (0.0,) * TERMS)
    rows = np.empty((len(slots), TERMS))
    _follow_inplace(
        start_state(prior), np.zeros(TERMS), False,
        slots.timestamp_ms, slots.duration_s, slots.warming_c, slots.temperature_c,
        slots.ambient_c, slots.c_rate, slots.c_rate_squared, slots.voltage_v, slots.begins,
        np.empty((len(slots), 4)), rows,
    )  # fmt: skip
    return rows, HEAT_CAPACITY_J_PER_K_AH * slots.warming_c / slots.duration_s


def fit_balance(members: Sequence[Slots]) -> Floats:
    """A group's coefficients: least squares with Huber weights at three robust deviations."""
    pieces = [terms(slots) for slots in members]
    x = np.vstack([rows for rows, _ in pieces])
    y = np.concatenate([stored for _, stored in pieces])
    known = np.isfinite(x).all(axis=1) & np.isfinite(y)
    x, y = x[known], y[known]
    weight = np.ones(len(y))
    found = np.zeros(TERMS)
    for _ in range(15):
        root = np.sqrt(weight)
        found = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        left = y - x @ found
        limit = 3.0 * 1.4826 * float(np.median(np.abs(left)))
        weight = 1.0 / np.maximum(1.0, np.abs(left) / max(limit, 1e-9))
    return found


def prior_of(fits: Mapping[str, Floats], without: Sequence[str] = ()) -> BalancePrior:
    """The prior from the groups' fits: medians, and their robust spread with a floor."""
    table = np.array([fit for name, fit in sorted(fits.items()) if name not in without])
    mean = np.median(table, axis=0)
    spread = 1.4826 * np.median(np.abs(table - mean), axis=0) + 0.1 * np.abs(mean) + 1e-3
    return BalancePrior(tuple(map(float, mean)), tuple(map(float, spread)))


@njit
def _follow_inplace(
    s: Floats, prior_variance: Floats, adapt: bool,
    t_ms: Ints, duration: Floats, warming: Floats, temp: Floats, ambient: Floats,
    c: Floats, c2: Floats, v: Floats, begins: Mask, out: Floats, rows: Floats,
) -> None:  # fmt: skip
    x = np.empty(5)
    for k in range(len(t_ms)):
        gap = -1.0
        if begins[k]:
            gap = 1e9
            if k > 0 and t_ms[k] > t_ms[k - 1]:
                gap = max(0.0, (t_ms[k] - t_ms[k - 1]) / 1000.0 - duration[k])
        rise = _balance_slot_inplace(
            s, prior_variance, adapt, gap, duration[k], warming[k], temp[k], ambient[k],
            c[k], c2[k], v[k], x,
        )  # fmt: skip
        out[k, 0] = s[B.EXCESS]
        out[k, 1] = s[B.FAST]
        out[k, 2] = s[B.SLOW]
        out[k, 3] = rise
        if len(rows) > 0:
            for j in range(5):
                rows[k, j] = x[j]


@njit
def _balance_slot_inplace(
    s: Floats, prior_variance: Floats, adapt: bool, gap_s: float, dt: float, warming_c: float,
    temp: float, ambient: float, c: float, c2: float, v: float, x: Floats,
) -> float:  # fmt: skip
    """One slot; `gap_s` is the time before it that nobody saw, -1 for none. Returns the rise."""
    if gap_s >= 0.0:
        s[B.FAST] *= np.exp(-gap_s / FAST_S)
        s[B.SLOW] *= np.exp(-gap_s / SLOW_S)
        s[B.JOULE] = 0.0
        s[B.REVERSIBLE] = 0.0
        s[B.DEEP] = 0.0
    if np.isnan(ambient):
        if s[B.AMBIENT] == AMBIENT_UNKNOWN_C or temp < s[B.AMBIENT]:
            s[B.AMBIENT] = temp
        else:
            s[B.AMBIENT] = min(temp, s[B.AMBIENT] + AMBIENT_RISE_C_PER_S * dt)
    else:
        s[B.AMBIENT] = ambient
    rise: float = temp - s[B.AMBIENT]
    a = 1.0 - np.exp(-dt / LAG_S)
    joule = c2 * np.exp(ARRHENIUS_K * (1.0 / (temp + 273.15) - 1.0 / REFERENCE_K))
    below = 0.0 if np.isnan(v) else min(max(DEEP_V - v, 0.0), DEEP_MOST_V)
    s[B.JOULE] += a * (joule - s[B.JOULE])
    s[B.REVERSIBLE] += a * (c - s[B.REVERSIBLE])
    s[B.DEEP] += a * (max(-c, 0.0) * below - s[B.DEEP])
    x[0] = s[B.JOULE]
    x[1] = -rise
    x[2] = 1.0
    x[3] = s[B.REVERSIBLE]
    x[4] = s[B.DEEP]
    expected = 0.0
    for j in range(5):
        expected += x[j] * s[B.COEFFICIENT + j]
    excess = HEAT_CAPACITY_J_PER_K_AH * warming_c / dt - expected
    s[B.EXCESS] = excess
    load = x[0] * abs(s[B.COEFFICIENT]) + x[4] * abs(s[B.COEFFICIENT + 4])
    margin = MODEL_SHARE * load
    evidence = max(0.0, excess - margin) if excess > 0.0 else min(0.0, excess + margin)
    evidence = min(max(evidence, -EVIDENCE_MOST_W_PER_AH), EVIDENCE_MOST_W_PER_AH)
    s[B.FAST] += (1.0 - np.exp(-dt / FAST_S)) * (evidence - s[B.FAST])
    s[B.SLOW] += (1.0 - np.exp(-dt / SLOW_S)) * (evidence - s[B.SLOW])
    if not adapt or s[B.SLOW] >= HOLD_W_PER_AH:
        return rise
    spread = NOISE_W_PER_AH * NOISE_W_PER_AH * 30.0 / max(dt, 1.0)
    gain = np.empty(5)
    for i in range(5):
        cell = B.COVARIANCE + 6 * i
        s[cell] = min(s[cell] + prior_variance[i] * dt / WALK_S, 4.0 * prior_variance[i])
    for i in range(5):
        gain[i] = 0.0
        for j in range(5):
            gain[i] += s[B.COVARIANCE + 5 * i + j] * x[j]
        spread += x[i] * gain[i]
    innovation = min(max(excess, -INNOVATION_MOST_W_PER_AH), INNOVATION_MOST_W_PER_AH)
    for i in range(5):
        s[B.COEFFICIENT + i] += gain[i] / spread * innovation
        for j in range(5):
            s[B.COVARIANCE + 5 * i + j] -= gain[i] * gain[j] / spread
    return rise
