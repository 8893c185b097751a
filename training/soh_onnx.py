"""The SOH tables as an ONNX graph: three gathers, a product and a few comparisons a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.features import SOH_BINS, SOH_WIDTH
from training.dataset import C_MEAN, C_SPREAD, R60, START
from training.soh_tables import EDGES, HIGHEST_SOH, NOT_ENOUGH, UNLIKE, Tables

OPSET = 18
LARGE = np.float32(3e38)


def export(tables: Tables) -> bytes:
    """The model's bytes: x (n, SOH_WIDTH) float32 -> soh, low, high float32, state int64, (n,).

    Written for few operations and little memory moved a row, since it runs on every sample.
    """
    graph = Graph()
    n, const = graph.node, graph.constant
    f32 = np.float32
    axis = const(np.array([1], np.int64))
    count, width, factors = tables.loadings.shape

    def squeezed(name: str) -> str:
        return n("Squeeze", name, axis)

    graph.raw(
        "Split",
        [n("Slice", "x", *(const(np.array([v], np.int64)) for v in (START, R60 + 1, 1)))],
        ["start_bin", "end_bin", "table_number", "r60"],
        axis=1,
        num_outputs=4,
    )
    table_f = squeezed("table_number")
    table = n("Cast", table_f, to=TensorProto.INT64)
    start = n("Max", squeezed("start_bin"), n("Gather", const(tables.first.astype(f32)), table))
    start = n("Min", start, const(f32(SOH_BINS)))
    end = n("Min", squeezed("end_bin"), n("Gather", const(tables.last.astype(f32)), table))
    end = n("Max", end, const(f32(0.0)))
    known_f = n("Cast", n("GreaterOrEqual", squeezed("r60"), const(f32(0.0))), to=TensorProto.FLOAT)

    # Flat indices, in floats: they stay far below 2**24.
    table_known = n("Add", n("Mul", table_f, const(f32(2.0))), known_f)
    cell = n("Add", n("Mul", table_known, const(f32(EDGES))), start)
    flat = n("Cast", n("Add", n("Mul", cell, const(f32(EDGES))), end), to=TensorProto.INT64)
    row = n("Gather", const(tables.index.reshape(-1).astype(np.int64)), flat)

    # The regression, its weights moved to the factor model's means so that both share x - mean.
    weights, bias = _about_means(tables)
    u = n("Sub", "x", n("Gather", const(tables.mean.astype(f32)), table))
    slope = n("Add", n("Gather", const(weights.astype(f32)), row),
              n("Mul", u, n("Gather", const(tables.squares.astype(f32)), row)))  # fmt: skip
    dot = n("ReduceSum", n("Mul", u, slope), axis, keepdims=0)
    raw = n("Add", dot, n("Gather", const(bias.astype(f32)), row))
    soh = n("Clip", raw, const(f32(0.0)), const(f32(HIGHEST_SOH)), out="soh")
    half = n("Gather", const(tables.half.astype(f32)), row)
    n("Sub", soh, half, out="low")
    n("Add", soh, half, out="high")

    # How far from the training cells: |z|^2 - q' M q over the columns of the window.
    bins, edges = np.arange(width)[None, :], np.arange(EDGES)[:, None]
    above, below = (bins >= edges) & (bins < SOH_BINS), (bins < edges) | (bins == R60)
    above = np.concatenate([above, above | (bins == R60)])  # without and with resistance
    opening = n("Cast", n("Add", start, n("Mul", known_f, const(f32(EDGES)))), to=TensorProto.INT64)
    closing = n("Cast", end, to=TensorProto.INT64)
    mask = n("Mul", n("Gather", const(above.astype(f32)), opening),
             n("Gather", const(below.astype(f32)), closing))  # fmt: skip
    scaled = n("Mul", u, n("Gather", const(tables.inverse_sd.astype(f32)), table))
    z = n("Mul", scaled, mask)
    # All tables' loadings at once, the others zeroed, then each product of two factors.
    wide = tables.loadings.transpose(1, 0, 2).reshape(width, count * factors).astype(f32)
    own = np.repeat(np.eye(count), factors, axis=1).astype(f32)
    q = n("Mul", n("MatMul", z, const(wide)), n("Gather", const(own), table))
    fold = np.tile(np.eye(factors), (count, 1))
    left = n("MatMul", q, const(np.repeat(fold, factors, axis=1).astype(f32)))
    right = n("MatMul", q, const(np.tile(fold, (1, factors)).astype(f32)))
    likeness = tables.likeness.reshape(len(tables.likeness), factors * factors).astype(f32)
    bent = n("Mul", n("Mul", left, right), n("Gather", const(likeness), row))
    far = n("Sub", n("ReduceSum", n("Mul", z, z), axis, keepdims=0),
            n("ReduceSum", bent, axis, keepdims=0))  # fmt: skip

    # Resistance, C-rate and the estimate itself outside their ranges.
    low, high = (
        np.repeat(np.column_stack([ends[:, [R60, C_MEAN, C_SPREAD]], soh_end]), 2, axis=0)
        for ends, soh_end in ((tables.low, tables.soh_low), (tables.high, tables.soh_high))
    )
    low[0::2, 0], high[0::2, 0] = -np.inf, np.inf  # an unknown resistance is in any range
    low, high = (np.clip(ends, -LARGE, LARGE).astype(f32) for ends in (low, high))
    framing = n("Slice", "x", *(const(np.array([v], np.int64)) for v in (R60, SOH_WIDTH, 1)))
    framing = n("Concat", framing, n("Unsqueeze", soh, axis), axis=1)
    at = n("Cast", table_known, to=TensorProto.INT64)
    outside = n("Or", n("Less", framing, n("Gather", const(low), at)),
                n("Greater", framing, n("Gather", const(high), at)))  # fmt: skip
    out_of_range = n("ReduceSum", n("Cast", outside, to=TensorProto.FLOAT), axis, keepdims=0)

    unlike = n("Or", n("Greater", far, n("Gather", const(tables.limit.astype(f32)), row)),
               n("Greater", out_of_range, const(f32(0.0))))  # fmt: skip
    unanswered = n("Equal", row, const(np.array(0, np.int64)))
    state = n("Mul", n("Cast", unlike, to=TensorProto.INT64), const(np.array(UNLIKE, np.int64)))
    n("Where", unanswered, const(np.array(NOT_ENOUGH, np.int64)), state, out="state")
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("soh", "low", "high")]
    outputs.append(value("state", TensorProto.INT64, ["n"]))
    x = value("x", TensorProto.FLOAT, ["n", SOH_WIDTH])
    data: bytes = graph.model("soh", [x], outputs, OPSET).SerializeToString()
    return data


def _about_means(tables: Tables) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and biases of the same regressions, of x - mean instead of x - centre."""
    table = np.zeros(len(tables.bias), np.int64)
    for number in range(len(tables.index)):
        table[np.unique(tables.index[number])] = number
    apart = (tables.mean - tables.centre)[table]
    weights = tables.weights + 2.0 * tables.squares * apart
    bias = tables.bias + (tables.weights * apart + tables.squares * apart**2).sum(axis=1)
    weights[0], bias[0] = 0.0, 0.0
    return weights, bias


class Graph:
    """Nodes and constants as they are asked for, named by number."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def raw(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node with several outputs."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def model(self, name: str, inputs: list[Any], outputs: list[Any], opset: int) -> Any:
        """The checked model."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="cellpulse"
        )
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model
