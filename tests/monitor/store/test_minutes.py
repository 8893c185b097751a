"""Minutes and retention: what goes, what stays, and that nothing goes too early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.config import Config
from monitor.contract import Frame, Topics
from monitor.errors import StoreError
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.pipeline import Pipeline
from monitor.store.checkpoint import Checkpoint, write
from monitor.store.history import QUANTITIES
from monitor.store.influx_sink import Sink
from monitor.store.journal import Journal
from monitor.store.minutes import COUNT, MAX, MEAN, MIN, PROGRESS, decode_figures, roll_up
from monitor.store.minutes_process import MinutesProcess
from monitor.store.sqlite_history import SqliteHistory
from monitor.store.upkeep import DAY_MS, Upkeep
from tests.engine_world import T0, FakePublisher, frame_in, make_config
from tests.monitor.store.test_influx_sink import Recorder, drain
from tests.monitor.store.test_journal import STORY, make_engine, run, states


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "j.sqlite")
    yield opened
    opened.close()


def stream(n: int, seed: int = 1) -> list[Input]:
    """Three assets with missing values, irregular steps, sensors shared, a clock set back."""
    rng = np.random.default_rng(seed)
    inputs: list[Input] = [ConfigIn("two", make_config(2, temperature_map=[[2], [1]]), T0)]

    def some(value: float) -> float | None:
        return None if rng.random() < 0.2 else round(value, 3)

    t = T0
    for k in range(n):
        t += int(rng.integers(1, 9_000))
        inputs.append(
            frame_in("one", Frame(v=1, timestamp_ms=t, voltage_v=some(3.7), current_a=some(k / 9)))
        )
        at = t - 400_000 if k > 2 * n // 3 else t + 1
        volts, temperatures = [some(3.5), some(3.6)], [some(25 + k / 50), some(30.0)]
        frame = Frame(v=1, timestamp_ms=at, voltage_v=volts, temperature_c=temperatures,
                      ambient_c=some(20.0), current_a=some(-1.0))  # fmt: skip
        inputs.append(frame_in("two", frame))
        if k % 3 == 0:
            inputs.append(frame_in("odd", Frame(v=1, timestamp_ms=t + 2, temperature_c=some(9.0))))
    return inputs


def summed_up(journal: Journal, most: int) -> None:
    while True:
        rolled = roll_up(journal.path, most)
        journal.put_minutes(PROGRESS, rolled.rows, rolled.upto)
        if not rolled.more:
            return


@pytest.mark.parametrize("most", [1, 13, 2_000])
def test_minutes_equal_a_plain_sum_however_they_are_cut(journal: Journal, most: int) -> None:
    inputs = stream(150)
    journal.commit(make_engine().process(inputs))
    raw = {(asset, cell): SqliteHistory(journal.path).trace(asset, cell, 0, T0 * 2, 10**6)
           for asset, cells in (("one", 1), ("two", 2)) for cell in range(cells)}  # fmt: skip
    summed_up(journal, most)
    names = dict(journal._db.execute("SELECT name, id FROM asset").fetchall())
    for (asset, cell), trace in raw.items():
        rows = journal._db.execute(
            "SELECT minute, first_ms, last_ms, samples, figures FROM minute "
            "WHERE asset_id = ? AND cell = ? ORDER BY minute",
            (names[asset], cell),
        ).fetchall()
        minutes = trace.timestamp_ms // 60_000
        assert [row[0] for row in rows] == np.unique(minutes).tolist()
        assert len(rows) > 5
        table = trace.table()
        for minute, first_ms, last_ms, samples, blob in rows:
            inside = minutes == minute
            assert (first_ms, last_ms) == (
                trace.timestamp_ms[inside].min(), trace.timestamp_ms[inside].max(),
            )  # fmt: skip
            assert samples == inside.sum()
            (figures,) = decode_figures([blob])
            for k, name in enumerate(QUANTITIES):
                values = table[inside, k]
                values = values[np.isfinite(values)]
                assert figures[k, COUNT] == len(values), name
                if len(values):
                    expected = [values.min(), values.mean(), values.max()]
                    np.testing.assert_allclose(figures[k, [MIN, MEAN, MAX]], expected, rtol=1e-5)
                else:
                    assert np.isnan(figures[k, [MIN, MEAN, MAX]]).all()


def test_minutes_are_made_once_whatever_is_killed(journal: Journal) -> None:
    inputs = stream(60)
    journal.commit(make_engine().process(inputs))
    first = roll_up(journal.path, 50)
    again = roll_up(journal.path, 50)  # killed before it was written
    assert first == again
    journal.put_minutes(PROGRESS, first.rows, first.upto)
    assert roll_up(journal.path, 50).after == first.upto
    summed_up(journal, 50)
    last = roll_up(journal.path)
    assert (last.rows, last.more, last.after) == ([], False, journal.last_id)
    counted = journal._db.execute("SELECT sum(samples) FROM minute WHERE cell = 0").fetchone()[0]
    assert counted == SqliteHistory(journal.path).frames()


def test_a_long_trace_comes_from_minutes_and_keeps_its_peaks(journal: Journal) -> None:
    values = [
        -9.0 if k == 4_321 else 77.0 if k == 9_876 else float(np.sin(k / 900))
        for k in range(20_000)
    ]
    inputs: list[Input] = [
        frame_in("p", Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=3.7, current_a=value))
        for k, value in enumerate(values)
    ]
    journal.commit(make_engine().process(inputs))
    history = SqliteHistory(journal.path)
    end = T0 + 20_000_000
    before = history.trace("p", 0, T0, end, 800)
    summed_up(journal, 2_000)
    after = history.trace("p", 0, T0, end, 800)
    assert 300 < len(after) <= 801
    for trace in (before, after):
        assert trace.current_a.min() == -9.0
        assert trace.current_a.max() == 77.0
        assert (np.diff(trace.timestamp_ms) >= 0).all()
        assert trace.timestamp_ms[0] >= T0
        assert trace.timestamp_ms[-1] <= end
    peak = after.timestamp_ms[np.argmax(after.current_a)]
    assert abs(peak - (T0 + 9_876_000)) <= 60_000
    # A short stretch is still read frame by frame, to the millisecond.
    part = history.trace("p", 0, T0 + 9_800_000, T0 + 9_900_000, 800)
    assert part.timestamp_ms.tolist() == [T0 + 1000 * k for k in range(9_800, 9_901)]
    # What came after the minutes were made is in the trace as well.
    late: list[Input] = [
        frame_in("p", Frame(v=1, timestamp_ms=end + 1_000 * k, voltage_v=3.7, current_a=111.0))
        for k in range(1, 5)
    ]
    journal.commit(make_engine().process(late))
    assert history.trace("p", 0, T0, 2 * T0, 800).current_a.max() == 111.0
    assert history.trace("p", 0, T0, 2 * T0, 800).timestamp_ms[-1] == end + 4_000


def test_a_damaged_row_holds_nothing_up(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    inputs = stream(40)
    journal.commit(make_engine().process(inputs))
    journal._db.execute("UPDATE input SET payload = '{broken' WHERE id = 10")
    journal._db.execute("UPDATE input SET result = x'00112233445566' WHERE id = 12")
    summed_up(journal, 2_000)
    counted = journal._db.execute("SELECT sum(samples) FROM minute WHERE cell = 0").fetchone()[0]
    assert counted == SqliteHistory(journal.path).frames() - 2
    assert "input 10 is not what a journal holds" in caplog.text


class Clock:
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


async def at_once(work: Callable[[], None]) -> None:
    work()


def settings(journal: Journal, **more: Any) -> Config:
    return replace(Config(store=journal.path, keep_raw_days=1.0), **more)


def kinds(journal: Journal) -> dict[int, int]:
    return dict(journal._db.execute("SELECT kind, count(*) FROM input GROUP BY kind").fetchall())


def later(journal: Journal) -> Clock:
    """A clock two days behind the newest arrival."""
    newest = journal._db.execute("SELECT max(arrival_ms) FROM input").fetchone()[0]
    return Clock(newest + 2 * DAY_MS)


async def test_old_frames_go_and_the_history_stays(journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    history = SqliteHistory(journal.path)
    assets, cycles, events = history.assets(), history.cycles("two", 1), history.events(limit=9_999)
    before = history.trace("two", 1, 0, T0 * 2, 10**6)
    last = journal.last_id
    for _ in range(2):
        write(journal.path, Checkpoint(last, []))
    upkeep = Upkeep(journal, settings(journal), None, later(journal))
    held = upkeep.figures()["store_bytes"]
    await upkeep.once(at_once)
    assert sum(kinds(journal).values()) - kinds(journal)[2] <= 1
    assert journal.last_id == last
    assert history.assets() == assets
    assert history.cycles("two", 1) == cycles
    assert history.events(limit=9_999) == events
    after = history.trace("two", 1, 0, T0 * 2, 10**6)
    for k, name in enumerate(QUANTITIES):
        old, new = before.table()[:, k], after.table()[:, k]
        if np.isfinite(old).any():
            assert np.nanmin(new) == pytest.approx(np.nanmin(old), rel=1e-6), name
            assert np.nanmax(new) == pytest.approx(np.nanmax(old), rel=1e-6), name
    assert (after.timestamp_ms[0], after.timestamp_ms[-1]) == (
        before.timestamp_ms[0], before.timestamp_ms[-1],
    )  # fmt: skip
    assert upkeep.figures()["store_bytes"] < held
    # The next input gets a number of its own.
    run(journal, make_engine(), STORY[:3])
    assert journal.last_id == last + 3


async def test_nothing_goes_that_a_recovery_needs(journal: Journal) -> None:
    engine = make_engine()
    publisher, topics = FakePublisher(), Topics()
    pipeline = Pipeline(engine, journal, publisher, topics, "m")
    run(journal, engine, STORY[:200])
    older = journal.last_id
    pipeline.checkpoint()
    upkeep = Upkeep(journal, settings(journal, store_max_mb=0.001), None, later(journal))
    kept = sum(kinds(journal).values())
    await upkeep.once(at_once)
    assert sum(kinds(journal).values()) == kept  # one checkpoint alone may be damaged
    run(journal, engine, STORY[200:300])
    pipeline.checkpoint()
    run(journal, engine, STORY[300:])
    await upkeep.once(at_once)
    first = journal._db.execute("SELECT min(id) FROM input WHERE kind != 2").fetchone()[0]
    assert first == older + 1
    # Either checkpoint brings the engine back.
    for damage in (None, max, min):
        if damage is not None:
            paths = list(journal.path.parent.glob("*.checkpoint-?"))
            chosen = damage(paths, key=lambda path: path.stat().st_mtime_ns)
            whole = chosen.read_bytes()
            chosen.write_bytes(whole[:-1])
        again = make_engine()
        Pipeline(again, journal, publisher, topics, "m").recover()
        assert states(again) == states(engine)
        if damage is not None:
            chosen.write_bytes(whole)


async def test_what_influxdb_has_not_confirmed_waits(journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    for _ in range(2):
        write(journal.path, Checkpoint(journal.last_id, []))
    recorder = Recorder()
    sink = Sink(journal.path, "t", lambda: recorder, "m")
    upkeep = Upkeep(journal, settings(journal), sink, later(journal))
    kept = kinds(journal)
    await upkeep.once(at_once)
    assert kinds(journal) == kept
    drain(sink)
    await upkeep.once(at_once)
    assert kinds(journal).get(0, 0) <= 1
    assert upkeep.dropped == 0


async def test_past_the_bound_the_oldest_frames_go_unsent_and_alarms_never(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    run(journal, make_engine(), STORY)
    for _ in range(2):
        write(journal.path, Checkpoint(journal.last_id, []))
    sink = Sink(journal.path, "t", lambda: Recorder(), "m")
    frames = kinds(journal)[0]
    events = journal._db.execute("SELECT count(*) FROM event").fetchone()[0]
    cycles = journal._db.execute("SELECT count(*) FROM cycle").fetchone()[0]
    upkeep = Upkeep(
        journal, settings(journal, keep_raw_days=0.0, store_max_mb=0.05), sink, later(journal)
    )
    await upkeep.once(at_once)
    left = kinds(journal).get(0, 0)
    assert upkeep.dropped == frames - left > 300
    assert upkeep.figures()["outbox_dropped"] == upkeep.dropped
    assert "before InfluxDB has it" in caplog.text
    recorder = Recorder()
    drain(Sink(journal.path, "t", lambda: recorder, "m"))
    sent = [line.split(",")[0] for line in recorder.lines]
    assert sent.count("event") == events > 5
    assert sent.count("cycle") == cycles > 3
    assert sent.count("telemetry") == left


async def test_under_the_bound_nothing_goes(journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    for _ in range(2):
        write(journal.path, Checkpoint(journal.last_id, []))
    kept = kinds(journal)
    upkeep = Upkeep(journal, settings(journal, keep_raw_days=3.0), None, later(journal))
    await upkeep.once(at_once)
    assert kinds(journal) == kept
    upkeep = Upkeep(
        journal, settings(journal, keep_raw_days=0.0, store_max_mb=0.0), None, later(journal)
    )
    await upkeep.once(at_once)
    assert kinds(journal) == kept


async def test_old_minutes_go_by_the_cell_s_own_time(journal: Journal) -> None:
    frames: list[Input] = [
        frame_in(asset, Frame(v=1, timestamp_ms=start + hour * 3_600_000, voltage_v=3.7))
        for asset, start in (("old", T0), ("new", T0 + 900 * DAY_MS))
        for hour in range(100)
    ]
    journal.commit(make_engine().process(frames))
    upkeep = Upkeep(journal, settings(journal, keep_minutes_days=2.0), None, Clock(T0))
    await upkeep.once(at_once)
    counts = journal._db.execute("SELECT asset_id, count(*) FROM minute GROUP BY 1").fetchall()
    assert [count for _, count in counts] == [49, 49]


async def test_a_store_that_cannot_be_written_is_said_and_nothing_is_lost(journal: Journal) -> None:
    run(journal, make_engine(), STORY[:100])
    upkeep = Upkeep(journal, settings(journal), None, later(journal))

    async def full(work: Callable[[], None]) -> None:
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"):
        await upkeep.once(full)
    await upkeep.once(at_once)
    frames = sum(isinstance(item, FrameIn) for item in STORY[:100])
    counted = journal._db.execute("SELECT sum(samples) FROM minute WHERE cell = 0").fetchone()[0]
    assert counted == kinds(journal)[0] <= frames


async def test_a_process_sums_up_as_a_thread_does_and_comes_back(journal: Journal) -> None:
    """Minutes, an error and an end of the process are what they would be here."""
    run(journal, make_engine(), STORY)
    process = MinutesProcess(journal.path)
    try:
        expected = roll_up(journal.path)
        assert len(expected.rows) > 1
        assert await process.roll_up() == expected
        journal.put_minutes(PROGRESS, expected.rows, expected.upto)
        assert (await process.roll_up()).upto == expected.upto
        running = process._worker._process
        assert running is not None
        running.kill()
        await running.wait()
        assert (await process.roll_up()).upto == expected.upto  # another one was started
        journal._db.execute("DROP TABLE minute")
        journal._db.execute("DROP TABLE progress")
        with pytest.raises(StoreError, match="minutes cannot be made"):
            await process.roll_up()
    finally:
        await process.close()
