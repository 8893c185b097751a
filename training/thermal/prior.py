"""The lumped heat balance's prior: what a cell of which nothing is known is taken for.

    C dT/dt = R I² - hA (T - T_ambient)

fitted open loop: from an operation's first temperature on, the model gets the current alone.
Fitting the equation's own error instead would be biased: the chamber's set point stands for the
ambient, and a wrong ambient drives hA towards 0. So each cell has an unknown constant offset of its
ambient.

From temperatures alone only hA/C and R/C can be known; the scale of a watt comes from the heat
capacity, which is taken from the literature. Every group of cells gives one fit, and the prior is
the median over groups, so that no group, however many hours it has, decides alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from monitor.kernels.columns import HEAT_CAPACITY_J_PER_K_AH
from training.thermal.data import Floats, HeatParameters, Stream

STEP_S = 30.0
TAUS_S = (400, 500, 600, 700, 800, 900, 1000, 1200, 1400, 1700, 2000, 2500, 3000, 4000)
OPERATIONS_PER_CELL = 40
SHORTEST_S = 900.0


@dataclass(frozen=True, slots=True)
class _Run:
    """One operation on an even grid of STEP_S, per nominal Ah."""

    square: Floats  # mean of (I / nominal)² over each step
    rise_c: Floats  # T - ambient at the end of each step
    first_c: float  # and at the start


def fit_group(streams: Sequence[Stream], rng: np.random.Generator) -> HeatParameters:
    """The parameters of one group's cells; raises ValueError where no operation is long enough."""
    cells = [runs for runs in (_runs(stream, rng) for stream in streams) if runs]
    if not cells:
        raise ValueError(f"no operation of {SHORTEST_S:.0f} s or longer to fit the heat balance to")
    found = [(_fit_at(cells, tau), tau) for tau in TAUS_S]
    (_, gain), tau = min(found)
    cooling = HEAT_CAPACITY_J_PER_K_AH / tau
    return HeatParameters(HEAT_CAPACITY_J_PER_K_AH, cooling, gain * cooling)


def median_prior(fits: Iterable[HeatParameters]) -> HeatParameters:
    """The median over groups, parameter by parameter."""
    table = np.array([[f.cooling_w_per_k_ah, f.resistance_ohm_ah] for f in fits])
    cooling, resistance = np.median(table, axis=0)
    return HeatParameters(HEAT_CAPACITY_J_PER_K_AH, float(cooling), float(resistance))


def leave_one_out(fits: Mapping[str, HeatParameters], group: str) -> HeatParameters:
    """The prior for `group` from every other group's fit."""
    return median_prior(fit for name, fit in fits.items() if name != group)


def _fit_at(cells: Sequence[Sequence[_Run]], tau: float) -> tuple[float, float]:
    """Least squares over gain (K per (1/h)²) and each cell's ambient offset; cost and gain."""
    keep = float(np.exp(-STEP_S / tau))
    rows, targets = [], []
    for number, runs in enumerate(cells):
        for run in runs:
            n = len(run.square)
            decay = keep ** np.arange(1, n + 1)
            row = np.zeros((n, 1 + len(cells)))
            row[:, 0] = lfilter([1.0 - keep], [1.0, -keep], run.square)
            row[:, 1 + number] = 1.0 - decay
            rows.append(row / np.sqrt(n))
            targets.append((run.rise_c - run.first_c * decay) / np.sqrt(n))
    matrix, target = np.vstack(rows), np.concatenate(targets)
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    return float(np.square(target - matrix @ solution).sum()), float(solution[0])


def _runs(stream: Stream, rng: np.random.Generator) -> list[_Run]:
    numbers = rng.permutation(np.unique(stream.operation))
    runs: list[_Run] = []
    for number in numbers:
        if len(runs) == OPERATIONS_PER_CELL:
            break
        rows = np.flatnonzero(stream.operation == number)
        good = np.isfinite(stream.current_a[rows]) & np.isfinite(stream.temperature_c[rows])
        good &= np.isfinite(stream.ambient_c[rows])
        rows = rows[good]
        if len(rows) < 20:
            continue
        time_s = (stream.timestamp_ms[rows] - stream.timestamp_ms[rows[0]]) / 1000.0
        if time_s[-1] < SHORTEST_S:
            continue
        c_rate = stream.current_a[rows] / stream.nominal_ah
        middle = 0.5 * (c_rate[1:] + c_rate[:-1])
        moved = np.concatenate([[0.0], np.cumsum(np.diff(time_s) * middle**2)])
        rise = stream.temperature_c[rows] - stream.ambient_c[rows]
        grid = np.arange(0.0, time_s[-1], STEP_S)
        runs.append(
            _Run(
                np.diff(np.interp(grid, time_s, moved)) / STEP_S,
                np.interp(grid, time_s, rise)[1:],
                float(rise[0]),
            )
        )
    return runs
