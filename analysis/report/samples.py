"""What a report keeps of every sample, taken in micro-batches: hours, extremes, gaps, flags.

One `Samples` an asset. It is fed with frames and their result rows, wherever they come from: the
engine that runs over a file, or the store of a monitor. A value that the engine flagged as
impossible or frozen is left out here as it was there. Hours are event time; a step longer than the
asset's `max_gap_ms` counts as a gap and adds no hours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.contract import AssetConfig, Frame, as_list, sensor_of_cell
from monitor.kernels.columns import Phase, Quality, Result

Floats = NDArray[np.float64]

BAND_EDGES_C = (0.0, 15.0, 25.0, 35.0, 45.0, 60.0)
HOT_SCORE = 1.0
_CHARGING = (int(Phase.CC_CHARGE), int(Phase.CV_CHARGE))
SAID_ELSEWHERE = {Quality.AFTER_GAP, Quality.NO_CONFIG}
_BAD = {
    "voltage": Quality.VOLTAGE_IMPOSSIBLE | Quality.VOLTAGE_FROZEN | Quality.VOLTAGE_GLITCH,
    "current": Quality.CURRENT_IMPOSSIBLE,
    "temperature": Quality.TEMPERATURE_IMPOSSIBLE
    | Quality.TEMPERATURE_FROZEN
    | Quality.TEMPERATURE_SPIKE
    | Quality.TEMPERATURE_JUMP,
}


@dataclass(slots=True)
class Extremes:
    """The lowest and the highest of a quantity; NaN before the first value."""

    low: float = np.nan
    high: float = np.nan

    def take(self, values: Floats) -> None:
        """Widen by an array's values; NaN in it is nothing."""
        if np.isfinite(values).any():
            self.low = float(np.fmin(self.low, np.nanmin(values)))
            self.high = float(np.fmax(self.high, np.nanmax(values)))


class Peaks:
    """The highest temperature and score of equal stretches of time, at most `MOST` of them.

    The stretches begin as minutes and double when they become too many, so the result does not
    depend on where a stream was cut.
    """

    MOST = 800

    def __init__(self) -> None:
        self.width_ms = 60_000
        self._bins: dict[int, tuple[float, float]] = {}

    def take(self, t: NDArray[np.int64], temperature: Floats, score: Floats) -> None:
        """Samples in any order; NaN is nothing."""
        places, where = np.unique(t // self.width_ms, return_inverse=True)
        tops = np.full((2, len(places)), np.nan)
        np.fmax.at(tops[0], where, temperature)
        np.fmax.at(tops[1], where, score)
        for place, hot, high in zip(places.tolist(), *tops.tolist(), strict=True):
            self._raise(place, hot, high)
        while len(self._bins) > self.MOST:
            self.width_ms *= 2
            before, self._bins = self._bins, {}
            for place, (hot, high) in before.items():
                self._raise(place // 2, hot, high)

    def points(self) -> list[tuple[int, float, float]]:
        """The middle of each stretch in ms, its temperature and score (NaN: unknown), in order."""
        return [
            (place * self.width_ms + self.width_ms // 2, *tops)
            for place, tops in sorted(self._bins.items())
        ]

    def _raise(self, place: int, hot: float, high: float) -> None:
        was = self._bins.get(place, (np.nan, np.nan))
        self._bins[place] = (float(np.fmax(was[0], hot)), float(np.fmax(was[1], high)))


class Samples:
    """Sums over an asset's life; `take` is called with frames in time order."""

    def __init__(self, config: AssetConfig) -> None:
        self.config = config
        self.frames = 0
        self.samples = 0
        self.first_ms = 0
        self.last_ms = 0
        self.hours: dict[str, float] = defaultdict(float)  # all, charge, discharge, rest, hot, ...
        self.bands = np.zeros(len(BAND_EDGES_C) + 1)
        self.temperature_hours = 0.0
        self.temperature_sum = 0.0  # degrees Celsius times hours
        self.voltage = Extremes()
        self.current = Extremes()
        self.temperature = Extremes()
        self.score = Extremes()
        self.hours_judged = 0.0
        self.peaks = Peaks()
        self.hot: list[tuple[int, float, float | None]] = []  # time, score, temperature
        self.flags: Counter[str] = Counter()
        self.gaps = 0
        self.gap_longest_s = 0.0
        self.gap_hours = 0.0
        self.clock_jumps = 0
        self.missing = 0
        self._seq: tuple[str | None, int] | None = None
        self._before: _Columns | None = None

    def take(self, frames: Sequence[Frame], rows: Sequence[NDArray[np.float32] | None]) -> None:
        """Frames in order with their result rows (cells, RESULTS); None was not accepted."""
        pairs = [(f, r) for f, r in zip(frames, rows, strict=True) if r is not None]
        for frame, _ in pairs:
            self._count_missing(frame)
        for _, run in groupby(pairs, key=_shape):
            part = _columns(self.config, list(run))
            self._take_run(part)
            self._before = part.last()

    def _count_missing(self, frame: Frame) -> None:
        if frame.seq is None:
            return
        before = self._seq
        if before is not None and before[0] == frame.session and frame.seq > before[1] + 1:
            self.missing += frame.seq - before[1] - 1
        if before is None or before[0] != frame.session or frame.seq > before[1]:
            self._seq = (frame.session, frame.seq)

    def _take_run(self, part: _Columns) -> None:
        if not self.frames:
            self.first_ms = int(part.t[0])
        self.frames += len(part.t)
        self.samples += part.volts.size
        self.last_ms = max(self.last_ms, int(part.t[-1]))
        self.voltage.take(part.volts)
        self.current.take(part.current)
        self.temperature.take(part.hottest)
        self.temperature.take(part.coldest)
        self.score.take(part.score)
        self.peaks.take(part.t, part.hottest, part.score)
        for bit in Quality:
            count = int(np.count_nonzero(part.quality & bit))
            if count and bit not in SAID_ELSEWHERE:
                self.flags[bit.name.lower()] += count
        for k in np.flatnonzero(part.score >= HOT_SCORE).tolist():
            heat = float(part.hottest[k])
            self.hot.append((int(part.t[k]), float(part.score[k]), heat if heat == heat else None))
        joined = part if self._before is None else self._before.followed_by(part)
        if len(joined.t) > 1:
            self._take_steps(joined)

    def _take_steps(self, part: _Columns) -> None:
        """Each step belongs to what was so at its start."""
        step_s = np.diff(part.t) / 1_000.0
        limit_s = self.config.max_gap_ms / 1_000.0
        self.clock_jumps += int((step_s < 0).sum())
        gap = step_s > limit_s
        self.gaps += int(gap.sum())
        self.gap_hours += float(step_s[gap].sum()) / 3_600.0
        self.gap_longest_s = max(self.gap_longest_s, float(step_s[gap].max(initial=0.0)))
        hours = np.where(gap | (step_s < 0), 0.0, step_s) / 3_600.0
        phase, hottest, coldest = part.phase[:-1], part.hottest[:-1], part.coldest[:-1]
        charging = np.isin(phase, _CHARGING)
        limits = self.config.limits
        with np.errstate(invalid="ignore"):
            for name, chosen in (
                ("all", np.ones(len(hours), np.bool_)),
                ("charge", charging),
                ("discharge", phase == int(Phase.DISCHARGE)),
                ("rest", phase == int(Phase.REST)),
                ("hot", hottest > limits.temperature_max_c),
                ("cold", coldest < limits.temperature_min_c),
                ("charge_hot", charging & (hottest > limits.temperature_max_c)),
                ("charge_below_0", charging & (coldest < 0.0)),
            ):
                self.hours[name] += float(hours[chosen].sum())
        known = np.isfinite(hottest)
        np.add.at(self.bands, np.digitize(hottest[known], BAND_EDGES_C), hours[known])
        self.temperature_hours += float(hours[known].sum())
        self.temperature_sum += float((hours * hottest)[known].sum())
        self.hours_judged += float(hours[np.isfinite(part.score[:-1])].sum())


@dataclass(frozen=True, slots=True)
class _Columns:
    """A run of frames with the same number of cells; NaN where a value is missing or refused."""

    t: NDArray[np.int64]
    current: Floats
    volts: Floats  # (n, cells)
    hottest: Floats
    coldest: Floats
    score: Floats  # the highest of the cells
    phase: Floats
    quality: NDArray[np.int64]  # (n, cells)

    def last(self) -> _Columns:
        return self._map(lambda a: a[-1:])

    def followed_by(self, other: _Columns) -> _Columns:
        """This before the other; the matrices are the other's alone, steps do not need them."""
        return _Columns(
            np.concatenate([self.t, other.t]),
            np.concatenate([self.current, other.current]),
            other.volts,
            np.concatenate([self.hottest, other.hottest]),
            np.concatenate([self.coldest, other.coldest]),
            np.concatenate([self.score, other.score]),
            np.concatenate([self.phase, other.phase]),
            other.quality,
        )

    def _map(self, pick: Any) -> _Columns:
        return _Columns(
            pick(self.t), pick(self.current), pick(self.volts), pick(self.hottest),
            pick(self.coldest), pick(self.score), pick(self.phase), pick(self.quality),
        )  # fmt: skip


def _shape(pair: tuple[Frame, Any]) -> tuple[int, int]:
    return len(pair[1]), len(as_list(pair[0].temperature_c))


def _columns(config: AssetConfig, run: list[tuple[Frame, Any]]) -> _Columns:
    cells, sensors = _shape(run[0])
    table = np.stack([row for _, row in run]).astype(np.float64)  # (n, cells, RESULTS)
    flags = table[:, :, Result.QUALITY]
    quality = np.where(np.isfinite(flags), flags, 0).astype(np.int64)
    volts = _matrix((as_list(f.voltage_v) for f, _ in run), len(run), cells)
    volts[(quality & _BAD["voltage"]) != 0] = np.nan
    current = _matrix(([f.current_a] for f, _ in run), len(run), 1)[:, 0]
    current[((quality & _BAD["current"]) != 0).any(axis=1)] = np.nan
    heat = np.full((len(run), cells), np.nan)
    if sensors:
        read = _matrix((as_list(f.temperature_c) for f, _ in run), len(run), sensors)
        watch = np.array(_watching(config, sensors, cells))
        heat[:, watch >= 0] = read[:, watch[watch >= 0]]
        heat[(quality & _BAD["temperature"]) != 0] = np.nan
    return _Columns(
        np.array([f.timestamp_ms for f, _ in run], np.int64), current, volts,
        _over_cells(np.fmax, heat), _over_cells(np.fmin, heat),
        _over_cells(np.fmax, table[:, :, Result.THERMAL_SCORE]),
        table[:, 0, Result.PHASE], quality,
    )  # fmt: skip


def _watching(config: AssetConfig, sensors: int, cells: int) -> list[int]:
    """The sensor of every cell, as the engine has it, also where the config says other cells."""
    if cells != config.cells:
        return [cell * sensors // cells for cell in range(cells)]
    return sensor_of_cell(config, sensors)


def _over_cells(pick: Any, values: Floats) -> Floats:
    found: Floats = pick.reduce(values, axis=1)
    return found


def _matrix(lists: Iterator[Sequence[float | None]], n: int, width: int) -> Floats:
    """Lists of readings as rows, NaN where one is missing or the list is short."""
    rows = list(lists)
    if all(len(values) == width for values in rows):
        return np.array(rows, np.float64).reshape(n, width)  # None becomes NaN
    out = np.full((n, width), np.nan)
    for k, values in enumerate(rows):
        out[k, : len(values[:width])] = np.array(values[:width], np.float64)
    return out
