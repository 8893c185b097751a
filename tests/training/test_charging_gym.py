"""Charging behind gymnasium's interface: its own checker, and what a vector of cells does."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from training.charging.chargers import Reward, Scene
from training.charging.env import Actions, ChargingEnv, ChargingVectorEnv


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
@pytest.mark.parametrize("reward", ["scaled", "course"])
def test_gymnasium_accepts_the_environment(actions: str, reward: str) -> None:
    assert actions in get_args(Actions)
    assert reward in get_args(Reward)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ChargingEnv(actions, reward), skip_render_check=True)  # type: ignore[arg-type]  # words of get_args


def test_a_finished_charge_is_replaced_at_once() -> None:
    env = ChargingVectorEnv(4, scene=Scene(ambient_c=(25.0, 25.0), soc=(0.795, 0.795)), seed=3)
    seen, _ = env.reset(seed=3)
    assert env.observation_space.contains(seen)
    _, reward, done, given_up, info = env.step(np.full((4, 1), 0.9, np.float32))
    assert done.all()
    assert not given_up.any()
    assert np.isfinite(reward).all()
    assert info["_final_obs"].all()
    assert (info["final_obs"][:, 0] > 0.9).all()  # 80 % on the networks' scale
    assert (env.chargers.cells.soc < 0.8).all()
