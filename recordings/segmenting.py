"""Where one operation ends and the next begins, in a stream that does not say it.

A new operation begins where the cycle number changes, where the clock jumps by more than an hour,
or where the current changes its direction and then moves at least 1 % of the nominal capacity: a
regenerative pulse does not cut a discharge. Rests belong to what is before them. The cuts do not
depend on how the stream was read. An operation of more than 200,000 rows is cut there, so that a
file without any structure is never held whole; one of many cells after fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from recordings.types import MAX_VALUES, Floats, OperationKind

GAP_S = 3600.0
SMALLEST_MOVE = 0.01  # of the nominal capacity
REST_C_RATE = 0.005
MIXED_SHARE = 0.1
MOST_ROWS = 200_000
_FIRST_LOOK = 256

Batch = dict[str, Floats]


def segments(
    batches: Iterable[Batch], nominal_capacity_ah: float, values: int = 1
) -> Iterator[Batch]:
    """One operation after the other; columns `elapsed_s`, `current_a`, `cycle` are needed.

    `values` is how many a row has, which bounds the rows of an operation.
    """
    most = max(1, min(MOST_ROWS, MAX_VALUES // (4 * max(1, values))))
    held: Batch | None = None
    for batch in batches:
        if held is not None:
            batch = {name: np.concatenate([held[name], batch[name]]) for name in batch}
        elapsed_s, cycle = batch["elapsed_s"], batch["cycle"]
        jumps = np.flatnonzero((np.diff(elapsed_s) > GAP_S) | (np.diff(cycle) != 0)) + 1
        start = 0
        while (cut := _first_cut(batch, start, jumps, nominal_capacity_ah, most)) is not None:
            yield {name: column[start:cut] for name, column in batch.items()}
            start = cut
        held = {name: column[start:] for name, column in batch.items()}
    if held is not None and len(held["elapsed_s"]):
        yield held


def _first_cut(
    rows: Batch, start: int, jumps: NDArray[np.int64], nominal_capacity_ah: float, most: int
) -> int | None:
    """The row where the operation that begins at `start` is over, None if that is not in `rows`.

    `jumps` are the rows at which the clock or the cycle number jumped.
    """
    n = len(rows["elapsed_s"])
    limit = start + most if n - start > most else None
    place = int(np.searchsorted(jumps, start, side="right"))
    if place < len(jumps) and (limit is None or jumps[place] < limit):
        limit = int(jumps[place])
    end = n if limit is None else limit
    look = _FIRST_LOOK  # then twice as far, so that short operations cost no look at all the rest
    while True:
        near = slice(start, min(start + look, end))
        turn = _turn(rows["elapsed_s"][near], rows["current_a"][near], nominal_capacity_ah)
        if turn is not None:
            return start + turn
        if near.stop == end:
            return limit
        look *= 2


def moved_ah(elapsed_s: Floats, current_a: Floats) -> Floats:
    """Charge that each row's current moved since the row before, Ah; the first row moved none."""
    dt_h = np.nan_to_num(np.diff(elapsed_s, prepend=elapsed_s[:1])) / 3600
    return np.nan_to_num(current_a) * np.clip(dt_h, 0, GAP_S / 3600)


def kind_of(elapsed_s: Floats, current_a: Floats, nominal_capacity_ah: float) -> OperationKind:
    """What an operation is, by the charge that it moved each way."""
    moving = np.abs(current_a) > REST_C_RATE * nominal_capacity_ah
    if not moving.any():
        return "mixed" if np.isnan(current_a).all() else "rest"
    moved = moved_ah(elapsed_s, current_a)
    if not moved[moving].any():  # a single row
        return "charge" if np.nansum(current_a) > 0 else "discharge"
    charged, drawn = float(moved[moved > 0].sum()), float(-moved[moved < 0].sum())
    if min(charged, drawn) > MIXED_SHARE * max(charged, drawn):
        return "mixed"
    return "charge" if charged > drawn else "discharge"


def _turn(elapsed_s: Floats, current_a: Floats, nominal_capacity_ah: float) -> int | None:
    """The row where the current turned for good, or None."""
    moving = np.flatnonzero(np.abs(current_a) > REST_C_RATE * nominal_capacity_ah)
    if not len(moving):
        return None
    sign = np.sign(current_a[moving])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(sign)) + 1])
    if len(starts) == 1:
        return None
    charges = np.abs(np.add.reduceat(moved_ah(elapsed_s, current_a)[moving], starts))
    enough_ah = SMALLEST_MOVE * nominal_capacity_ah
    direction = 0.0
    for start, charge in zip(starts, charges, strict=True):
        if charge < enough_ah or sign[start] == direction:
            continue
        if direction:
            return int(moving[start])
        direction = sign[start]
    return None
