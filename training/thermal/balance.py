"""The kernel's adaptive heat balance over slots, and the prior that it starts from.

The mathematics is `monitor.kernels.balance.balance_slot_inplace`, called here slot by slot; what
it says and why stands there. This module fits the prior: eight coefficients for each group of
cells, and their median and robust spread over groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.kernels.balance import Slot, balance_slot_inplace
from monitor.kernels.cell import empty_cells
from monitor.kernels.columns import HEAT_CAPACITY_J_PER_K_AH, TERMS, Records
from monitor.kernels.jit import njit
from training.thermal.data import Floats, Ints, Mask
from training.thermal.slots import Slots


@dataclass(frozen=True, slots=True)
class BalancePrior:
    """Mean and standard deviation of the eight coefficients over groups of cells."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BalanceTrace:
    """What the balance says of every slot of one stream, W per nominal Ah."""

    excess: Floats
    fast: Floats
    slow: Floats
    rise_c: Floats


def start_cells(prior: BalancePrior) -> Records:
    """(1,) of CELL: a cell of which nothing is known but the prior."""
    cells = empty_cells(1)
    cells["config"]["balance_mean"] = prior.mean
    cells["config"]["balance_spread"] = prior.spread
    return cells


def follow(slots: Slots, prior: BalancePrior, *, adapt: bool = True) -> BalanceTrace:
    """Run the balance over a stream's slots; without `adapt` the coefficients stay the prior's."""
    out = np.empty((len(slots), 4))
    _run_inplace(slots, prior, adapt, out, np.empty((0, TERMS)))
    return BalanceTrace(*np.ascontiguousarray(out.T))


def terms(slots: Slots) -> tuple[Floats, Floats]:
    """The (n, TERMS) regressors and the stored heat, W per nominal Ah, of every slot."""
    prior = BalancePrior((0.0,) * TERMS, (0.0,) * TERMS)
    rows = np.empty((len(slots), TERMS))
    _run_inplace(slots, prior, False, np.empty((len(slots), 4)), rows)
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


def _run_inplace(slots: Slots, prior: BalancePrior, adapt: bool, out: Floats, rows: Floats) -> None:
    """Write four figures a slot to `out`, and the regressors to `rows` where it is not empty.

    Raises ValueError where an array has not a value for every slot: the kernel checks no index.
    """
    columns = (
        slots.duration_s, slots.warming_c, slots.temperature_c, slots.ambient_c, slots.c_rate,
        slots.c_rate_squared, slots.voltage_v, slots.begins,
    )  # fmt: skip
    n = len(slots.timestamp_ms)
    if any(len(column) != n for column in columns) or out.shape != (n, 4):
        raise ValueError(f"slots: not {n:,} values in every column")
    if len(rows) and rows.shape != (n, TERMS):
        raise ValueError(f"regressors of the shape {rows.shape}, not {(n, TERMS)}")
    _follow_inplace(start_cells(prior), adapt, slots.timestamp_ms, *columns, out, rows)


@njit
def _follow_inplace(  # noqa: PLR0913 - a kernel takes arrays
    cells: Records, adapt: bool,
    t_ms: Ints, duration: Floats, warming: Floats, temp: Floats, ambient: Floats,
    c: Floats, c2: Floats, v: Floats, begins: Mask, out: Floats, rows: Floats,
) -> None:  # fmt: skip
    b = cells[0].balance
    for k in range(len(t_ms)):
        gap = -1.0
        if begins[k]:
            gap = 1e9
            if k > 0 and t_ms[k] > t_ms[k - 1]:
                gap = max(0.0, (t_ms[k] - t_ms[k - 1]) / 1000.0 - duration[k])
        slot = Slot(gap, duration[k], warming[k], temp[k], ambient[k], c[k], c2[k], v[k])
        excess, rise = balance_slot_inplace(cells[0], slot, adapt)
        out[k, 0] = excess
        out[k, 1] = b.fast
        out[k, 2] = b.slow
        out[k, 3] = rise
        if len(rows) > 0:
            rows[k, 0] = b.joule
            rows[k, 1] = -rise
            rows[k, 2] = 1.0
            rows[k, 3] = b.reversible
            rows[k, 4] = b.deep
            rows[k, 5] = b.charge_voltage
            rows[k, 6] = b.discharge_voltage
            rows[k, 7] = b.fixture_c
