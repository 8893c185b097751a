"""Fade curves (SOH by cycle) of recorded cells, and the plain forecasts that any model must beat.

A series holds the SOH of every labelled discharge, in order; its index is the cycle. Forecasts see
the series up to now and other cells' whole curves, never the cell's own future.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.dataset import HalfCycle

Floats = NDArray[np.float64]

HISTORY = 50  # cycles that a forecast wants to have seen
AHEAD = 10  # cycles that the network forecasts
LEVEL = 5  # cycles whose median is the level now
SPEED_RANGE = (0.4, 2.5)


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


PLAIN = ((0.0, 0.0),)
EXPONENTS = ((0.0, 0.0), (0.25, 0.0), (0.0, 0.25), (0.25, 0.25))


@dataclass(frozen=True, slots=True)
class Template:
    """Other cells' curves, laid on from where this cell is now.

    With r the ratio of this cell's fade so far to that of the other over the same cycles, the
    other's further fade is scaled by r**scale and run at r**stretch its speed; the forecast is the
    mean over `exponents`, pairs of (scale, stretch). `PLAIN` is the mean curve. Choosing one pair
    on the training cells was tried and is worse than the mean: three cells do not tell.
    """

    curves: tuple[Floats, ...]
    exponents: tuple[tuple[float, float], ...] = EXPONENTS

    def forecast(self, history: Floats, ahead: int) -> Floats:
        """SOH at the next `ahead` cycles."""
        now = len(history)
        own = _fade(history)
        runs = []
        for curve in self.curves:
            seen = min(now, len(curve) - 1)
            ratio = float(np.clip(own / max(_fade(curve[:seen]), 1e-4), *SPEED_RANGE))
            level = np.median(curve[max(0, seen - LEVEL) : seen])
            for scale, stretch in self.exponents:
                at = seen + np.arange(ahead) * ratio**stretch
                runs.append((_extended(curve, at) - level) * ratio**scale)
        forecast: Floats = float(np.median(history[-LEVEL:])) + np.mean(runs, axis=0)
        return forecast


def end_of_life(series: Floats, threshold: float) -> int | None:
    """The first cycle whose smoothed SOH (median of 11) is below a threshold."""
    below = np.flatnonzero(smoothed(series) < threshold)
    return int(below[0]) if len(below) else None


def smoothed(series: Floats, half: int = 5) -> Floats:
    """Centred running median of 2 * half + 1 values, shorter at the ends. For scoring only."""
    return np.array(
        [np.median(series[max(0, i - half) : i + half + 1]) for i in range(len(series))]
    )


def next_cycles_error(series: Floats, forecasts: Mapping[int, Floats], ahead: int = AHEAD) -> float:
    """Mean absolute error in %SOH of forecasts keyed by how many cycles they had seen."""
    return 100.0 * float(
        np.mean([np.mean(np.abs(told - series[at : at + ahead])) for at, told in forecasts.items()])
    )


def _fade(series: Floats) -> float:
    return float(np.median(series[:LEVEL]) - np.median(series[-LEVEL:]))


def _extended(curve: Floats, at: Floats) -> Floats:
    """A smoothed curve at any cycle, continued by the line of its last third, at most 60 cycles."""
    calm, slope, offset = _calm(curve.tobytes())
    inside = np.interp(at, np.arange(len(calm)), calm)
    out: Floats = np.where(at <= len(calm) - 1, inside, offset + slope * at)
    return out


@lru_cache(maxsize=64)
def _calm(curve: bytes) -> tuple[Floats, float, float]:
    """A curve smoothed, and the slope and offset of its tail; every forecast asks for the same."""
    calm = smoothed(np.frombuffer(curve, dtype=np.float64), 2)
    tail = max(2, min(60, len(calm) // 3))
    slope, offset = np.polyfit(np.arange(len(calm) - tail, len(calm)), calm[-tail:], 1)
    return calm, float(slope), float(offset)
