"""The one question that pages and reports ask of a store: what happened to this cell, when.

Every store implements `History`; one contract suite runs on all of them. Methods block: call them
from a thread. Times are event time, milliseconds UTC, both ends included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.contract import AssetConfig, CycleSummary, Event, sensor_of_cell

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
QUANTITIES = (
    "voltage_v", "current_a", "temperature_c", "ambient_c", "soc", "soh", "soh_low", "soh_high",
    "resistance_ohm", "thermal_score", "excess_heat_w",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredAsset:
    """An asset that the store has seen, with its newest config and the span of its frames."""

    name: str
    config: AssetConfig | None
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One cell over time: equally long arrays, NaN where a value is missing.

    soc, soh, soh_low and soh_high are fractions; thermal_score is 1 at the alarm threshold.
    """

    timestamp_ms: NDArray[np.int64]
    voltage_v: Floats
    current_a: Floats
    temperature_c: Floats
    ambient_c: Floats
    soc: Floats
    soh: Floats
    soh_low: Floats
    soh_high: Floats
    resistance_ohm: Floats
    thermal_score: Floats
    excess_heat_w: Floats

    def __len__(self) -> int:
        return len(self.timestamp_ms)

    def table(self) -> Floats:
        """The values as (rows, quantities), a column for each of `QUANTITIES`."""
        return np.stack([getattr(self, name) for name in QUANTITIES], axis=1)


def trace_of(timestamp_ms: Times, table: Floats) -> Trace:
    """A trace from its times and a table with a column for each of `QUANTITIES`."""
    return Trace(timestamp_ms, *(table[:, k] for k in range(len(QUANTITIES))))


def empty_trace() -> Trace:
    """A trace without rows."""
    return trace_of(np.empty(0, np.int64), np.empty((0, len(QUANTITIES))))


def stretches(first_ms: Times, last_ms: Times, low: Floats, high: Floats) -> Trace:
    """A trace of stretches of time of which the smallest and largest values are known.

    A stretch becomes two rows, its smallest values at its first time and its largest at its last;
    one row where both are the same instant.
    """
    two = last_ms > first_ms
    times = np.concatenate([first_ms, last_ms[two]])
    order = np.argsort(times, kind="stable")
    return trace_of(times[order], np.concatenate([low, high[two]])[order])


def sensor_of(config: AssetConfig | None, sensors: int, cell: int, cells: int) -> int:
    """The index of the sensor that watches a cell, -1 for none; shared evenly without a config."""
    if config is None:
        return cell * sensors // max(1, cells) if sensors else -1
    return sensor_of_cell(config, sensors)[cell] if cell < config.cells else -1


class History(Protocol):
    """What a store answers. Every method raises StoreError where the store cannot."""

    def assets(self) -> Sequence[StoredAsset]:
        """Every asset seen, by name."""
        ...

    def trace(
        self, asset: str, cell: int, start_ms: int, end_ms: int, points: int = 2_000
    ) -> Trace:
        """Cell number `cell` (from 0) of an asset, thinned to about `points` rows.

        Thinning keeps the smallest and the largest voltage, current, temperature and score of
        each stretch, so that peaks survive; of a long or old time the store may know no more than
        these, and then gives them at the ends of their stretch. Where nothing was heard for over
        ten minutes and 20 usual steps, a row of NaN alone stands: the spacing of rows that were
        thinned does not tell it. An unknown asset gives an empty trace.
        """
        ...

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
        """The newest finished charges and discharges of a cell, oldest first."""
        ...

    def histograms(
        self, asset: str, cell: int, limit: int = 1_000
    ) -> Sequence[tuple[int, str, NDArray[np.float32]]]:
        """Start, kind and incremental-capacity histogram of the newest half-cycles, oldest first.

        A histogram is Ah per 10 mV from 2.70 V.
        """
        ...

    def events(
        self, asset: str | None = None, limit: int = 200, *, members: bool = True
    ) -> Sequence[Event]:
        """The newest alarm transitions, newest first by event time; then the one that came last.

        Without `members`, those that a grouped alarm speaks for are left out.
        """
        ...
