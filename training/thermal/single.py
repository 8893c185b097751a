"""What it costs to warn on one steep reading, and what it costs to wait for another.

Three rules on the slope of a temperature over the last second: one reading over 0.5 C/s; one
reading where the one before rose too (what the monitor calls a warning); two readings in a row
(what it calls a danger). The price of a quick rule is an odd reading taken for a crush.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.kernels.columns import Feature
from monitor.kernels.levels import DANGER_SLOPE_C_PER_S
from training.thermal.abuse import (
    BENIGN_MARGIN_S,
    abuse_recordings,
    monitor_warnings,
    temperature_sign,
    temperature_warnings,
)
from training.thermal.data import (
    Floats,
    HeatParameters,
    Ints,
    Mask,
    Stream,
    run_kernel,
)

GLITCHES_C = (1.0, 2.0, 3.0)  # larger ones are impossible steps, and flagged
EVERY_S = 60.0
WITHIN_S = 3.0
_ANY = HeatParameters(20.0, 0.025, 0.2)


@dataclass(frozen=True, slots=True)
class SlopeEpisodes:
    """How often each rule would have spoken over healthy hours."""

    hours: float
    one_reading: int
    rising: int
    two_readings: int


@dataclass(frozen=True, slots=True)
class GlitchCost:
    """Single odd readings put into the real channels before their crush, and what warned."""

    size_c: float
    glitches: int
    one_reading: float  # shares, 0..1
    monitor: float


@dataclass(frozen=True, slots=True)
class SecondReading:
    """When a channel gave its next readings after the first sign, seconds."""

    next_s: float
    second_s: float


def rising_warnings(streams: Sequence[Stream]) -> SlopeEpisodes:
    """The rules over healthy recordings, on the temperatures that the kernel believes."""
    one = rising = two = 0
    for stream in streams:
        for rows in run_kernel(stream, _ANY, chunk=max(1, len(stream))):
            temp = rows.features[:, Feature.TEMPERATURE_C]
            span_s = np.diff(stream.timestamp_ms, prepend=stream.timestamp_ms[:1]) / 1000.0
            step = np.diff(temp, prepend=temp[:1])
            known = (span_s >= 0.9) & (span_s <= 120.0)
            slope = np.divide(step, span_s, out=np.zeros_like(step), where=known)
            one += _episodes(slope > DANGER_SLOPE_C_PER_S)
            rising += _episodes(rows.features[:, Feature.RISING_C_PER_S] > DANGER_SLOPE_C_PER_S)
            lost = np.isnan(temp)
            heating = rows.features[:, Feature.HEATING_C_PER_S]
            two += _episodes((heating > DANGER_SLOPE_C_PER_S) & ~lost)
    return SlopeEpisodes(sum(stream.hours for stream in streams), one, rising, two)


def _episodes(on: Mask) -> int:
    return int((on & ~np.append(False, on[:-1])).sum())


def glitch_costs(data: Path) -> list[GlitchCost]:
    """Glitches of each size, one a minute, in every temperature channel's benign part."""
    channels = [
        (t[benign], x[benign])
        for t, x in _temperatures(data)
        for benign in [t < (temperature_sign(t, x) or np.inf) - BENIGN_MARGIN_S]
        if benign.sum() > 20
    ]
    found = []
    for size in GLITCHES_C:
        total, one, monitor = 0, 0, 0
        for t, x in channels:
            hit = np.searchsorted(t, np.arange(t[0] + EVERY_S, t[-1] - WITHIN_S, EVERY_S))
            odd = x.copy()
            odd[hit] += size
            total += len(hit)
            one += _after(t, hit, temperature_warnings(t, odd))
            monitor += _after(t, hit, monitor_warnings(t, odd))
        found.append(GlitchCost(size, total, one / max(1, total), monitor / max(1, total)))
    return found


def second_readings(data: Path) -> list[SecondReading]:
    """Of every temperature channel with a first sign."""
    found = []
    for t, x in _temperatures(data):
        sign = temperature_sign(t, x)
        if sign is not None:
            later = t[t > sign]
            found.append(SecondReading(float(later[0] - sign), float(later[1] - sign)))
    return found


def _after(t: Floats, hit: Ints, warnings: Floats) -> int:
    return sum(bool(((warnings >= t[k]) & (warnings <= t[k] + WITHIN_S)).any()) for k in hit)


def _temperatures(data: Path) -> list[tuple[Floats, Floats]]:
    pairs = []
    for _, operation in abuse_recordings(data):
        for channel in operation.temperature_c.T:
            known = np.isfinite(channel)
            if known.sum() >= 20:
                pairs.append((operation.time_s[known], channel[known]))
    return pairs
