"""The policies on a cell model that they never saw: PyBaMM's SPMe with SEI growth, lithium plating
and a lumped temperature, parameters of O'Kane et al. (2022) for an LG M50 of 5 Ah.

Its ageing is its own: solvent-diffusion limited SEI and partially reversible plating (O'Kane et al.
2022, Phys. Chem. Chem. Phys. 24, 7909). The wear of a charge is the lithium lost by the time the
cell is back at 10 %, discharged at 1 C: what strips again by then is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.charging.shield import Limits, allowed_c
from training.charging.fronts import Front
from training.charging.policies import CHARGER_V, END_SOC, START_SOC, CcCv, Network, Policy
from training.charging.tuning import FRONT_WEIGHTS
from training.figures import Figure, figure

Floats = NDArray[np.float64]
Say = Callable[[str], None]

AMBIENTS_C = (10.0, 25.0, 40.0)
PAIRS_MIN = (60.0, 90.0)
NOMINAL_AH = 5.0
STEP_S = 60.0
# This parameter set's electrolyte runs dry at 10 degC and 2 C, which the shield's anode does not
# know: the anode fell to -0.15 V. A maker's limit has to say so; 1 C stands in for it here.
LIMITS = Limits(current_max_c=1.0)
_OPTIONS = {
    "SEI": "solvent-diffusion limited",
    "lithium plating": "partially reversible",
    "thermal": "lumped",
}
_FARADAY = 96485.33212
_ZERO_K = 273.15
VOLTAGE_TOLERANCE_V = 1e-3  # of the charger's regulation
OHM_C = 0.22  # about volts a C of this cell within a minute
_LONGEST_S = 5 * 3600.0


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge on PyBaMM."""

    minutes: float
    loss: float  # of nominal charge, as a fraction
    peak_c: float
    highest_v: float
    lowest_anode_v: float  # electrode average, with the film

    @property
    def violates(self) -> bool:
        """Whether a limit was passed by more than the tolerance."""
        return (
            self.highest_v > LIMITS.voltage_max_v + VOLTAGE_TOLERANCE_V
            or self.peak_c > LIMITS.temperature_max_c
            or self.lowest_anode_v < LIMITS.anode_min_v
        )


class SpmeCell:
    """An LG M50 in PyBaMM at one ambient temperature, on a charger behind the shield."""

    def __init__(self, ambient_c: float) -> None:
        import pybamm

        pybamm.set_logging_level("ERROR")
        self.ambient_c = ambient_c
        values = pybamm.ParameterValues("OKane2022")
        values["Ambient temperature [K]"] = _ZERO_K + ambient_c
        values["Initial temperature [K]"] = _ZERO_K + ambient_c
        values["Current function [A]"] = "[input]"
        values.set_initial_state(START_SOC)
        values["Upper voltage cut-off [V]"] = 4.6  # it would stop the run; the charger holds 4.2
        self._simulation: Any = pybamm.Simulation(
            pybamm.lithium_ion.SPMe(_OPTIONS),
            parameter_values=values,
            solver=pybamm.IDAKLUSolver(),
        )

    def charge(self, policy: Policy, weight: float) -> Charge:
        """Charge from 10 to 80 %, then discharge to 10 % at 1 C."""
        soc, soh, elapsed_s = START_SOC, 1.0, 0.0
        start = self._step(0.0, 1.0, fresh=True)
        lithium = _lost(start)
        volts, celsius, anode_v = _read(start)
        current_c = 0.0
        peak_c, highest_v, lowest_v = celsius, volts, anode_v
        while soc < END_SOC and elapsed_s < _LONGEST_S:
            allowed = float(allowed_c(soc, soh, celsius, LIMITS))
            seen = np.array(
                [[soc, volts, current_c, celsius, self.ambient_c, soh, allowed, weight]]
            )
            asked_c, cut_v = policy.ask(seen)
            current_c = max(min(float(asked_c[0]), allowed), 0.02)
            step_s = STEP_S
            if soc + current_c * step_s / 3600.0 > END_SOC:
                step_s = max((END_SOC - soc) / current_c * 3600.0, 1.0)
            current_c = self._held_inplace(current_c, step_s, float(cut_v[0]))
            volts, celsius, anode_v = _read(self._simulation.solution)
            soc += current_c * step_s / 3600.0
            elapsed_s += step_s
            peak_c, highest_v = max(peak_c, celsius), max(highest_v, volts)
            lowest_v = min(lowest_v, anode_v)
        back_s = (soc - START_SOC) * 3600.0
        for _ in range(6):
            now = self._step(NOMINAL_AH, back_s / 6)
        nominal_mol = NOMINAL_AH * 3600.0 / _FARADAY
        loss = (_lost(now) - lithium) / nominal_mol
        minutes = elapsed_s / 60.0 if soc >= END_SOC - 1e-6 else float("inf")
        return Charge(minutes, loss, peak_c, highest_v, lowest_v)

    def _held_inplace(self, current_c: float, step_s: float, cut_v: float) -> float:
        """A step at a current, or at what ends it at the charger's voltage; the current taken."""
        before = self._simulation._solution  # noqa: SLF001 - PyBaMM has no way back
        for _ in range(6):
            volts = _read(self._step(-current_c * NOMINAL_AH, step_s))[0]
            if volts <= cut_v + VOLTAGE_TOLERANCE_V or current_c <= 0.02:
                break
            self._simulation._solution = before  # noqa: SLF001
            current_c = max(current_c - (volts - cut_v + 0.001) / OHM_C, 0.02)
        else:
            self._step(-current_c * NOMINAL_AH, step_s)
        return current_c

    def _step(self, current_a: float, seconds: float, *, fresh: bool = False) -> Any:
        inputs = {"Current function [A]": current_a}
        if fresh:
            self._simulation._solution = None  # noqa: SLF001 - nor one to begin anew
        return self._simulation.step(seconds, inputs=inputs, save=False)


def _last(solution: Any, name: str) -> float:
    return float(solution[name].entries[-1])


def _read(solution: Any) -> tuple[float, float, float]:
    """Terminal voltage, temperature in degrees Celsius, the anode's average potential."""
    anode = "X-averaged negative electrode surface potential difference [V]"
    film = "X-averaged negative electrode SEI film overpotential [V]"
    return (
        _last(solution, "Terminal voltage [V]"),
        _last(solution, "X-averaged cell temperature [C]"),
        _last(solution, anode) + _last(solution, film),
    )


def _lost(solution: Any) -> float:
    """Lithium in SEI and in plating, mol."""
    return _last(solution, "Loss of lithium to negative SEI [mol]") + _last(
        solution, "Loss of lithium to negative lithium plating [mol]"
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """The twin's CC-CV charge of so many minutes, and the policies of equal wear there."""

    minutes: float
    setting: str
    cc_cv: Mapping[float, Charge]  # by ambient
    policy: Sequence[Mapping[float, Charge]]  # one a seed


@dataclass(frozen=True, slots=True)
class Check:
    """What PyBaMM says."""

    pairs: Sequence[Pair]
    fastest: Mapping[float, Charge]  # CC-CV at the charger's bounds, by ambient
    violations: int
    charges: int

    def figures(self) -> list[Figure]:
        """Time saved and what became of the wear, for every pair."""
        out: list[Figure] = []
        for pair in self.pairs:
            saved, worn = savings(pair)
            how = (
                f"SPMe (O'Kane 2022), mean of 10, 25 and 40 degC and {len(saved)} seeds; the "
                f"settings whose wear is equal on the twin, here {pair.setting}"
            )
            out.append(
                figure(f"PyBaMM: PPO's time saved against CC-CV's {pair.minutes:.0f} min",
                       float(np.mean(saved)), "%", 0.0, "higher", how)
            )  # fmt: skip
            out.append(
                figure(f"PyBaMM: PPO's wear less than CC-CV's {pair.minutes:.0f} min",
                       float(np.mean(worn)), "%", 0.0, "higher", how)
            )  # fmt: skip
        out.append(
            figure("PyBaMM: PPO's charges that broke a limit", self.violations, "charges", 0.0,
                   "lower", f"of {self.charges} charges behind the shield")
        )  # fmt: skip
        return out


def savings(pair: Pair) -> tuple[list[float], list[float]]:
    """Percent of time and of wear that each seed saves against the pair's CC-CV."""
    time = np.mean([one.minutes for one in pair.cc_cv.values()])
    wear = np.mean([one.loss for one in pair.cc_cv.values()])
    saved = [100 * (1 - np.mean([c.minutes for c in s.values()]) / time) for s in pair.policy]
    worn = [100 * (1 - np.mean([c.loss for c in s.values()]) / wear) for s in pair.policy]
    return [float(v) for v in saved], [float(v) for v in worn]


def cross_check(
    fronts: Mapping[str, Front],
    cc_cv: Sequence[CcCv],
    learned: Sequence[Front],
    networks: Sequence[Network],
    say: Say,
) -> Check:
    """Charge on PyBaMM with pairs of settings that wear equally on the twin."""
    front = fronts["CC-CV"]
    cells = {ambient: SpmeCell(ambient) for ambient in AMBIENTS_C}
    pairs = []
    violations = charges = 0
    for minutes in PAIRS_MIN:
        at = int(np.abs(front.minutes - minutes).argmin())
        baseline = {a: cell.charge(cc_cv[at], 1.0) for a, cell in cells.items()}
        own = []
        for network, seed in zip(networks, learned, strict=True):
            weight = _weight_at(seed, float(front.loss[at]))
            one = {a: cell.charge(network, weight) for a, cell in cells.items()}
            violations += sum(c.violates for c in one.values())
            charges += len(one)
            own.append(one)
        pairs.append(Pair(minutes, cc_cv[at].name, baseline, own))
        say(f"PyBaMM: {minutes:.0f} min")
    fast = CcCv(np.array([LIMITS.current_max_c]), np.array([CHARGER_V]))
    return Check(pairs, {a: cell.charge(fast, 1.0) for a, cell in cells.items()}, violations,
                 charges)  # fmt: skip


def _weight_at(front: Front, loss: float) -> float:
    """The weight with which a policy wears so much on the twin, between the measured ones."""
    order = np.argsort(front.loss)
    return float(np.exp(np.interp(loss, front.loss[order], np.log(FRONT_WEIGHTS)[order])))
