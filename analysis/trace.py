"""The life of a recorded battery as the page draws it: thinned, its peaks and its heat kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from monitor.contract import Frame, as_list
from monitor.dashboard.analysis import AnalysedTrace, Segment
from monitor.kernels.columns import Result
from monitor.store.thinning import Record, mark_silences, thin_rows

KEPT_PER_BATCH = 120
POINTS = 4_000
COLUMNS = (1, 2, 3, 4)  # of a record, whose peaks are kept
DETAIL_ROWS = 200_000  # kept of stretches of heat beyond that, so that they can be looked into
DETAIL_POINTS = 300  # of each stretch on the page
DETAIL_SEGMENTS = 50
NEAR_ROWS = 120  # before and behind a hot sample


class TraceMaker:
    """Takes a recording's frames with their result rows; bounded, however many come."""

    def __init__(self) -> None:
        self._kept: list[Record] = []
        self._detail: list[Record] = []
        self._last: list[Record] = []  # the row before a batch: a silence may lie between

    def take(self, frames: Sequence[Frame], rows: Sequence[Any], hot: list[int]) -> None:
        """A batch; `hot` are the places of its frames in a stretch of heat."""
        records = [_record(frame, row) for frame, row in zip(frames, rows, strict=True)]
        if len(self._detail) < DETAIL_ROWS:
            self._detail.extend(_around(records, hot))
        marked = mark_silences([*self._last, *records], KEPT_PER_BATCH // 6)[len(self._last) :]
        self._last = records[-1:]
        self._kept.extend(thin_rows(marked, KEPT_PER_BATCH, columns=COLUMNS))

    @property
    def temperature_max_c(self) -> float | None:
        """The hottest sensor's maximum, None where none was read."""
        return self._largest(3)

    @property
    def score_max(self) -> float | None:
        """The highest thermal score, None where none was given."""
        return self._largest(4)

    def trace(self, segments: Sequence[Segment]) -> AnalysedTrace:
        """The whole trace, with more rows of the stretches of heat."""
        whole = thin_rows(self._kept, POINTS, columns=COLUMNS)
        records = _with_detail(whole, self._detail, segments)
        return AnalysedTrace(
            ts=[int(record[0] or 0) for record in records],
            v=[record[1] for record in records],
            i=[record[2] for record in records],
            t=[record[3] for record in records],
            score=[record[4] for record in records],
        )

    def _largest(self, column: int) -> float | None:
        values = [value for record in self._kept if (value := record[column]) is not None]
        return max(values, default=None)


def _record(frame: Frame, row: Any) -> Record:
    """Event time, V of the first cell, A, the hottest sensor's °C, the highest thermal score."""
    voltages = as_list(frame.voltage_v)
    warm = [value for value in as_list(frame.temperature_c) if value is not None]
    scores = [] if row is None else [s for s in row[:, Result.THERMAL_SCORE].tolist() if s == s]
    return (
        frame.timestamp_ms,
        voltages[0] if voltages else None,
        frame.current_a,
        max(warm, default=None),
        round(max(scores), 4) if scores else None,
    )


def _around(records: list[Record], hot: list[int]) -> list[Record]:
    """The records at the places `hot` and some before and behind them, each once, in order."""
    if not hot:
        return []
    near = np.zeros(len(records) + 1, np.int64)
    places = np.array(hot)
    np.add.at(near, np.maximum(places - NEAR_ROWS, 0), 1)
    np.add.at(near, np.minimum(places + NEAR_ROWS + 1, len(records)), -1)
    return [records[k] for k in np.flatnonzero(np.cumsum(near[:-1])).tolist()]


def _with_detail(
    trace: Sequence[Record], detail: list[Record], segments: Sequence[Segment]
) -> list[Record]:
    """The trace with more rows of the stretches of heat, so that one can look into them."""
    more: dict[float | None, Record] = {}
    times = np.array([record[0] for record in detail], np.int64)
    for segment in segments[:DETAIL_SEGMENTS]:
        pad = max(60_000, (segment.end_ms - segment.start_ms) // 2)
        first, last = np.searchsorted(times, (segment.start_ms - pad, segment.end_ms + pad))
        part = thin_rows(detail[first:last], DETAIL_POINTS, columns=COLUMNS)
        more.update((record[0], record) for record in part)
    more.update((record[0], record) for record in trace)
    return [more[time] for time in sorted(more)]  # type: ignore[type-var]
