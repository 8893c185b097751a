"""The models with a stopwatch: what the engine calls, measured from outside of it."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from monitor.contract import InferenceTimes
from monitor.models.onnx import Card, Floats32, SohModel, ThermalModel

RECENT = 1_000


class Stopwatch:
    """How long the runs of one model took."""

    def __init__(self) -> None:
        self._runs = 0
        self._rows = 0
        self._total_s = 0.0
        self._recent_s: deque[float] = deque(maxlen=RECENT)

    def add(self, rows: int, seconds: float) -> None:
        """Count one run of `rows` samples."""
        self._runs += 1
        self._rows += rows
        self._total_s += seconds
        self._recent_s.append(seconds)

    def read(self) -> InferenceTimes:
        """Totals, and the quantiles of the newest runs (0 before the first)."""
        return InferenceTimes(
            runs=self._runs,
            rows=self._rows,
            total_s=self._total_s,
            ms_p50=1_000.0 * quantile(self._recent_s, 0.50),
            ms_p99=1_000.0 * quantile(self._recent_s, 0.99),
        )


class TimedSohModel(SohModel):
    """As `SohModel`, with the time of each run in `watch`."""

    def __init__(self, onnx: bytes, card: Card) -> None:
        super().__init__(onnx, card)
        self.watch = Stopwatch()

    def run(self, x: Floats32) -> tuple[Floats32, Floats32, Floats32, NDArray[np.int64]]:
        """As `SohModel.run`."""
        start = time.perf_counter()
        answer = super().run(x)
        self.watch.add(len(x), time.perf_counter() - start)
        return answer


class TimedThermalModel(ThermalModel):
    """As `ThermalModel`, with the time of each run in `watch`."""

    def __init__(self, onnx: bytes, card: Card) -> None:
        super().__init__(onnx, card)
        self.watch = Stopwatch()

    def run(self, x: Floats32) -> Floats32:
        """As `ThermalModel.run`."""
        start = time.perf_counter()
        score = super().run(x)
        self.watch.add(len(x), time.perf_counter() - start)
        return score


def quantile(values: deque[float], share: float) -> float:
    """The value below which `share` of the values lie, 0 for none; no interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
