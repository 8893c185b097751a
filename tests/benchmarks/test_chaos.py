"""`cellpulse chaos` in short; the whole of it is `long`."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import chaos_influx, chaos_rows
from benchmarks.chaos import KILLS, USUAL, Outcome, Pace, figures, make_plan, measure
from benchmarks.chaos_stream import Packet, garbage, hostile, make_stream
from benchmarks.chaos_world import committed_end, damage_checkpoint, damage_wal
from monitor.contract import Frame, Topics
from monitor.engine import Engine
from monitor.mqtt.link import Message
from monitor.pipeline import Pipeline
from monitor.store.checkpoint import newest
from monitor.store.journal import Journal
from monitor.store.sqlite_history import SqliteHistory
from recordings.open import open_recording
from simulator.demo_file import demo_recording
from tests.conftest import need
from tests.engine_world import T0, FakePublisher, make_config
from tests.monitor.test_pipeline import message

pytestmark = pytest.mark.alone


async def run(
    recordings: Path, frames: int, kills: int, folder: Path, pace: Pace = USUAL
) -> Outcome:
    return await measure(open_recording(recordings), frames, kills, 3, folder, pace)


def judge(outcome: Outcome) -> None:
    assert outcome.complete
    assert outcome.difference.whole, outcome.difference
    assert outcome.difference.of_cycles > 0
    assert outcome.difference.of_events > 0
    assert outcome.ended == []
    assert outcome.tally.busy > 0
    assert outcome.broker.lost > 0
    assert outcome.broker.counted == outcome.broker.lost
    assert outcome.broker.share_alarmed == 1.0
    assert outcome.broker.wrong == 0
    missed = [figure.name for figure in figures(outcome, 3) if figure.met is False]
    assert missed in ([], ["kills of the monitor"])


@pytest.mark.timeout(240)
async def test_everything_breaks_and_the_record_is_whole(
    mosquitto_binary: str, tmp_path: Path
) -> None:
    assert mosquitto_binary
    judge(await run(demo_recording(), 4_000, 5, tmp_path, Pace(0.3, (0.1, 0.5))))


@pytest.mark.long
@pytest.mark.timeout(1_500)
async def test_fifty_kills_on_a_real_cell(
    mosquitto_binary: str, shared_data: Path, tmp_path: Path
) -> None:
    assert mosquitto_binary
    need(chaos_influx.is_here(), "influxd")
    real = open_recording(shared_data / "nasa" / "mat" / "B0025.mat")
    with chaos_influx.databases(tmp_path) as make:
        outcome = await measure(real, 60_000, KILLS, 3, tmp_path, USUAL, make)
    judge(outcome)
    assert outcome.points > 60_000
    assert outcome.wrong_points == 0
    assert outcome.tally.kills >= KILLS


def fill(path: Path, frames: int) -> None:
    """A journal with a frame a second, closed as a kill leaves it: the log beside it."""
    journal = Journal(path)
    pipeline = Pipeline(Engine(None, None), journal, FakePublisher(), Topics(), "monitor")
    pipeline.step([message("bms/p/config", make_config(1))], T0)
    for k in range(frames):
        frame = Frame(v=1, session="s", seq=k, timestamp_ms=T0 + 1_000 * k, voltage_v=3.7)
        pipeline.step([message("bms/p/telemetry", frame, frame.timestamp_ms)], T0)
    pipeline.checkpoint()
    for suffix in ("", "-wal", ".checkpoint-a", ".checkpoint-b"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            killed = path.with_name(f"killed{suffix}" if suffix else "killed")
            killed.write_bytes(source.read_bytes())
    journal.close()


@pytest.mark.parametrize("seed", range(6))
def test_an_unfinished_transaction_in_the_log_is_nothing(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "store", 5)
    store = tmp_path / "killed"
    before = store.with_name("killed-wal").read_bytes()
    assert committed_end(before) == len(before)
    assert damage_wal(store, random.Random(seed))
    after = store.with_name("killed-wal").read_bytes()
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert committed_end(after) == len(before)
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert SqliteHistory(store).frames() == 5


def test_the_end_of_a_log_is_found_before_a_spoilt_page(tmp_path: Path) -> None:
    fill(tmp_path / "store", 5)
    wal = bytearray((tmp_path / "killed-wal").read_bytes())
    wal[-1] ^= 1
    end = committed_end(bytes(wal))
    assert end is not None
    assert 32 < end < len(wal)


@pytest.mark.parametrize("seed", range(6))
def test_a_spoilt_checkpoint_is_none(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "store", 3)
    store = tmp_path / "killed"
    assert newest(store) is not None
    assert damage_checkpoint(store, random.Random(seed))
    assert newest(store) is None


def test_differences_are_noticed(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5)
    wanted = chaos_rows.read(tmp_path / "a")
    assert chaos_rows.compare(wanted, wanted).whole
    key = next(iter(wanted.telemetry))
    short = replace(
        wanted, telemetry={k: n for k, n in wanted.telemetry.items() if k != key}, results={}
    )
    assert chaos_rows.compare(wanted, short).lost == 1
    assert chaos_rows.compare(short, wanted).unexpected == 1
    assert (
        chaos_rows.compare(wanted, replace(wanted, telemetry={**wanted.telemetry, key: 3})).doubled
        == 2
    )
    other = {k: row + (k == key) for k, row in wanted.results.items()}
    found = chaos_rows.compare(wanted, replace(wanted, results=other))
    assert (found.results, found.largest) == (1, 1.0)
    turned = replace(wanted, order={name: stamps[::-1] for name, stamps in wanted.order.items()})
    assert chaos_rows.compare(wanted, turned).disordered == 1
    gone = replace(wanted, events={}, cycles={("x",): {}})
    found = chaos_rows.compare(wanted, gone)
    assert (found.events, found.cycles) == (len(wanted.events), len(wanted.cycles) + 1)


def test_the_plan_and_the_stream_come_from_the_seed() -> None:
    recordings = open_recording(demo_recording())
    one = make_stream(recordings, 500, random.Random(1))
    assert one == make_stream(recordings, 500, random.Random(1))
    assert one != make_stream(recordings, 500, random.Random(2))
    assert one.frames == 500
    assert one.accepted == 498  # two are late before a clock that was set back is believed
    assert [packet for part in one.parts(7) for packet in part] == one.telemetry
    plan = make_plan(KILLS, random.Random(1))
    assert plan == make_plan(KILLS, random.Random(1))
    kills = sum(kind == "kill" or kind.endswith(("damaged", "killed")) for kind in plan)
    assert kills >= KILLS


def test_garbage_is_refused(tmp_path: Path) -> None:
    """None of it may be something that a monitor acts on."""
    journal = Journal(tmp_path / "store")
    pipeline = Pipeline(Engine(None, None), journal, FakePublisher(), Topics(), "monitor")
    packets = garbage(["p"], 3_000, random.Random(0))
    pipeline.step([message(packet.topic, packet.payload) for packet in packets], T0)
    assert pipeline.rejected == len(packets)
    assert pipeline.engine.fleet.assets == {}
    journal.close()


def test_hostile_frames_change_nothing(tmp_path: Path) -> None:
    """Refused or come before, each with another wiring: nothing of the record may follow them."""
    journal = Journal(tmp_path / "store")
    pipeline = Pipeline(Engine(None, None), journal, FakePublisher(), Topics(), "monitor")
    recordings = open_recording(demo_recording())
    stream = make_stream(recordings, 2_000, random.Random(0))
    packets = [*stream.configs, *stream.telemetry]
    now_ms = T0 + 10**11

    def arriving(packets: list[Packet]) -> list[Message]:
        return [message(packet.topic, packet.payload, now_ms) for packet in packets]

    pipeline.step(arriving(packets), now_ms)
    before = {name: pipeline.engine.asset_state(name) for name in stream.assets}
    inputs, kept = journal.last_id, chaos_rows.read(tmp_path / "store")
    late = hostile(stream.telemetry[-24:] * 8, random.Random(1))  # as far back as is remembered
    assert len(late) == 192
    pipeline.step(arriving(late), now_ms)
    assert pipeline.engine.counters.future > 50
    assert pipeline.engine.counters.duplicates > 50
    assert pipeline.engine.counters.late == stream.frames - stream.accepted
    assert {name: pipeline.engine.asset_state(name) for name in stream.assets} == before
    assert journal.last_id == inputs
    assert chaos_rows.compare(kept, chaos_rows.read(tmp_path / "store")).whole
    journal.close()
