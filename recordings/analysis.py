"""What a battery engineer reads from a recorded life, computed without a plot.

`gather` walks a recording once and keeps a few numbers a cycle and the curves of the cycles asked
for; the rest are functions of plain arrays. Capacity in Ah, voltage in V, resistance in ohm,
temperature in degrees Celsius; `soh` is capacity over nominal capacity, a fraction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.signal import find_peaks

from recordings.types import Floats, Operation, Recording, RecordingInfo

LOADED_C_RATE = 0.025
ICA_BIN_V = 0.01
ICA_SMOOTH_V = 0.015  # standard deviation of the Gaussian over dQ/dV
ICA_SETTLE_S = 120.0  # the start of a charge is polarisation, and on NASA an artefact
ICA_TOP_MARGIN_V = 0.015  # below the charge voltage, where CV begins
ICA_LEAST_SPAN_V = 0.2
PEAK_PROMINENCE = 0.08  # of the curve's highest value
TRACK_REACH_V = 0.04
PLATEAU = (0.2, 0.8)  # of the charge drawn
MAX_CURVES = 100


@dataclass(frozen=True, slots=True)
class Curve:
    """Voltage over the charge moved, of one charge or discharge."""

    cycle: int
    capacity_ah: Floats
    voltage_v: Floats


@dataclass(frozen=True, slots=True)
class IcaCurve:
    """Incremental capacity dQ/dV (Ah/V) over voltage, of one CC charge."""

    cycle: int
    voltage_v: Floats
    dq_dv: Floats


@dataclass(frozen=True, slots=True)
class Plateau:
    """The middle of a discharge: mean voltage, and slope in V per whole discharge (negative)."""

    voltage_v: float
    slope_v: float


@dataclass(frozen=True, slots=True)
class CycleSummary:
    """What one discharge tells."""

    cycle: int
    start_ms: int
    capacity_ah: float | None
    plateau: Plateau | None
    temperature_start_c: float | None
    temperature_max_c: float | None
    ambient_c: float | None


@dataclass(frozen=True, slots=True)
class ImpedancePoint:
    """Resistances fitted to one EIS measurement."""

    cycle: int
    electrolyte_ohm: float
    charge_transfer_ohm: float


@dataclass(frozen=True, slots=True)
class Life:
    """A recording's life, as far as it is plotted."""

    info: RecordingInfo
    cycles: tuple[CycleSummary, ...]
    curves: tuple[Curve, ...]
    ica: tuple[IcaCurve, ...]
    impedance: tuple[ImpedancePoint, ...]
    impedance_left_out: int

    def capacities(self) -> tuple[Floats, Floats]:
        """Cycle and capacity_ah, NaN where it is not known."""
        cycle = np.array([one.cycle for one in self.cycles], dtype=float)
        known = [np.nan if one.capacity_ah is None else one.capacity_ah for one in self.cycles]
        return cycle, np.array(known, dtype=float)


class _Eis(Protocol):
    @property
    def cycle(self) -> int: ...
    @property
    def electrolyte_ohm(self) -> float | None: ...
    @property
    def charge_transfer_ohm(self) -> float | None: ...
    @property
    def sane(self) -> bool: ...


@runtime_checkable
class _WithImpedance(Protocol):
    def impedance(self) -> Iterator[_Eis]: ...


def gather(recording: Recording, first: int = 1, last: int = 100) -> Life:
    """Walk a recording once; curves of cycles `first` to `last` are kept, 100 at most."""
    chosen = set(np.unique(np.linspace(first, last, MAX_CURVES).round().astype(int)).tolist())
    info = recording.info
    cycles: list[CycleSummary] = []
    curves: list[Curve] = []
    ica: list[IcaCurve] = []
    for op in recording.operations():
        if op.kind == "discharge":
            curve = discharge_curve(op, info.nominal_capacity_ah)
            cycles.append(_summary(op, curve))
            if curve is not None and op.cycle in chosen:
                curves.append(curve)
        elif op.kind == "charge" and op.cycle in chosen:
            found = incremental_capacity(op, info)
            if found is not None:
                ica.append(found)
    points, left_out = _impedance(recording)
    return Life(info, tuple(cycles), tuple(curves), tuple(ica), points, left_out)


def _summary(op: Operation, curve: Curve | None) -> CycleSummary:
    temperature = op.temperature_c[np.isfinite(op.temperature_c).all(axis=1)]
    known = temperature.size > 0
    ambient = None if op.ambient_c is None else float(np.nanmedian(op.ambient_c))
    return CycleSummary(
        cycle=op.cycle,
        start_ms=op.start_ms,
        capacity_ah=op.capacity_ah,
        plateau=None if curve is None else plateau(curve),
        temperature_start_c=float(temperature[0].max()) if known else None,
        temperature_max_c=float(temperature.max()) if known else None,
        ambient_c=ambient,
    )


def _impedance(recording: Recording) -> tuple[tuple[ImpedancePoint, ...], int]:
    if not isinstance(recording, _WithImpedance):
        return (), 0
    points: list[ImpedancePoint] = []
    left_out = 0
    for eis in recording.impedance():
        if eis.sane and eis.electrolyte_ohm is not None and eis.charge_transfer_ohm is not None:
            points.append(ImpedancePoint(eis.cycle, eis.electrolyte_ohm, eis.charge_transfer_ohm))
        else:
            left_out += 1
    return tuple(points), left_out


def discharge_curve(op: Operation, nominal_capacity_ah: float) -> Curve | None:
    """Voltage of the loaded samples over the charge drawn; None if fewer than 10 are loaded.

    The voltage is the mean over cells. The charge is the trapezoidal integral of all samples, so a
    pulsed discharge is counted right.
    """
    current = np.nan_to_num(op.current_a)
    steps_ah = np.diff(op.time_s) * (current[1:] + current[:-1]) / 2 / 3600
    drawn_ah = np.concatenate([[0.0], np.cumsum(-steps_ah)])
    voltage_v = op.voltage_v.mean(axis=1)
    loaded = (current < -LOADED_C_RATE * nominal_capacity_ah) & np.isfinite(voltage_v)
    if loaded.sum() < 10:
        return None
    return Curve(op.cycle, drawn_ah[loaded], voltage_v[loaded])


def plateau(curve: Curve) -> Plateau | None:
    """Mean voltage and slope between 20 and 80 % of the charge drawn; None with under 5 samples."""
    total = float(curve.capacity_ah[-1])
    if total <= 0:
        return None
    depth = curve.capacity_ah / total
    middle = (depth >= PLATEAU[0]) & (depth <= PLATEAU[1])
    if middle.sum() < 5 or np.ptp(depth[middle]) == 0:
        return None
    slope, _ = np.polyfit(depth[middle], curve.voltage_v[middle], 1)
    return Plateau(float(curve.voltage_v[middle].mean()), float(slope))


def incremental_capacity(op: Operation, info: RecordingInfo) -> IcaCurve | None:
    """dQ/dV of the CC part of a charge, smoothed; None if it spans less than 0.2 V.

    The charge is interpolated on 10 mV steps of the highest voltage so far, differentiated, and
    smoothed by a Gaussian of 15 mV (Dubarry et al., 2006, on incremental capacity analysis).
    """
    voltage_v = op.voltage_v.mean(axis=1)
    cc = (
        (op.current_a > LOADED_C_RATE * info.nominal_capacity_ah)
        & np.isfinite(voltage_v)
        & (op.time_s >= op.time_s[0] + ICA_SETTLE_S)
        & (voltage_v < info.charge_voltage_v - ICA_TOP_MARGIN_V)
    )
    if cc.sum() < 20:
        return None
    current, time_s = op.current_a[cc], op.time_s[cc]
    charge_ah = np.concatenate(
        [[0.0], np.cumsum(np.diff(time_s) * (current[1:] + current[:-1]) / 2 / 3600)]
    )
    rising_v = np.maximum.accumulate(voltage_v[cc])
    rises = np.concatenate([[True], np.diff(rising_v) > 0])
    low = np.ceil(rising_v[0] / ICA_BIN_V) * ICA_BIN_V
    grid = np.arange(low, rising_v[-1], ICA_BIN_V)
    if len(grid) < ICA_LEAST_SPAN_V / ICA_BIN_V:
        return None
    dq_dv = np.diff(np.interp(grid, rising_v[rises], charge_ah[rises])) / ICA_BIN_V
    return IcaCurve(
        op.cycle, (grid[1:] + grid[:-1]) / 2, _gaussian(dq_dv, ICA_SMOOTH_V / ICA_BIN_V)
    )


def _gaussian(y: Floats, sigma: float) -> Floats:
    """Smoothed by a Gaussian of `sigma` points, its weights renormalised at the ends."""
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    part = slice(reach, reach + len(y))
    total: Floats = np.convolve(y, weights)[part] / np.convolve(np.ones(len(y)), weights)[part]
    return total


def ica_peaks(curve: IcaCurve) -> list[tuple[float, float]]:
    """The peaks of a dQ/dV curve: (voltage, height), by voltage."""
    high = float(curve.dq_dv.max())
    if high <= 0:
        return []
    at, _ = find_peaks(curve.dq_dv, prominence=PEAK_PROMINENCE * high)
    return [_vertex(curve.voltage_v[i - 1 : i + 2], curve.dq_dv[i - 1 : i + 2]) for i in at]


def _vertex(x: Floats, y: Floats) -> tuple[float, float]:
    """The top of the parabola through three points with equal steps: finer than the 10 mV grid."""
    bend = y[0] - 2 * y[1] + y[2]
    if bend >= 0:  # a flat top
        return float(x[1]), float(y[1])
    shift = 0.5 * (y[0] - y[2]) / bend
    return float(x[1] + shift * (x[2] - x[1])), float(y[1] - 0.25 * (y[0] - y[2]) * shift)


@dataclass(frozen=True, slots=True)
class Track:
    """One ICA peak through life: cycle, voltage and height of each sighting."""

    cycle: Floats
    voltage_v: Floats
    height: Floats


def track_peaks(curves: Iterable[IcaCurve], least: int = 5) -> list[Track]:
    """Peaks joined from cycle to cycle, each to the nearest one within 40 mV of where it was.

    Tracks with fewer than `least` sightings are left out; the longest come first.
    """
    open_tracks: list[list[tuple[float, float, float]]] = []
    for curve in curves:
        free = ica_peaks(curve)
        pairs = sorted(
            (abs(peak[0] - track[-1][1]), i, j)
            for i, track in enumerate(open_tracks)
            for j, peak in enumerate(free)
        )
        taken: set[int] = set()
        grown: set[int] = set()
        for distance, i, j in pairs:
            if distance <= TRACK_REACH_V and i not in grown and j not in taken:
                open_tracks[i].append((float(curve.cycle), *free[j]))
                grown.add(i)
                taken.add(j)
        open_tracks += [
            [(float(curve.cycle), *peak)] for j, peak in enumerate(free) if j not in taken
        ]
    kept = sorted((track for track in open_tracks if len(track) >= least), key=len, reverse=True)
    return [Track(*np.array(track).T) for track in kept]


def regenerations(start_ms: Floats, capacity_ah: Floats, nominal_capacity_ah: float) -> list[int]:
    """Positions of the discharges before which the cell rested and its capacity came back.

    The capacity rises over the discharge before by at least 0.75 % of nominal and 2 robust standard
    deviations of such differences, by at most 10 % (more is another load or temperature), stands
    above the median of the 3 before, and the discharge
    began at least 1.5 times the usual interval after the one before. On NASA B0005 these are
    cycles 20, 31, 48, 90, 120, 151 and 167.
    """
    if np.isfinite(capacity_ah).sum() < 5:
        return []
    interval = np.diff(start_ms)
    usual = float(np.median(interval))
    change = np.diff(capacity_ah)
    finite = change[np.isfinite(change)]
    spread = 1.4826 * float(np.median(np.abs(finite - np.median(finite))))
    least = max(0.0075 * nominal_capacity_ah, 2 * spread)
    out = []
    risen = (change >= least) & (change <= 0.1 * nominal_capacity_ah)
    for i in np.flatnonzero(risen & (interval >= 1.5 * usual)):
        before = capacity_ah[max(0, i - 2) : i + 1]
        if capacity_ah[i + 1] - np.nanmedian(before) >= 0.5 * least:
            out.append(int(i) + 1)
    return out


def growth_per_cycle(cycle: Floats, value: Floats) -> float | None:
    """Theil-Sen slope (median of the slopes of all pairs): one wild fit does not tilt it."""
    if len(cycle) < 3:
        return None
    i, j = np.triu_indices(len(cycle), 1)
    dx = cycle[j] - cycle[i]
    apart = dx != 0
    if not apart.any():
        return None
    return float(np.median((value[j] - value[i])[apart] / dx[apart]))
