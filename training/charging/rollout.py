"""Whole charges under a policy, many at once: what every figure is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.charging.advice import SEEN
from monitor.charging.shield import Limits
from simulator.twin import CellParameters
from training.charging.cell import CellBatch, Variation
from training.charging.chargers import LONGEST_S, Chargers, Scene
from training.charging.policies import END_SOC, START_SOC, Policy

Floats = NDArray[np.float64]

VOLTAGE_TOLERANCE_V = 1e-6
CYCLE_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """n charges to be made: one entry a charge, blocks of equal length for each kind of cell."""

    ambient_c: Floats
    soh: Floats
    soc_error: Floats
    soh_error: Floats
    kinds: tuple[Variation, ...]
    nominal_ah: float = 2.0

    @property
    def n(self) -> int:
        """How many charges."""
        return len(self.ambient_c)


def grid(
    ambients_c: Sequence[float],
    sohs: Sequence[float],
    kinds: Sequence[Variation] = (Variation(),),
    *,
    soc_error: float = 0.0,
    soh_error: float = 0.0,
    nominal_ah: float = 2.0,
    seed: int = 0,
) -> Conditions:
    """Every kind at every ambient and SOH; what the BMS thinks is off by up to the errors."""
    each = [(a, s) for a in ambients_c for s in sohs]
    ambient_c = np.tile([a for a, _ in each], len(kinds)).astype(np.float64)
    soh = np.tile([s for _, s in each], len(kinds)).astype(np.float64)
    rng = np.random.default_rng(seed)
    n = len(ambient_c)
    return Conditions(
        ambient_c,
        soh,
        rng.uniform(-soc_error, soc_error, n),
        rng.uniform(-soh_error, soh_error, n),
        tuple(kinds),
        nominal_ah,
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What n charges came to."""

    minutes: Floats  # from 10 to 80 %; infinite where that was not reached
    loss: Floats  # of nominal capacity, as a fraction
    peak_c: Floats
    highest_v: Floats
    lowest_anode_v: Floats
    violations: NDArray[np.bool_]

    def reshaped(self, *shape: int) -> Outcome:
        """The same with every array in another shape."""
        return Outcome(*(getattr(self, name).reshape(shape) for name in Outcome.__slots__))


def charge(
    policy: Policy,
    conditions: Conditions,
    cell: CellParameters,
    *,
    weight: Floats | float = 1.0,
    shielded: bool = True,
    repeat: int = 1,
    limits: Limits | None = None,
) -> Outcome:
    """Charge every condition from 10 to 80 %. With `repeat`, each condition is charged so many
    times in a row (the policy's arrays and `weight` have one entry a charge then). A charge that is
    done leaves the batch."""
    chargers = prepare(conditions, cell, repeat, limits)
    chargers.weight[:] = weight
    n = chargers.n
    found = Outcome(
        minutes=np.full(n, np.inf),
        loss=np.zeros(n),
        peak_c=np.full(n, -np.inf),
        highest_v=np.full(n, -np.inf),
        lowest_anode_v=np.full(n, np.inf),
        violations=np.zeros(n, dtype=bool),
    )
    at = np.arange(n)  # the charges that still run
    watch = Watch.of(chargers.cells)
    before = chargers.cells.capacity_loss
    while len(at) and chargers.elapsed_s.max() < LONGEST_S:
        current_c, cut_v = policy.ask(chargers.seen())
        cut_v = np.array(np.broadcast_to(cut_v, len(at)))
        _, done, _ = chargers.step_inplace(current_c, cut_v, shielded=shielded, watch=watch)
        over = done if chargers.elapsed_s.max() < LONGEST_S else np.ones(len(at), dtype=bool)
        if not over.any():
            continue
        ended = at[over]
        found.minutes[ended] = np.where(done, chargers.elapsed_s / 60.0, np.inf)[over]
        found.loss[ended] = (chargers.cells.capacity_loss - before)[over]
        found.peak_c[ended] = watch.peak_c[over]
        found.highest_v[ended] = watch.highest_v[over]
        found.lowest_anode_v[ended] = watch.lowest_anode_v[over]
        at, before = at[~over], before[~over]
        chargers.keep_inplace(~over)
        watch.keep_inplace(~over)
        policy = policy.only(~over)
    limits = chargers.limits
    found.violations[:] = (
        (found.highest_v > limits.voltage_max_v + VOLTAGE_TOLERANCE_V)
        | (found.peak_c > limits.temperature_max_c)
        | (found.lowest_anode_v < limits.anode_min_v)
    )
    return found


@dataclass(slots=True)
class Watch:
    """Extremes of charges, kept at every step of the cells."""

    cells: CellBatch
    peak_c: Floats
    highest_v: Floats
    lowest_anode_v: Floats

    @classmethod
    def of(cls, cells: CellBatch) -> Watch:
        """A watch over cells that has seen nothing."""
        n = cells.n
        return cls(cells, np.full(n, -np.inf), np.full(n, -np.inf), np.full(n, np.inf))

    def see(self) -> None:
        """Keep the extremes of what the cells show now."""
        self.peak_c = np.maximum(self.peak_c, self.cells.temperature_c)
        self.highest_v = np.maximum(self.highest_v, self.cells.voltage_v)
        self.lowest_anode_v = np.minimum(self.lowest_anode_v, self.cells.anode_v)

    def keep_inplace(self, kept: NDArray[np.bool_]) -> None:
        """Go on with some of the charges only."""
        self.peak_c, self.highest_v = self.peak_c[kept], self.highest_v[kept]
        self.lowest_anode_v = self.lowest_anode_v[kept]


def prepare(
    conditions: Conditions, cell: CellParameters, repeat: int = 1, limits: Limits | None = None
) -> Chargers:
    """Chargers at the start of these conditions."""
    n = conditions.n * repeat
    chargers = Chargers(n, cell=cell.scaled_to(conditions.nominal_ah), kinds=conditions.kinds,
                        scene=Scene(), limits=limits)  # fmt: skip
    every = np.ones(n, dtype=bool)
    chargers.cells.restart_inplace(
        every,
        np.full(n, START_SOC),
        np.repeat(conditions.soh, repeat),
        np.repeat(conditions.ambient_c, repeat),
    )
    chargers.soc_error[:] = np.repeat(conditions.soc_error, repeat)
    chargers.soh_error[:] = np.repeat(conditions.soh_error, repeat)
    return chargers


def lifetime(
    policy: Policy,
    conditions: Conditions,
    cell: CellParameters,
    *,
    weight: Floats | float = 1.0,
    cycles: int = 200,
    repeat: int = 1,
    rate_c: float = 1.0,
) -> Floats:
    """Capacity left, as a fraction of nominal, after so many charges from 10 to 80 % and
    discharges back at `rate_c`, without rests. The BMS keeps its errors. (n,)"""
    chargers = prepare(conditions, cell, repeat)
    chargers.weight[:] = weight
    cells = chargers.cells
    n = chargers.n
    charging, steps = np.ones(n, dtype=bool), np.zeros(n, dtype=np.int64)
    lived, left = np.zeros(n, dtype=np.int64), np.zeros(n)
    # Every cell goes on by itself: none rests while it waits for a slower one.
    while (lived < cycles).any():
        seen = chargers.seen()
        current_c, cut_v = policy.ask(seen)
        held_c = np.minimum(current_c, seen[:, SEEN["allowed_c"]])
        most_v = np.where(charging, cut_v, np.inf)
        for group in cells.groups:
            group.conditions.voltage_max_v[:] = most_v[group.part]
        cells.step_inplace(np.where(charging, held_c, -rate_c), CYCLE_STEP_S)
        steps += 1
        soc = cells.soc
        charged = charging & ((soc >= END_SOC) | (steps * CYCLE_STEP_S >= LONGEST_S))
        emptied = ~charging & (soc <= START_SOC)
        lived += emptied
        ends = emptied & (lived == cycles)
        left[ends] = (1.0 - cells.capacity_loss)[ends]
        charging = (charging & ~charged) | emptied
        steps[charged | emptied] = 0
    return left
