"""Fewer points of a trace, with every peak and every silence kept; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monitor.store.thinning import silences

Record = tuple[float | None, ...]


def mark_silences(rows: Sequence[Record], most: int) -> list[Record]:
    """The rows, with one that is empty but for its time wherever nothing was heard for long.

    The first value of a row is its time, ms. At most `most` are marked, the longest.
    """
    times = np.array([row[0] for row in rows], np.int64)
    out: list[Record] = []
    begin = 0
    for at in silences(times, most).tolist():
        out.extend(rows[begin:at])
        out.append((int(times[at - 1]) + 1, *[None] * (len(rows[at]) - 1)))
        begin = at
    out.extend(rows[begin:])
    return out


def keep_extremes(rows: Sequence[Record], limit: int, columns: Sequence[int]) -> Sequence[Record]:
    """At most about `limit` of the rows, in order, with each stretch's extremes of the columns.

    The rows are cut into equal stretches; of each, the first row, the last, and those holding the
    smallest and the largest value of every named column stay (M4; Jugel et al., 2014). Rows that
    are empty but for their time stay with their neighbours, of many those before the longest
    silences: there a line is broken.
    """
    if len(rows) <= limit:
        return rows
    empty = [all(value is None for value in row[1:]) for row in rows]
    marks = [k for k, mark in enumerate(empty) if mark and not (k and empty[k - 1])]
    if len(marks) > limit // 6:
        behind = [*(row[0] or 0 for row in rows[1:]), rows[-1][0] or 0]
        marks = sorted(marks, key=lambda k: (rows[k][0] or 0) - behind[k])[: limit // 6]
    stretches = max(1, (limit - 3 * len(marks)) // (2 * len(columns) + 2))
    kept = {0, len(rows) - 1}
    for mark in marks:
        kept.update((max(0, mark - 1), mark, min(len(rows) - 1, mark + 1)))
    for stretch in range(stretches):
        begin = stretch * len(rows) // stretches
        end = (stretch + 1) * len(rows) // stretches
        kept.update((begin, end - 1))
        for column in columns:
            lowest = highest = -1
            low = high = 0.0
            for index in range(begin, end):
                value = rows[index][column]
                if value is None:
                    continue
                if lowest < 0 or value < low:
                    lowest, low = index, value
                if highest < 0 or value > high:
                    highest, high = index, value
            if lowest >= 0:
                kept.update((lowest, highest))
    return [rows[index] for index in sorted(kept)]
