"""What every policy is worth: on unseen cells, against the bound, in 200 cycles, on PyBaMM."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.charging.shield import PERFECT, Limits
from simulator.twin import CellParameters, load_parameters
from training.charging.bound import best_profiles, cost
from training.charging.cell import scale_exponents
from training.charging.fronts import (
    DURATIONS_MIN,
    Front,
    front_of,
    gain,
    interval,
    measure,
    most_gain,
    nominal_conditions,
    unseen_conditions,
)
from training.charging.policies import CcCv, Network, Policy, SideBySide, always_1c
from training.charging.pybamm_check import Check, cross_check
from training.charging.rollout import Conditions, grid, lifetime
from training.charging.saved import SEEDS_FILE, load_networks
from training.charging.tuning import (
    FRONT_WEIGHTS,
    cc_cv_by_ambient,
    cc_cv_front,
    cc_cv_grid,
    tune_multi_stage,
    tuning_conditions,
)
from training.figures import Figure, figure

Floats = NDArray[np.float64]
Say = Callable[[str], None]

CYCLES = 200
FACTORS = (0.5, 1.5)
GOALS = (("CC-CV", 15.0), ("multi-stage CC", 5.0))  # percent of time to save, the issue's
NO_SUCH_CHARGE = "no target: the fastest such charge that the shield lets through takes {:.1f} min"


@dataclass(frozen=True, slots=True)
class OtherLaw:
    """Fronts under another ageing law: policies learned under the first, CC-CV tuned anew."""

    opponents: dict[str, Front]
    learned: list[Front]


@dataclass(frozen=True, slots=True)
class Perfect:
    """The calibrated cell, known exactly: with the shield, and with the bare limits (`PERFECT`)."""

    shielded: dict[str, Front]  # opponents and the bound
    bare: dict[str, Front]
    search_error: float  # largest difference in cost between two seeds of the search, as a share


@dataclass(slots=True)
class Found:
    """Everything measured. Gains are percent of time saved at equal wear, one a seed."""

    seed: int
    budget_s: float | None
    fronts: dict[str, Front] = field(default_factory=dict)
    learned: dict[str, list[Front]] = field(default_factory=dict)  # by algorithm, one a seed
    unshielded: Front | None = None
    bound: Front | None = None  # the best profile of each unseen condition, behind the shield
    perfect: Perfect | None = None
    lives: list[tuple[str, float, float, float]] = field(default_factory=list)
    sensitivity: dict[float, OtherLaw] = field(default_factory=dict)
    pybamm: Check | None = None
    left_out: list[str] = field(default_factory=list)

    def most_gain(self, opponent: str, minutes: float) -> float | None:
        """What no policy behind the shield can save more than, percent of time at equal wear."""
        if self.bound is None:
            return None
        return most_gain(self.bound, self.fronts[opponent], minutes)

    def by_name(self, algorithm: str, opponent: str) -> list[float]:
        """Mean gain of an algorithm at every duration at which it has one."""
        found = [self.gains(algorithm, opponent, minutes) for minutes in DURATIONS_MIN]
        return [float(np.mean(values)) for values in found if values]

    def gains(self, algorithm: str, opponent: str, minutes: float) -> list[float]:
        """One value a seed; seeds that never reach that wear are left out."""
        found = [gain(f, self.fronts[opponent], minutes) for f in self.learned.get(algorithm, [])]
        return [value for value in found if value is not None]


@dataclass(frozen=True, slots=True)
class Opponents:
    """Tuned settings: lists along a front."""

    cc_cv: Sequence[CcCv]
    plain: Sequence[CcCv]  # without the shield, none that broke a limit where it was tuned
    by_ambient: Sequence[Policy]
    multi_stage: Sequence[Policy]


def tune(cell: CellParameters, seed: int, say: Say) -> Opponents:
    """Tune every opponent on the tuning conditions."""
    where = tuning_conditions()
    say("CC-CV: every rate with every cut-off")
    found = cc_cv_grid(where, cell)
    plain = cc_cv_grid(where, cell, shielded=False)
    return Opponents(
        cc_cv_front(found),
        cc_cv_front(plain),
        cc_cv_by_ambient(found, where),
        tune_multi_stage(where, cell, seed, say),
    )


def evaluate(models: Path, seed: int, say: Say, budget_s: float | None = None) -> Found:
    """Measure all policies. A budget leaves out the slowest parts, and names them.

    Raises ModelError where the learned policies are missing.
    """
    began = time.monotonic()

    def fits(share: float, what: str) -> bool:
        """Whether a part may start: `share` is about what all parts up to here may have taken."""
        if budget_s is None or time.monotonic() - began < share * budget_s:
            return True
        found.left_out.append(what)
        return False

    cell = load_parameters()
    networks = load_networks(models / SEEDS_FILE)
    found = Found(seed, budget_s)
    opponents = tune(cell, seed, say)
    where = unseen_conditions(seed)
    say("unseen cells")
    found.fronts = _opponents(opponents, where, cell)
    found.unshielded = measure(opponents.plain, where, cell, "CC-CV, no shield", shielded=False)
    found.learned = _learned(networks, where, cell)
    if fits(0.4, "the best profile of each condition (the bound)"):
        say("the best profile of each condition")
        found.bound = _bound(where, cell, seed, say)
        found.perfect = _perfect(opponents, cell, seed, say)
    for factor in FACTORS:
        if fits(0.55, f"the law with {factor:g} times its exponents"):
            say(f"the law with {factor:g} times its exponents")
            found.sensitivity[factor] = _under(scale_exponents(cell, factor), opponents, networks)
    if fits(0.65, f"capacity after {CYCLES} cycles"):
        say(f"{CYCLES} cycles")
        found.lives = _lives(found, opponents, networks, cell)
    if fits(0.7, "PyBaMM"):
        say("PyBaMM")
        found.pybamm = cross_check(found.fronts, opponents.cc_cv, found.learned["PPO"],
                                   networks["PPO"], say)  # fmt: skip
    return found


def _opponents(
    opponents: Opponents, where: Sequence[Conditions], cell: CellParameters
) -> dict[str, Front]:
    return {
        "always 1C": measure([always_1c()], where, cell, "always 1C"),
        "CC-CV": measure(opponents.cc_cv, where, cell, "CC-CV"),
        "CC-CV by ambient": measure(opponents.by_ambient, where, cell, "CC-CV by ambient"),
        "multi-stage CC": measure(opponents.multi_stage, where, cell, "multi-stage CC"),
    }


def _learned(
    networks: Mapping[str, Sequence[Network]], where: Sequence[Conditions], cell: CellParameters
) -> dict[str, list[Front]]:
    return {
        name: [measure(network, where, cell, name) for network in seeds]
        for name, seeds in networks.items()
    }


def _bound(where: Sequence[Conditions], cell: CellParameters, seed: int, say: Say,
           limits: Limits | None = None) -> Front:  # fmt: skip
    """The best profile of every single condition, for each of `FRONT_WEIGHTS`."""
    parts = [
        best_profiles(one, cell, FRONT_WEIGHTS, seed, say, limits=limits).outcome for one in where
    ]
    return front_of("best profile", parts, np.concatenate([one.ambient_c for one in where]))


def _perfect(opponents: Opponents, cell: CellParameters, seed: int, say: Say) -> Perfect:
    """What the margins of the shield cost: opponents and bound with them and without."""
    where = nominal_conditions()

    def fronts(own: Opponents, limits: Limits) -> dict[str, Front]:
        families: dict[str, Sequence[Policy]] = {
            "CC-CV": own.cc_cv, "CC-CV by ambient": own.by_ambient
        }  # fmt: skip
        measured = {
            name: measure(settings, where, cell, name, limits=limits)
            for name, settings in families.items()
        }
        return measured | {"best profile": _bound(where, cell, seed, say, limits)}

    bare = Limits(tolerance=PERFECT)
    tried = cc_cv_grid(tuning_conditions(), cell, limits=bare)
    own = replace(
        opponents,
        cc_cv=cc_cv_front(tried),
        by_ambient=cc_cv_by_ambient(tried, tuning_conditions()),
    )
    shielded = fronts(opponents, Limits())
    again = _bound(where, cell, seed + 1, say)
    costs = [
        cost(one.minutes, one.loss, FRONT_WEIGHTS) for one in (shielded["best profile"], again)
    ]
    return Perfect(shielded, fronts(own, bare), float(np.abs(costs[1] / costs[0] - 1.0).max()))


def _under(
    cell: CellParameters, opponents: Opponents, networks: Mapping[str, Sequence[Network]]
) -> OtherLaw:
    where = unseen_conditions(0)
    retuned = cc_cv_front(cc_cv_grid(tuning_conditions(), cell))
    return OtherLaw(
        {
            "CC-CV": measure(retuned, where, cell, "CC-CV tuned anew"),
            "multi-stage CC": measure(opponents.multi_stage, where, cell, "multi-stage CC"),
        },
        [measure(network, where, cell, "PPO") for network in networks["PPO"]],
    )


def nearest(front: Front, minutes: float) -> int:
    """The setting of a front whose mean time is nearest."""
    return int(np.abs(np.where(np.isfinite(front.minutes), front.minutes, 1e9) - minutes).argmin())


def _lives(
    found: Found,
    opponents: Opponents,
    networks: Mapping[str, Sequence[Network]],
    cell: CellParameters,
) -> list[tuple[str, float, float, float]]:
    """Name, mean minutes of its first charge, capacity left and its spread over ambients."""
    where = grid((10.0, 25.0, 40.0), (0.95,))
    rows = []
    chosen: list[tuple[str, Policy, Front, float]] = [
        ("always 1C", always_1c(), found.fronts["always 1C"], 1.0)
    ]
    for name, settings in (
        ("CC-CV", opponents.cc_cv),
        ("CC-CV by ambient", opponents.by_ambient),
        ("multi-stage CC", opponents.multi_stage),
    ):
        front = found.fronts[name]
        chosen.append((name, settings[nearest(front, 60.0)], front, 1.0))
    for name, seeds in networks.items():
        front = found.learned[name][0]
        chosen.append((name, seeds[0], front, float(FRONT_WEIGHTS[nearest(front, 60.0)])))
    together = SideBySide([policy for _, policy, _, _ in chosen])
    weights = np.tile([weight for *_, weight in chosen], where.n)
    left = lifetime(together, where, cell, weight=weights, cycles=CYCLES, repeat=len(chosen))
    for (name, _, front, _), own in zip(chosen, left.reshape(where.n, -1).T, strict=True):
        at = 0 if name == "always 1C" else nearest(front, 60.0)
        rows.append((name, float(front.minutes[at]), float(own.mean()), float(own.min())))
    return rows


def figures_of(found: Found) -> list[Figure]:
    """The issue's figures, PyBaMM's first."""
    out: list[Figure] = []
    if found.pybamm is not None:
        out += found.pybamm.figures()
    seeds = len(found.learned["PPO"])
    how = (
        f"mean of {seeds} seeds, at equal mean wear over unseen cells (every parameter 10 % off, "
        "10 to 40 degC, SOH 80 to 100 %, two sizes, estimates off)"
    )
    goals = dict(GOALS)
    for opponent in ("CC-CV", "CC-CV by ambient", "multi-stage CC"):
        for minutes in DURATIONS_MIN:
            for algorithm in found.learned:
                values = found.gains(algorithm, opponent, minutes)
                if algorithm != "PPO" and opponent != "CC-CV":
                    continue
                mean, half = interval(values) if values else (None, None)
                text = how if half is None else f"{how}; 95 % interval +-{half:.1f}"
                goal = goals.get(opponent) if algorithm == "PPO" else None
                if found.fronts[opponent].loss_at(minutes) is None:
                    goal, text = None, NO_SUCH_CHARGE.format(found.fronts[opponent].fastest)
                name = f"{algorithm}: time saved against {opponent}'s {minutes:.0f} min"
                out.append(figure(name, mean, "%", goal, "higher", text))
    if found.bound is not None:
        bound = (
            "the best profile of every single condition by direct optimisation, which knows cell, "
            "ambient and errors beforehand, behind the same shield; no policy can save more"
        )
        for opponent in ("CC-CV", "CC-CV by ambient", "multi-stage CC"):
            for minutes in DURATIONS_MIN:
                out.append(
                    figure(f"bound: time saved against {opponent}'s {minutes:.0f} min",
                           found.most_gain(opponent, minutes), "%", None, "higher", bound)
                )  # fmt: skip
    violations = sum(front.violations for fronts in found.learned.values() for front in fronts)
    charges = sum(front.charges for fronts in found.learned.values() for front in fronts)
    out.append(
        figure("learned policies: charges that broke a limit", violations, "charges", 0.0, "lower",
               f"of {charges:,} charges of unseen cells, behind the shield")
    )  # fmt: skip
    for name, _, left, _ in found.lives:
        out.append(
            figure(f"{name}: capacity after {CYCLES} cycles", left, "of nominal", None, "higher",
                   "from 95 %, setting nearest to 60 min; mean of 10, 25 and 40 degC")
        )  # fmt: skip
    return out
