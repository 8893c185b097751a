"""Fewer points for a plot without losing a peak or a silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SILENCE_MS = 600_000
SILENCE_STEPS = 20


def silences(timestamp_ms: NDArray[np.int64], most: int, least_ms: int = 0) -> NDArray[np.int64]:
    """Rows before which nothing was heard for long, in order; of more than `most` the longest.

    Long is 10 minutes, 20 usual steps and `least_ms`. It is told before rows are left out: the
    spacing of those that are kept says nothing.
    """
    steps = np.diff(timestamp_ms)
    if not len(steps):
        return np.empty(0, np.int64)
    limit = max(SILENCE_MS, least_ms, SILENCE_STEPS * float(np.median(steps)))
    found = np.flatnonzero(steps > limit) + 1
    if len(found) > most:
        found = np.sort(found[np.argsort(-steps[found - 1], kind="stable")[: max(0, most)]])
    return found


def with_silences(
    timestamp_ms: NDArray[np.int64], table: NDArray[np.float64], most: int, least_ms: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows with one of NaN alone, 1 ms after the row before, wherever there is a silence."""
    at = silences(timestamp_ms, most, least_ms)
    if not len(at):
        return timestamp_ms, table
    return np.insert(timestamp_ms, at, timestamp_ms[at - 1] + 1), np.insert(table, at, np.nan, 0)


def keep_extremes(series: Sequence[NDArray[np.float64]], points: int) -> NDArray[np.int64]:
    """Indices, in order, of at most about `points` rows of equally long series.

    The rows are cut into stretches; each stretch keeps its first row, its last, and where each
    series is smallest and largest (M4; Jugel et al., 2014). NaN is passed over, but rows of NaN
    alone stay, with their neighbours: there a line is broken.
    """
    n = len(series[0]) if series else 0
    if n <= points:
        return np.arange(n)
    empty = np.logical_and.reduce([np.isnan(values) for values in series])
    marks = np.flatnonzero(empty & ~np.concatenate([[False], empty[:-1]]))[: points // 6]
    per_stretch = 2 * len(series) + 2
    stretches = max(1, (points - 3 * len(marks)) // per_stretch)
    edges = np.linspace(0, n, stretches + 1).astype(np.int64)
    starts = edges[:-1]
    stretch = np.repeat(np.arange(stretches), np.diff(edges))
    around = np.clip(np.concatenate([marks - 1, marks, marks + 1]), 0, n - 1)
    kept = [starts, edges[1:] - 1, around]
    for values in series:
        known = ~np.isnan(values)
        for extremes in (np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)):
            there = np.flatnonzero(known & (values == extremes[stretch]))
            kept.append(there[np.unique(stretch[there], return_index=True)[1]])
    return np.unique(np.concatenate(kept))
