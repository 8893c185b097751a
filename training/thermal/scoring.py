"""Alarms from a score, false-alarm rates and what the hours can prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from training.thermal.data import MAX_GAP_MS, Floats, Floats32, Ints

Trace = tuple[Ints, Floats] | tuple[Ints, Floats32]  # timestamps and scores

RATE_PER_1000_H = 1.0  # false alarms that a training group may have at the limit
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
    step = np.diff(timestamp_ms, prepend=timestamp_ms[:1])
    broken = (step > MAX_GAP_MS) | (step < 0)
    before = np.append(False, above[:-1])
    starts = np.flatnonzero(above & (~before | broken))
    after = np.append(above[1:] & ~broken[1:], False)
    stops = np.flatnonzero(above & ~after)
    # Runs that are closer than the off-delay, or parted by a gap alone, are one episode.
    apart = timestamp_ms[starts[1:]] - timestamp_ms[stops[:-1]] >= off_delay_ms
    episode = np.append(0, np.cumsum(apart & (starts[1:] > stops[:-1] + 1)))
    ripe = np.flatnonzero(timestamp_ms[stops] - timestamp_ms[starts] >= on_delay_ms)
    first = ripe[np.unique(episode[ripe], return_index=True)[1]]
    due = timestamp_ms[starts[first]] + on_delay_ms
    found = [
        timestamp_ms[start + int(np.searchsorted(timestamp_ms[start : stop + 1], at))]
        for start, stop, at in zip(starts[first], stops[first], due, strict=True)
    ]
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


def count_alarms(traces: Sequence[Trace], limit: float) -> int:
    """Alarms over several streams of (timestamps, scores)."""
    return sum(len(alarm_times(time, score, limit)) for time, score in traces)


def limit_for(traces: Sequence[Trace], hours: float, per_1000_h: float) -> float:
    """The smallest limit at which these healthy streams raise at most the stated rate."""
    allowed = per_1000_h * hours / 1000.0
    known = [score[np.isfinite(score)] for _, score in traces]
    low = min((float(score.min()) for score in known if len(score)), default=0.0)
    high = max((float(score.max()) for score in known if len(score)), default=1.0)
    for _ in range(18):
        middle = 0.5 * (low + high)
        if count_alarms(traces, middle) > allowed:
            low = middle
        else:
            high = middle
    return high
