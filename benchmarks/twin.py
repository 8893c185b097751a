"""How many times faster than real time the twin runs 10,000 cells at 1 Hz, on one core.

    python -m benchmarks.twin [--cells N] [--json]

The baseline in the same run is the same arithmetic written plainly in NumPy, one array operation
after another, without ageing and decomposition.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.twin import Conditions, Tables, TwinState, load_parameters, step_inplace

Floats = NDArray[np.float64]

TARGET_RATIO = 10.0  # "with room to spare"
_ROUNDS = 15


def best_s(step: Callable[[], object], rounds: int = _ROUNDS) -> float:
    """Shortest time of a step: what the core does when nobody else wants it."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times)


def plain_step(state: dict[str, Floats], current_a: Floats, p: Tables, dt_s: float) -> Floats:
    """The twin's electrical and thermal step in plain NumPy; the terminal voltage. (n,)"""
    loss_axis = np.linspace(p.loss_low, p.loss_high, len(p.total_ah))
    z_axis = np.linspace(p.stoichiometry_low, p.stoichiometry_high, len(p.ocv_v))
    total_ah = np.interp(state["loss"], loss_axis, p.total_ah)
    z = 1.0 - state["out_ah"] / total_ah
    ocv_v = np.interp(z, z_axis, p.ocv_v)
    soc = 1.0 - state["out_ah"] / (p.nominal_ah * (1.0 - state["loss"]))
    row = (state["loss"] - p.loss_low) / (p.loss_high - p.loss_low) * (len(p.total_ah) - 1)
    column = (soc - p.soc_low) / (1.0 - p.soc_low) * (p.resistance_ohm.shape[2] - 1)
    i = np.clip(row.astype(np.int64), 0, len(p.total_ah) - 2)
    j = np.clip(column.astype(np.int64), 0, p.resistance_ohm.shape[2] - 2)
    u, v = np.clip(row - i, 0.0, 1.0), np.clip(column - j, 0.0, 1.0)
    table = p.resistance_ohm
    low = table[:, i, j] * (1 - v) + table[:, i, j + 1] * v
    high = table[:, i + 1, j] * (1 - v) + table[:, i + 1, j + 1] * v
    kelvin = state["c"] + 273.15
    warm = np.exp(p.activation_j_per_mol / 8.314462618 * (1 / kelvin - 1 / p.reference_k))
    r0, *pairs = (low * (1 - u) + high * u) * warm
    decay1, decay2 = np.exp(-dt_s / p.tau1_s), np.exp(-dt_s / p.tau2_s)
    state["i1"] = state["i1"] * decay1 + current_a * (1 - decay1)
    state["i2"] = state["i2"] * decay2 + current_a * (1 - decay2)
    r1 = np.where(state["i1"] > 0, pairs[2], pairs[0])
    r2 = np.where(state["i2"] > 0, pairs[3], pairs[1])
    voltage_v: Floats = ocv_v + r0 * current_a + r1 * state["i1"] + r2 * state["i2"]
    entropy = np.interp(z, z_axis, p.entropy_v_per_k)
    heat_w = current_a * (voltage_v - ocv_v) + current_a * kelvin * entropy
    settled_c = 24.0 + heat_w / p.heat_transfer_w_per_k
    fade = np.exp(-p.heat_transfer_w_per_k * dt_s / p.heat_capacity_j_per_k)
    state["c"] = settled_c + (state["c"] - settled_c) * fade
    state["out_ah"] = state["out_ah"] - current_a * dt_s / 3600.0
    return voltage_v


def measure(cells: int) -> dict[str, float]:
    """Seconds of a 1 s step of the twin and of the baseline; their voltages must agree."""
    tables = load_parameters("nasa-18650").tables()
    rng = np.random.default_rng(0)
    loss, soc = rng.uniform(0.05, 0.3, cells), rng.uniform(0.3, 0.9, cells)
    current_a = rng.uniform(-2.0, 1.0, cells)
    state = TwinState.at(tables, soc=soc, loss=loss, temperature_c=25.0)
    conditions = Conditions.resting(cells, ambient_c=24.0)
    conditions.setpoint[:] = current_a
    plain = {
        "loss": loss,
        "out_ah": state.discharged_ah.copy(),
        "c": np.full(cells, 25.0),
        "i1": np.zeros(cells),
        "i2": np.zeros(cells),
    }
    output = step_inplace(state, conditions, tables, 1.0)
    difference_v = output.voltage_v - plain_step(plain, current_a, tables, 1.0)
    if np.abs(difference_v).max() > 1e-3:
        raise ValueError(f"the baseline's voltage is {np.abs(difference_v).max():.2g} V off")
    twin_s = best_s(lambda: step_inplace(state, conditions, tables, 1.0, output))
    plain_s = best_s(lambda: plain_step(plain, current_a, tables, 1.0))
    return {"twin_s": twin_s, "plain_s": plain_s}


def main() -> None:
    """The command line of `python -m benchmarks.twin`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twin", description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    times = measure(arguments.cells)
    ratio = 1.0 / times["twin_s"]
    figure = {
        "name": f"times real time, {arguments.cells} cells at 1 Hz",
        "value": round(ratio, 1),
        "unit": "1",
        "target": TARGET_RATIO,
        "better": "higher",
        "met": ratio >= TARGET_RATIO,
        "protocol": f"one core, best of {_ROUNDS} steps of 1 s; plain NumPy: "
        f"{1.0 / times['plain_s']:.0f} times real time",
    }
    if arguments.json:
        print(json.dumps(figure))
        return
    print(f"{figure['name']}: {ratio:.0f} (target {TARGET_RATIO:.0f})")
    print(f"  {times['twin_s'] / arguments.cells * 1e9:.0f} ns a cell and step")
    print(f"  plain NumPy: {1.0 / times['plain_s']:.0f} times real time")


if __name__ == "__main__":
    main()
