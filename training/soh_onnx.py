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
    graph = _Graph()
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

    low = n("Gather", const(np.clip(tables.low, -LARGE, LARGE).astype(f32)), table)
    high = n("Gather", const(np.clip(tables.high, -LARGE, LARGE).astype(f32)), table)
    outside = n("Or", n("Less", "x", low), n("Greater", "x", high))
    bins = const(np.arange(SOH_WIDTH, dtype=f32)[None, :])
    axis = const(np.array([1], np.int64))
    inside = n("And", n("GreaterOrEqual", bins, n("Unsqueeze", start, axis)),
               n("Less", bins, n("Unsqueeze", end, axis)))  # fmt: skip
    count = n("ReduceSum", n("Cast", n("And", outside, inside), to=TensorProto.FLOAT), axis,
              keepdims=0)  # fmt: skip
    most = n("Gather", const(tables.most_outside.astype(f32)), table)
    allowed = n("Mul", n("Max", n("Sub", end, start), const(f32(1.0))), most)

    def out_of_range(index: int) -> str:
        return n("Gather", outside, const(np.array(index, np.int64)), axis=1)

    unlike = n("Greater", count, allowed)
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
    return graph.serialised()


class _Graph:
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

    def serialised(self) -> bytes:
        value = helper.make_tensor_value_info
        outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("soh", "low", "high")]
        outputs.append(value("state", TensorProto.INT64, ["n"]))
        graph = helper.make_graph(
            self._nodes,
            "soh",
            [value("x", TensorProto.FLOAT, ["n", SOH_WIDTH])],
            outputs,
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cellpulse"
        )
        model.ir_version = 8
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data
