"""The shipped SOH model as arrays: which window is answered by which regression, and its answer.

All of it is float64 NumPy: `Tables.predict` is the reference that the ONNX export must equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import SOH_BINS, SOH_WIDTH
from monitor.kernels.soh_state import SohCode
from training.dataset import C_MEAN, C_SPREAD, END, R60, START, TABLE
from training.soh.likeness import FACTORS, Likeness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EDGES = SOH_BINS + 1
USED = np.append(np.arange(SOH_BINS), R60)  # the columns that a regression may look at
COLUMNS = len(USED)
WIDEST_HALF = 0.08  # an interval wider than +-8 %SOH is no estimate
HIGHEST_SOH = 1.5  # an estimate is clipped to 0..HIGHEST_SOH
TABLES_A_FAMILY = 3  # charge, discharge by its bins, and by its marks
MARKS_TABLE = 2


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How one table is fitted. Windows are clamped to [first, last), bins of the kernel's row."""

    table: int
    name: str
    bin_v: float
    first: int
    last: int
    latest_start: int  # windows that start here or later are not answered
    shortest: int = 2  # bins
    discharge: bool = False
    relative: bool = False  # bins counted down from the first voltage under load, not by voltage
    marks: bool = False  # columns are drops and log steps in turn, not bins
    step: int = 1  # bins between the windows fitted; one in between is answered by the next inside


@dataclass(frozen=True, slots=True)
class WindowFit:
    """One regression: SOH = [u, u^2] @ weights + bias, +- half."""

    weights: Floats  # (2 * COLUMNS,)
    bias: float
    half: float


Fits = dict[tuple[int, int], WindowFit]


@dataclass(frozen=True, slots=True)
class TableFit:
    """One table: its fits without and with resistance, and what it holds for plausible."""

    spec: TableSpec
    without: Fits
    known: Fits
    centre: Floats  # (SOH_WIDTH,)
    likeness: Likeness
    low: Floats
    high: Floats
    soh_low: float
    soh_high: float


@dataclass(slots=True)
class Tables:
    """The whole model as arrays; row 0 answers nothing."""

    index: Ints  # (tables, 2, EDGES, EDGES): table, resistance known, start, end -> row
    centre: Floats  # (tables, SOH_WIDTH): u = x - centre
    weights: Floats  # (rows, SOH_WIDTH), of u
    squares: Floats  # (rows, SOH_WIDTH), of u squared
    bias: Floats  # (rows,)
    half: Floats  # (rows,)
    seen: Floats  # (rows, SOH_WIDTH): 1 where a column lies in the row's window, else 0
    first: Ints  # (tables,)
    last: Ints  # (tables,)
    low: Floats  # (tables, SOH_WIDTH): the plausible range of resistance and C-rate
    high: Floats  # (tables, SOH_WIDTH)
    soh_low: Floats  # (tables,)
    soh_high: Floats  # (tables,)
    mean: Floats  # (tables, SOH_WIDTH), and so on: the factor model of `soh_likeness`
    inverse_sd: Floats  # (tables, SOH_WIDTH)
    loadings: Floats  # (tables, SOH_WIDTH, FACTORS)
    likeness: Floats  # (rows, FACTORS, FACTORS): M of the row's window
    limit: Floats  # (rows,): the largest plausible distance

    def predict(self, x: NDArray[np.floating]) -> tuple[Floats, Floats, Floats, Ints]:
        """SOH, low, high (n,) and state (n,) for rows (n, SOH_WIDTH)."""
        x = np.asarray(x, dtype=np.float64)
        table = x[:, TABLE].astype(np.int64)
        start = np.minimum(np.maximum(x[:, START], self.first[table]), SOH_BINS).astype(np.int64)
        end = np.maximum(np.minimum(x[:, END], self.last[table]), 0).astype(np.int64)
        known = (x[:, R60] > 0.0).astype(np.int64)
        row = self.index[table, known, start, end]
        u = x - self.centre[table]
        soh = (u * (self.weights[row] + u * self.squares[row])).sum(axis=1) + self.bias[row]
        soh = np.clip(soh, 0.0, HIGHEST_SOH)
        half = self.half[row]
        outside = (x < self.low[table]) | (x > self.high[table])
        z = (x - self.mean[table]) * self.inverse_sd[table] * self.seen[row]
        q = np.einsum("ni,nik->nk", z, self.loadings[table])
        far = (z * z).sum(axis=1) - np.einsum("nk,nkl,nl->n", q, self.likeness[row], q)
        unlike = (
            (far > self.limit[row])
            | (outside[:, C_MEAN])
            | (outside[:, C_SPREAD])
            | (outside[:, R60] & (known == 1))
            | (soh < self.soh_low[table])
            | (soh > self.soh_high[table])
        )
        state = np.where(
            row == 0, SohCode.NOT_ENOUGH_SEEN, np.where(unlike, SohCode.UNLIKE_TRAINING, SohCode.OK)
        )
        return soh, soh - half, soh + half, state


def clamped(spec: TableSpec, x: Floats) -> tuple[Ints, Ints]:
    """The window of each row as the table sees it."""
    start = np.minimum(np.maximum(x[:, START], spec.first), SOH_BINS).astype(np.int64)
    return start, np.minimum(x[:, END], spec.last).astype(np.int64)


def _answer_between_inplace(index: Ints, spec: TableSpec) -> None:
    """Let a window that was not fitted be answered by the widest fitted one inside it."""
    fitted = index.copy()
    for start in range(spec.first, EDGES):
        inner = spec.first + -(-(start - spec.first) // spec.step) * spec.step
        for end in range(start + spec.shortest, spec.last + 1):
            outer = spec.last
            if end < spec.last:
                outer = spec.first + (end - spec.first) // spec.step * spec.step
            if start < spec.latest_start and inner < EDGES:
                index[start, end] = fitted[inner, outer]


def assemble(fits: Sequence[TableFit], tables: int) -> Tables:
    """The model's arrays. A window whose interval would be wider than `WIDEST_HALF` stays out."""
    index = np.zeros((tables, 2, EDGES, EDGES), np.int64)
    weights, squares, bias, half = [np.zeros(SOH_WIDTH)], [np.zeros(SOH_WIDTH)], [0.0], [0.0]
    seen = [np.zeros(SOH_WIDTH)]
    likeness, limit = [np.zeros((FACTORS, FACTORS))], [0.0]
    model = Tables(
        index=index,
        centre=np.zeros((tables, SOH_WIDTH)),
        weights=np.zeros((1, SOH_WIDTH)),
        squares=np.zeros((1, SOH_WIDTH)),
        bias=np.zeros(1),
        half=np.zeros(1),
        seen=np.zeros((1, SOH_WIDTH)),
        first=np.zeros(tables, np.int64),
        last=np.full(tables, SOH_BINS),
        low=np.full((tables, SOH_WIDTH), -np.inf),
        high=np.full((tables, SOH_WIDTH), np.inf),
        soh_low=np.zeros(tables),
        soh_high=np.full(tables, 2.0),
        mean=np.zeros((tables, SOH_WIDTH)),
        inverse_sd=np.zeros((tables, SOH_WIDTH)),
        loadings=np.zeros((tables, SOH_WIDTH, FACTORS)),
        likeness=np.zeros((1, FACTORS, FACTORS)),
        limit=np.zeros(1),
    )
    for table in fits:
        spec = table.spec
        for known, found in enumerate((table.without, table.known)):
            for (start, end), fit in found.items():
                if not fit.half <= WIDEST_HALF:
                    continue
                index[spec.table, known, start, end] = len(bias)
                for kept, part in (
                    (weights, fit.weights[:COLUMNS]),
                    (squares, fit.weights[COLUMNS:]),
                ):
                    line = np.zeros(SOH_WIDTH)
                    line[USED] = part
                    kept.append(line)
                bias.append(fit.bias)
                half.append(fit.half)
                own = np.zeros(SOH_WIDTH)
                own[start:end], own[R60] = 1.0, known
                seen.append(own)
                likeness.append(table.likeness.model.weights(start, end, bool(known)))
                limit.append(table.likeness.limit(start, end, bool(known)))
            _answer_between_inplace(index[spec.table, known], spec)
        model.first[spec.table], model.last[spec.table] = spec.first, spec.last
        model.centre[spec.table] = table.centre
        factors = table.likeness.model
        model.mean[spec.table], model.inverse_sd[spec.table] = factors.mean, factors.inverse_sd
        model.loadings[spec.table] = factors.loadings
        model.low[spec.table], model.high[spec.table] = table.low, table.high
        model.soh_low[spec.table] = table.soh_low
        model.soh_high[spec.table] = table.soh_high
    model.weights, model.squares = np.array(weights), np.array(squares)
    model.bias, model.half, model.seen = np.array(bias), np.array(half), np.array(seen)
    model.likeness, model.limit = np.array(likeness), np.array(limit)
    return model
