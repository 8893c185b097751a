"""Replay: the same options give the same bytes; gaps, loops, seeks and faults keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.contract import AssetConfig, Frame, Truth, decode, decode_telemetry, encode
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.kernels.admission import FUTURE_BOUND_MS
from recordings.open import open_recording
from recordings.types import Operation, RecordingInfo
from simulator.replay import ReplayOptions, Timed, asset_config, merged, messages

DAY_MS = 86_400_000
NAN = float("nan")


@dataclass
class Made:
    """A recording in memory."""

    info: RecordingInfo
    parts: list[Operation]

    def operations(self, start: int = 0) -> Iterator[Operation]:
        yield from self.parts[start:]


def operation(
    index: int,
    start_ms: int,
    times: list[float],
    *,
    cells: int = 1,
    sensors: int = 1,
    **more: Any,
) -> Operation:
    n = len(times)
    table = np.arange(n * cells, dtype=float).reshape(n, cells)
    return Operation(
        index=index, cycle=index + 1, kind="charge", start_ms=start_ms, time_s=np.array(times),
        current_a=np.full(n, 1.23456789), voltage_v=3.0 + table / 1000 + index / 10,
        temperature_c=np.full((n, sensors), 25.0), **more,
    )  # fmt: skip


def made(asset: str = "a", **more: Any) -> Made:
    """Three operations: the second an hour after the first, the third after a day."""
    info = RecordingInfo(asset=asset, dataset="made", nominal_capacity_ah=2.0)
    return Made(
        info,
        [
            operation(0, DAY_MS, [0.0, 10.0, 20.0], capacity_ah=1.8),
            operation(1, DAY_MS + 3_620_000, [0.0, 10.0, 500.0, 510.0], capacity_ah=1.7),
            operation(2, 2 * DAY_MS, [0.0, 10.0]),
        ],
    )


def frames_of(timed: list[Timed]) -> list[Frame]:
    return [entry.message for entry in timed if isinstance(entry.message, Frame)]


def seconds(timed: list[Timed]) -> list[float]:
    """When frames are due, s after the replay's start."""
    return [entry.offset_ms / 1000 for entry in timed if isinstance(entry.message, Frame)]


def test_a_recording_keeps_its_own_times() -> None:
    timed = list(messages(made(), ReplayOptions()))
    assert seconds(timed) == [0, 10, 20, 3620, 3630, 4120, 4130, 86_400, 86_410]
    frames = frames_of(timed)
    assert [f.timestamp_ms - DAY_MS for f in frames] == [1000 * s for s in seconds(timed)]
    assert [f.seq for f in frames] == list(range(9))
    assert {f.session for f in frames} == {"replay"}
    assert frames[0].current_a == 1.234568
    assert frames[3].voltage_v == 3.1
    truths = [entry.message for entry in timed if isinstance(entry.message, Truth)]
    assert [(t.cycle, t.capacity_ah, t.soh) for t in truths] == [
        (1, 1.8, 0.9), (2, 1.7, 0.85), (3, None, None),
    ]  # fmt: skip


def test_nothing_of_the_truth_is_in_a_frame() -> None:
    for frame in frames_of(list(messages(made(), ReplayOptions()))):
        text = encode(frame)
        assert all(word not in text for word in (b"cycle", b"capacity", b"soh", b"fault"))


def test_long_gaps_are_shortened_and_move_what_follows() -> None:
    timed = list(messages(made(), ReplayOptions(longest_gap_s=30.0)))
    assert seconds(timed) == [0, 10, 20, 50, 60, 90, 100, 130, 140]
    every = [entry.offset_ms for entry in timed]
    assert every == sorted(every)  # the truth does not wait for the gap that was cut out
    assert [entry.message.timestamp_ms - DAY_MS for entry in timed] == every


def test_rebase_moves_the_first_sample() -> None:
    timed = list(messages(made(), ReplayOptions(rebase_ms=5_000)))
    assert frames_of(timed)[0].timestamp_ms == 5_000
    assert seconds(timed) == seconds(list(messages(made(), ReplayOptions())))


def test_seek_starts_at_an_operation_and_at_zero() -> None:
    timed = list(messages(made(), ReplayOptions(start_operation=1)))
    assert seconds(timed) == [0, 10, 500, 510, 82_780, 82_790]
    assert isinstance(timed[0].message, Truth)
    assert timed[0].message.cycle == 2
    assert [f.seq for f in frames_of(timed)] == list(range(6))
    assert list(messages(made(), ReplayOptions(start_operation=3))) == []


def test_a_loop_goes_on_in_time_and_number() -> None:
    options = ReplayOptions(loop=True, longest_gap_s=30.0, start_operation=1)
    frames = frames_of(list(islice(messages(made(), options), 40)))
    assert len(frames) > 20
    assert [f.seq for f in frames] == list(range(len(frames)))
    steps = [b.timestamp_ms - a.timestamp_ms for a, b in pairwise(frames)]
    assert all(0 < step <= 30_000 for step in steps)
    assert frames[6].voltage_v == 3.0  # the second round begins at the first operation
    assert list(messages(Made(made().info, []), options)) == []  # an empty one ends


def test_overlapping_and_standing_clocks() -> None:
    info = made().info
    recording = Made(
        info,
        [
            operation(0, DAY_MS, [0.0, 10.0, 10.0, 10.0004, 20.0]),
            operation(1, DAY_MS + 5_000, [0.0, 10.0]),
        ],
    )
    timed = list(messages(recording, ReplayOptions()))
    assert seconds(timed) == [0, 10, 20, 21, 31]
    assert [f.seq for f in frames_of(timed)] == [0, 1, 2, 3, 4]


def test_packs_missing_values_and_no_sensor() -> None:
    info = RecordingInfo(asset="a", dataset="made", nominal_capacity_ah=2.0, cells=2, sensors=0)
    part = operation(0, DAY_MS, [0.0, 1.0], cells=2, sensors=0, ambient_c=np.array([24.0, NAN]))
    part.voltage_v[1, 0] = NAN
    part.current_a[1] = np.inf
    first, second = frames_of(list(messages(Made(info, [part]), ReplayOptions())))
    assert first.voltage_v == [3.0, 3.001]
    assert first.temperature_c is None
    assert first.ambient_c == 24.0
    assert second.voltage_v == [None, 3.003]
    assert second.current_a is None
    assert second.ambient_c is None
    assert decode_telemetry(encode([first, second])) == [first, second]


def test_a_fault_label_comes_with_the_frame_it_begins_at() -> None:
    active = np.array([False, True, True, False])
    part = operation(0, DAY_MS, [0.0, 1.0, 2.0, 3.0], fault="short", fault_active=active)
    timed = list(messages(Made(made().info, [part]), ReplayOptions()))
    labels = [
        (entry.offset_ms, entry.message.fault, entry.message.fault_active)
        for entry in timed
        if isinstance(entry.message, Truth)
    ]
    assert labels == [(0, "short", False), (1000, "short", True), (3000, "short", False)]


def test_several_recordings_start_together_and_come_in_order() -> None:
    other = made("b")
    other.parts = [operation(0, 7 * DAY_MS, [0.0, 5.0, 15.0])]
    timed = list(merged([made(), other], ReplayOptions()))
    assert [entry.offset_ms for entry in timed] == sorted(entry.offset_ms for entry in timed)
    for track, recording in enumerate([made(), other]):
        own = [entry for entry in timed if entry.track == track]
        assert own == list(messages(recording, ReplayOptions(), track))
    assert [e.track for e in timed if isinstance(e.message, Frame)][:5] == [0, 1, 1, 0, 1]


@settings(deadline=None)
@given(
    gaps=st.none() | st.sampled_from([1.0, 12.0, 100.0]),
    start=st.integers(0, 3),
    rebase=st.none() | st.integers(0, 10**12),
    loop=st.booleans(),
)
def test_the_same_options_give_the_same_bytes(
    gaps: float | None, start: int, rebase: int | None, loop: bool
) -> None:
    options = ReplayOptions(longest_gap_s=gaps, start_operation=start, rebase_ms=rebase, loop=loop)

    def bytes_of() -> list[tuple[int, int, bytes]]:
        timed = islice(merged([made("a"), made("b")], options), 60)
        return [(entry.offset_ms, entry.track, encode(entry.message)) for entry in timed]

    first = bytes_of()
    assert first == bytes_of()
    offsets = [entry[0] for entry in first]
    assert offsets == sorted(offsets)
    for track in (0, 1):
        payloads = [data for _, own, data in first if own == track and b'"seq"' in data]
        times = [decode_telemetry(data)[0].timestamp_ms for data in payloads]
        assert times == sorted(set(times))
        if gaps is not None:
            assert all(b - a <= gaps * 1000 or b - a == 1_000 for a, b in pairwise(times))


def test_a_config_says_what_is_replayed() -> None:
    info = RecordingInfo(
        asset="a", dataset="made", nominal_capacity_ah=1.1, chemistry="LCO", cells=3,
        cell_type="calce-cs2", discharge_voltage_v=2.0, temperature_max_c=70.0, synthetic=True,
    )  # fmt: skip
    config = asset_config(info, ReplayOptions(speed=120.0, longest_gap_s=60.0), "sim")
    assert decode(AssetConfig, encode(config)) == config
    assert (config.gateway, config.cells, config.cell_type) == ("sim", 3, "calce-cs2")
    assert config.provenance.replay
    assert config.provenance.synthetic
    assert config.provenance.speed == 120.0
    assert config.expected_interval_ms == 500  # the longest silence, at this speed
    assert config.limits.voltage_min_v < config.limits.discharge_voltage_v == 2.0
    fast = asset_config(info, ReplayOptions(speed=None), "sim")
    assert fast.provenance.speed is None


def test_a_replay_from_the_past_or_future_is_taken_whole() -> None:
    """Also far ahead of its arrival: its config declares it a replay."""
    options = ReplayOptions(rebase_ms=10 * FUTURE_BOUND_MS)
    engine = Engine(None, None)
    engine.process([ConfigIn("a", asset_config(made().info, options, "sim"), 0)])
    frames = [FrameIn("a", f, 0, encode(f)) for f in frames_of(list(messages(made(), options)))]
    assert {one.verdict for one in engine.process(frames).handled} == {0}


@pytest.mark.parametrize("path", ["nasa/mat/B0025.mat", "calce/tidy/CS2_34.parquet"])
def test_a_real_recording_is_in_order(shared_data: Path, path: str) -> None:
    recording = open_recording(shared_data / path)[0]
    options = ReplayOptions(longest_gap_s=60.0)
    timed = list(islice(messages(recording, options), 3_000))
    offsets = [entry.offset_ms for entry in timed]
    assert offsets == sorted(offsets)
    steps = np.diff([f.timestamp_ms for f in frames_of(timed)])
    assert (steps > 0).all()
    assert steps.max() <= 60_000
