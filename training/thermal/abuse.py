"""The real thing: ORNL and SNL mechanical-abuse tests, judged by the physical limits alone.

The cells rest until they are crushed, so there is no current and no heat balance to speak of: what
can warn is the slope of a temperature and the fall of the voltage. Every channel is judged on its
own clock; figures across channels are taken only from tests whose channels share one. These tests
are never pooled with injected faults.

The *first sign* is set with hindsight (the next seconds confirm it), the *warning* is causal. The
runaway is that of GB 38031-2025: at least 1 C/s for more than 3 s with a voltage drop over 25 % or
the maker's maximum temperature.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.contract import Limits
from monitor.kernels.cell import empty_cells
from monitor.kernels.columns import RESULTS, Feature, Result
from monitor.kernels.frames import Outputs
from monitor.kernels.risk import assess_inplace
from monitor.risk import Risk
from recordings.open import open_recording
from recordings.types import Operation
from training.thermal.data import Floats, HeatParameters, Stream, run_kernel

SLOPE_C_PER_S = 0.5
SIGN_SPAN_S = 1.0
CONFIRM_S = 10.0
CONFIRM_C = 2.0
DROP_V = 0.1
REST_TAU_S = 30.0
RUNAWAY_SLOPE_C_PER_S = 1.0
RUNAWAY_HELD_S = 3.0
MAKERS_MAXIMUM_C = 80.0
DROP_SHARE = 0.25
BENIGN_MARGIN_S = 15.0  # before the first sign of any channel; clocks agree no better


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of one test, seconds on its own clock; None is never."""

    kind: str  # "temperature" or "voltage"
    sign_s: float | None
    warned_s: float | None
    early: int  # warnings in the benign part
    benign_s: float
    monitor_s: float | None = None  # when the monitor's own risk first said warning or danger
    monitor_early: int = 0

    @property
    def monitor_delay_s(self) -> float | None:
        """From the sign to the monitor's warning; None where either is missing."""
        if self.sign_s is None or self.monitor_s is None:
            return None
        return self.monitor_s - self.sign_s

    @property
    def delay_s(self) -> float | None:
        """From the sign to the warning; None without a sign or without a warning after it."""
        if self.sign_s is None or self.warned_s is None:
            return None
        return self.warned_s - self.sign_s


@dataclass(frozen=True, slots=True)
class AbuseTest:
    """What the limits saw of one test."""

    name: str
    same_clock: bool
    channels: tuple[Channel, ...]
    runaway_s: float | None  # on the hottest temperature channel's clock

    @property
    def lead_s(self) -> float | None:
        """From the first warning of any temperature channel to the runaway."""
        warned = [c.warned_s for c in self.channels if c.kind == "temperature"]
        known = [w for w in warned if w is not None]
        return None if self.runaway_s is None or not known else self.runaway_s - min(known)


def abuse_tests(data: Path) -> list[AbuseTest]:
    """Every test under `data`/abuse; an empty list where there is none."""
    return [
        judge_test(
            row["test"],
            row["clock"] == "same",
            operation.time_s,
            operation.voltage_v[:, 0],
            operation.temperature_c,
        )
        for row, operation in abuse_recordings(data)
    ]


def abuse_recordings(data: Path) -> Iterator[tuple[dict[str, str], Operation]]:
    """The tests' rows of the index with their columns."""
    index = data / "abuse" / "index.csv"
    if not index.exists():
        return
    with index.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for recording in open_recording(data / "abuse" / "tidy" / row["file"]):
            (operation,) = recording.operations()
            yield row, operation


def judge_test(
    name: str, same_clock: bool, time_s: Floats, voltage_v: Floats, temperature_c: Floats
) -> AbuseTest:
    """One test from its columns; temperature_c is (n, sensors), NaN where a channel has no row."""
    pairs = [(time_s, temperature_c[:, k], "temperature") for k in range(temperature_c.shape[1])]
    pairs.append((time_s, voltage_v, "voltage"))
    signs, kept = [], []
    for time, values, kind in pairs:
        known = np.isfinite(values)
        if known.sum() < 20:
            continue
        t, x = time[known], values[known]
        sign = temperature_sign(t, x) if kind == "temperature" else voltage_sign(t, x)
        kept.append((t, x, kind, sign))
        if sign is not None:
            signs.append(sign)
    benign_end = min(signs, default=float(time_s[-1])) - BENIGN_MARGIN_S
    channels = []
    for t, x, kind, sign in kept:
        warnings = temperature_warnings(t, x) if kind == "temperature" else voltage_warnings(t, x)
        warned, early = _first_and_early(warnings, sign, benign_end)
        judged = monitor_warnings(t, x) if kind == "temperature" else t[:0]
        by_monitor, monitor_early = _first_and_early(judged, sign, benign_end)
        benign_s = max(0.0, benign_end - float(t[0]))
        channels.append(Channel(kind, sign, warned, early, benign_s, by_monitor, monitor_early))
    return AbuseTest(name, same_clock, tuple(channels), _runaway(kept))


def _first_and_early(
    warnings: Floats, sign: float | None, benign_end: float
) -> tuple[float | None, int]:
    """The first warning at the sign or after, and separate ones in the benign part."""
    after = warnings[warnings >= (benign_end if sign is None else sign - SIGN_SPAN_S)]
    early = warnings[warnings < benign_end]
    separate = int((np.diff(early, prepend=-np.inf) > 60.0).sum())
    return (float(after[0]) if len(after) else None), separate


def monitor_warnings(t: Floats, x: Floats) -> Floats:
    """When the monitor's kernel and risk say warning or danger of a resting cell; causal."""
    n = len(t)
    blank = np.full(n, np.nan)
    stream = Stream(
        asset="crushed", group="abuse", nominal_ah=2.0, charge_v=4.2, discharge_v=2.7,
        timestamp_ms=np.round(1000.0 * t).astype(np.int64), current_a=np.zeros(n),
        voltage_v=blank, temperature_c=x, ambient_c=blank, operation=np.zeros(n, np.int64),
    )  # fmt: skip
    (rows,) = run_kernel(stream, HeatParameters(20.0, 0.025, 0.2), chunk=n)
    result = np.full((n, RESULTS), np.nan, np.float32)
    result[:, Result.DT_DT_C_PER_S] = rows.features[:, Feature.DT_DT_C_PER_S]
    cells, out = empty_cells(1), Outputs(n)
    cells["config"]["temperature_max_c"] = Limits().temperature_max_c
    out.timestamp_ms[:] = stream.timestamp_ms
    out.features[:] = rows.features
    value, value_ms = np.full((1, RESULTS), np.nan), np.full((1, RESULTS), -1, np.int64)
    assess_inplace(cells, value, value_ms, out, result, n)
    return t[result[:, Result.RISK] >= Risk.WARNING]


def temperature_sign(t: Floats, x: Floats) -> float | None:
    """When a slope over 0.5 C/s begins that the next 10 s confirm by at least 2 K."""
    back = np.interp(t - 0.5 * SIGN_SPAN_S, t, x)
    ahead = np.interp(t + 0.5 * SIGN_SPAN_S, t, x)
    later = np.interp(t + CONFIRM_S, t, x)
    hits = np.flatnonzero(((ahead - back) / SIGN_SPAN_S > SLOPE_C_PER_S) & (later - x > CONFIRM_C))
    return float(t[hits[0]]) if len(hits) else None


def voltage_sign(t: Floats, x: Floats) -> float | None:
    """When the voltage leaves its level by 0.1 V and is still away a second later."""
    low = x < _level(t, x) - DROP_V
    still = np.interp(t + 1.0, t, x) < _level(t, x) - DROP_V
    hits = np.flatnonzero(low & still)
    return float(t[hits[0]]) if len(hits) else None


def temperature_warnings(t: Floats, x: Floats) -> Floats:
    """When the slope over the last second is above 0.5 C/s; causal."""
    since = np.searchsorted(t, t - SIGN_SPAN_S, side="right") - 1
    since = np.maximum(since, 0)
    span = t - t[since]
    slope = np.divide(x - x[since], span, out=np.zeros_like(x), where=span >= 0.9 * SIGN_SPAN_S)
    return t[slope > SLOPE_C_PER_S]


def voltage_warnings(t: Floats, x: Floats) -> Floats:
    """When the voltage is 0.1 V under its slow mean; causal."""
    return t[x < _level(t, x) - DROP_V]


def _level(t: Floats, x: Floats) -> Floats:
    """The voltage's exponential mean before each sample."""
    level = np.empty_like(x)
    mean = float(x[0])
    for k in range(len(x)):
        level[k] = mean
        dt = float(t[k] - t[k - 1]) if k else 0.0
        mean += (1.0 - np.exp(-dt / REST_TAU_S)) * (float(x[k]) - mean)
    return level


def _runaway(channels: Sequence[tuple[Floats, Floats, str, float | None]]) -> float | None:
    volts = [x for _, x, kind, _ in channels if kind == "voltage"]
    lost = any(np.median(x[-20:]) < (1.0 - DROP_SHARE) * np.median(x[:20]) for x in volts)
    first: float | None = None
    for t, x, kind, _ in channels:
        if kind != "temperature":
            continue
        every = np.arange(t[0], t[-1], 0.5)
        smooth = np.interp(every, t, x)
        steep = np.diff(smooth, append=smooth[-1]) / 0.5 >= RUNAWAY_SLOPE_C_PER_S
        held = 0.0
        for k in range(len(every)):
            held = held + 0.5 if steep[k] else 0.0
            if held > RUNAWAY_HELD_S and (lost or smooth[k] >= MAKERS_MAXIMUM_C):
                first = float(every[k]) if first is None else min(first, float(every[k]))
                break
    return first
