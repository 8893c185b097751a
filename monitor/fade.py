"""How fast a cell fades, and when the fade begins to run away: the knee, found online.

One small object a cell, fed once a cycle with a measured or estimated SOH. The fade is a straight
line kept by recursive means with a long memory; the knee is where SOH keeps falling below what that
line said, by the Page-Hinkley test (Page 1954, "Continuous inspection schemes") as River has it.
Capacity regenerates after rests: a single value above or below does not count as a knee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from river.drift import PageHinkley

WARM_UP = 60  # cycles before the line is believed
MEMORY = 300.0  # cycles over which the line forgets
CLIP = 0.01  # a residual counts at most so much, in fractions of nominal
ALLOWED = 0.003  # of SOH: a residual so small is no sign
THRESHOLD = 0.5  # sum of residuals, in fractions of nominal, that makes a knee
SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class Fade:
    """What is known after a cycle."""

    cycles: int
    soh: float  # smoothed
    slope_per_cycle: float | None  # of the long line; None while it warms up
    knee_cycle: int | None  # where the knee was noticed; never taken back


class FadeTracker:
    """A cell's fade. `update` is called once a finished cycle, in order."""

    def __init__(self) -> None:
        self._cycles = 0
        self._soh = math.nan
        # Moments of (cycle, SOH), exponentially weighted; the cycle counts back from now.
        self._weight = self._t = self._tt = self._y = self._ty = 0.0
        self._test = PageHinkley(
            min_instances=1, delta=ALLOWED, threshold=THRESHOLD, alpha=1.0, mode="up"
        )
        self._knee: int | None = None

    def update(self, soh: float) -> Fade:
        """One more cycle's SOH as a fraction. NaN is a cycle without a value."""
        self._cycles += 1
        self._shift()
        if math.isnan(soh):
            return self.now()
        line = self._line()
        if math.isnan(self._soh):
            self._soh = soh
        self._soh += SMOOTHING * (soh - self._soh)
        if line is not None and self._cycles > WARM_UP and self._knee is None:
            below = min(CLIP, max(-CLIP, line[0] - self._soh))
            self._test.update(below)  # type: ignore[no-untyped-call]
            if self._test.drift_detected:
                self._knee = self._cycles
        if self._knee is None or line is None:
            self._weight += 1.0
            self._y += soh
        return self.now()

    def now(self) -> Fade:
        """The state after the last cycle."""
        line = self._line()
        slope = None if line is None or self._cycles <= WARM_UP else line[1]
        return Fade(self._cycles, self._soh, slope, self._knee)

    def _shift(self) -> None:
        """Let a cycle pass: every kept time is one further back, every weight a little smaller."""
        keep = math.exp(-1.0 / MEMORY)
        self._tt = keep * (self._tt - 2.0 * self._t + self._weight)
        self._t = keep * (self._t - self._weight)
        self._ty = keep * (self._ty - self._y)
        self._weight *= keep
        self._y *= keep

    def _line(self) -> tuple[float, float] | None:
        """The line's value now and its slope a cycle, None before three values."""
        if self._weight < 2.5:
            return None
        mean_t, mean_y = self._t / self._weight, self._y / self._weight
        spread = self._tt / self._weight - mean_t * mean_t
        if spread <= 1e-9:
            return None
        slope = (self._ty / self._weight - mean_t * mean_y) / spread
        return mean_y - slope * mean_t, slope
