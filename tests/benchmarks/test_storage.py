"""The store of `bench storage` is one that a monitor could have left, and its traces answer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.storage import Plan, ask, holdings
from benchmarks.storage_month import CELLS, DAY_S, PACK, Charge, build
from benchmarks.stream import LAST_S, START_MS
from monitor.contract import Frame
from monitor.inputs import FrameIn
from monitor.store.journal import connect

SECONDS = 3_600


def test_the_store_is_whole_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    days, lived = 0.1, SECONDS / DAY_S
    built = build(path, PACK, days, lived)
    assert 0 < built.minutes_bytes < built.frames_bytes
    held = holdings(path)
    assert (held.frames, held.raw_from_ms) == (SECONDS, START_MS)
    assert held.minutes == CELLS * (round(days * DAY_S) // 60 + 1)  # one has both in it
    with closing(connect(path, read_only=True)) as db:
        rows = db.execute("SELECT timestamp_ms, payload FROM input WHERE kind = 0").fetchall()
        cycles = db.execute("SELECT start_ms, end_ms FROM cycle").fetchall()
    frames = [msgspec.json.decode(payload, type=Frame) for _, payload in rows]
    assert [frame.timestamp_ms for frame in frames] == [row[0] for row in rows]
    assert [frame.seq for frame in frames] == list(range(SECONDS))
    assert len(cycles) == CELLS * (SECONDS // LAST_S + 1)
    assert all(0 < end - start <= LAST_S * 1_000 for start, end in cycles)
    found = {one.name: one.value or 0.0 for one in ask(path, Plan(PACK, days, lived), built)}
    assert found["one pack of 100 cells: frames in the store"] == SECONDS
    kept = "days frame by frame within store_max_mb, beside 30 by the minute"
    assert 5 < found[f"one pack of 100 cells: {kept}"] < 30


def test_a_second_of_the_charge_is_what_the_engine_gives() -> None:
    charge = Charge.of(PACK.stream)
    results = charge.second(LAST_S + 100)
    same = charge.second(2 * LAST_S + 100)
    one, other = results.handled[0].input, same.handled[0].input
    assert isinstance(one, FrameIn)
    assert isinstance(other, FrameIn)
    assert other.frame.timestamp_ms - one.frame.timestamp_ms == 1_000 * LAST_S
    assert other.frame.voltage_v == one.frame.voltage_v
    np.testing.assert_array_equal(results.rows[0], same.rows[0])
