"""Fewer points of a trace, with every peak kept; pure."""

from __future__ import annotations

from collections.abc import Sequence

Record = tuple[float | None, ...]


def keep_extremes(rows: Sequence[Record], limit: int, columns: Sequence[int]) -> Sequence[Record]:
    """At most about `limit` of the rows, in order, with each stretch's extremes of the columns.

    The rows are cut into equal stretches; of each, the rows holding the smallest and the largest
    value of every named column stay, and the first and the last row of all. (Min-max
    down-sampling; Jugel et al., M4, 2014, keeps the stretch's ends too.)
    """
    if len(rows) <= limit:
        return rows
    stretches = max(1, limit // (2 * len(columns)))
    kept = {0, len(rows) - 1}
    for stretch in range(stretches):
        begin = stretch * len(rows) // stretches
        end = (stretch + 1) * len(rows) // stretches
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
