"""The thermal scorer: evidence over its limits, beside a dense denoising autoencoder, as ONNX.

The kernel's window holds what its adaptive heat balance could not explain. The score is the largest
of three, each over its own limit: the newest fast evidence, the newest slow evidence, and what the
autoencoder sees. Only heat that is there and not expected counts; cooling is no danger and is 0.

The autoencoder is trained to give back a healthy window from the same window with heat added to it
(Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders"). A
plain one learns a constant excess heat as one of its first components and reconstructs it; this one
has to find out from the context, current and rise, which part of the evidence is healthy. It counts
how far the two heat channels stand above their reconstruction, in the mean over slots.

The heat added in training is a step of random size and age, seen through the kernel's two filters.
The benchmark's faults come from other equations and parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from monitor.kernels.balance import (
    EVIDENCE_FAST_S,
    EVIDENCE_SLOW_S,
    FAST_MOST_W_PER_AH,
    SLOW_MOST_W_PER_AH,
)
from monitor.kernels.columns import SLOT_CHANNELS, SLOT_MS, SLOTS, THERMAL_WIDTH
from training.thermal.data import Floats32, HeatParameters

OPSET = 17
HIDDEN = 32
BOTTLENECK = 8
CHANNELS = len(SLOT_CHANNELS)
HEAT = np.array([c for c in range(THERMAL_WIDTH) if c % CHANNELS < 2])
ADDED_W_PER_AH = (0.02, FAST_MOST_W_PER_AH)  # evidence is clipped there
SHARE_CLEAN = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """What scores 1, W per nominal Ah."""

    fast: float
    slow: float
    autoencoder: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained autoencoder: its weights in evaluation order, and what it standardises with."""

    mean: Floats32  # (THERMAL_WIDTH,)
    scale: Floats32
    layers: tuple[tuple[Floats32, Floats32], ...]  # weight (in, out), bias (out,); ReLU between

    def heat_above_expected(self, x: Floats32) -> Floats32:
        """Mean excess over the reconstruction, signed, W per nominal Ah; x: (n, THERMAL_WIDTH)."""
        z = (x - self.mean) / self.scale
        h = z
        for index, (weight, bias) in enumerate(self.layers):
            h = h @ weight + bias
            if index < len(self.layers) - 1:
                h = np.maximum(h, np.float32(0.0))
        error: Floats32 = ((z - h) * self.scale)[:, HEAT].mean(axis=1)
        return error


def network() -> nn.Sequential:
    """The encoder and decoder, standardised window in and out."""
    return nn.Sequential(
        nn.Linear(THERMAL_WIDTH, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, BOTTLENECK),
        nn.ReLU(),
        nn.Linear(BOTTLENECK, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, THERMAL_WIDTH),
    )


def fit(
    windows: Mapping[str, Floats32],
    prior: HeatParameters,
    seed: int,
    *,
    steps: int = 2_000,
    batch: int = 1_024,
) -> Fitted:
    """Train on healthy windows by group, all groups of one weight. Deterministic in the seed."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pool = list(windows.values())
        sample = np.concatenate([rows[rng.integers(0, len(rows), 20_000)] for rows in pool])
        mean, scale = _standard(sample)
        model = network()
        optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
        weight = torch.ones(THERMAL_WIDTH)
        weight[torch.from_numpy(HEAT)] = 3.0
        mean_t, scale_t = torch.from_numpy(mean), torch.from_numpy(scale)
        for _ in range(steps):
            clean = sample[rng.integers(0, len(sample), batch)]
            heated = clean + added_heat(len(clean), prior, rng)
            target = (torch.from_numpy(clean) - mean_t) / scale_t
            loss = (
                nn.functional.smooth_l1_loss(
                    model((torch.from_numpy(heated) - mean_t) / scale_t), target, reduction="none"
                )
                * weight
            ).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    finally:
        torch.set_num_threads(threads)
    return Fitted(mean, scale, _layers(model))


def added_heat(n: int, prior: HeatParameters, rng: np.random.Generator) -> Floats32:
    """What n random steps of heat add to a window, (n, THERMAL_WIDTH); half of them add nothing."""
    low, high = np.log(ADDED_W_PER_AH[0]), np.log(ADDED_W_PER_AH[1])
    watts = np.exp(rng.uniform(low, high, (n, 1))) * (rng.random((n, 1)) > SHARE_CLEAN)
    newest_age = rng.uniform(0.0, 5_400.0, (n, 1))
    age = newest_age - np.arange(SLOTS - 1, -1, -1) * (SLOT_MS / 1000.0)
    age = np.maximum(age, 0.0)
    fast = 1.0 - np.exp(-age / EVIDENCE_FAST_S)
    slow = 1.0 - np.exp(-age / EVIDENCE_SLOW_S)
    time_constant = prior.heat_capacity_j_per_k_ah / prior.cooling_w_per_k_ah
    rise = (1.0 - np.exp(-age / time_constant)) / prior.cooling_w_per_k_ah
    kept = np.minimum(watts, SLOW_MOST_W_PER_AH)
    added = np.stack([watts * fast, kept * slow, np.zeros_like(fast), watts * rise], axis=2)
    flat: Floats32 = added.reshape(n, THERMAL_WIDTH).astype(np.float32)
    return flat


def score(fitted: Fitted, limits: Limits, x: Floats32) -> Floats32:
    """What the ONNX graph gives; x is (n, THERMAL_WIDTH)."""
    newest = (SLOTS - 1) * CHANNELS
    parts = np.stack(
        [
            fitted.heat_above_expected(x) / np.float32(limits.autoencoder),
            x[:, newest] / np.float32(limits.fast),
            x[:, newest + 1] / np.float32(limits.slow),
        ]
    )
    found: Floats32 = np.maximum(parts.max(axis=0), np.float32(0.0))
    return found


def to_onnx(fitted: Fitted, limits: Limits) -> bytes:
    """The whole scorer as ONNX: "x" float32 [n, THERMAL_WIDTH] in, "score" float32 [n] out."""
    # (z - xhat) * scale on the heat channels, averaged and divided, is one product with a vector.
    weights = np.zeros((THERMAL_WIDTH, 1), np.float32)
    weights[HEAT, 0] = fitted.scale[HEAT] / np.float32(len(HEAT) * limits.autoencoder)
    newest = np.zeros((THERMAL_WIDTH, 2), np.float32)
    newest[(SLOTS - 1) * CHANNELS, 0] = 1.0 / limits.fast
    newest[(SLOTS - 1) * CHANNELS + 1, 1] = 1.0 / limits.slow
    constants = {
        "mean": fitted.mean,
        "scale": fitted.scale,
        "to_score": weights,
        "to_evidence": newest,
    }
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["z"]),
    ]
    previous = "z"
    for index, (weight, bias) in enumerate(fitted.layers):
        constants[f"w{index}"] = weight
        constants[f"b{index}"] = bias
        nodes.append(helper.make_node("Gemm", [previous, f"w{index}", f"b{index}"], [f"h{index}"]))
        previous = f"h{index}"
        if index < len(fitted.layers) - 1:
            nodes.append(helper.make_node("Relu", [previous], [f"r{index}"]))
            previous = f"r{index}"
    nodes += [
        helper.make_node("Sub", ["z", previous], ["error"]),
        helper.make_node("MatMul", ["error", "to_score"], ["unexpected"]),
        helper.make_node("MatMul", ["x", "to_evidence"], ["evidence"]),
        helper.make_node("Concat", ["unexpected", "evidence"], ["parts"], axis=1),
        helper.make_node("Relu", ["parts"], ["positive"]),
        helper.make_node("ReduceMax", ["positive"], ["score"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "cellpulse-thermal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", THERMAL_WIDTH])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cellpulse"
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _standard(sample: Floats32) -> tuple[Floats32, Floats32]:
    """Mean and spread per channel over all slots, so that a window's shape is not distorted."""
    by_channel = sample.reshape(-1, CHANNELS)
    mean = np.tile(by_channel.mean(axis=0), SLOTS)
    scale = np.tile(by_channel.std(axis=0) + 1e-3, SLOTS)
    return mean.astype(np.float32), scale.astype(np.float32)


def _layers(model: nn.Sequential) -> tuple[tuple[Floats32, Floats32], ...]:
    return tuple(
        (
            np.ascontiguousarray(layer.weight.detach().numpy().T),
            layer.bias.detach().numpy().copy(),
        )
        for layer in model
        if isinstance(layer, nn.Linear)
    )
