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

from monitor.contract import AssetConfig, CycleSummary, Event

Floats = NDArray[np.float64]


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
        each stretch, so that peaks survive. An unknown asset gives an empty trace.
        """
        ...

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
        """The newest finished charges and discharges of a cell, oldest first."""
        ...

    def events(
        self, asset: str | None = None, limit: int = 200, *, members: bool = True
    ) -> Sequence[Event]:
        """The newest alarm transitions, newest first by event time; then the one that came last.

        Without `members`, those that a grouped alarm speaks for are left out.
        """
        ...
