"""The SOH tables as an ONNX graph: a few gathers, products and comparisons a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.kernels.columns import SOH_BINS, SOH_WIDTH
from monitor.kernels.soh_state import SohCode
from training.dataset import C_MEAN, C_SPREAD, R60, START
from training.soh.tables import EDGES, HIGHEST_SOH, Tables

OPSET = 18
LARGE = np.float32(3e38)


def export(tables: Tables) -> bytes:
    """The model's bytes: x (n, SOH_WIDTH) float32 -> soh, low, high float32, state int64, (n,).

    Written for few nodes and little memory moved a row, since it runs on every sample: whatever
    depends on the window is gathered by the number of its regression, row 0 for none.
    """
    graph = Graph()
    n, const = graph.node, graph.constant
    f32 = np.float32
    axis = const(np.array([1], np.int64))
    count, width, factors = tables.loadings.shape
    weights, bias = _about_means(tables)
    table_of = _table_of_rows(tables)

    # Window start and end, table, and whether the resistance is known, as one flat index. In
    # floats: it stays far below 2**24. A known resistance is over 0, an unknown one -1.
    frame = n("Slice", "x", *(const(np.array([v], np.int64)) for v in (START, R60 + 1, 1)))
    frame = n("Max", frame, const(np.zeros((1, 4), f32)))
    largest = np.array([[SOH_BINS, SOH_BINS, count - 1, 1]], f32)
    frame = n("Ceil", n("Min", frame, const(largest)))
    strides = np.array([[EDGES, 1, 2 * EDGES * EDGES, EDGES * EDGES]], f32)
    flat = n("ReduceSum", n("Mul", frame, const(strides)), axis, keepdims=0)
    flat = n("Cast", flat, to=TensorProto.INT64)
    row = n("Gather", const(_index(tables).reshape(-1)), flat)
    table = n("Gather", const(table_of), row)

    # The regression, its weights moved to the factor model's means so that both share x - mean.
    limits = _limits(tables, table_of)
    likeness = tables.likeness.reshape(len(tables.likeness), factors * factors)
    parts = [bias[:, None], likeness, *limits]
    graph.raw(
        "Split",
        [
            n("Gather", const(np.hstack(parts).astype(f32)), row),
            const(np.array([part.shape[1] for part in parts], np.int64)),
        ],
        ["bias", "likeness", "lowest", "highest"],
        axis=1,
    )
    u = n("Sub", "x", n("Gather", const(tables.mean.astype(f32)), table))
    slope = n("Add", n("Gather", const(weights.astype(f32)), row),
              n("Mul", u, n("Gather", const(tables.squares.astype(f32)), row)))  # fmt: skip
    raw = n("Add", n("ReduceSum", n("Mul", u, slope), axis, keepdims=1), "bias")
    column = n("Clip", raw, const(f32(0.0)), const(f32(HIGHEST_SOH)))
    soh = n("Squeeze", column, axis, out="soh")
    half = n("Gather", const(tables.half.astype(f32)), row)
    n("Sub", soh, half, out="low")
    n("Add", soh, half, out="high")

    # How far from the training cells: |z|^2 - q' M q over the columns of the window.
    inverse_sd = tables.inverse_sd[table_of] * tables.seen
    z = n("Mul", u, n("Gather", const(inverse_sd.astype(f32)), row))
    # All tables' loadings at once, the others zeroed, then each product of two factors.
    wide = tables.loadings.transpose(1, 0, 2).reshape(width, count * factors).astype(f32)
    own = np.repeat(np.eye(count), factors, axis=1).astype(f32)
    q = n("Mul", n("MatMul", z, const(wide)), n("Gather", const(own), table))
    fold = np.tile(np.eye(factors), (count, 1))
    left = n("MatMul", q, const(np.repeat(fold, factors, axis=1).astype(f32)))
    right = n("MatMul", q, const(np.tile(fold, (1, factors)).astype(f32)))
    bent = n("Mul", n("Mul", left, right), "likeness")
    far = n("Sub", n("ReduceSumSquare", z, axis, keepdims=1),
            n("ReduceSum", bent, axis, keepdims=1))  # fmt: skip

    # Resistance, C-rate, the estimate itself and the distance outside their ranges.
    framing = n("Slice", "x", *(const(np.array([v], np.int64)) for v in (R60, SOH_WIDTH, 1)))
    framing = n("Concat", framing, column, far, axis=1)
    inside = n("Min", n("Max", framing, "lowest"), "highest")
    outside = n("ReduceSumSquare", n("Sub", framing, inside), axis, keepdims=0)
    answered = np.where(np.arange(len(bias)) == 0, SohCode.NOT_ENOUGH_SEEN, SohCode.OK).astype(
        np.int64
    )
    unlike = const(np.array(SohCode.UNLIKE_TRAINING, np.int64))
    n("Where", n("Greater", outside, const(f32(0.0))), unlike,
      n("Gather", const(answered), row), out="state")  # fmt: skip
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, ["n"]) for name in ("soh", "low", "high")]
    outputs.append(value("state", TensorProto.INT64, ["n"]))
    x = value("x", TensorProto.FLOAT, ["n", SOH_WIDTH])
    data: bytes = graph.model("soh", [x], outputs, OPSET).SerializeToString()
    return data


def _index(tables: Tables) -> NDArray[np.int64]:
    """(tables, 2, EDGES, EDGES) rows for a window as it comes, not yet cut to its table's bins."""
    out = np.zeros_like(tables.index)
    edges = np.arange(EDGES)
    for number, (first, last) in enumerate(zip(tables.first, tables.last, strict=True)):
        start, end = np.maximum(edges, first), np.minimum(edges, last)
        out[number] = tables.index[number][:, start[:, None], end]
    return out


def _table_of_rows(tables: Tables) -> NDArray[np.int64]:
    table = np.zeros(len(tables.bias), np.int64)
    for number in range(len(tables.index)):
        table[np.unique(tables.index[number])] = number
    table[0] = 0
    return table


def _limits(
    tables: Tables, table: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranges (rows, 5) of resistance, mean and spread of the C-rate, SOH, and the distance."""
    columns = [R60, C_MEAN, C_SPREAD]
    low = np.column_stack([tables.low[:, columns], tables.soh_low])[table]
    high = np.column_stack([tables.high[:, columns], tables.soh_high])[table]
    unknown = tables.seen[:, R60] == 0.0  # an unknown resistance is in any range
    low[unknown, 0], high[unknown, 0] = -np.inf, np.inf
    low = np.column_stack([low, np.full(len(low), -np.inf)])
    high = np.column_stack([high, tables.limit])
    low[0], high[0] = -np.inf, np.inf  # a row that is not answered is not unlike either
    return np.clip(low, -LARGE, LARGE), np.clip(high, -LARGE, LARGE)


def _about_means(tables: Tables) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and biases of the same regressions, of x - mean instead of x - centre."""
    apart = (tables.mean - tables.centre)[_table_of_rows(tables)]
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
        """A constant's name in the graph."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """A node's output's name."""
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
