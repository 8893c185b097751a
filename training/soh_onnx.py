"""The SOH tables as an ONNX graph: three gathers, a product and a few comparisons a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.features import SOH_BINS, SOH_WIDTH
from training.dataset import C_MEAN, C_SPREAD, END, R60, START, TABLE
from training.soh_windows import EDGES, HIGHEST_SOH, NOT_ENOUGH, UNLIKE, Tables

OPSET = 17
LARGE = np.float32(3e38)


def export(tables: Tables) -> bytes:
    """The model's bytes: x (n, SOH_WIDTH) float32 -> soh, low, high float32, state int64, (n,)."""
    graph = Graph()
    n = graph.node
    const = graph.constant
    f32 = np.float32

    def column(index: int) -> str:
        return n("Gather", "x", const(np.array(index, np.int64)), axis=1)

    table = n("Cast", column(TABLE), to=TensorProto.INT64)
    first = n("Gather", const(tables.first.astype(f32)), table)
    last = n("Gather", const(tables.last.astype(f32)), table)
    start = n("Min", n("Max", column(START), first), const(f32(SOH_BINS)))
    end = n("Max", n("Min", column(END), last), const(f32(0.0)))
    known = n("GreaterOrEqual", column(R60), const(f32(0.0)))

    # One flat index, in floats: it stays far below 2**24.
    cell = n("Add", n("Mul", n("Cast", table, to=TensorProto.FLOAT), const(f32(2.0))),
             n("Cast", known, to=TensorProto.FLOAT))  # fmt: skip
    cell = n("Add", n("Mul", cell, const(f32(EDGES))), start)
    cell = n("Add", n("Mul", cell, const(f32(EDGES))), end)
    flat = n("Cast", cell, to=TensorProto.INT64)
    row = n("Gather", const(tables.index.reshape(-1).astype(np.int64)), flat)

    u = n("Sub", "x", n("Gather", const(tables.centre.astype(f32)), table))
    slope = n("Add", n("Gather", const(tables.weights.astype(f32)), row),
              n("Mul", u, n("Gather", const(tables.squares.astype(f32)), row)))  # fmt: skip
    products = n("Mul", u, slope)
    dot = n("ReduceSum", products, const(np.array([1], np.int64)), keepdims=0)
    raw = n("Add", dot, n("Gather", const(tables.bias.astype(f32)), row))
    soh = n("Clip", raw, const(f32(0.0)), const(f32(HIGHEST_SOH)), out="soh")
    half = n("Gather", const(tables.half.astype(f32)), row)
    n("Sub", soh, half, out="low")
    n("Add", soh, half, out="high")

    bins = const(np.arange(SOH_WIDTH, dtype=f32)[None, :])
    axis = const(np.array([1], np.int64))
    inside = n("And", n("GreaterOrEqual", bins, n("Unsqueeze", start, axis)),
               n("Less", bins, n("Unsqueeze", end, axis)))  # fmt: skip
    is_resistance = np.arange(SOH_WIDTH)[None, :] == R60
    seen = n("Or", inside, n("And", const(is_resistance), n("Unsqueeze", known, axis)))
    z = n("Mul", n("Sub", "x", n("Gather", const(tables.mean.astype(f32)), table)),
          n("Gather", const(tables.inverse_sd.astype(f32)), table))  # fmt: skip
    z = n("Where", seen, z, const(f32(0.0)))
    # The loadings of all tables at once, then the row's own: cheaper than gathering them.
    count, width, factors = tables.loadings.shape
    wide = tables.loadings.transpose(1, 0, 2).reshape(width, count * factors).astype(f32)
    own = n("Gather", const(np.eye(count, dtype=f32)[:, :, None]), table)
    every = n("Reshape", n("MatMul", z, const(wide)), const(np.array([-1, count, factors])))
    q = n("ReduceSum", n("Mul", every, own), axis, keepdims=1)
    bent = n("MatMul", q, n("Gather", const(tables.likeness.astype(f32)), row))
    explained = n("ReduceSum", n("Mul", bent, q), const(np.array([1, 2], np.int64)), keepdims=0)
    far = n("Sub", n("ReduceSum", n("Mul", z, z), axis, keepdims=0), explained)
    unlike = n("Greater", far, n("Gather", const(tables.limit.astype(f32)), row))

    def out_of_range(index: int) -> str:
        low, high = (
            const(np.clip(v[:, index], -LARGE, LARGE).astype(f32))
            for v in (tables.low, tables.high)
        )
        value = column(index)
        return n("Or", n("Less", value, n("Gather", low, table)),
                 n("Greater", value, n("Gather", high, table)))  # fmt: skip

    for reason in (
        out_of_range(C_MEAN),
        out_of_range(C_SPREAD),
        n("And", out_of_range(R60), known),
        n("Less", soh, n("Gather", const(tables.soh_low.astype(f32)), table)),
        n("Greater", soh, n("Gather", const(tables.soh_high.astype(f32)), table)),
    ):
        unlike = n("Or", unlike, reason)
    unanswered = n("Equal", row, const(np.array(0, np.int64)))
    state = n("Mul", n("Cast", unlike, to=TensorProto.INT64), const(np.array(UNLIKE, np.int64)))
    n("Where", unanswered, const(np.array(NOT_ENOUGH, np.int64)), state, out="state")
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("soh", "low", "high")]
    outputs.append(value("state", TensorProto.INT64, ["n"]))
    x = value("x", TensorProto.FLOAT, ["n", SOH_WIDTH])
    data: bytes = graph.model("soh", [x], outputs, OPSET).SerializeToString()
    return data


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
