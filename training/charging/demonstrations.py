"""What a learner starts from: the best simple currents for each condition, found on the twin.

For every ambient, SOH and weight, log current = a + b (soc - 45 %), by the cross-entropy method. A
learner imitates them before it learns by itself: it saves the hours that finding the dependence on
temperature from nothing took, and what it does better than them is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.twin import load_parameters
from training.charging import rewards
from training.charging.chargers import Chargers
from training.charging.policies import CHARGER_V, HIGHEST_C, LOWEST_C
from training.charging.rollout import charge, grid, prepare
from training.charging.tuning import cost

Floats = NDArray[np.float64]
Say = Callable[[str], None]

AMBIENTS_C = np.array([8.0, 11.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 27.0, 30.0, 34.0, 38.0, 42.0])
SOHS = np.array([0.78, 0.89, 1.0])
WEIGHTS = np.geomspace(rewards.LOWEST_WEIGHT, rewards.HIGHEST_WEIGHT, 12)
ROUNDS, TRIES = 9, 28


@dataclass(frozen=True, slots=True)
class Sloped:
    """log current = level + slope (soc - 0.45), one pair a charge."""

    level: Floats
    slope: Floats
    name: str = "sloped"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        current_c = np.exp(self.level + self.slope * (seen[:, 0] - 0.45))
        return np.clip(current_c, LOWEST_C, HIGHEST_C), np.full(len(seen), CHARGER_V)


def demonstrate(seed: int, say: Say) -> tuple[Floats, Floats]:
    """What was seen along the best charges, and the logarithm of the current chosen there."""
    rng = np.random.default_rng(seed)
    cell = load_parameters()
    where = grid(list(AMBIENTS_C), list(SOHS))
    shape = (where.n, len(WEIGHTS))
    mean = np.zeros((*shape, 2))
    mean[..., 0] = np.log(np.clip(1.6 / WEIGHTS**0.3, 0.3, 2.0))
    spread = np.broadcast_to([0.5, 0.8], mean.shape).copy()
    for number in range(ROUNDS):
        tried = mean[:, :, None] + spread[:, :, None] * rng.standard_normal((*shape, TRIES, 2))
        tried[:, :, 0] = mean
        tried[..., 0] = np.clip(tried[..., 0], np.log(LOWEST_C), np.log(HIGHEST_C))
        flat = tried.reshape(-1, 2)
        found = charge(Sloped(flat[:, 0], flat[:, 1]), where, cell, repeat=shape[1] * TRIES)
        found = found.reshaped(*shape, TRIES)
        judged = cost(found.minutes, found.loss, WEIGHTS[None, :, None])
        order = np.argsort(judged, axis=2)[:, :, : TRIES // 5]
        elite = np.take_along_axis(tried, order[..., None], axis=2)
        mean, spread = elite.mean(axis=2), elite.std(axis=2) + 0.02
        say(f"demonstrations: round {number + 1} of {ROUNDS}")
    chargers: Chargers = prepare(where, cell, len(WEIGHTS))
    chargers.weight[:] = np.tile(WEIGHTS, where.n)
    policy = Sloped(mean[..., 0].ravel(), mean[..., 1].ravel())
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
