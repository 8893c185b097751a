"""The journal, its checkpoints and its history: nothing lost, nothing doubled, nothing half.

The module is long because journal, checkpoints and history are tested on the same made rows.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.contract import Command, DeviceAlarm, Frame, decode_telemetry
from monitor.engine import Engine
from monitor.errors import StoreError
from monitor.inputs import CommandIn, ConfigIn, DeviceAlarmIn, FrameIn, Input, StatusIn, Tick
from monitor.kernels.columns import RESULTS
from monitor.store.checkpoint import Checkpoint, newest, write
from monitor.store.journal import RUN, Journal
from monitor.store.sqlite_history import SqliteHistory
from monitor.store.thinning import gaps, keep_extremes, with_gaps
from monitor.store.wal import checkpoint_log
from tests.engine_world import T0, cycling, frame_in, make_config, soh_model, thermal_model

NAN = float("nan")


def make_engine() -> Engine:
    return Engine(soh_model(), thermal_model())


def story(n: int = 380) -> list[Input]:
    """Two assets with every kind of input, a frame delivered twice and one late."""
    streams = [*cycling("one", n, seed=1), *cycling("two", n, 2, seed=2, start_s=5, sensors=2)]
    frames = sorted(streams, key=lambda item: item.frame.timestamp_ms)
    inputs: list[Input] = [ConfigIn("one", make_config(gateway="gw"), T0)]
    for k, item in enumerate(frames):
        if k % 40 == 39:
            inputs.append(frames[k - 20])
        if k == 100:
            inputs.append(ConfigIn("two", make_config(2, temperature_map=[[2], [1]]), T0))
        inputs.append(item)
        now = item.arrival_ms
        if k % 60 == 50:
            inputs += [Tick(now + 1), Tick(now + 400_000), StatusIn("gw", True, False, now)]
            alarm = DeviceAlarm(v=1, timestamp_ms=now, name="short", active=True, detail="\"'")
            inputs.append(DeviceAlarmIn("two", alarm, now))
            for action in ("acknowledge", "shelve"):
                command = Command(
                    v=1, id=f"{k}-{action}", action=action, code="stale", duration_s=5.0,
                    comment="过会儿",
                )  # fmt: skip
                inputs.append(CommandIn("one", "ann", command, now))
            inputs.append(Tick(now + 500_000))
            inputs.append(StatusIn("gw", True, True, now))
    return inputs


STORY = story()


def run(journal: Journal, engine: Engine, inputs: Sequence[Input], size: int = 17) -> None:
    """Inputs through engine and journal, in batches; ticks alone, as the pipeline sends them."""
    batch: list[Input] = []
    for item in inputs:
        if isinstance(item, Tick):
            for part in (batch, [item]):
                journal.commit(engine.process(part))
            batch = []
            continue
        batch.append(item)
        if len(batch) == size:
            journal.commit(engine.process(batch))
            batch = []
    journal.commit(engine.process(batch))


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, and no input's number, which depends on what was refused."""
    db = sqlite3.connect(path)
    try:
        return {
            table: db.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table, columns in (
                ("input", "id, kind, asset_id, timestamp_ms, arrival_ms, payload"),
                ("cycle", "asset_id, cell, start_ms, kind, end_ms, histogram"),
                ("event", "event_id, asset_id, timestamp_ms"),
                ("asset", "name, id, 0"),
            )
        }
    finally:
        db.close()


def states(engine: Engine) -> dict[str, bytes]:
    return {name: engine.asset_state(name) for name in engine.fleet.assets}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "store" / "j.sqlite")
    yield opened
    opened.close()


def test_inputs_come_back_as_they_went_in(journal: Journal) -> None:
    engine = make_engine()
    results = engine.process(STORY)
    journal.commit(results)
    kept = [one.input for one in results.handled if one.verdict in (0, 1, 3)]
    back = [stored.item for stored in journal.inputs_after(0)]
    assert back == kept
    assert journal.last_id == len(kept)
    assert [stored.item for stored in journal.inputs_after(10)] == kept[10:]
    assert list(journal.inputs_after(journal.last_id)) == []


def test_a_tick_that_changed_nothing_leaves_nothing(journal: Journal) -> None:
    engine = make_engine()
    batch: list[Input] = [Tick(T0)]
    journal.commit(engine.process(batch))
    assert journal.last_id == 0


@pytest.mark.parametrize("cut", [0, 50, 200, len(STORY)])
def test_recovery_brings_the_engine_back(tmp_path: Path, cut: int) -> None:
    """Killed after any batch: checkpoint and inputs after it give the uninterrupted state."""
    whole, whole_engine = Journal(tmp_path / "whole.sqlite"), make_engine()
    run(whole, whole_engine, STORY)
    path = tmp_path / "cut.sqlite"
    first, engine = Journal(path), make_engine()
    run(first, engine, STORY[:cut])
    write(path, Checkpoint(first.last_id, list(states(engine).values())))
    at = first.last_id
    run(first, engine, STORY[cut : cut + 60])
    first.close()  # and the process is gone

    second, recovered = Journal(path), make_engine()
    checkpoint = newest(path)
    assert checkpoint is not None
    assert checkpoint.input_id == at
    for data in checkpoint.assets:
        recovered.put_asset_state(data)
    recovered.process([one.item for one in second.inputs_after(at) if one.item is not None])
    assert states(recovered) == states(engine)
    run(second, recovered, STORY[cut + 60 :])
    assert states(recovered) == states(whole_engine)
    second.close()
    whole.close()
    assert dump(path) == dump(tmp_path / "whole.sqlite")


def test_what_is_delivered_again_is_not_doubled(tmp_path: Path) -> None:
    """The broker sends the last batch again after a kill between commit and acknowledge."""
    path = tmp_path / "j.sqlite"
    journal, engine = Journal(path), make_engine()
    frames: list[Input] = [item for item in STORY if isinstance(item, FrameIn | ConfigIn)]
    run(journal, engine, frames)
    before = dump(path)
    again = [item for item in frames[-30:] if isinstance(item, FrameIn)]
    run(journal, engine, again)
    journal.close()
    after = dump(path)
    for table in ("cycle", "event", "asset"):
        assert after[table] == before[table]
    added = after["input"][len(before["input"]) :]
    assert all(row[1] == 1 for row in added)  # at most called late, never used


# Checkpoints


def test_checkpoint_generations_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    assert newest(path) is None
    for k in range(1, 6):
        write(path, Checkpoint(k, [bytes([k]) * 10, b""]))
        assert newest(path) == Checkpoint(k, [bytes([k]) * 10, b""])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2  # two generations, nothing half-written left


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "garbage", "gone"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_older(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j.sqlite"
    write(path, Checkpoint(1, [b"old"]))
    older = set(tmp_path.iterdir())
    write(path, Checkpoint(2, [b"new" * 100]))
    (file,) = set(tmp_path.iterdir()) - older
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(
            {
                "cut": data[:-1],
                "flip": data[:100] + bytes([data[100] ^ 1]) + data[101:],
                "empty": b"",
                "garbage": b"\xff" * 500,
            }[damage]
        )
    assert newest(path) == Checkpoint(1, [b"old"])
    write(path, Checkpoint(3, [b"next"]))  # and it is the damaged one that is written over
    assert newest(path) == Checkpoint(3, [b"next"])
    assert file.exists()
    assert all(p.stat().st_size > 0 for p in tmp_path.iterdir())
    for leftover in older:
        assert leftover.read_bytes().endswith(b"old")


# Failing commits


def test_a_failing_commit_writes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    """A statement fails in the middle of the transaction, at each kind of row."""
    whole = Journal(tmp_path / "whole.sqlite")
    run(whole, make_engine(), STORY)
    whole.close()
    path = tmp_path / "j.sqlite"
    journal, engine = Journal(path), make_engine()
    results = engine.process(STORY[:150])
    assert results.cycles or results.events
    for table in ("asset", "input", "event"):
        other = sqlite3.connect(path)
        other.execute(
            f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        other.commit()
        before = dump(path)
        with pytest.raises(StoreError, match="full"):
            journal.commit(results)
        assert dump(path) == before == {"input": [], "cycle": [], "event": [], "asset": []}
        other.execute("DROP TRIGGER broken")
        other.commit()
        other.close()
    journal.commit(results)
    run(journal, engine, STORY[150:])
    journal.close()
    found, expected = dump(path), dump(tmp_path / "whole.sqlite")
    assert found["cycle"] == expected["cycle"]
    assert found["event"] == expected["event"]
    assert [row[2:] for row in found["input"] if row[1] == 0] == [
        row[2:] for row in expected["input"] if row[1] == 0
    ]


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal, engine = Journal(path), make_engine()
    run(journal, engine, STORY[:40])
    kept = dump(path)
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    results = engine.process(STORY[40:])
    with pytest.raises(StoreError, match="full"):
        journal.commit(results)
    assert dump(path) == kept
    journal._db.execute("PRAGMA max_page_count = 1000000")
    journal.commit(results)
    assert len(dump(path)["input"]) > len(kept["input"])
    journal.close()


def test_a_locked_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    journal._db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    batch = STORY[:5]
    results = make_engine().process(batch)
    with pytest.raises(StoreError, match="locked"):
        journal.commit(results)
    other.execute("ROLLBACK")
    journal.commit(results)
    assert journal.last_id == 5
    other.close()
    journal.close()


def test_files_that_are_no_journal(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.sqlite"
    garbage.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"garbage\.sqlite"):
        Journal(garbage)
    folder = tmp_path / "folder.sqlite"
    folder.mkdir()
    with pytest.raises(StoreError):
        Journal(folder)
    with pytest.raises(StoreError):
        Journal(garbage / "below.sqlite")
    newer = tmp_path / "newer.sqlite"
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="another version"):
        Journal(newer)
    for question in (SqliteHistory(tmp_path / "absent.sqlite"), SqliteHistory(garbage)):
        with pytest.raises(StoreError):
            question.assets()


TO_VERSION_3 = "DROP VIEW quarantine; DROP TABLE alarm_number; DROP TABLE unusable;"
TO_VERSION_2 = (
    "CREATE INDEX input_by_time ON input (asset_id, timestamp_ms) WHERE kind = 0;"
    "DROP VIEW frame; DROP TABLE frame_time; DELETE FROM progress WHERE name = 'frame_time';"
)
TO_VERSION_1 = (
    "DROP INDEX cycle_by_seq; DROP INDEX event_by_time; DROP INDEX event_of_asset;"
    "DROP TABLE minute; DROP TABLE progress; ALTER TABLE cycle DROP COLUMN seq;"
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_earlier_version_is_taken_over(tmp_path: Path, version: int) -> None:
    path = tmp_path / "j.sqlite"
    journal, engine = Journal(path), make_engine()
    run(journal, engine, STORY[:300])
    journal.close()
    db = sqlite3.connect(path)
    numbers = db.execute("SELECT * FROM alarm_number").fetchall()
    assert len(numbers) > 1
    older = [TO_VERSION_3, TO_VERSION_2, TO_VERSION_1][: 4 - version]
    db.executescript(f"{''.join(older)}PRAGMA user_version = {version}")
    db.close()
    before = dump(path)
    journal = Journal(path)
    assert dump(path) == before
    assert journal._db.execute("SELECT * FROM alarm_number").fetchall() == numbers
    assert_frames_are_found(journal)
    run(journal, engine, STORY[300:])
    rows = journal._db.execute("SELECT seq, end_ms FROM cycle ORDER BY seq").fetchall()
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > len(before["cycle"]) > 1
    ends = [end for _, end in rows[: len(before["cycle"])]]
    assert ends == sorted(ends)
    journal.close()


def assert_frames_are_found(journal: Journal) -> None:
    """Frames by asset and time are the frames among the inputs, each once."""
    found = journal._db.execute("SELECT * FROM frame").fetchall()
    assert len(found) == len(set(found))
    kept = journal._db.execute("SELECT asset_id, timestamp_ms, id FROM input WHERE kind = 0")
    assert sorted(found) == sorted(kept.fetchall())


def test_frames_are_found_by_time_wherever_their_run_stands(tmp_path: Path) -> None:
    """Before a run is written, after it, after a restart in the middle of one and after a trim."""
    dice = random.Random(3)
    path = tmp_path / "j.sqlite"
    journal, engine = Journal(path), Engine(None, None)
    frames: list[Input] = [
        frame_in(f"p{k % 3}", Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=3.7))
        for k in range(3 * RUN)
    ]
    at, runs = 0, 0
    while at < len(frames):
        size = dice.choice([1, 7, 60, 400])
        batch = frames[at : at + size]
        journal.commit(engine.process(batch))
        at += size
        assert_frames_are_found(journal)
        written = journal._db.execute("SELECT count(*) FROM frame_time").fetchone()[0]
        runs += written == at
        if dice.random() < 0.1:
            journal.close()
            journal = Journal(path)
            assert_frames_are_found(journal)
    assert runs >= 2
    for upto in (RUN // 2, 3 * RUN - 5, 3 * RUN):
        journal.trim(upto)
        assert_frames_are_found(journal)
    assert [a.last_ms for a in SqliteHistory(path).assets()] == [T0 + 1000 * (3 * RUN - 1)]
    journal.close()


# History


@pytest.fixture
def history(journal: Journal) -> SqliteHistory:
    run(journal, make_engine(), STORY)
    return SqliteHistory(journal.path)


def test_the_views_for_people(history: SqliteHistory, journal: Journal) -> None:
    db = sqlite3.connect(journal.path)
    frames = db.execute("SELECT count(*), count(current_a) FROM telemetry").fetchone()
    assert frames[0] > 300
    assert 0 < frames[1] < frames[0]
    assert db.execute("SELECT count(*) FROM cycles WHERE capacity_ah > 0").fetchone()[0] >= 4
    states = {row[0] for row in db.execute("SELECT DISTINCT state FROM alarms")}
    assert "shelved" in states
    db.close()


def test_hostile_text_is_only_text(journal: Journal) -> None:
    engine = make_engine()
    payload = (
        '{"v":1,"timestamp_ms":1700000000000,"session":"\'; DROP TABLE input; --\\u0000",'
        '"voltage_v":3.7,"extra":"电池\\n\\"x\\""}'
    ).encode()
    frame = decode_telemetry(payload)[0]
    nasty = "a" * 64
    alarm = DeviceAlarm(v=1, timestamp_ms=T0, name="x", active=True, detail="'\"\0;--%s{}")
    batch: list[Input] = [
        FrameIn(nasty, frame, T0, payload),
        DeviceAlarmIn("select", alarm, T0),
        CommandIn("drop", "'); --", Command(v=1, id="\0", action="acknowledge", code="x"), T0),
    ]
    journal.commit(engine.process(batch))
    assert [stored.item for stored in journal.inputs_after(0)] == batch
    history = SqliteHistory(journal.path)
    assert [a.name for a in history.assets()] == [nasty]
    assert history.trace(nasty, 0, T0, T0).voltage_v.tolist() == [3.7]
    assert history.events("select")[0].alarm.message.endswith("'\"\0;--%s{}")


def test_a_page_may_read_while_the_monitor_writes(journal: Journal) -> None:
    engine, history = make_engine(), SqliteHistory(journal.path)
    seen = 0
    for start in range(0, len(STORY), 80):
        batch = STORY[start : start + 80]
        journal.commit(engine.process(batch))
        now = len(history.trace("one", 0, 0, T0 * 2, points=100_000))
        assert now > seen
        seen = now


# Thinning


@settings(deadline=None)
@given(
    st.integers(1, 400),
    st.integers(10, 200),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_thinning_keeps_peaks_and_order(n: int, points: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    series = [rng.normal(size=n), np.round(rng.normal(size=n)), np.zeros(n)]
    series[0][rng.random(n) < missing] = NAN
    kept = keep_extremes(series, points)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == n - 1
    assert len(kept) <= max(points, 8) + 1
    if n <= points:
        assert len(kept) == n
    for values in series:
        if not np.isnan(values).all():
            assert np.nanmax(values[kept]) == np.nanmax(values)
            assert np.nanmin(values[kept]) == np.nanmin(values)


def test_a_silence_is_marked_before_rows_are_left_out() -> None:
    """Thinning keeps few rows where nothing happens: only the raw steps tell a silence."""
    times = np.arange(20_000, dtype=np.int64) * 10_000
    times[12_000:] += 36_000_000  # ten hours without a word
    flat = np.full((20_000, 2), 3.7)
    flat[3_000:3_400] += np.random.default_rng(1).normal(size=(400, 2))
    stamps, table = with_gaps(times, flat, 50)
    kept = keep_extremes([table[:, 0], table[:, 1]], 300)
    broken = np.flatnonzero(np.isnan(table[kept]).all(1))
    assert stamps[kept][broken].tolist() == [times[11_999] + 1]
    assert stamps[kept][broken + 1].tolist() == [times[12_000]]
    steps = np.diff(np.delete(stamps[kept], broken))
    assert np.sort(steps)[-2] <= 200_000_000 / 36  # all others are no further than a stretch


def test_of_many_silences_the_longest_are_marked() -> None:
    times = np.cumsum([1_000] * 900 + [1_000 * (700 + k) for k in range(100)]).astype(np.int64)
    assert gaps(times, 10).tolist() == list(range(990, 1_000))
    assert gaps(times, 1_000).tolist() == list(range(900, 1_000))
    assert gaps(times[:1], 10).tolist() == []


def test_thinning_of_nothing() -> None:
    assert keep_extremes([], 10).tolist() == []
    assert keep_extremes([np.empty(0)], 10).tolist() == []


def test_a_peak_of_one_sample_survives_in_a_trace(journal: Journal) -> None:
    engine = make_engine()
    frames: list[Input] = [
        frame_in("p", Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=3.7, temperature_c=25.0,
                            current_a=-9.0 if k == 1234 else 1.0))
        for k in range(3_000)
    ]  # fmt: skip
    journal.commit(engine.process(frames))
    trace = SqliteHistory(journal.path).trace("p", 0, 0, T0 * 2, points=100)
    assert len(trace) <= 101
    assert trace.current_a.min() == -9.0
    assert trace.timestamp_ms[np.argmin(trace.current_a)] == T0 + 1_234_000


def test_a_result_row_is_as_wide_as_the_columns(journal: Journal) -> None:
    run(journal, make_engine(), STORY[:30])
    for payload, result in journal._db.execute("SELECT payload, result FROM input WHERE kind = 0"):
        cells = len(msgspec.json.decode(payload)["voltage_v"])
        assert len(result) == 4 * RESULTS * cells


def test_a_log_is_folded_in_beside_the_writer(journal: Journal, tmp_path: Path) -> None:
    """However much is committed, the log begins anew once all of it is in the file."""
    journal.leave_log()
    engine = Engine(None, None)
    for k in range(300):
        tick_like = ConfigIn("p", make_config(1), T0 + k)
        journal.commit(engine.process([tick_like]))
    wal = journal.path.with_name(f"{journal.path.name}-wal")
    grown = wal.stat().st_size
    assert checkpoint_log(journal.path) > 300
    again = ConfigIn("p", make_config(1), T0 + 301)
    journal.commit(engine.process([again]))
    assert wal.stat().st_size == grown  # written over from its beginning
    assert checkpoint_log(journal.path) < 10
    with pytest.raises(StoreError, match="no-such-folder"):
        checkpoint_log(tmp_path / "no-such-folder" / "j")
