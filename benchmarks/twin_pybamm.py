"""Check the twin's equations against PyBaMM's SPMe with a lumped thermal model.

    python -m benchmarks.twin_pybamm [--json]

PyBaMM is no dependency of ours; where it is installed, this calibrates the twin's tables on three
cycles of the SPMe (parameter set Chen2020) exactly as `training.twin.calibrate` does on recordings,
and compares the two on profiles with other currents that were not calibrated on. Currents are
scaled from the 5 Ah of Chen2020 to the 2 Ah of the twin's file; voltage and temperature stay as
they are.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib import import_module, resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.twin_cycles import NOMINAL_AH, Cycle
from simulator.twin_parameters import parse_parameters
from training.twin.calibrate import fit_tables

Floats = NDArray[np.float64]

CALIBRATED_ON = {
    "1C": ("Discharge at 1C until 2.5 V", "Charge at 0.5C until 4.2 V"),
    "0.5C": ("Discharge at 0.5C until 2.5 V", "Charge at 0.75C until 4.2 V"),
    "0.25C": ("Discharge at 0.25C until 2.5 V", "Charge at 0.3C until 4.2 V"),
}
_PULSES = ("Discharge at 1.2C for 5 minutes", "Rest for 5 minutes", "Charge at 0.6C for 2 minutes")
CHECKED_ON = {
    "0.75C": ("Discharge at 0.75C until 2.5 V", "Charge at 0.6C until 4.2 V"),
    "pulses": (*(_PULSES * 8), "Charge at 0.4C until 4.2 V"),
}
TARGETS = {"mV": 30.0, "C": 1.5}


def simulate(steps: tuple[str, ...]) -> Cycle:
    """One experiment of the SPMe from full, laid out as a recorded cycle."""
    pybamm = import_module("pybamm")
    parameters = pybamm.ParameterValues("Chen2020")
    size = NOMINAL_AH / float(parameters["Nominal cell capacity [A.h]"])
    model = pybamm.lithium_ion.SPMe(options={"thermal": "lumped"})
    discharge, charge = steps[:-1], steps[-1]
    plan = [*discharge, "Rest for 30 minutes", charge, "Hold at 4.2 V until C/50"]
    experiment = pybamm.Experiment(plan, period="10 seconds")
    run = pybamm.Simulation(model, experiment=experiment, parameter_values=parameters)
    solution = run.solve(initial_soc=1.0)
    time_s = np.asarray(solution["Time [s]"].entries, dtype=np.float64)
    kept = np.flatnonzero(np.diff(time_s, prepend=-1.0) > 1e-6)
    current_a = -np.asarray(solution["Current [A]"].entries, dtype=np.float64)[kept] * size
    voltage_v = np.asarray(solution["Terminal voltage [V]"].entries, dtype=np.float64)[kept]
    celsius = np.asarray(solution["Volume-averaged cell temperature [C]"].entries)[kept]
    dt_s = np.diff(time_s[kept], prepend=time_s[0] - 1e-3)
    discharging = current_a < -0.05
    delivered_ah = -float(np.sum((current_a * dt_s)[discharging])) / 3600.0
    switching = np.abs(np.diff(current_a, prepend=current_a[0])) > 0.3
    return Cycle(
        cell="SPMe",
        loss=1.0 - min(delivered_ah, NOMINAL_AH) / NOMINAL_AH,
        dt_s=dt_s,
        current_a=current_a,
        voltage_v=voltage_v,
        temperature_c=celsius,
        weight=np.where(switching, 0.0, 1.0),
        discharging=discharging,
        start_c=float(celsius[0]),
        ambient_c=25.0,
    )


def compare(evaluations: int) -> list[dict[str, Any]]:
    """Calibrate on the SPMe, check on its other profiles; the figures of a results page."""
    text = resources.files("simulator") / "parameters" / "sources.json"
    cited = json.loads(text.read_text(encoding="utf-8"))
    still = {"cycle_loss_per_throughput": 0.0, "cycle_activation_cold_k": 0.0}
    rest = {
        "name": "Chen2020",
        "nominal_ah": NOMINAL_AH,
        "ageing": {**cited["ageing"], **still, "rate_reference_c": 1.0},
        "runaway": cited["runaway"],
        "sources": {},
    }
    known = [simulate(steps) for steps in CALIBRATED_ON.values()]
    loss = known[0].loss  # the reference capacity is that of 1C
    fixed = {"activation_j_per_mol": 20e3, "rest": rest}
    data = fit_tables([replace(cycle, loss=loss) for cycle in known], fixed, evaluations)
    tables = parse_parameters(data).tables()
    figures = []
    for name, steps in CHECKED_ON.items():
        cycle = simulate(steps)
        run = cycle.run(tables, loss=loss)
        trusted = cycle.weight > 0
        wrong_v = (run.output.voltage_v - cycle.voltage_v)[trusted]
        wrong_c = (run.temperature_c - cycle.temperature_c)[trusted]
        for unit, wrong in (("mV", wrong_v * 1000.0), ("C", wrong_c)):
            value = float(np.sqrt(np.mean(wrong**2)))
            figures.append(
                {
                    "name": f"{name} against SPMe, {'voltage' if unit == 'mV' else 'temperature'}",
                    "value": round(value, 3),
                    "unit": unit,
                    "target": TARGETS[unit],
                    "better": "lower",
                    "met": value <= TARGETS[unit],
                    "protocol": "RMSE over discharge, rest and charge; tables calibrated on "
                    + ", ".join(CALIBRATED_ON),
                }
            )
    return figures


def main() -> None:
    """The command line of `python -m benchmarks.twin_pybamm`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twin_pybamm", description=__doc__)
    parser.add_argument("--evaluations", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        version = str(import_module("pybamm").__version__)
    except ImportError:
        raise SystemExit("PyBaMM is not installed here: pip install pybamm") from None
    figures = compare(arguments.evaluations)
    if arguments.json:
        print(json.dumps({"pybamm": version, "figures": figures}, indent=1))
        return
    print(f"the twin against PyBaMM {version}, SPMe, lumped thermal, Chen2020")
    for figure in figures:
        print(f"{figure['name']:40s} {figure['value']:8.2f} {figure['unit']}")


if __name__ == "__main__":
    main()
