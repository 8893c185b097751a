"""Fewer points of a trace, with every peak and every silence kept; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.store import thinning

Record = tuple[float | None, ...]


def mark_silences(rows: Sequence[Record], most: int) -> list[Record]:
    """The rows, with one that is empty but for its time wherever nothing was heard for long.

    The first value of a row is its time, ms. At most `most` are marked, the longest.
    """
    times = np.array([row[0] for row in rows], np.int64)
    out: list[Record] = []
    begin = 0
    for at in thinning.silences(times, most).tolist():
        out.extend(rows[begin:at])
        out.append((int(times[at - 1]) + 1, *[None] * (len(rows[at]) - 1)))
        begin = at
    out.extend(rows[begin:])
    return out


def keep_extremes(rows: Sequence[Record], limit: int, columns: Sequence[int]) -> Sequence[Record]:
    """At most about `limit` of the rows, in order: `monitor.store.thinning.keep_extremes` of rows.

    Rows that are empty but for their time stay with their neighbours, of many those before the
    longest silences: there a line is broken.
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
    kept = thinning.keep_extremes([table[stay, column] for column in columns], limit)
    return [rows[index] for index in stay[kept].tolist()]
