"""Calibrate the twin against NASA recordings and write its parameter file.

The electrical tables and the thermal values
are one least-squares fit of voltage and temperature over whole cycles (discharge, rest, charge) of
the calibration cells at all their ages; the temperature dependence comes from cells at 4 and 43 C,
the rate of fade from the calibration cells' own lives. What the recordings do not show (calendar
ageing, rate and heat dependence of ageing, decomposition) is read from `sources.json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, make_interp_spline
from scipy.optimize import least_squares, minimize_scalar

from simulator.twin_cycles import NOMINAL_AH, Cycle, life, read_cycles, spread
from simulator.twin_parameters import parse_parameters

Floats = NDArray[np.float64]

CALIBRATION_CELLS = ("B0005", "B0006")
COLD_CELL, HOT_CELL = "B0046", "B0029"
REFERENCE_C = 24.0
CYCLES_PER_CELL = 9

_OCV_Z = np.array([0, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95])
_OCV_Z = np.append(_OCV_Z, 100) / 100.0
_SOC = np.array([0.0, 0.03, 0.07, 0.12, 0.2, 0.32, 0.47, 0.64, 0.8, 0.92, 1.0])
_ENTROPY_Z = np.linspace(0.0, 1.0, 9)
_COLD_FIRST = 5  # a cell brought into the cold loses capacity at once, which is not ageing
_LOSS = np.linspace(-0.02, 0.42, 8)
_SOC_LOW = -0.1
_Z_AXIS = np.round(np.arange(-0.06, 1.4001, 0.005), 6)
_SOC_AXIS = np.round(np.linspace(_SOC_LOW, 1.0, 111), 6)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The vector of unknowns and what it means."""

    fixed: dict[str, Any]

    def start(self) -> Floats:
        ocv = np.interp(_OCV_Z, [0, 0.05, 0.2, 0.5, 0.8, 1.0], [3.0, 3.4, 3.6, 3.8, 4.0, 4.2])
        pair2 = np.interp(_SOC, [0.0, 0.1, 0.2, 1.0], [0.4, 0.15, 0.1, 0.06])
        total = np.linspace(2.15, 1.5, len(_LOSS))
        return np.concatenate(
            [
                [ocv[0]],
                np.log(np.diff(ocv)),
                np.log([20.0, 300.0]),
                total,
                np.log(np.linspace(0.07, 0.15, len(_LOSS))),
                np.log(np.full(len(_LOSS) * len(_SOC), 0.05)),
                np.log(np.tile(pair2, len(_LOSS))),
                np.log(np.full(len(_CHARGE_LOSS), 0.02)),
                np.log(np.full(len(_CHARGE_LOSS) * len(_SOC), 0.03)),
                np.zeros(len(_ENTROPY_Z)),
                np.log([58.0, 0.065]),
            ]
        )

    def electrical(self, x: Floats) -> dict[str, Any]:
        """Decode the unknowns into the parameter file's `electrical` and `thermal` parts."""
        s = len(_SOC)
        ocv_x, rates, total, r0, r1, r2, r1_charge, r2_charge, entropy, thermal = _parts(x)
        # Bounds, only against wild trial steps.
        rises = np.exp(np.clip(ocv_x[1:], -12.0, 0.0))
        ocv = PchipInterpolator(
            _OCV_Z, np.clip(ocv_x[0], 2.0, 3.4) + np.append(0.0, np.cumsum(rises))
        )
        inside = (_Z_AXIS >= 0) & (_Z_AXIS <= 1)
        full_v = np.empty(len(_Z_AXIS))
        full_v[inside] = ocv(_Z_AXIS[inside])
        low_v, high_v = full_v[inside][0], full_v[inside][-1]
        # Outside 0..1 no recording goes: to 0 V when over-discharged, to 5 V when overcharged.
        below, above = _Z_AXIS < 0, _Z_AXIS > 1
        full_v[below] = np.interp(_Z_AXIS[below], [-0.06, -0.03, 0.0], [0.0, 0.6 * low_v, low_v])
        full_v[above] = np.interp(
            _Z_AXIS[above], [1.0, 1.1, 1.4], [high_v, high_v + 0.4, high_v + 0.8]
        )

        def over_soc(knots: Floats) -> Floats:
            smooth = np.exp(np.clip(_SPLINE @ knots.reshape(-1, s).T, -9.0, 2.0)).T
            drained = _SOC_AXIS < 0
            # Past the reference discharge's end the resistance goes on rising.
            zero = smooth[:, np.argmin(np.abs(_SOC_AXIS))][:, None]
            smooth[:, drained] = zero * np.exp(-6.0 * _SOC_AXIS[drained])
            return smooth

        return {
            "electrical": {
                "stoichiometry": [_Z_AXIS[0], _Z_AXIS[-1]],
                "ocv_v": full_v,
                "soc_low": _SOC_LOW,
                "loss": [_LOSS[0], _LOSS[-1]],
                "total_ah": np.maximum(total, 0.8),
                "r0_ohm": np.repeat(np.exp(r0)[:, None], len(_SOC_AXIS), axis=1),
                "r1_discharge_ohm": over_soc(r1),
                "r2_discharge_ohm": over_soc(r2),
                "r1_charge_ohm": np.repeat(
                    _CHARGE_BLEND @ np.exp(r1_charge)[:, None], len(_SOC_AXIS), axis=1
                ),
                "r2_charge_ohm": _CHARGE_BLEND @ over_soc(r2_charge),
                "tau1_s": float(np.exp(rates[0])),
                "tau2_s": float(np.exp(rates[1])),
                "activation_j_per_mol": self.fixed["activation_j_per_mol"],
                "reference_c": REFERENCE_C,
            },
            "thermal": {
                "entropy_v_per_k": np.interp(_Z_AXIS, _ENTROPY_Z, entropy * 1e-4),
                "heat_capacity_j_per_k": float(np.exp(thermal[0])),
                "heat_transfer_w_per_k": float(np.exp(thermal[1])),
            },
        }

    def parameters(self, x: Floats) -> dict[str, Any]:
        return {**self.electrical(x), **self.fixed["rest"]}

    def smoothness(self, x: Floats) -> Floats:
        """Weak priors: neighbours alike, physical scales. In units of residuals."""
        k, s = len(_LOSS), len(_SOC)
        ocv_x, rates, total, r0, r1, r2, r1_charge, r2_charge, entropy, thermal = _parts(x)
        pair1, pair2 = r1.reshape(k, s), r2.reshape(k, s)
        slopes = ocv_x[1:] - np.log(np.diff(_OCV_Z))
        top_v = ocv_x[0] + np.exp(ocv_x[1:]).sum()
        return np.concatenate(
            [
                0.5 * np.diff(slopes),
                [(ocv_x[0] - 2.9) / 0.1, (top_v - 4.2) / 0.003],
                (rates - np.log([20.0, 300.0])) * 0.5,
                5.0 * np.diff(total, 2),
                8.0 * np.diff(r0, 2),
                0.7 * np.diff(pair1, axis=1).ravel(),
                0.7 * np.diff(pair2, axis=1).ravel(),
                5.0 * np.diff(pair1, 2, axis=0).ravel(),
                5.0 * np.diff(pair2, 2, axis=0).ravel(),
                1.0 * np.diff(r1_charge, 2),
                (r1_charge - np.log(0.02)) * 0.3,
                0.7 * np.diff(r2_charge.reshape(-1, s), axis=1).ravel(),
                2.0 * np.diff(r2_charge.reshape(-1, s), 2, axis=0).ravel(),
                (r2_charge - np.log(0.03)) * 0.2,
                0.3 * np.diff(entropy),
                (thermal - np.log([55.0, 0.065])) * 3.0,
            ]
        )


def _parts(x: Floats) -> list[Floats]:
    """The unknowns by what they are; all but voltage, charge, slope and entropy are logarithms."""
    m, k, s, q = len(_OCV_Z), len(_LOSS), len(_SOC), len(_CHARGE_LOSS)
    return np.split(x, np.cumsum([m, 2, k, k, k * s, k * s, q, q * s, len(_ENTROPY_Z)]))


# Charging resistances are told apart at fewer ages: rows of the ageing axis from those.
_CHARGE_LOSS = np.linspace(_LOSS[0], _LOSS[-1], 4)
_CHARGE_BLEND: Floats = np.column_stack(
    [np.interp(_LOSS, _CHARGE_LOSS, row) for row in np.eye(len(_CHARGE_LOSS))]
)
_SPLINE: Floats = make_interp_spline(_SOC, np.eye(len(_SOC)), k=3, bc_type="natural")(
    np.clip(_SOC_AXIS, 0.0, 1.0)
)


def fit_tables(cycles: Sequence[Cycle], fixed: dict[str, Any], evaluations: int) -> dict[str, Any]:
    """The parameter file's content that makes the twin follow these cycles best.

    Each cycle has a scale of its own on all resistances, so that cells which differ at the same
    capacity do not bend the tables; it is thrown away afterwards.
    """
    fit = _Fit(fixed)

    def residuals(x: Floats) -> Floats:
        scales = x[-len(cycles) :]
        tables = parse_parameters(fit.parameters(x[: -len(cycles)])).tables()
        parts = [fit.smoothness(x[: -len(cycles)]), scales / 0.1]
        for cycle, scale in zip(cycles, scales, strict=True):
            run = cycle.run(tables, resistance_scale=float(np.exp(scale)))
            voltage = (run.output.voltage_v - cycle.voltage_v) * cycle.weight
            spread_v = np.where(cycle.discharging, 0.010, 0.012)
            parts.append(voltage / spread_v)
            parts.append((run.temperature_c - cycle.temperature_c) * (cycle.weight > 0) / 0.4)
        return np.nan_to_num(np.concatenate(parts), nan=1e3)

    start = np.concatenate([fit.start(), np.zeros(len(cycles))])
    found = least_squares(residuals, start, max_nfev=evaluations, loss="soft_l1", x_scale="jac")
    return fit.parameters(np.asarray(found.x[: -len(cycles)], dtype=np.float64))


def fit_activation(data: dict[str, Any], cycles: Sequence[Cycle]) -> float:
    """Activation energy of the resistances, in J/mol, from first cycles far from 24 C.

    The published capacity of a cold or fast discharge is not the reference capacity, so the health
    of each cell is found along with it.
    """

    def error(activation: float) -> float:
        changed = {**data, "electrical": {**data["electrical"], "activation_j_per_mol": activation}}
        tables = parse_parameters(changed).tables()
        total = 0.0
        for cycle in cycles:
            best = np.inf
            for loss in np.linspace(0.0, 0.3, 31):
                run = cycle.run(tables, loss=float(loss))
                wrong_v = (run.output.voltage_v - cycle.voltage_v)[cycle.discharging]
                best = min(best, float(np.sqrt(np.mean(wrong_v**2))))
            total += best
        return total

    found = minimize_scalar(error, bounds=(5e3, 60e3), method="bounded", options={"xatol": 500.0})
    return float(found.x)


def fit_fade(data: dict[str, Any], lives: Sequence[Sequence[Cycle]]) -> float:
    """Loss per nominal capacity moved that gives these cells' mean fade over their lives."""
    trial = 1e-3
    tables = parse_parameters(_with_ageing(data, cycle_loss_per_throughput=trial)).tables()
    none = parse_parameters(_with_ageing(data, cycle_loss_per_throughput=0.0)).tables()
    rates = []
    for cycles in lives:
        still, moved = life(cycles, none), life(cycles, tables)
        measured = np.array([cycle.loss for cycle in cycles])
        rates.append(
            float((measured - still) @ (moved - still) / ((moved - still) @ (moved - still)))
        )
    return trial * float(np.mean(rates))


def _with_ageing(data: dict[str, Any], **changes: float) -> dict[str, Any]:
    return {**data, "ageing": {**data["ageing"], **changes}}


def calibrate(directory: Path, cells: Sequence[str], evaluations: int) -> dict[str, Any]:
    """The whole parameter file, from the tidy recordings in `directory`."""
    text = resources.files("simulator") / "parameters" / "sources.json"
    cited = json.loads(text.read_text(encoding="utf-8"))
    lives = [read_cycles(directory / f"{cell}.parquet") for cell in cells]
    ageing = {
        **cited["ageing"],
        "cycle_loss_per_throughput": 0.0,
        "cycle_activation_cold_k": 0.0,
        "rate_reference_c": 1.0,
    }
    rest = {
        "name": "nasa-18650",
        "nominal_ah": NOMINAL_AH,
        "ageing": ageing,
        "runaway": cited["runaway"],
        "sources": {},
    }
    fixed = {"activation_j_per_mol": 20e3, "rest": rest}
    thinned = [read_cycles(directory / f"{cell}.parquet", thin_to=200) for cell in cells]
    chosen = [cycle for cycles in thinned for cycle in spread(cycles, CYCLES_PER_CELL)]
    data = fit_tables(chosen, fixed, evaluations)
    others = [read_cycles(directory / f"{cell}.parquet") for cell in (COLD_CELL, HOT_CELL)]
    activation = fit_activation(data, [cycles[i] for cycles in others for i in (1, 3)])
    data["electrical"] = {**data["electrical"], "activation_j_per_mol": round(activation, -2)}
    warm_rate = fit_fade(data, lives)
    cold_rate = fit_fade(data, [others[0][_COLD_FIRST:]])
    # Colder than the reference the loss per charge moved rises: lithium plating.
    cold_k = float(np.mean([cycle.temperature_c.mean() for cycle in others[0]])) + 273.15
    inverse = 1.0 / (REFERENCE_C + 273.15) - 1.0 / cold_k
    data = _with_ageing(
        data,
        cycle_loss_per_throughput=warm_rate,
        cycle_activation_cold_k=float(np.log(cold_rate / warm_rate) / inverse),
    )
    names = [*cells, COLD_CELL, HOT_CELL]
    data["sources"] = {
        **cited["sources"],
        "electrical and thermal": (
            f"Least squares on {', '.join(cells)} of the NASA PCoE battery data set (B. Saha and "
            "K. Goebel 2007), whole cycles over each cell's life, by training.twin.calibrate. "
            "Outside stoichiometry 0..1 the open-circuit voltage is an assumption."
        ),
        "electrical.activation_j_per_mol": (
            f"Discharges of {COLD_CELL} at 4 C and {HOT_CELL} at 43 C."
        ),
        "ageing.cycle_loss_per_throughput": f"The lives of {', '.join(cells)}.",
        "ageing.cycle_activation_cold_k": (
            f"The life of {COLD_CELL} at 4 C from its cycle {_COLD_FIRST} on."
        ),
    }
    data["data"] = {
        f"{cell}.parquet": hashlib.sha256((directory / f"{cell}.parquet").read_bytes()).hexdigest()
        for cell in names
    }
    return data


def write(data: dict[str, Any], path: Path) -> None:
    """Write a parameter file: arrays to five significant digits."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [plain(item) for item in value]
        if isinstance(value, float):
            return float(f"{value:.5g}")
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    lines = json.dumps(plain(data), indent=1)
    path.write_text(_compact(lines) + "\n", encoding="utf-8")


def _compact(text: str) -> str:
    """Put each innermost list on one line."""
    return re.sub(
        r"\[\s*([^\[\]{}]*?)\s*\]",
        lambda found: "[" + re.sub(r"\s*\n\s*", " ", found[1]) + "]",
        text,
    )


def run(data: Path, out: Path, cells: Sequence[str], evaluations: int) -> None:
    """Calibrate on recordings below `data` and write the set to the file or into the folder."""
    found = calibrate(data / "nasa" / "tidy", cells, evaluations)
    path = out / "nasa-18650.json" if out.is_dir() else out
    write(found, path)
    print(f"wrote {path}")
