"""Charging as a reinforcement learner sees it: `chargers` behind gymnasium's interface.

`ChargingEnv` is one cell, `ChargingVectorEnv` thousands; `training.charging.learn` has the shell
that stable-baselines3 wants.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from monitor.charging.advice import ADVICE_INPUTS
from training.charging.chargers import Bools, Chargers, Floats, Reward, Scene
from training.charging.policies import HIGHEST_C, current_of, scaled

Actions = Literal["continuous", "discrete"]

# The discrete actions: the course's CC at 1C, CC at 2C and CV, and more rates.
RATES_C = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)
ACTIONS = (*(f"CC {rate:g}C" for rate in RATES_C), "CV")
_DISCRETE_C = np.array([*RATES_C, HIGHEST_C])  # CV: whatever holds the charger's voltage


def observation_space() -> spaces.Space[NDArray[np.float32]]:
    """Scaled inputs; measurements far outside are clipped."""
    box: Any = spaces.Box(-8.0, 8.0, (len(ADVICE_INPUTS),), np.float32)
    space: spaces.Space[NDArray[np.float32]] = box
    return space


def action_space(actions: Actions) -> spaces.Space[Any]:
    """A current from 0.15 to 3 C on a logarithmic scale, or one of `ACTIONS`."""
    if actions == "discrete":
        return spaces.Discrete(len(ACTIONS))
    return spaces.Box(-1.0, 1.0, (1,), np.float32)


def current_from(actions: Actions, action: NDArray[Any]) -> Floats:
    """Currents in C from a batch of actions."""
    if actions == "discrete":
        return np.asarray(_DISCRETE_C[np.asarray(action).reshape(-1)])
    return current_of(np.asarray(action, dtype=np.float64).reshape(-1))


def observe(chargers: Chargers) -> NDArray[np.float32]:
    """What every cell's BMS knows, as the networks want it."""
    return np.clip(scaled(chargers.seen()), -8.0, 8.0).astype(np.float32)


class ChargingEnv(gym.Env[NDArray[np.float32], Any]):
    """One cell; see the module. `info` has elapsed_s, soh, temperature_c, voltage_v and anode_v."""

    metadata = {"render_modes": []}  # noqa: RUF012, gymnasium's own name for it

    def __init__(
        self, actions: Actions = "continuous", reward: Reward = "scaled", scene: Scene | None = None
    ) -> None:
        self.observation_space: spaces.Space[NDArray[np.float32]] = observation_space()
        self.action_space: spaces.Space[Any] = action_space(actions)
        self._actions: Actions = actions
        self._chargers = Chargers(1, scene=scene, reward=reward)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """A new charge; a seed makes what follows repeatable."""
        super().reset(seed=seed)
        if seed is not None:
            self._chargers.rng = np.random.default_rng(seed)
        self._chargers.restart_inplace(np.ones(1, dtype=bool))
        return observe(self._chargers)[0], self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One decision, a minute."""
        current_c = current_from(self._actions, np.asarray(action))
        reward, done, given_up = self._chargers.step_inplace(current_c)
        seen = observe(self._chargers)[0]
        return seen, float(reward[0]), bool(done[0]), bool(given_up[0]), self._info()

    def _info(self) -> dict[str, Any]:
        cells = self._chargers.cells
        return {
            "elapsed_s": float(self._chargers.elapsed_s[0]),
            "soh": float(1.0 - cells.capacity_loss[0]),
            "temperature_c": float(cells.temperature_c[0]),
            "voltage_v": float(cells.voltage_v[0]),
            "anode_v": float(cells.anode_v[0]),
        }


class ChargingVectorEnv(gym.vector.VectorEnv[NDArray[np.float32], Any, NDArray[Any]]):
    """n cells at once; a finished charge is replaced in the same step."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        actions: Actions = "continuous",
        reward: Reward = "scaled",
        scene: Scene | None = None,
        seed: int = 0,
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.single_action_space = action_space(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._actions: Actions = actions
        self.chargers = Chargers(num_envs, seed=seed, scene=scene, reward=reward)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """New charges everywhere; a seed makes what follows repeatable."""
        if seed is not None:
            self.chargers.rng = np.random.default_rng(seed)  # type: ignore[arg-type]  # ints
        self.chargers.restart_inplace(np.ones(self.num_envs, dtype=bool))
        return observe(self.chargers), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, Bools, Bools, dict[str, Any]]:
        """One decision of every cell; `final_obs` in the info is what finished charges last saw."""
        current_c = current_from(self._actions, actions)
        reward, done, given_up = self.chargers.step_inplace(current_c)
        seen = observe(self.chargers)
        info: dict[str, Any] = {}
        ended = done | given_up
        if ended.any():
            info = {"final_obs": seen.copy(), "_final_obs": ended}
            self.chargers.restart_inplace(ended)
            seen = observe(self.chargers)
        return seen, reward, done, given_up, info
