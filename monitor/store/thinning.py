"""Fewer points for a plot without losing a peak or a gap; pure.

Of columns (a store's) or of rows (the page's, whose missing values are None). The page's own
script applies the same two rules to what it has drawn (`dashboard/assets/2-series.js`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Record = tuple[float | None, ...]  # a row: its time, ms, then values

SILENCE_MS = 600_000
SILENCE_STEPS = 20


def gaps(timestamp_ms: NDArray[np.int64], most: int, least_ms: int = 0) -> NDArray[np.int64]:
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


def with_gaps(
    timestamp_ms: NDArray[np.int64], table: NDArray[np.float64], most: int, least_ms: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows with one of NaN alone, 1 ms after the row before, wherever there is a gap."""
    at = gaps(timestamp_ms, most, least_ms)
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


def mark_gaps(rows: Sequence[Record], most: int) -> list[Record]:
    """The rows, with one that is empty but for its time wherever nothing was heard for long.

    The first value of a row is its time, ms. At most `most` are marked, the longest.
    """
    times = np.array([row[0] for row in rows], np.int64)
    out: list[Record] = []
    begin = 0
    for at in gaps(times, most).tolist():
        out.extend(rows[begin:at])
        out.append((int(times[at - 1]) + 1, *[None] * (len(rows[at]) - 1)))
        begin = at
    out.extend(rows[begin:])
    return out


def thin_rows(rows: Sequence[Record], limit: int, columns: Sequence[int]) -> Sequence[Record]:
    """At most about `limit` of the rows, in order: `keep_extremes` of some of their columns.

    Rows that are empty but for their time stay with their neighbours, of many those before the
    longest gaps: there a line is broken.
    """
    if len(rows) <= limit:
        return rows
    table = np.array(rows, np.float64)  # None becomes NaN
    marks = np.flatnonzero(np.isnan(table[:, 1:]).all(axis=1))
    if len(marks) > limit // 6:
        silent_ms = np.diff(table[:, 0], append=table[-1, 0])[marks]
        shorter = marks[np.argsort(-silent_ms, kind="stable")[limit // 6 :]]
        stay = np.setdiff1d(np.arange(len(table)), shorter)
    else:
        stay = np.arange(len(table))
    kept = keep_extremes([table[stay, column] for column in columns], limit)
    return [rows[index] for index in stay[kept].tolist()]
