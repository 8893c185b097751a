"""Incremental capacity (dQ/dV) of a charge, from what the store kept of it; pure.

The charge moved is laid into 10 mV bins of the cell's voltage, the same binning as the engine's
histogram, and divided by the bin's width: peaks are the electrodes' phase changes, which sink and
move as a cell ages (Dubarry and Liaw, J. Power Sources 194, 2009). They are read where the current
is constant: the constant-voltage phase moves charge without moving the voltage, a spike at the
end that says nothing of the electrodes and hides what does, so it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.contract import CycleSummary, cell_name
from monitor.kernels.columns import CV_BAND_V
from monitor.store.history import History, Trace

Floats = NDArray[np.float64]

BIN_V = 0.01
POINTS = 4_000
FIRST_CURVES = 3
RUNNING_BINS = 5  # a running charge is drawn once it has crossed so many
LONGEST_CHARGE_MS = 86_400_000  # looked back for the first charge of all
LONGEST_STEP_S = 600.0  # a longer step says nothing of the voltages between
SMOOTHING = np.array([0.25, 0.5, 0.25])


@dataclass(frozen=True, slots=True)
class Curve:
    """dQ/dV of one charge over voltage: `dqdv_ah_per_v[k]` at `voltage_v[k]`, NaN where unseen."""

    number: int
    age: Literal["first", "newest", "running"]
    voltage_v: Floats
    dqdv_ah_per_v: Floats


def incremental_capacity(
    timestamp_ms: NDArray[np.int64],
    voltage_v: Floats,
    current_a: Floats,
    charge_voltage_v: float = np.inf,
) -> tuple[Floats, Floats]:
    """Bin centres in V and dQ/dV in Ah/V of a charge; both empty where no current charged.

    Each step's charge is spread evenly over the voltages that it crossed. Steps that begin in the
    constant-voltage phase, which the engine too says begins `CV_BAND_V` below `charge_voltage_v`,
    are left out. The result is smoothed over three bins. Bins that were not crossed are NaN.
    """
    good = np.isfinite(voltage_v) & np.isfinite(current_a)
    times, voltage, current = timestamp_ms[good] / 1_000.0, voltage_v[good], current_a[good]
    step_s = np.diff(times)
    moved_ah = 0.5 * (current[1:] + current[:-1]) * step_s / 3_600.0
    used = (moved_ah > 0) & (step_s > 0) & (step_s <= LONGEST_STEP_S)
    used &= voltage[:-1] < charge_voltage_v - CV_BAND_V
    if not used.any():
        return np.empty(0), np.empty(0)
    low = np.minimum(voltage[1:], voltage[:-1])[used] / BIN_V
    high = np.maximum(voltage[1:], voltage[:-1])[used] / BIN_V
    moved_ah = moved_ah[used]
    first = int(np.floor(low.min()))
    count = int(np.floor(high.max())) - first + 1
    charge_ah = np.zeros(count)
    seen = np.zeros(count, dtype=bool)
    for begin, end, ah in zip(low - first, high - first, moved_ah, strict=True):
        left, right = int(begin), int(end)
        seen[left : right + 1] = True
        if left == right:
            charge_ah[left] += ah
            continue
        edges = np.clip(np.arange(left, right + 2, dtype=float), begin, end)
        charge_ah[left : right + 1] += ah * np.diff(edges) / (end - begin)
    weight = np.convolve(seen.astype(float), SMOOTHING)[1:-1]
    smooth = np.convolve(charge_ah, SMOOTHING)[1:-1].astype(np.float64)
    smooth[seen] /= weight[seen] * BIN_V
    smooth[~seen] = np.nan
    centres = np.asarray((np.arange(first, first + count) + 0.5) * BIN_V, dtype=np.float64)
    return centres, smooth


def read_curves(
    history: History,
    asset: str,
    cell: int,
    newest_ms: int | None = None,
    *,
    charge_voltage_v: float = np.inf,
) -> list[Curve]:
    """The curves of a cell's first complete charges, of its newest, and of one that runs; blocking.

    `newest_ms` is the time of the newest frame, None where nothing comes in. Raises StoreError
    where the store cannot.
    """
    own = [c for c in history.cycles(asset, cell, 10_000) if c.cell == cell_name(cell)]
    charges = [cycle for cycle in own if cycle.kind == "charge" and cycle.complete]
    curves = []
    for age, cycle in _choose(charges):
        trace = history.trace(asset, cell, cycle.start_ms, cycle.end_ms, POINTS)
        voltage, dqdv = incremental_capacity(
            trace.timestamp_ms, trace.voltage_v, trace.current_a, charge_voltage_v
        )
        if len(voltage):
            curves.append(Curve(cycle.number, age, voltage, dqdv))
    if newest_ms is not None:
        since_ms = own[-1].end_ms if own else newest_ms - LONGEST_CHARGE_MS
        number = max((c.number for c in own if c.kind == "charge"), default=0) + 1
        trace = history.trace(asset, cell, since_ms, newest_ms, POINTS)
        curves += _running(trace, number, charge_voltage_v)
    return curves


def _running(trace: Trace, number: int, charge_voltage_v: float) -> list[Curve]:
    """The charge that a trace ends in, if it does."""
    current = trace.current_a
    known = np.flatnonzero(np.isfinite(current))
    if not len(known) or current[known[-1]] <= 0:
        return []
    out = np.flatnonzero(current < 0)
    start = int(out[-1]) + 1 if len(out) else 0
    voltage, dqdv = incremental_capacity(
        trace.timestamp_ms[start:], trace.voltage_v[start:], current[start:], charge_voltage_v
    )
    return [Curve(number, "running", voltage, dqdv)] if len(voltage) >= RUNNING_BINS else []


def _choose(
    charges: Sequence[CycleSummary],
) -> list[tuple[Literal["first", "newest"], CycleSummary]]:
    if not charges:
        return []
    chosen: list[tuple[Literal["first", "newest"], CycleSummary]] = [
        ("first", cycle) for cycle in charges[:FIRST_CURVES]
    ]
    if len(charges) > FIRST_CURVES:
        chosen.append(("newest", charges[-1]))
    return chosen
