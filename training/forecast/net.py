"""The forecast network: an LSTM over the last 50 cycles beside a linear path, ten cycles ahead.

Input is the history in %SOH relative to its last value, with the family of the cell as constant
channels; output the change in %SOH at each of the next ten cycles. Trained on the mean absolute
error with a little noise on the input (AdamW, one-cycle schedule). Deterministic for a seed on one
thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from training.forecast.series import AHEAD, HISTORY
from training.soh.graph import Graph

Floats = NDArray[np.float64]
OPSET = 17
SCALE = 0.3  # of %SOH, to bring inputs near 1
LEVEL_SCALE = 5.0
EPOCHS = 40
BATCH = 128
NOISE = 0.05
LEARNING_RATE = 5e-3


class ForecastNet(torch.nn.Module):
    """(n, HISTORY) SOH and (n, families) one-hot -> (n, AHEAD) change in %SOH."""

    def __init__(self, families: int, hidden: int) -> None:
        super().__init__()
        self.families, self.hidden = families, hidden
        self.lstm = torch.nn.LSTM(1 + families, hidden, batch_first=True)
        self.out = torch.nn.Linear(hidden + 1 + families + HISTORY, AHEAD)

    def forward(self, history: torch.Tensor, family: torch.Tensor) -> torch.Tensor:
        """The next cycles' SOH. history (n, 50), family (n,) -> (n, 10)"""
        last = history[:, -1:]
        change = (history - last) * (100.0 * SCALE)
        channels = family[:, None, :].expand(-1, HISTORY, -1)
        states, _ = self.lstm(torch.cat([change[:, :, None], channels], dim=2))
        level = (last - 0.8) * LEVEL_SCALE
        told: torch.Tensor = self.out(torch.cat([states[:, -1], level, family, change], dim=1))
        return told


class ForecastTransformer(torch.nn.Module):
    """The same task with one layer of self-attention in place of the LSTM. Not shipped."""

    def __init__(self, families: int, hidden: int) -> None:
        super().__init__()
        self.families, self.hidden = families, hidden
        self.embed = torch.nn.Linear(1 + families, hidden)
        self.place = torch.nn.Parameter(0.1 * torch.randn(HISTORY, hidden))
        self.layer = torch.nn.TransformerEncoderLayer(
            hidden, 2, 2 * hidden, dropout=0.0, batch_first=True
        )
        self.out = torch.nn.Linear(hidden + 1 + families + HISTORY, AHEAD)

    def forward(self, history: torch.Tensor, family: torch.Tensor) -> torch.Tensor:
        """The next cycles' SOH. history (n, 50), family (n,) -> (n, 10)"""
        last = history[:, -1:]
        change = (history - last) * (100.0 * SCALE)
        channels = family[:, None, :].expand(-1, HISTORY, -1)
        tokens = self.embed(torch.cat([change[:, :, None], channels], dim=2)) + self.place
        seen = self.layer(tokens).mean(dim=1)
        level = (last - 0.8) * LEVEL_SCALE
        told: torch.Tensor = self.out(torch.cat([seen, level, family, change], dim=1))
        return told


Net = ForecastNet | ForecastTransformer
N = TypeVar("N", ForecastNet, ForecastTransformer)


def examples(series: Floats) -> tuple[Floats, Floats]:
    """Every history (n, HISTORY) of a series and the AHEAD values that follow (n, AHEAD)."""
    ends = range(HISTORY, len(series) - AHEAD + 1)
    return (
        np.array([series[end - HISTORY : end] for end in ends]).reshape(-1, HISTORY),
        np.array([series[end : end + AHEAD] for end in ends]).reshape(-1, AHEAD),
    )


def train_net(
    curves: Mapping[str, tuple[int, Floats]],
    families: int,
    hidden: int,
    seed: int,
    epochs: int = EPOCHS,
    kind: type[N] = ForecastNet,  # type: ignore[assignment]
) -> N:
    """Fit on curves given by cell with the index of their family; each cell counts the same.

    Sets PyTorch to one thread: results repeat, and so small a network gains nothing from more.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y, kinds_, weight = [], [], [], []
    for family, series in curves.values():
        history, ahead = examples(series)
        if len(history):
            x.append(history)
            y.append(100.0 * (ahead - history[:, -1:]))
            kinds_.append(np.eye(families)[np.full(len(history), family)])
            weight.append(np.full(len(history), 1.0 / len(history)))
    xs, ys, kinds = (_tensor(np.concatenate(part)) for part in (x, y, kinds_))
    weights = _tensor(np.concatenate(weight))
    weights = weights / weights.mean()
    net = kind(families, hidden)
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = epochs * ((len(xs) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(xs), generator=generator)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            noise = torch.randn(len(batch), HISTORY, generator=generator) * (NOISE / 100.0)
            noise[:, -1] = 0.0
            told = net(xs[batch] + noise, kinds[batch])
            loss = ((told - ys[batch]).abs().mean(dim=1) * weights[batch]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def run_net(net: Net, history: Floats, family: int) -> Floats:
    """SOH (n, AHEAD) from histories (n, HISTORY) of one family."""
    kinds = np.eye(net.families)[np.full(len(history), family)]
    with torch.no_grad():
        change = net(_tensor(history), _tensor(kinds)).numpy().astype(np.float64)
    told: Floats = history[:, -1:] + change / 100.0
    return told


def export(nets: Sequence[ForecastNet], half: Floats, templates: Sequence[dict[str, Any]]) -> bytes:
    """ONNX: history (n, HISTORY) float32, family int64 (n,) -> soh, low, high float32 (n, AHEAD).

    `nets` has one network a family, `half` (families, AHEAD) the half-widths of the 90 % interval.
    The templates for the long run travel in the model's metadata under `templates`.
    """
    graph = Graph()
    n, const = graph.node, graph.constant
    last = n(
        "Slice", "history", *(const(np.array([v], np.int64)) for v in (HISTORY - 1, HISTORY, 1))
    )
    told = n("Unsqueeze", _told(graph, nets[0], last, 0), const(np.array([1], np.int64)))
    for family, net in enumerate(nets[1:], 1):
        also = n("Unsqueeze", _told(graph, net, last, family), const(np.array([1], np.int64)))
        told = n("Concat", told, also, axis=1)
    own = n("Gather", const(np.eye(len(nets), dtype=np.float32)[:, :, None]), "family")
    change = n("ReduceSum", n("Mul", told, own), const(np.array([1], np.int64)), keepdims=0)
    soh = n("Add", last, n("Mul", change, const(np.float32(0.01))), out="soh")
    width = n("Gather", const(half.astype(np.float32)), "family")
    n("Sub", soh, width, out="low")
    n("Add", soh, width, out="high")
    value = helper.make_tensor_value_info
    model = graph.model(
        "forecast",
        [
            value("history", TensorProto.FLOAT, ["n", HISTORY]),
            value("family", TensorProto.INT64, ["n"]),
        ],
        [value(name, TensorProto.FLOAT, ["n", AHEAD]) for name in ("soh", "low", "high")],
        OPSET,
    )
    helper.set_model_props(model, {"templates": json.dumps(templates)})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _told(graph: Graph, net: ForecastNet, last: str, family: int) -> str:
    """The change in %SOH (n, AHEAD) that one network tells for its own family."""
    n, const = graph.node, graph.constant
    weight = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    axis = [const(np.array([i], np.int64)) for i in range(3)]
    change = n("Mul", n("Sub", "history", last), const(np.float32(100.0 * SCALE)))
    kind = np.eye(net.families, dtype=np.float32)[[family]]
    rows = n("Mul", last, const(np.float32(0.0)))  # (n, 1) of zeros, to repeat constants by
    one_hot = n("Add", rows, const(kind))
    column = n("Unsqueeze", change, axis[2])
    channels = n("Add", n("Mul", column, const(np.float32(0.0))), const(kind[:, None, :]))
    sequence = n("Transpose", n("Concat", column, channels, axis=2), perm=[1, 0, 2])

    def gates(name: str) -> NDArray[np.float32]:  # torch: i f g o; ONNX: i o f c
        i, f, g, o = np.split(weight[name], 4)
        merged: NDArray[np.float32] = np.concatenate([i, o, f, g])[None]
        return merged

    bias = np.concatenate([gates("lstm.bias_ih_l0"), gates("lstm.bias_hh_l0")], axis=1)
    graph.raw(
        "LSTM",
        [
            sequence,
            const(gates("lstm.weight_ih_l0")),
            const(gates("lstm.weight_hh_l0")),
            const(bias),
        ],
        ["", f"state{family}"],
        hidden_size=net.hidden,
    )
    state = n("Squeeze", f"state{family}", axis[0])
    level = n("Mul", n("Sub", last, const(np.float32(0.8))), const(np.float32(LEVEL_SCALE)))
    seen = n("Concat", state, level, one_hot, change, axis=1)
    return n("Gemm", seen, const(weight["out.weight"]), const(weight["out.bias"]), transB=1)


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)
