"""Other cells' fade curves, laid on from where a cell is now: the long run of a forecast. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 5  # cycles whose median is the level now
SPEED_RANGE = (0.4, 2.5)


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


def smoothed(series: Floats, half: int = 5) -> Floats:
    """Centred running median of 2 * half + 1 values, shorter at the ends."""
    return np.array(
        [np.median(series[max(0, i - half) : i + half + 1]) for i in range(len(series))]
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
