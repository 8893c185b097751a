"""Fit the twin to one real cell, finely enough that its incremental capacity is right too.

The general set (`nasa-18650`, by `training.twin.calibrate`) follows several cells to some 10 mV, on
few knots: its charges have about the right voltages and the wrong dQ/dV. This command starts from
that set and corrects it on many knots until the twin follows one cell's voltage, and its rise over
a minute, in charge and discharge and at all ages. What is corrected: the open-circuit voltage, the
charge between its ends, both time constants and every resistance. All else (heat, ageing,
dependence on temperature, decomposition) stays as it was.

One in every `EVERY` of the cell's cycles is fitted; the ones half-way between are never seen and
tell how far off the result is. `--check` tells that of a set that is there, and fits nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from simulator.twin import Tables, load_parameters
from simulator.twin_cycles import Cycle, read_cycles
from simulator.twin_parameters import parse_parameters
from training.twin.calibrate import write

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL = "B0005"
BASE = "nasa-18650"
EVERY = 7
THIN_TO = 600
RISE_S = 60.0  # a 10 mV bin lasts one to three minutes
CHARGE_SPREAD_V, DISCHARGE_SPREAD_V, REST_SPREAD_V = 0.003, 0.005, 0.008
RISE_SPREAD_V = 0.0006
NUDGE = 1e-4
FACTORS = np.arange(0.7, 1.31, 0.05)
ENOUGH = 1e-3  # an iteration that gains a smaller share is the last
RISE = "rise in a minute"
CUT_OFF_V = 2.7
CHARGING_A = 1.4  # above it a charge is at its constant current
PAIRS = ("r1_discharge", "r2_discharge", "r1_charge", "r2_charge")

_OCV_KNOTS = np.linspace(0.0, 1.0, 51)
_SOC_KNOTS = np.array(
    [0, 0.01, 0.02, 0.035, 0.05, 0.07, 0.09, 0.12, 0.15, *np.arange(0.2, 0.91, 0.05), 0.95, 1.0]
)
_AGES = 5


@dataclass(frozen=True, slots=True)
class _Correction:
    """The vector of unknowns, all 0 for the set that is corrected, and what it means."""

    base: Tables

    @property
    def sizes(self) -> list[int]:
        ages = len(self.base.total_ah)
        return [1, len(_OCV_KNOTS), ages, ages, 2, *[_AGES * len(_SOC_KNOTS)] * len(PAIRS)]

    def parts(self, x: Floats) -> list[Floats]:
        """Shift of the voltage (V), logarithms: slope, charge, ohmic, time constants, pairs."""
        return np.split(x, np.cumsum(self.sizes)[:-1])

    def tables(self, x: Floats) -> Tables:
        shift, slope, total, ohmic, tau, *pairs = self.parts(x)
        base = self.base
        k, s = base.resistance_ohm.shape[1:]
        soc = np.linspace(base.soc_low, 1.0, s)
        over_soc = _spline(_SOC_KNOTS)(np.clip(soc, 0.0, 1.0))
        over_age = _hats(np.linspace(0.0, 1.0, k), np.linspace(0.0, 1.0, _AGES))
        factors = [
            np.repeat(ohmic[:, None], s, axis=1),
            *(over_age @ pair.reshape(_AGES, -1) @ over_soc.T for pair in pairs),
        ]
        return base._replace(
            ocv_v=self._ocv_v(float(shift[0]), slope),
            total_ah=base.total_ah * np.exp(total),
            resistance_ohm=base.resistance_ohm * np.exp(np.clip(np.array(factors), -3.0, 3.0)),
            tau1_s=base.tau1_s * float(np.exp(tau[0])),
            tau2_s=base.tau2_s * float(np.exp(tau[1])),
        )

    def _ocv_v(self, shift_v: float, slope: Floats) -> Floats:
        """Rising as the base's does: a factor on every step, counted down from the full end."""
        base = self.base
        z = np.linspace(base.stoichiometry_low, base.stoichiometry_high, len(base.ocv_v))
        middle = 0.5 * (z[1:] + z[:-1])
        steps = np.diff(base.ocv_v)
        inside = (middle > 0.0) & (middle < 1.0)
        factor = np.exp(np.clip(_spline(_OCV_KNOTS)(middle[inside]) @ slope, -3.0, 3.0))
        first, last = np.flatnonzero(inside)[[0, -1]]
        ocv = base.ocv_v.copy()
        ocv[last + 1 :] += shift_v
        ocv[first : last + 1] = ocv[last + 1] - np.cumsum((steps[inside] * factor)[::-1])[::-1]
        ocv[:first] *= ocv[first] / base.ocv_v[first]
        return np.asarray(ocv)

    def smoothness(self, x: Floats) -> Floats:
        """Weak priors: near the base, neighbours alike. In units of residuals."""
        shift, slope, total, ohmic, tau, *pairs = self.parts(x)
        found = [shift / 0.005, 0.2 * slope, 1.0 * np.diff(slope, 2), 3.0 * np.diff(total, 2)]
        found += [10.0 * total, 4.0 * np.diff(ohmic, 2), 3.0 * ohmic, 3.0 * tau]
        for pair in pairs:
            grid = pair.reshape(_AGES, -1)
            found += [
                0.3 * pair,
                np.diff(grid, 2, axis=1).ravel(),
                2.0 * np.diff(grid, 2, axis=0).ravel(),
            ]
        return np.concatenate(found)


def _spline(knots: Floats) -> Any:
    """A cubic spline through values at the knots, as a matrix over the points asked for."""
    return make_interp_spline(knots, np.eye(len(knots)), k=3)


def _hats(at: Floats, knots: Floats) -> Floats:
    """Linear interpolation as a matrix."""
    return np.column_stack([np.interp(at, knots, row) for row in np.eye(len(knots))])


def _charging(cycle: Cycle) -> NDArray[np.bool_]:
    return np.asarray(cycle.current_a > CHARGING_A)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A cycle with what its samples count for."""

    cycle: Cycle
    weight_per_v: Floats
    early: Ints  # pairs of samples RISE_S apart, both under the same constant current
    late: Ints

    @classmethod
    def of(cls, cycle: Cycle) -> Weighed:
        """The cycle's samples and their weights."""
        charging = _charging(cycle) & (cycle.weight > 0)
        loaded = cycle.discharging & (cycle.weight > 0) & (cycle.voltage_v >= CUT_OFF_V)
        resting = ~charging & ~cycle.discharging
        spread = np.where(
            charging, CHARGE_SPREAD_V, np.where(resting, REST_SPREAD_V, DISCHARGE_SPREAD_V)
        )
        time_s = np.cumsum(cycle.dt_s)
        early, late = [], []
        for mode in (charging, loaded):
            index = np.flatnonzero(mode)
            after = index[
                np.minimum(np.searchsorted(time_s[index], time_s[index] + RISE_S), len(index) - 1)
            ]
            whole = (time_s[after] - time_s[index] >= RISE_S) & (
                time_s[after] - time_s[index] < 2 * RISE_S
            )
            early.append(index[whole])
            late.append(after[whole])
        return cls(
            cycle, np.sqrt(cycle.weight) / spread, np.concatenate(early), np.concatenate(late)
        )

    def wrong(self, tables: Tables) -> tuple[Floats, Floats]:
        """Errors of voltage and of its rise over a minute, V."""
        wrong_v = self.cycle.run(tables).output.voltage_v - self.cycle.voltage_v
        return wrong_v, wrong_v[self.late] - wrong_v[self.early]


def fit(base: Tables, cycles: Sequence[Weighed], iterations: int) -> Tables:
    """The tables that follow these cycles best."""
    correction = _Correction(base)

    def residuals(x: Floats) -> Floats:
        tables = correction.tables(x)
        parts = [correction.smoothness(x)]
        for weighed in cycles:
            wrong_v, wrong_rise_v = weighed.wrong(tables)
            parts += [wrong_v * weighed.weight_per_v, wrong_rise_v / RISE_SPREAD_V]
        return np.nan_to_num(np.concatenate(parts), nan=1e3)

    # One factor on all resistances first: most of what sets a cell apart from the mean.
    def scaled(factor: float) -> Floats:
        x = np.zeros(sum(correction.sizes))
        _, _, _, ohmic, _, *pairs = correction.parts(x)  # views
        for part in (ohmic, *pairs):
            part += np.log(factor)
        return x

    trials = [scaled(float(factor)) for factor in FACTORS]
    start = min(trials, key=lambda trial: float(np.abs(residuals(trial)).sum()))
    return correction.tables(_least_soft_l1(residuals, start, iterations))


def _least_soft_l1(residuals: Callable[[Floats], Floats], x: Floats, iterations: int) -> Floats:
    """Levenberg-Marquardt on reweighted residuals, so that few large ones do not rule.

    `scipy.optimize.least_squares` takes a singular value decomposition of the Jacobian for every
    step, which for some 50,000 residuals lasts longer than finding the Jacobian.
    """
    damping = 1e-2
    now = residuals(x)
    for _ in range(iterations):
        weights = 1.0 / np.sqrt(1.0 + now**2)
        jacobian = np.empty((len(now), len(x)))
        for j in range(len(x)):
            nudged = x.copy()
            nudged[j] += NUDGE
            jacobian[:, j] = (residuals(nudged) - now) / NUDGE
        square = jacobian.T @ (jacobian * weights[:, None])
        gradient = jacobian.T @ (weights * now)
        before = _soft_l1(now)
        while damping < 1e6:
            step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -gradient)
            trial = residuals(x + step)
            if _soft_l1(trial) < before:
                break
            damping *= 4.0
        else:
            break
        x, now = x + step, trial
        damping = max(damping / 10.0, 1e-9)
        print(f"misfit {before:.1f} -> {_soft_l1(now):.1f}", flush=True)
        if before - _soft_l1(now) < ENOUGH * before:
            break
    return x


def _soft_l1(residuals: Floats) -> float:
    return float(np.sum(np.sqrt(1.0 + residuals**2) - 1.0))


def nearest(base: Tables, cycles: Sequence[Weighed]) -> Tables:
    """The base with the one factor on all its resistances that follows the cycles best."""
    trials = [
        base._replace(resistance_ohm=base.resistance_ohm * float(factor)) for factor in FACTORS
    ]
    return min(trials, key=lambda tables: sum(errors_mv(cycles, tables).values()))


def errors_mv(cycles: Sequence[Weighed], tables: Tables) -> dict[str, float]:
    """Root mean square errors over the cycles, under constant current and above 2.7 V, in mV."""
    squares: dict[str, list[float]] = {}
    for weighed in cycles:
        cycle = weighed.cycle
        wrong_v, rise_v = weighed.wrong(tables)
        good = (cycle.weight > 0) & (cycle.voltage_v >= CUT_OFF_V)
        for name, loaded in (("charge", _charging(cycle)), ("discharge", cycle.discharging)):
            risen = loaded[weighed.early]
            for what, error_v in (("voltage", wrong_v[loaded & good]), (RISE, rise_v[risen])):
                squares.setdefault(f"{name}, {what}", []).append(float(np.mean(error_v**2)))
    return {name: 1000.0 * float(np.sqrt(np.mean(of))) for name, of in squares.items()}


def calibrated(data: dict[str, Any], tables: Tables, path: Path) -> dict[str, Any]:
    """The base set's content with the fitted tables, their source and the recording's hash."""
    cell = path.stem
    names = ("r0", *PAIRS)
    resistances = zip(names, tables.resistance_ohm, strict=True)
    return {
        **data,
        "name": f"{BASE}-{cell.lower()}",
        "electrical": {
            **data["electrical"],
            "ocv_v": tables.ocv_v,
            "total_ah": tables.total_ah,
            "tau1_s": tables.tau1_s,
            "tau2_s": tables.tau2_s,
            **{f"{name}_ohm": table for name, table in resistances},
        },
        "sources": {
            **data["sources"],
            "electrical": (
                f"Corrections to {BASE} by training.twin.calibrate_cell: least squares on voltage "
                f"and its rise over {RISE_S:g} s, every {EVERY}th cycle of {cell} of the NASA PCoE "
                "battery data set (B. Saha and K. Goebel 2007)."
            ),
            "thermal": f"As in {BASE}.",
        },
        "data": {**data["data"], path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
    }


def run(folder: Path, cell: str, out: Path, check: str | None, iterations: int) -> None:
    """Fit one cell's set and write it to `out`, or `check` a set; then print how far off it is."""
    path = folder / "nasa" / "tidy" / f"{cell}.parquet"
    cycles = [Weighed.of(cycle) for cycle in read_cycles(path, thin_to=THIN_TO)[1:-1]]
    fitted, unseen = cycles[::EVERY], cycles[EVERY // 2 :: EVERY]
    text = (resources.files("simulator") / "parameters" / f"{BASE}.json").read_text("utf-8")
    data = json.loads(text)
    base = parse_parameters(data).tables()
    if check:
        tables = load_parameters(check).tables()
    else:
        tables = fit(base, fitted, iterations)
        data = calibrated(data, tables, path)
        out = out / f"{data['name']}.json" if out.is_dir() else out
        write(data, out)
        print(f"wrote {out}")
        tables = load_parameters(out).tables()
    base = nearest(base, fitted)
    print(f"root mean square errors on {cell}, mV: {BASE} at its best factor, this set")
    for name, some in (("fitted", fitted), ("unseen", unseen)):
        before, after = errors_mv(some, base), errors_mv(some, tables)
        for what, error_mv in after.items():
            print(f"{len(some)} {name} cycles, {what}: {before[what]:.1f}, {error_mv:.1f}")
