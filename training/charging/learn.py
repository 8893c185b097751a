"""Policies by stable-baselines3: PPO, and SAC as the second algorithm, on thousands of cells.

Needs `cellpulse[train]`. Everything runs in one process on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from training.charging.chargers import Reward, Scene
from training.charging.env import (
    Actions,
    ChargingEnv,
    ChargingVectorEnv,
)
from training.charging.policies import HIGHEST_C, LOWEST_C, Network, scaled

Floats = NDArray[np.float64]
Algorithm = Literal["PPO", "SAC"]
Say = Callable[[str], None]

# Training sees no cell but the calibrated one and starts anywhere between 10 and 78 %.
TRAINING = Scene(
    ambient_c=(8.0, 42.0), soh=(0.78, 1.0), soc=(0.10, 0.78), soc_error=0.01, soh_error=0.015
)
HIDDEN = (64, 64)
PPO_STEPS, SAC_STEPS = 600_000, 100_000
IMITATION_STEPS = 2_500
CRITIC_SHARE = 0.2  # of a training that starts from what was shown
_PPO_CELLS, _SAC_CELLS = 256, 128


class Cells(VecEnv):
    """`ChargingVectorEnv` as stable-baselines3 wants it."""

    def __init__(self, env: ChargingVectorEnv) -> None:
        self._env = env
        self._action: NDArray[Any] = np.zeros(0)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin anew; what is seen. (n, inputs)"""
        return self._env.reset()[0]

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions of the next step. (n, 1)"""
        self._action = actions

    def step_wait(self) -> tuple[NDArray[np.float32], Floats, NDArray[np.bool_], list[Any]]:
        """What is seen, rewards, whether each charge has ended, and its end."""
        seen, reward, done, given_up, info = self._env.step(self._action)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = done | given_up
        for index in np.flatnonzero(ended):
            # A charge given up is an end with its penalty, not a cut to bootstrap over.
            infos[index]["terminal_observation"] = info["final_obs"][index]
        return seen, reward.astype(np.float32), ended, infos

    def close(self) -> None:
        """End the environment."""
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The one environment's attribute, once a cell."""
        return [getattr(self._env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises NotImplementedError."""
        raise NotImplementedError("the cells share one environment")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raises NotImplementedError."""
        raise NotImplementedError("the cells share one environment")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No cell is wrapped."""
        return [False] * self.num_envs


class Told(BaseCallback):
    """Says how far a training is, every ten seconds."""

    def __init__(self, name: str, total: int, say: Say) -> None:
        super().__init__()
        self._name, self._total, self._say = name, total, say
        self._last = self._began = time.monotonic()

    def _on_step(self) -> bool:
        now = time.monotonic()
        if now - self._last >= 10.0:
            self._last = now
            self._say(
                f"{self._name}: {self.num_timesteps:,} of {self._total:,} decisions, "
                f"{now - self._began:.0f} s"
            )
        return True


class CriticFirst(BaseCallback):
    """Holds the policy while the critic learns what it is worth, in a training's first part."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._until = steps * CRITIC_SHARE

    def _on_rollout_start(self) -> None:
        policy: Any = self.model.policy
        learns = self.num_timesteps >= self._until
        held = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
        for parameter in [*held, policy.log_std]:
            parameter.requires_grad_(learns)

    def _on_step(self) -> bool:
        return True


def learn(
    algorithm: Algorithm, seed: int, steps: int, shown: tuple[Floats, Floats] | None, say: Say
) -> Network:
    """Train one policy; the same seed and versions give the same policy.

    With `shown` (`demonstrations.demonstrate`) PPO imitates that first and explores near it.
    """
    torch.set_num_threads(1)
    if algorithm == "PPO":
        model: PPO | SAC = _ppo(seed, shown)
    else:
        env = Cells(ChargingVectorEnv(_SAC_CELLS, scene=TRAINING, seed=seed))
        model = SAC(
            "MlpPolicy",
            env,
            seed=seed,
            device="cpu",
            gamma=0.995,
            buffer_size=200_000,
            batch_size=512,
            train_freq=1,
            gradient_steps=4,
            learning_starts=8_000,
            learning_rate=lambda left: 2e-4 + 8e-4 * left,
            policy_kwargs={"net_arch": list(HIDDEN)},
        )
    told: list[BaseCallback] = [Told(f"{algorithm} seed {seed}", steps, say)]
    if algorithm == "PPO" and shown is not None:
        told.append(CriticFirst(steps))
    model.learn(steps, callback=told)
    return network_of(model)


def imitate(seed: int, shown: tuple[Floats, Floats]) -> Network:
    """Only what PPO of this seed starts from: nothing learned by itself."""
    torch.set_num_threads(1)
    return replace(network_of(_ppo(seed, shown)), name="imitation")


def _ppo(seed: int, shown: tuple[Floats, Floats] | None) -> PPO:
    """PPO before its first step; with `shown` it imitates that already."""
    env = Cells(ChargingVectorEnv(_PPO_CELLS, scene=TRAINING, seed=seed))
    ppo = PPO(
        "MlpPolicy",
        env,
        seed=seed,
        device="cpu",
        n_steps=128,  # about a whole charge, and no trust in the critic beyond it
        batch_size=2048,
        n_epochs=5,
        gamma=1.0,
        gae_lambda=1.0,
        clip_range=0.2 if shown is None else 0.1,
        learning_rate=_fast if shown is None else _careful,
        policy_kwargs={
            "net_arch": list(HIDDEN),
            "activation_fn": torch.nn.ReLU,
            "log_std_init": -1.0 if shown is None else -2.0,
        },
    )
    if shown is not None:
        _imitate(ppo, *shown, seed)
    return ppo


def _fast(left: float) -> float:
    return 1e-5 + 1.2e-3 * left


def _careful(left: float) -> float:
    """The critic's rate at first; then one that does not undo what was shown."""
    return 1e-3 if left > 1.0 - CRITIC_SHARE else 1e-6 + 3e-4 * left


def _imitate(model: PPO, seen: Floats, log_current: Floats, seed: int) -> None:
    """Fit the mean action to what was shown, by least squares on the logarithm of the current."""
    x = torch.tensor(np.clip(scaled(seen), -8.0, 8.0), dtype=torch.float32)
    span = 0.5 * np.log(HIGHEST_C / LOWEST_C)
    y = torch.tensor((log_current - np.log(LOWEST_C)) / span - 1.0, dtype=torch.float32)
    policy: Any = model.policy
    parts = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    optimizer = torch.optim.Adam(parts, 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, IMITATION_STEPS)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(IMITATION_STEPS):
        at = torch.randint(len(x), (1024,), generator=draw)
        told = policy.action_net(policy.mlp_extractor.policy_net(x[at]))[:, 0]
        error: Any = ((told - y[at]) ** 2).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()


def learn_course(steps: int, seed: int, say: Say) -> tuple[PPO, list[float]]:
    """The course's run: PPO with its usual settings, one cell, R = -dSOH + 1/t, discrete actions.

    Returns the model and the return of every charge that it finished.
    """
    torch.set_num_threads(1)
    actions: Actions = "discrete"
    reward: Reward = "course"
    env = ChargingEnv(actions, reward, Scene())
    env.reset(seed=seed)
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", n_steps=250, batch_size=50)
    model.learn(steps, callback=Told("PPO, the course's run", steps, say))
    finished = [float(entry["r"]) for entry in model.ep_info_buffer or ()]
    return model, finished


def network_of(model: PPO | SAC) -> Network:
    """A model's deterministic policy as plain arrays."""
    if isinstance(model, PPO):
        layers: list[Any] = [
            m for m in model.policy.mlp_extractor.policy_net if isinstance(m, torch.nn.Linear)
        ]
        layers.append(model.policy.action_net)
        return Network(_arrays(layers), False, "PPO")
    actor = model.policy.actor
    layers = [m for m in actor.latent_pi if isinstance(m, torch.nn.Linear)]
    layers.append(actor.mu)
    return Network(_arrays(layers), True, "SAC")


def _arrays(layers: Sequence[Any]) -> tuple[tuple[Floats, Floats], ...]:
    return tuple(
        (
            layer.weight.detach().numpy().T.astype(np.float64),
            layer.bias.detach().numpy().astype(np.float64),
        )
        for layer in layers
    )
