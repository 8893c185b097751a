"""What a journal holds of event time, and how two journals differ in it.

Left out is what depends on the wall clock: arrival times, ticks, refusals, the alarms `stale` and
`offline`. Results of models may differ by 1e-5, since batches are cut elsewhere; all else is equal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import RESULTS
from monitor.store.journal import connect

WALL_CLOCK_ALARMS = ("stale", "offline")
TOLERANCE = 1e-5
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The event-time rows of one journal."""

    telemetry: dict[Key, int]  # (asset, payload) -> how often
    order: dict[str, list[int]]  # asset -> timestamps as stored
    results: dict[Key, NDArray[np.float32]]  # (cells, RESULTS)
    cycles: dict[Key, dict[str, Any]]
    events: dict[Key, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How a journal differs from the one of an uninterrupted run."""

    rows: int  # of the uninterrupted run
    lost: int
    doubled: int
    unexpected: int
    disordered: int  # assets whose frames stand in another order
    results: int  # frames whose estimates differ
    largest: float  # difference of an estimate
    cycles: int  # missing, unexpected or different
    of_cycles: int
    events: int
    of_events: int

    @property
    def whole(self) -> bool:
        """Whether there is no difference."""
        bad = (
            self.lost, self.doubled, self.unexpected, self.disordered, self.results, self.cycles,
            self.events,
        )  # fmt: skip
        return not any(bad)


def read(store: Path) -> Rows:
    """The event-time rows of a journal file."""
    with closing(connect(store, read_only=True)) as db:
        frames = db.execute(
            "SELECT name, payload, timestamp_ms, result FROM input "
            "JOIN asset ON asset.id = asset_id WHERE kind = 0 ORDER BY input.id"
        ).fetchall()
        cycles = db.execute(
            "SELECT name, cell, kind, start_ms, summary, histogram FROM cycle "
            "JOIN asset ON asset.id = asset_id"
        ).fetchall()
        events = db.execute("SELECT record FROM event ORDER BY id").fetchall()
    order: dict[str, list[int]] = {}
    for name, _, timestamp_ms, _ in frames:
        order.setdefault(name, []).append(timestamp_ms)
    records = [json.loads(record) for (record,) in events]
    return Rows(
        telemetry=Counter((name, payload) for name, payload, _, _ in frames),
        order=order,
        results={
            (name, payload): np.frombuffer(result, np.float32).reshape(-1, RESULTS)
            for name, payload, _, result in frames
        },
        cycles={
            (name, cell, kind, start): json.loads(summary) | {"histogram": histogram.hex()}
            for name, cell, kind, start, summary, histogram in cycles
        },
        events={
            (one["event_id"],): one
            for one in records
            if one["alarm"]["code"] not in WALL_CLOCK_ALARMS
        },
    )


def compare(wanted: Rows, got: Rows) -> Difference:
    """How `got` differs from the uninterrupted run's rows."""
    largest = 0.0
    differing = 0
    for key, result in wanted.results.items():
        other = got.results.get(key)
        if other is None:
            continue
        if result.shape != other.shape or not np.array_equal(np.isnan(result), np.isnan(other)):
            differing += 1
            continue
        gap = float(np.nanmax(np.abs(result - other), initial=0.0))
        largest = max(largest, gap)
        differing += gap > TOLERANCE
    return Difference(
        rows=len(wanted.telemetry),
        lost=len(wanted.telemetry.keys() - got.telemetry.keys()),
        doubled=sum(count - 1 for count in got.telemetry.values()),
        unexpected=len(got.telemetry.keys() - wanted.telemetry.keys()),
        disordered=sum(
            stamps != got.order[name] for name, stamps in wanted.order.items() if name in got.order
        ),
        results=differing,
        largest=largest,
        cycles=count_differing(wanted.cycles, got.cycles),
        of_cycles=len(wanted.cycles),
        events=count_differing(wanted.events, got.events),
        of_events=len(wanted.events),
    )


def count_differing(wanted: Mapping[Key, Any], got: Mapping[Key, Any]) -> int:
    """How many entries are missing, unexpected, or different."""
    return sum(
        key not in wanted or key not in got or not _close(wanted[key], got[key])
        for key in wanted.keys() | got.keys()
    )


def _close(a: Any, b: Any) -> bool:
    """Equal, floats within the tolerance; sentences that quote a figure follow their figures."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(
            _close(value, b[key]) for key, value in a.items() if not key.startswith("message")
        )
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= TOLERANCE
    return bool(a == b)
