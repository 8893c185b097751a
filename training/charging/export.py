"""The shipped policy as ONNX: a current, and how long and how much wear until 80 % with it.

Time and wear are told by a second small network, fitted to charges under the policy itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.charging.advice import ADVICE_INPUTS, SEEN
from training.charging.chargers import Chargers, Scene
from training.charging.policies import (
    CENTRE,
    END_SOC,
    HIGHEST_C,
    LOWEST_C,
    WIDTH,
    Network,
    scaled,
)

Floats = NDArray[np.float64]
Layers = Sequence[tuple[Floats, Floats]]

OPSET = 18
CLIP = 8.0


def fit_outlook(policy: Network, scene: Scene, seed: int, charges: int = 4096) -> Layers:
    """Layers from scaled inputs to the logarithms of minutes and of loss a unit of charge left."""
    import torch

    seen, minutes, loss = _to_go(policy, scene, seed, charges)
    left = np.maximum(END_SOC - seen[:, SEEN["soc"]], 0.005)[:, None]
    x = torch.tensor(np.clip(scaled(seen), -CLIP, CLIP), dtype=torch.float32)
    y = torch.tensor(np.log(np.column_stack([minutes, loss]) / left), dtype=torch.float32)
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(len(ADVICE_INPUTS), 48), torch.nn.ReLU(),
        torch.nn.Linear(48, 48), torch.nn.ReLU(), torch.nn.Linear(48, 2),
    )  # fmt: skip
    centre = y.mean(dim=0)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    steps = 3000
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        at = torch.randint(len(x), (2048,), generator=draw)
        error: Any = torch.nn.functional.smooth_l1_loss(net(x[at]) + centre, y[at], beta=0.1)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    layers = [
        (
            module.weight.detach().numpy().T.astype(np.float64),
            module.bias.detach().numpy().astype(np.float64),
        )
        for module in net
        if isinstance(module, torch.nn.Linear)
    ]
    weight, bias = layers[-1]
    return [*layers[:-1], (weight, bias + centre.numpy().astype(np.float64))]


def _to_go(policy: Network, scene: Scene, seed: int, charges: int) -> tuple[Floats, Floats, Floats]:
    """What was seen at every decision of many charges, and minutes and loss from there on."""
    chargers = Chargers(charges, seed=seed, scene=scene)
    rows, clocks, losses, alive = [], [], [], []
    running = np.ones(charges, dtype=bool)
    end_minutes, end_loss = np.zeros(charges), np.zeros(charges)
    while running.any():
        seen = chargers.seen()
        rows.append(seen)
        clocks.append(chargers.elapsed_s / 60.0)
        losses.append(chargers.cells.capacity_loss)
        alive.append(running.copy())
        current_c, _ = policy.ask(seen)
        _, done, given_up = chargers.step_inplace(np.where(running, current_c, 0.0))
        ends = running & (done | given_up)
        end_minutes[ends] = chargers.elapsed_s[ends] / 60.0
        end_loss[ends] = chargers.cells.capacity_loss[ends]
        running &= ~ends
    kept = np.concatenate(alive)
    minutes = np.concatenate([end_minutes - clock for clock in clocks])[kept]
    loss = np.concatenate([end_loss - before for before in losses])[kept]
    usable = (minutes > 0.2) & (loss > 0.0)
    return np.concatenate(rows)[kept][usable], minutes[usable], loss[usable]


def to_onnx(policy: Network, outlook: Layers) -> bytes:
    """x (n, inputs) float32, raw units -> current_c, minutes, loss, (n,) each."""
    from onnx import TensorProto, helper

    from training.soh.graph import Graph

    graph = Graph()
    n, const = graph.node, graph.constant

    def f32(value: Any) -> str:
        return const(np.asarray(value, dtype=np.float32))

    def layers_of(x: str, layers: Layers) -> str:
        for index, (weight, bias) in enumerate(layers):
            x = n("Add", n("MatMul", x, f32(weight)), f32(bias))
            if index + 1 < len(layers):
                x = n("Relu", x)
        return x

    columns = np.arange(len(ADVICE_INPUTS))
    is_weight = (columns == SEEN["wear_weight"]).astype(np.float32)
    # The weight enters as its decimal logarithm, the rest as it is.
    positive = n("Max", "x", f32(1e-6))
    logs = n("Mul", n("Log", positive), f32(is_weight / np.log(10.0)))
    raw = n("Add", n("Mul", "x", f32(1.0 - is_weight)), logs)
    x = n("Clip", n("Div", n("Sub", raw, f32(CENTRE)), f32(WIDTH)), f32(-CLIP), f32(CLIP))
    last = layers_of(x, policy.weights)
    action = n("Tanh", last) if policy.squash else n("Clip", last, f32(-1.0), f32(1.0))
    span = 0.5 * np.log(HIGHEST_C / LOWEST_C)
    log_c = n("Add", n("Mul", action, f32(span)), f32(np.log(LOWEST_C) + span))
    axis = const(np.array([1], np.int64))
    n("Squeeze", n("Exp", log_c), axis, out="current_c")
    share = n("Exp", layers_of(x, outlook))
    soc = n("Gather", "x", const(np.array([SEEN["soc"]], np.int64)), axis=1)
    left = n("Max", n("Sub", f32(END_SOC), soc), f32(0.0))
    both = n("Mul", share, left)
    for index, name in enumerate(("minutes", "loss")):
        at = const(np.array(index, np.int64))
        n("Gather", both, at, out=name, axis=1)
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, ["n", len(ADVICE_INPUTS)])]
    outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("current_c", "minutes", "loss")]
    data: bytes = graph.model("charging", inputs, outputs, OPSET).SerializeToString()
    return data
