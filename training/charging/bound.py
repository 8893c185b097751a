"""The best charge of every single condition, by direct optimisation: a bound on every policy.

It knows the cell, the ambient and the errors of the estimates beforehand and is tried out on the
true model, which no charger can. For a weight w the mean over conditions of its least cost is least
for any policy at all, so a policy's front of mean time against mean wear lies behind the bound's.
What can be found better still is only what the search missed: `best_profiles` of another seed or
with more rounds tells how much that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.charging.shield import Limits
from simulator.twin import CellParameters
from training.charging import rewards
from training.charging.policies import HIGHEST_C, LOWEST_C, CcCv, MultiStage
from training.charging.rollout import Conditions, Outcome, charge

Floats = NDArray[np.float64]
Say = Callable[[str], None]

BINS = 14  # currents, one for every 5 % of charge
ROUNDS, TRIED = 12, 384  # charges tried a round and condition, for all weights together
_CONSTANTS_C = np.geomspace(LOWEST_C, HIGHEST_C, 40)
_ELITE = 10


@dataclass(frozen=True, slots=True)
class Best:
    """The best charges: outcomes of (conditions, weights), and their currents."""

    outcome: Outcome
    log_c: Floats  # (conditions, weights, bins)


def cost(minutes: Floats, loss: Floats, weight: Floats | float) -> Floats:
    """Time and weighted wear, both about one for a charge."""
    return np.asarray(60.0 * minutes / rewards.TIME_S + weight * loss / rewards.LOSS)


def best_profiles(
    conditions: Conditions,
    cell: CellParameters,
    weights: Floats,
    seed: int,
    say: Say,
    *,
    rounds: int = ROUNDS,
    tried: int = TRIED,
    limits: Limits | None = None,
) -> Best:
    """The best current over state of charge for every condition and weight.

    The cross-entropy method, from the best constant current on. A charge's time and wear serve all
    weights, so each picks its best from all that was tried in its condition. Charges that break a
    limit don't count.
    """
    rng = np.random.default_rng(seed)
    n, count = conditions.n, len(weights)
    tries = max(tried // count, 4)
    log_constants = np.log(_CONSTANTS_C)
    flat = CcCv(np.tile(_CONSTANTS_C, n), np.full(1, (limits or Limits()).voltage_max_v))
    outcome = charge(flat, conditions, cell, repeat=len(_CONSTANTS_C), limits=limits)
    pool = _Pool.of(outcome.reshaped(n, -1), weights)
    chosen, best = pool.best(1)
    mean = np.repeat(log_constants[chosen[:, 0]][..., None], BINS, axis=2)
    best_log, best_cost = mean.copy(), pool.cost_of(chosen)[:, 0]
    spread = np.full(mean.shape, 0.3)
    place = np.linspace(-1.0, 1.0, BINS)
    for number in range(rounds):
        shape = (n, count, tries)
        each = rng.standard_normal((*shape, BINS)) * 0.8
        level, slope = rng.standard_normal((2, *shape, 1)) * 0.5
        noise = each + level + slope * place
        noise[:, :, 0] = 0.0
        logs = mean[:, :, None] + spread[:, :, None] * noise
        logs = np.clip(logs, np.log(LOWEST_C), np.log(HIGHEST_C)).reshape(n, count * tries, BINS)
        policy = MultiStage(np.exp(logs).reshape(-1, BINS))
        outcome = charge(policy, conditions, cell, repeat=count * tries, limits=limits)
        pool = _Pool.of(outcome.reshaped(n, count * tries), weights)
        chosen, picked = pool.best(_ELITE)
        rows = np.arange(n)[:, None, None]
        elite = logs[rows, chosen.transpose(0, 2, 1)]  # (n, weights, elite, bins)
        mean, spread = elite.mean(axis=2), elite.std(axis=2) + 0.01
        won = pool.cost_of(chosen)[:, 0]
        better = won < best_cost
        best_log = np.where(better[..., None], elite[:, :, 0], best_log)
        best = Outcome(
            *(np.where(better, getattr(picked, f), getattr(best, f)) for f in Outcome.__slots__)
        )
        best_cost = np.minimum(best_cost, won)
        if number % 4 == 3:
            say(f"best profiles: round {number + 1} of {rounds}")
    return Best(best, best_log)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Charges that were tried, judged for every weight."""

    outcome: Outcome  # (conditions, tried)
    costs: Floats  # (conditions, tried, weights)

    @classmethod
    def of(cls, outcome: Outcome, weights: Floats) -> _Pool:
        costs = cost(outcome.minutes[..., None], outcome.loss[..., None], weights)
        return cls(outcome, np.where(outcome.violations[..., None], np.inf, costs))

    def best(self, count: int) -> tuple[NDArray[np.int64], Outcome]:
        """Indices of the cheapest, (conditions, count, weights), and the first one's outcome."""
        chosen = np.argsort(self.costs, axis=1)[:, :count]
        first = chosen[:, 0]
        return chosen, Outcome(
            *(np.take_along_axis(getattr(self.outcome, f), first, 1) for f in Outcome.__slots__)
        )

    def cost_of(self, chosen: NDArray[np.int64]) -> Floats:
        return np.take_along_axis(self.costs, chosen, axis=1)
