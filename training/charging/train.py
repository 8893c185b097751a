"""`cellpulse train charging`: five seeds of PPO, SAC beside it, the best of PPO's as ONNX."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from monitor.charging.advice import ADVICE_INPUTS
from monitor.models.onnx import CARD_VERSION, Card
from simulator.twin import load_parameters
from training.charging import learn
from training.charging.bound import cost
from training.charging.demonstrations import demonstrate
from training.charging.export import OPSET, fit_outlook, to_onnx
from training.charging.policies import Network
from training.charging.rollout import charge
from training.charging.saved import SEEDS_FILE, save_networks
from training.charging.tuning import WEIGHTS, tuning_conditions

Say = Callable[[str], None]

SEEDS = 5
SAC_SEEDS = 1
COURSE_STEPS = 1_000


def train(
    out: Path,
    seed: int,
    say: Say,
    *,
    seeds: int = SEEDS,
    sac_seeds: int = SAC_SEEDS,
    steps: int = learn.PPO_STEPS,
    sac_steps: int = learn.SAC_STEPS,
) -> Card:
    """Train all seeds and write charging.onnx, its card and every seed's weights to `out`."""
    shown = demonstrate(seed, say)
    ppo = [learn.learn("PPO", seed + number, steps, shown, say) for number in range(seeds)]
    sac = [learn.learn("SAC", seed + number, sac_steps, None, say) for number in range(sac_seeds)]
    out.mkdir(parents=True, exist_ok=True)
    networks = {"PPO": ppo, "SAC": sac, "imitation": [learn.imitate(seed, shown)]}
    save_networks(
        out / SEEDS_FILE, {name: policies for name, policies in networks.items() if policies}
    )
    return ship(out, ppo, seed, say)


def tuning_cost(network: Network) -> float:
    """Mean over weights of the cost on the tuning conditions, each over that of weight's par."""
    where = tuning_conditions()
    count = len(WEIGHTS)
    found = charge(
        network, where, load_parameters(), weight=np.tile(WEIGHTS, where.n), repeat=count
    )
    found = found.reshaped(where.n, count)
    judged = cost(found.minutes, found.loss, WEIGHTS[None, :])
    return float((judged / (1.0 + WEIGHTS)).mean())


def ship(out: Path, ppo: list[Network], seed: int, say: Say) -> Card:
    """Export the seed that does best where the opponents were tuned, and write its card."""
    costs = [tuning_cost(network) for network in ppo]
    best = int(np.argmin(costs))
    say(f"seed {seed + best} ships: cost {costs[best]:.4f}, all {np.round(costs, 4).tolist()}")
    onnx = to_onnx(ppo[best], fit_outlook(ppo[best], learn.TRAINING, seed))
    card = Card(
        card_version=CARD_VERSION,
        name="charging",
        description=(
            "Charging current from what a BMS knows, by PPO on the twin, with the time and the "
            "wear until 80 % if it is followed. Advice in shadow only: it commands no charger, and "
            "is used behind monitor.charging.shield's shield."
        ),
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        opset=OPSET,
        inputs=list(ADVICE_INPUTS),
        outputs=[
            ("current_c", "C of nominal capacity, before the shield"),
            ("minutes", "until 80 %"),
            ("loss", "fraction of nominal capacity lost until 80 %"),
        ],
        training_data={"simulator/parameters/nasa-18650.json": _parameters_hash()},
        protocol=(
            "Trained on the calibrated twin alone: ambient 8 to 42 degC, SOH 78 to 100 %, start "
            "10 to 78 %, estimates off by 1 % (SOC) and 1.5 % (SOH). The seed was chosen on the "
            "tuning conditions; results on unseen cells and on PyBaMM are in "
            "docs/results-charging.md. They hold under the ageing law of docs/charging.md. PPO "
            "starts from an imitation of the best charges that direct optimisation found on that "
            "twin."
        ),
        metrics={"tuning_cost": {str(seed + i): round(c, 5) for i, c in enumerate(costs)}},
        seed=seed + best,
        versions={
            name: version(name)
            for name in ("numpy", "torch", "stable_baselines3", "gymnasium", "onnx")
        },
        command="cellpulse train charging",
        limits=[
            "Learned on a model of one kind of 18650 cell; its anode is another cell's.",
            "The plating limit is a proxy: no BMS measures the anode's potential.",
            "From 10 to 80 % only; advice outside 0 to 45 degC is the shield's, not learned.",
            "Minutes and wear until 80 % may be off by a third in the cold, where the shield "
            "decides.",
            "It must not command a charger.",
        ],
    )
    (out / "charging.onnx").write_bytes(onnx)
    (out / "charging.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"
    )
    return card


def _parameters_hash() -> str:
    from importlib import resources

    data = (resources.files("simulator") / "parameters" / "nasa-18650.json").read_bytes()
    return hashlib.sha256(data).hexdigest()


def course(seed: int, say: Say, steps: int = COURSE_STEPS) -> str:
    """The course's run: so many steps of PPO with R = -dSOH + 1/t on discrete actions; what came
    of it beside always 1C, as text."""
    from training.charging.chargers import Scene
    from training.charging.env import ACTIONS, ChargingEnv

    model, finished = learn.learn_course(steps, seed, say)
    rows = []
    for name in ("PPO", "always 1C"):
        env = ChargingEnv("discrete", "course", Scene(ambient_c=(25.0, 25.0), soh=(0.9, 0.9)))
        seen, before = env.reset(seed=seed)
        total, ended, info = 0.0, False, before
        counts: dict[str, int] = {}
        while not ended:
            action = 3 if name == "always 1C" else int(model.predict(seen, deterministic=True)[0])
            counts[ACTIONS[action]] = counts.get(ACTIONS[action], 0) + 1
            seen, reward, done, given_up, info = env.step(action)
            total += reward
            ended = done or given_up
        wear = before["soh"] - info["soh"]
        chosen = ", ".join(f"{key} {count}" for key, count in counts.items())
        rows.append(
            f"{name:10s} {info['elapsed_s'] / 60:6.1f} min  loss {100 * wear:.4f} %  "
            f"return {total:.3f}  {chosen}"
        )
    return "\n".join([f"{steps} steps, {len(finished)} charges finished in them", *rows])
