"""Faults as people write them, and faults of the telemetry's way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.contract import Frame, Truth
from simulator.faults_frames import FrameFault, distort_frames
from simulator.faults_scenario import (
    KINDS,
    FaultError,
    Onset,
    check_assets,
    parse_fault,
    read_scenario,
)
from simulator.replay import Timed


def test_the_documented_example() -> None:
    fault = parse_fault("isc:asset=B0005,at=cycle:3,severity=0.2")
    assert (fault.kind, fault.asset, fault.onset) == ("isc", "B0005", Onset(cycle=3))
    assert fault.severity == 0.2
    assert fault.cell_fault() is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_exactly_one_sort_of_fault(kind: str) -> None:
    fault = parse_fault(f"{kind}:asset=a,at=time:90m,for=2h")
    assert fault.onset.time_s == 5400
    assert fault.duration_s == 7200
    made = [fault.cell_fault(), fault.sensor(), fault.frame_fault()]
    assert sum(item is not None for item in made) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short:asset=a", "no fault 'short'; there are isc,"),
        ("isc", "asset is ''"),
        ("isc:asset=_a", "asset is '_a'"),
        ("isc:asset=a,severity=2", "severity is 2, not within 0..1"),
        ("isc:asset=a,severity=nan", "severity is 'nan'"),
        ("isc:asset=a,severity=x", "severity is 'x', not a number"),
        ("isc:asset=a,at=monday", "at is 'monday', not cycle:3"),
        ("isc:asset=a,at=cycle:0", "at=cycle is '0'"),
        ("isc:asset=a,at=time:3weeks", "not a duration such as"),
        ("isc:asset=a,asset=b", "asset is given twice"),
        ("isc:asset", "'asset' is not key=value"),
        ("isc:asset=a,watt=3", "isc has no 'watt'; it has"),
        ("isc:asset=a,ohm=0", "ohm must be above 0"),
        ("isc:asset=a,channel=voltage", "isc has no channel"),
        ("bias:asset=a,channel=smell", "channel is 'smell'"),
        ("late:asset=a,at=operation:3", "begins at a cycle: or a time:"),
    ],
)
def test_a_bad_fault_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message.replace("(", r"\(")):
        parse_fault(text)


@given(st.text(max_size=60))
def test_any_text_is_a_fault_or_a_fault_error(text: str) -> None:
    try:
        parse_fault(text)
        parse_fault(f"isc:asset=a,{text}")
    except FaultError:
        pass


def test_scenarios_in_both_formats(tmp_path: Path) -> None:
    toml = tmp_path / "s.toml"
    toml.write_text('seed = 7\n[[fault]]\nkind = "isc"\nasset = "a"\nat = "cycle:3"\nohm = 5\n')
    same = tmp_path / "s.json"
    table = {"kind": "isc", "asset": "a", "at": "cycle:3", "ohm": 5}
    same.write_text(json.dumps({"seed": 7, "fault": [table]}))
    assert read_scenario(toml) == read_scenario(same)
    assert read_scenario(toml).faults[0].values == {"ohm": 5.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = -1", "seed is -1"),
        ("speed = 1", "unknown key speed; known are seed and fault"),
        ("fault = 3", "`fault` is not a list"),
        ("[[fault]]\nkind = 'isc'", "fault 1: asset is ''"),
        ("[[fault", "not toml"),
    ],
)
def test_a_bad_scenario_is_refused_with_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(FaultError, match=message):
        read_scenario(path)
    with pytest.raises(FaultError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")


def test_a_fault_for_nobody_is_refused() -> None:
    with pytest.raises(FaultError, match="no asset B9; there are B0005, B0006"):
        check_assets([parse_fault("isc:asset=B9")], ["B0006", "B0005"])


def _messages(n: int = 400) -> list[Timed]:
    truth = [Timed(0, 0, Truth(v=1, timestamp_ms=0, cycle=1))]
    frames = [
        Timed(k * 1000, 0, Frame(v=1, timestamp_ms=k * 1000, session="a", seq=k, current_a=1.0))
        for k in range(n)
    ]
    second = [Timed(200_000, 0, Truth(v=1, timestamp_ms=200_000, cycle=2))]
    return sorted([*truth, *frames, *second], key=lambda timed: timed.offset_ms)


def _frames(messages: list[Timed]) -> list[Frame]:
    return [timed.message for timed in messages if isinstance(timed.message, Frame)]


def test_dropped_frames_are_missing_and_the_truth_says_when() -> None:
    fault = FrameFault("dropped", 1.0, after_s=100.0, duration_s=50.0)
    seen = list(distort_frames(iter(_messages()), fault, np.random.default_rng(0)))
    gone = {frame.seq for frame in _frames(_messages())} - {f.seq for f in _frames(seen)}
    assert gone == set(range(100, 150))
    labels = [(m.message.timestamp_ms, m.message.fault_active) for m in seen
              if isinstance(m.message, Truth) and m.message.fault == "dropped"]  # fmt: skip
    assert labels == [(100_000, True), (150_000, False)]


def test_late_frames_come_later_with_their_own_timestamp() -> None:
    fault = FrameFault("late", 30.0, cycle=2)
    seen = list(distort_frames(iter(_messages()), fault, np.random.default_rng(0)))
    assert sorted(f.seq or 0 for f in _frames(seen)) == list(range(400))
    offsets = [timed.offset_ms for timed in seen]
    assert offsets == sorted(offsets)
    late = [
        t for t in seen if isinstance(t.message, Frame) and t.offset_ms > t.message.timestamp_ms
    ]
    assert 5 < len(late) < 60
    assert min(t.message.timestamp_ms for t in late) >= 200_000


def test_a_jumped_clock_stamps_wrongly_and_arrives_in_time() -> None:
    fault = FrameFault("clock-jump", -3600.0, after_s=10.0)
    seen = list(distort_frames(iter(_messages()), fault, np.random.default_rng(0)))
    for timed in seen:
        if isinstance(timed.message, Frame):
            jumped = -3_600_000 if timed.offset_ms >= 10_000 else 0
            assert timed.message.timestamp_ms == timed.offset_ms + jumped
