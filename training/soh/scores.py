"""What a SOH model is judged on: views of a cell, and its errors and intervals in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import MARKS, SOH_BINS
from monitor.kernels.soh_state import SohCode
from training.dataset import END, TABLE, HalfCycle, window_inputs
from training.soh.tables import MARKS_TABLE, TABLES_A_FAMILY
from training.soh.widths import COVERAGE

Floats = NDArray[np.float64]

WINDOW_MINUTES = 20.0
WINDOWS_A_CHARGE = 3
WINDOW_START_V = {"nasa": (3.82, 4.02), "calce": (3.70, 3.85)}
DISCHARGE_MINUTES = (2.0, 5.0, 20.0)


@dataclass(frozen=True, slots=True)
class Score:
    """How well one cell was told from one kind of view; errors in %SOH over answered rows."""

    cell: str
    view: str
    rows: int
    answered: float  # share of rows with state ok
    unlike: float  # share of rows flagged unlike the training data
    rmse: float | None
    mae: float | None
    worst: float | None
    coverage: float | None  # of the 90 % interval
    width: float | None  # mean, %SOH
    interval_score: float | None  # Gneiting and Raftery 2007, eq. 43, %SOH; smaller is better
    rmse_all: float | None = None  # had the rows flagged unlike been believed too
    seen: float | None = None  # mean share of the cycle's charge that had been seen


def usable(halves: Sequence[HalfCycle], kind: str) -> list[HalfCycle]:
    """The labelled half-cycles of a kind that the model has something to see of."""
    return [half for half in halves if half.kind == kind and half.usable and len(half.inputs)]


def views(
    halves: Sequence[HalfCycle], dataset: str, rng: np.random.Generator
) -> Iterator[tuple[str, Floats, Floats]]:
    """What the model is judged on, of one cell: name, rows (n, SOH_WIDTH), labels (n,)."""
    charges = usable(halves, "charge")
    labels = np.array([half.soh for half in charges])
    yield "whole charge", np.array([half.whole for half in charges], dtype=np.float64), labels
    low, high = WINDOW_START_V[dataset]
    name = f"{WINDOW_MINUTES:.0f} min of charge from {low:.2f}-{high:.2f} V"
    known, unknown, truth = random_windows(charges, low, high, rng)
    yield f"{name}, resistance known", known, truth
    yield f"{name}, joined in mid-charge", unknown, truth
    late, _, truth = random_windows(charges, 4.06, 4.2, rng)
    yield "window from 4.06 V or higher", late, truth
    discharges = usable(halves, "discharge")
    for minutes in DISCHARGE_MINUTES:
        rows, labels_ = [], []
        for half in discharges:
            seen = np.flatnonzero(half.time_s <= 60.0 * minutes)
            if len(seen):
                rows.append(half.inputs[seen[-1]])
                labels_.append(half.soh)
        yield (
            f"first {minutes:.0f} min of discharge",
            np.array(rows, dtype=np.float64),
            np.array(labels_),
        )


def random_windows(
    charges: Sequence[HalfCycle], low_v: float, high_v: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Windows of at most `WINDOW_MINUTES` that start at random instants between two voltages.

    Returns rows with the resistance from the charge's start, rows without it, and labels.
    """
    known, unknown, truth = [], [], []
    for half in charges:
        starts = np.flatnonzero((half.voltage_v >= low_v) & (half.voltage_v < high_v))
        starts = starts[(starts > 0) & (starts < len(half.time_s) - 1)]
        for start in rng.choice(starts, WINDOWS_A_CHARGE) if len(starts) else ():
            until = half.time_s[start] + 60.0 * WINDOW_MINUTES
            last = int(np.flatnonzero(half.time_s <= until)[-1])
            known.append(window_inputs(half, int(start), last, resistance=True))
            unknown.append(window_inputs(half, int(start), last, resistance=False))
            truth.append(half.soh)
    return (
        np.array(known, dtype=np.float64),
        np.array(unknown, dtype=np.float64),
        np.array(truth),
    )


Answer = Callable[[Floats], tuple[Any, Any, Any, Any]]  # rows -> soh, low, high, state


def score(cell: str, view: str, answer: Answer, x: Floats, y: Floats) -> Score:
    """One line of the table."""
    soh, low, high, state = (np.asarray(part) for part in answer(x))
    ok = state == SohCode.OK
    unlike = float(np.mean(state == SohCode.UNLIKE_TRAINING))
    told = state != SohCode.NOT_ENOUGH_SEEN
    error_all = 100.0 * (soh - y)[told]
    rmse_all = float(np.sqrt(np.mean(error_all**2))) if told.any() else None
    if not ok.any():
        return Score(
            cell, view, len(y), 0.0, unlike, None, None, None, None, None, None, rmse_all,
            share_seen(x, y),
        )  # fmt: skip
    error = 100.0 * (soh - y)[ok]
    inside = ((y >= low) & (y <= high))[ok]
    width = 100.0 * (high - low)[ok]
    miss = 100.0 * (np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0))[ok]
    return Score(
        cell,
        view,
        len(y),
        float(np.mean(ok)),
        unlike,
        float(np.sqrt(np.mean(error**2))),
        float(np.mean(np.abs(error))),
        float(np.max(np.abs(error))),
        float(np.mean(inside)),
        float(np.mean(width)),
        float(np.mean(width + 2.0 / (1.0 - COVERAGE) * miss)),
        rmse_all,
        share_seen(x, y),
    )


def share_seen(x: Floats, y: Floats) -> float:
    """The charge in the rows' bins over the cell's capacity, mean: how much of a cycle was seen."""
    by_marks = x[:, TABLE] % TABLES_A_FAMILY == MARKS_TABLE
    mark = np.clip(x[:, END].astype(np.int64) // 2 - 1, 0, len(MARKS) - 1)
    charge = np.where(by_marks, np.array(MARKS)[mark], x[:, :SOH_BINS].sum(axis=1))
    return float(np.mean(charge / y))


def table_text(scores: Sequence[dict[str, object]]) -> str:
    """Scores as an aligned table for people."""
    names = ("cell", "view", "seen", "rows", "answered", "unlike", "rmse", "mae", "worst",
             "coverage", "width")  # fmt: skip
    lines = [names, *(tuple(_cell(line[name]) for name in names) for line in scores)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    return "\n".join(
        "  ".join(
            value.ljust(width) if i < 2 else value.rjust(width)
            for i, (value, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
