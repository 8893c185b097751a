"""Fade curves (SOH by cycle) of recorded cells, and the plain forecasts that any model must beat.

A series holds the SOH of every labelled discharge, in order; its index is the cycle. Forecasts see
the series up to now and other cells' whole curves, never the cell's own future.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.models.fade_curves import EXPONENTS, PLAIN, Template, smoothed
from monitor.models.forecast import AHEAD, HISTORY
from training.dataset import HalfCycle

__all__ = [
    "AHEAD", "EXPONENTS", "HISTORY", "PLAIN", "Template", "drift", "end_of_life", "fade_series",
    "measured_series", "next_cycles_error", "persistence", "smoothed",
]  # fmt: skip

Floats = NDArray[np.float64]


def fade_series(halves: Sequence[HalfCycle]) -> Floats:
    """SOH of every discharge whose label is used."""
    return np.array([half.soh for half in halves if half.kind == "discharge" and half.usable])


def measured_series(halves: Sequence[HalfCycle]) -> Floats:
    """SOH of every complete discharge: the published capacity, else the monitor's coulomb count."""
    return np.array(
        [
            half.soh if np.isfinite(half.soh) else half.charge_ah / half.nominal_ah
            for half in halves
            if half.kind == "discharge" and half.complete
        ]
    )


def persistence(history: Floats, ahead: int) -> Floats:
    """The last value for ever."""
    return np.full(ahead, history[-1])


def drift(history: Floats, ahead: int) -> Floats:
    """A straight line from the first value through the last (Hyndman and Athanasopoulos, 5.2)."""
    slope = (history[-1] - history[0]) / (len(history) - 1)
    line: Floats = history[-1] + slope * np.arange(1, ahead + 1)
    return line


def end_of_life(series: Floats, threshold: float) -> int | None:
    """The first cycle whose smoothed SOH (median of 11) is below a threshold."""
    below = np.flatnonzero(smoothed(series) < threshold)
    return int(below[0]) if len(below) else None


def next_cycles_error(series: Floats, forecasts: Mapping[int, Floats], ahead: int = AHEAD) -> float:
    """Mean absolute error in %SOH of forecasts keyed by how many cycles they had seen."""
    return 100.0 * float(
        np.mean([np.mean(np.abs(told - series[at : at + ahead])) for at, told in forecasts.items()])
    )
