"""A stretch of the store as the asset's page draws it; blocking, so called from a thread."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.contract import cell_name
from monitor.dashboard.pages.ica import Curve
from monitor.store.history import History, Trace

SPANS_MS = {
    "10s": 10_000, "1m": 60_000, "10m": 600_000, "1h": 3_600_000, "6h": 21_600_000,
    "1d": 86_400_000, "30d": 2_592_000_000,
}  # fmt: skip
POINTS = 1_600
CYCLES = 1_000


def read_history(
    history: History, asset: str, cell: int, range_name: str, newest_ms: int | None
) -> dict[str, Any]:
    """Trace, cycles of one cell for a named range that ends at its newest frame, for JSON.

    An unknown range name means the whole life. Raises StoreError where the store cannot.
    """
    stored = next((entry for entry in history.assets() if entry.name == asset), None)
    # The newest frame may lie before what is stored: a replay that went back.
    last_ms = newest_ms or (stored.last_ms if stored is not None else 0)
    span_ms = SPANS_MS.get(range_name)
    first_ms = stored.first_ms if stored is not None else last_ms
    start_ms = first_ms if span_ms is None else max(first_ms, last_ms - span_ms)
    trace = history.trace(asset, cell, start_ms, last_ms, POINTS)
    cycles = history.cycles(asset, cell, CYCLES)
    return {
        "trace": trace_columns(trace),
        "cycles": [msgspec.to_builtins(cycle) for cycle in cycles if cycle.cell == cell_name(cell)],
    }


def trace_columns(trace: Trace) -> dict[str, list[float | int | None]]:
    """The trace's columns as JSON lists, rounded to what a screen can show, NaN as null."""
    return {
        "ts": [int(value) for value in trace.timestamp_ms],
        "v": _rounded(trace.voltage_v, 4),
        "i": _rounded(trace.current_a, 3),
        "t": _rounded(trace.temperature_c, 2),
        "amb": _rounded(trace.ambient_c, 2),
        "score": _rounded(trace.thermal_score, 3),
        "soc": _rounded(trace.soc, 4),
        "soh": _rounded(trace.soh, 4),
        "lo": _rounded(trace.soh_low, 4),
        "hi": _rounded(trace.soh_high, 4),
        "r": _rounded(trace.resistance_ohm, 5),
        "heat": _rounded(trace.excess_heat_w, 3),
    }


def curve_columns(curve: Curve) -> dict[str, Any]:
    """An incremental-capacity curve for JSON."""
    return {
        "number": curve.number,
        "age": curve.age,
        "v": _rounded(curve.voltage_v, 3),
        "q": _rounded(curve.dqdv_ah_per_v, 4),
    }


def _rounded(values: NDArray[np.float64], digits: int) -> list[float | int | None]:
    return [None if not np.isfinite(value) else float(value) for value in np.round(values, digits)]
