"""What a learner starts from: the best charge for each condition, found on the twin.

For every ambient, SOH and weight, the current over state of charge by direct optimisation
(`bound.best_profiles`). A learner imitates them before it learns by itself: it saves the hours that
finding the dependence on temperature from nothing took. They know the cell exactly; what to do
where the estimates are off, a learner finds out by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simulator.twin import load_parameters
from training.charging import rewards
from training.charging.bound import BINS, best_profiles
from training.charging.policies import MultiStage
from training.charging.rollout import grid, prepare

Floats = NDArray[np.float64]
Say = Callable[[str], None]

AMBIENTS_C = np.array([8.0, 11.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 27.0, 30.0, 34.0, 38.0, 42.0])
SOHS = np.array([0.78, 0.89, 1.0])
WEIGHTS = np.geomspace(rewards.LOWEST_WEIGHT, rewards.HIGHEST_WEIGHT, 16)


def demonstrate(seed: int, say: Say) -> tuple[Floats, Floats]:
    """What was seen along the best charges, and the logarithm of the current chosen there."""
    rng = np.random.default_rng(seed)
    cell = load_parameters()
    where = grid(list(AMBIENTS_C), list(SOHS))
    best = best_profiles(where, cell, WEIGHTS, seed, say)
    chargers = prepare(where, cell, len(WEIGHTS))
    chargers.weight[:] = np.tile(WEIGHTS, where.n)
    policy = MultiStage(np.exp(best.log_c.reshape(-1, BINS)))
    seen, wanted = [], []
    running = np.ones(chargers.n, dtype=bool)
    while running.any():
        now = chargers.seen()
        current_c, _ = policy.ask(now)
        seen.append(now[running])
        wanted.append(np.log(current_c[running]))
        # Shaken a little, so that a learner sees what lies beside the way too.
        shaken = current_c * np.exp(0.25 * rng.standard_normal(chargers.n))
        _, done, given_up = chargers.step_inplace(np.where(running, shaken, 0.0))
        running &= ~(done | given_up)
    return np.concatenate(seen), np.concatenate(wanted)
