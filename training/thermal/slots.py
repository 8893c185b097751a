"""Streams on an even grid of 30 s slots: what every benchmark detector looks at.

A slot holds time-weighted means over the steps that ended in it, so it does not matter how often
the recording was sampled, and the temperature's change over exactly those steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.thermal.data import MAX_GAP_MS, Floats, Ints, Mask, Stream

SLOT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Slots:
    """One stream's slots; arrays of n, means unless said otherwise. NaN is missing."""

    asset: str
    group: str
    nominal_ah: float
    timestamp_ms: Ints  # of the last sample in the slot
    duration_s: Floats
    warming_c: Floats  # the temperature's change over duration_s
    temperature_c: Floats
    ambient_c: Floats
    c_rate: Floats
    c_rate_squared: Floats
    voltage_v: Floats
    begins: Mask  # a gap, or nothing, before it

    def __len__(self) -> int:
        return len(self.timestamp_ms)

    @property
    def hours(self) -> float:
        """Hours that the slots cover."""
        return float(self.duration_s.sum()) / 3600.0

    def after(self, timestamp_ms: int) -> Slots:
        """The slots from a time on."""
        first = int(np.searchsorted(self.timestamp_ms, timestamp_ms))
        return self._piece(slice(first, None))

    def before(self, timestamp_ms: int) -> Slots:
        """The slots up to a time, that one left out."""
        return self._piece(slice(0, int(np.searchsorted(self.timestamp_ms, timestamp_ms))))

    def _piece(self, piece: slice) -> Slots:
        begins = self.begins[piece].copy()
        begins[:1] = True
        return replace(
            self,
            timestamp_ms=self.timestamp_ms[piece],
            duration_s=self.duration_s[piece],
            warming_c=self.warming_c[piece],
            temperature_c=self.temperature_c[piece],
            ambient_c=self.ambient_c[piece],
            c_rate=self.c_rate[piece],
            c_rate_squared=self.c_rate_squared[piece],
            voltage_v=self.voltage_v[piece],
            begins=begins,
        )


def group_hours(slots: Sequence[Slots]) -> dict[str, float]:
    """Chamber-hours of every group: its longest member's, since sisters share the clock."""
    hours: dict[str, float] = {}
    for one in slots:
        hours[one.group] = max(hours.get(one.group, 0.0), one.hours)
    return hours


def slots_of(stream: Stream) -> Slots:
    """A stream's slots. Samples without temperature or current are left out first."""
    good = np.isfinite(stream.temperature_c) & np.isfinite(stream.current_a)
    time = stream.timestamp_ms[good]
    step_ms = np.diff(time, prepend=time[:1] - MAX_GAP_MS - 1)
    bridged = (step_ms > 0) & (step_ms <= MAX_GAP_MS)
    segment = np.cumsum(~bridged)
    starts = np.flatnonzero(np.diff(segment, prepend=-1))
    origin = time[starts][segment - segment[0]] if len(time) else time
    number = (time - origin - 1) // SLOT_MS
    rows = np.flatnonzero(bridged)
    key = segment[rows] * 10_000_000 + number[rows]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    dt = step_ms[rows] / 1000.0
    duration = np.add.reduceat(dt, first) if len(rows) else np.zeros(0)

    def mean(values: Floats) -> Floats:
        middle = 0.5 * (values[rows] + values[rows - 1])
        found: Floats = np.add.reduceat(middle * dt, first) / duration if len(rows) else np.zeros(0)
        return found

    temperature = stream.temperature_c[good]
    c_rate = stream.current_a[good] / stream.nominal_ah
    volts = stream.voltage_v[good]
    last = np.append(first[1:], len(rows)) - 1
    moved = temperature[rows] - temperature[rows - 1]
    in_segment = segment[rows][first] if len(rows) else np.zeros(0, np.int64)
    c_before = c_rate[rows - 1]
    square = (c_rate[rows] ** 2 + c_rate[rows] * c_before + c_before**2) / 3.0
    return Slots(
        asset=stream.asset,
        group=stream.group,
        nominal_ah=stream.nominal_ah,
        timestamp_ms=time[rows][last] if len(rows) else time[:0],
        duration_s=duration,
        warming_c=np.add.reduceat(moved, first) if len(rows) else np.zeros(0),
        temperature_c=mean(temperature),
        ambient_c=mean(stream.ambient_c[good]),
        c_rate=mean(c_rate),
        c_rate_squared=(
            np.add.reduceat(square * dt, first) / duration if len(rows) else np.zeros(0)
        ),
        voltage_v=mean(volts),
        begins=np.diff(in_segment, prepend=-1) != 0,
    )
