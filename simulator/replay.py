"""Replay recordings as telemetry: the pure half that turns operations into timed messages.

Every recording keeps its own timestamps (or is re-based) and all of them start together. Long gaps
between samples can be shortened, which moves everything behind them; the same recording and options
give the same messages, byte for byte.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from monitor.contract import VERSION, AssetConfig, Frame, Limits, Provenance, Truth
from recordings.types import Operation, Recording, RecordingInfo

USUAL_GAP_MS = 120_000
CALCE_GAP_MS = 1_200_000  # CALCE logs the end of a CV phase up to 20 minutes apart


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a recording is replayed.

    `speed` is event seconds a second, None as fast as the broker takes it. Gaps longer than
    `longest_gap_s` are shortened to it. `rebase_ms` moves the first sample to that instant.
    """

    speed: float | None = 1.0
    longest_gap_s: float | None = None
    rebase_ms: int | None = None
    loop: bool = False
    start_operation: int = 0
    session: str = "replay"
    batch: int = 1  # frames a message at most


class Timed(NamedTuple):
    """One message of a replay, due `offset_ms` of event time after the replay's start."""

    offset_ms: int
    track: int
    message: Frame | Truth


@runtime_checkable
class FaultyLink(Protocol):
    """A recording whose messages are lost, late or wrongly stamped on their way."""

    def distort(self, messages: Iterator[Timed]) -> Iterator[Timed]:
        """The messages with the fault in them, in order."""


def asset_config(info: RecordingInfo, options: ReplayOptions, gateway: str) -> AssetConfig:
    """The config that a replayed recording publishes of itself."""
    pause_s = 10.0 if options.longest_gap_s is None else max(10.0, options.longest_gap_s)
    interval_ms = 1_000.0 if options.speed is None else pause_s * 1000.0 / options.speed
    return AssetConfig(
        v=VERSION,
        nominal_capacity_ah=info.nominal_capacity_ah,
        chemistry=info.chemistry,
        cell_type=info.cell_type,
        cells=info.cells,
        limits=Limits(
            voltage_min_v=min(2.5, info.discharge_voltage_v - 0.5),
            voltage_max_v=info.charge_voltage_v + 0.05,
            charge_voltage_v=info.charge_voltage_v,
            discharge_voltage_v=info.discharge_voltage_v,
            temperature_max_c=info.temperature_max_c,
        ),
        expected_interval_ms=max(1, int(interval_ms)),
        max_gap_ms=CALCE_GAP_MS if info.dataset == "calce" else USUAL_GAP_MS,
        gateway=gateway,
        provenance=Provenance(
            source=f"{info.dataset} recording {info.asset}"[:500],
            replay=True,
            synthetic=info.synthetic,
            speed=options.speed,
        ),
    )


class _Clock:
    """Recorded time to replayed time: re-based once, long gaps shortened, never backwards."""

    def __init__(self, options: ReplayOptions) -> None:
        self._rebase_ms = options.rebase_ms
        gap_s = options.longest_gap_s
        self._longest_ms = None if gap_s is None else int(gap_s * 1000)
        self._shift_ms = 0
        self._last_ms: int | None = None
        self.origin_ms = 0

    def begin(self, first_ms: int) -> int:
        """An operation begins: when its first sample is replayed."""
        if self._last_ms is None:
            if self._rebase_ms is not None:
                self._shift_ms = self._rebase_ms - first_ms
            self.origin_ms = first_ms + self._shift_ms
        elif first_ms + self._shift_ms <= self._last_ms:
            self._shift_ms = self._last_ms + 1_000 - first_ms  # a new loop, or one that overlaps
        return self._shortened(first_ms)

    def at(self, time_ms: int) -> int | None:
        """When a sample is replayed; None where the publisher's clock stood still."""
        stamp = self._shortened(time_ms)
        if self._last_ms is not None and stamp <= self._last_ms:
            return None
        self._last_ms = stamp
        return stamp

    def _shortened(self, time_ms: int) -> int:
        if self._last_ms is not None and self._longest_ms is not None:
            gap_ms = time_ms + self._shift_ms - self._last_ms
            self._shift_ms -= max(0, gap_ms - self._longest_ms)
        return time_ms + self._shift_ms


def messages(recording: Recording, options: ReplayOptions, track: int = 0) -> Iterator[Timed]:
    """Every frame and truth of one recording, in time order; endless where `loop` is set."""
    clock = _Clock(options)
    seq = 0
    start = options.start_operation
    while True:
        played = False
        for operation in recording.operations(start):
            if len(operation) == 0:
                continue
            played = True
            times = operation.start_ms + np.rint(operation.time_s * 1000.0).astype(np.int64)
            truth = _truth(operation, recording.info, clock.begin(int(times[0])))
            yield Timed(truth.timestamp_ms - clock.origin_ms, track, truth)
            fault = False
            for k, time_ms in enumerate(times.tolist()):
                stamp = clock.at(time_ms)
                if stamp is None:
                    continue
                yield Timed(
                    stamp - clock.origin_ms,
                    track,
                    _frame(operation, k, stamp, options.session, seq),
                )
                seq += 1
                if operation.fault_active is not None and operation.fault_active[k] != fault:
                    fault = not fault
                    label = _truth(operation, recording.info, stamp, fault)
                    yield Timed(stamp - clock.origin_ms, track, label)
        if not options.loop or not played:
            return
        start = 0


def recorded_ms(recording: Recording, options: ReplayOptions, offset_ms: int) -> int:
    """How long after the recording's first sample that was recorded which is next to be replayed.

    `offset_ms` counts from the replay's start. A looping replay's later rounds begin anew.
    """
    clock = _Clock(options)
    first_ms: int | None = None
    for operation in recording.operations():
        if len(operation):
            first_ms = operation.start_ms
            break
    start = options.start_operation
    while first_ms is not None:
        last_ms = first_ms
        for operation in recording.operations(start):
            if len(operation) == 0:
                continue
            times = operation.start_ms + np.rint(operation.time_s * 1000.0).astype(np.int64)
            clock.begin(int(times[0]))
            for time_ms in times.tolist():
                stamp = clock.at(time_ms)
                last_ms = time_ms
                if stamp is not None and stamp - clock.origin_ms >= offset_ms:
                    return int(time_ms) - first_ms
        if not options.loop:
            return last_ms - first_ms
        start = 0
    return 0


def merged(recordings: Sequence[Recording], options: ReplayOptions) -> Iterator[Timed]:
    """The messages of several recordings that start together, by the time they are due."""
    tracks = [messages(recording, options, k) for k, recording in enumerate(recordings)]
    tracks = [
        recording.distort(track) if isinstance(recording, FaultyLink) else track
        for recording, track in zip(recordings, tracks, strict=True)
    ]
    return heapq.merge(*tracks, key=lambda timed: timed.offset_ms)


def _frame(operation: Operation, k: int, stamp: int, session: str, seq: int) -> Frame:
    return Frame(
        v=VERSION,
        timestamp_ms=stamp,
        session=session,
        seq=seq,
        current_a=_number(operation.current_a[k]),
        voltage_v=_numbers(operation.voltage_v[k]),
        temperature_c=_numbers(operation.temperature_c[k]),
        ambient_c=None if operation.ambient_c is None else _number(operation.ambient_c[k]),
    )


def _number(value: np.float64) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _numbers(values: np.ndarray) -> float | list[float | None] | None:
    if len(values) == 1:
        return _number(values[0])
    return [_number(value) for value in values] if len(values) else None


def _truth(operation: Operation, info: RecordingInfo, stamp: int, fault: bool = False) -> Truth:
    capacity = operation.capacity_ah
    return Truth(
        v=VERSION,
        timestamp_ms=stamp,
        cycle=operation.cycle,
        capacity_ah=capacity,
        soh=None if capacity is None else capacity / info.nominal_capacity_ah,
        fault=operation.fault,
        fault_active=None if operation.fault is None else fault,
    )
