"""Alarms from a score, false-alarm rates and what the hours can prove."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from training.thermal_data import MAX_GAP_MS, Floats, Floats32, Ints

ON_DELAY_MS = 60_000
OFF_DELAY_MS = 60_000


def alarm_times(
    timestamp_ms: Ints,
    score: Floats | Floats32,
    limit: float = 1.0,
    on_delay_ms: int = ON_DELAY_MS,
    off_delay_ms: int = OFF_DELAY_MS,
) -> Ints:
    """When alarms came on: the score above the limit for `on_delay_ms` without a break.

    Event time in and out. An alarm goes off after `off_delay_ms` at or below the limit; a gap in
    the stream starts the wait for the alarm again. NaN scores, from windows that are not full, are
    not above the limit.
    """
    above = score > np.float64(limit)
    if not above.any():
        return np.zeros(0, np.int64)
    edges = np.flatnonzero(np.diff(above, prepend=False, append=False))
    found: list[int] = []
    off_since: int | None = None  # set while an alarm is on but the score is not
    active = False
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if active and off_since is not None and timestamp_ms[start] - off_since >= off_delay_ms:
            active = False
        if not active:
            run = timestamp_ms[start:stop]
            breaks = np.flatnonzero(
                (np.diff(run, prepend=run[:1]) > MAX_GAP_MS) | (np.diff(run, prepend=run[:1]) < 0)
            )
            for first, last in zip([0, *breaks], [*breaks, len(run)], strict=True):
                ripe = np.flatnonzero(run[first:last] - run[first] >= on_delay_ms)
                if len(ripe):
                    found.append(int(run[first + ripe[0]]))
                    active = True
                    break
        off_since = int(timestamp_ms[stop - 1])
    return np.array(found, np.int64)


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Alarms over healthy hours, with the exact Poisson 95 % bounds (Garwood 1936)."""

    alarms: int
    hours: float

    @property
    def per_1000_h(self) -> float:
        """The rate, alarms per 1,000 cell-hours."""
        return 1000.0 * self.alarms / self.hours if self.hours > 0 else float("nan")

    @property
    def low(self) -> float:
        """The lower end of the two-sided 95 % interval."""
        if self.alarms == 0 or self.hours <= 0:
            return 0.0
        return float(chi2.ppf(0.025, 2 * self.alarms) / 2.0 * 1000.0 / self.hours)

    @property
    def high(self) -> float:
        """The upper end of the two-sided 95 % interval."""
        if self.hours <= 0:
            return float("inf")
        return float(chi2.ppf(0.975, 2 * self.alarms + 2) / 2.0 * 1000.0 / self.hours)

    def as_dict(self) -> dict[str, float]:
        """For a card or a report."""
        return {
            "false_alarms": self.alarms,
            "cell_hours": round(self.hours, 1),
            "per_1000_h": round(self.per_1000_h, 3),
            "per_1000_h_low_95": round(self.low, 3),
            "per_1000_h_high_95": round(self.high, 3),
        }


def count_alarms(traces: list[tuple[Ints, Floats32]], limit: float) -> int:
    """Alarms over several streams of (timestamps, scores)."""
    return sum(len(alarm_times(time, score, limit)) for time, score in traces)


def limit_for(traces: list[tuple[Ints, Floats32]], hours: float, per_1000_h: float) -> float:
    """The smallest limit at which these healthy streams raise at most the stated rate."""
    allowed = per_1000_h * hours / 1000.0
    top = max((float(np.nanmax(score)) for _, score in traces if len(score)), default=1.0)
    low, high = 0.0, max(top, 1e-6)
    for _ in range(24):
        middle = 0.5 * (low + high)
        if count_alarms(traces, middle) > allowed:
            low = middle
        else:
            high = middle
    return high
