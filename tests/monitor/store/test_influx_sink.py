"""The way into InfluxDB: every row once, in a real influxd, whatever happens to it meanwhile.

The module is long because its cases share the way in which InfluxDB is started and asked.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.contract import Event, MonitorMetrics, decode_telemetry
from monitor.errors import AwayError, StoreError
from monitor.inputs import ConfigIn, FrameIn, Input, StatusIn
from monitor.kernels.columns import Result
from monitor.mqtt.link import wall_clock_ms
from monitor.store.influx import (
    LONGEST_ASKED_S,
    InfluxWriter,
    RefusedError,
    Target,
    asked_s,
    deliver,
    reason_of,
)
from monitor.store.influx_sink import FEWEST_LINES, Sink
from monitor.store.journal import Journal
from monitor.store.outbox import Outbox, Position
from monitor.supervisor import Supervisor
from tests.conftest import ROOT
from tests.engine_world import T0, make_config
from tests.influx_world import BUCKET, ORG, TOKEN, Answer, InfluxWorld
from tests.monitor.store.test_journal import STORY, make_engine, run


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "j.sqlite")
    yield opened
    opened.close()


def target(world: InfluxWorld) -> Target:
    return Target(world.url, ORG, BUCKET, TOKEN)


def make_sink(journal: Journal, world: InfluxWorld, **more: Any) -> Sink:
    where = target(world)
    return Sink(journal.path, where.key, lambda: InfluxWriter(where), "m1", **more)


def drain(sink: Sink) -> None:
    while True:
        sink.step()
        if not sink.state.inputs:
            return


def rows(world: InfluxWorld, measurement: str) -> list[dict[str, object]]:
    """Every point of a measurement with its tags, by time."""
    found: list[dict[str, object]] = []
    for series in world.query(f'SELECT * FROM "{measurement}"'):
        found += [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
    return found


def test_every_row_arrives_once_and_as_it_was(influx: InfluxWorld, journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    drain(make_sink(journal, influx))
    engine = make_engine()
    results = engine.process(STORY)
    sent = {
        (item.asset, item.frame.timestamp_ms * 1_000_000): (item.frame, row)
        for item, row in zip(STORY, results.rows, strict=True)
        if isinstance(item, FrameIn) and row is not None
    }
    telemetry = {(str(r["asset"]), r["time"]): r for r in rows(influx, "telemetry")}
    with_current = {key for key, (frame, _) in sent.items() if frame.current_a is not None}
    assert {key for key, r in telemetry.items() if r["current_a"] is not None} == with_current
    for key in with_current:
        assert telemetry[key]["current_a"] == sent[key][0].current_a
    cells = {(str(r["asset"]), r["time"], str(r["cell"])): r for r in rows(influx, "cell")}
    expected = [
        (asset, time, f"c{cell + 1:03d}", frame.voltage_v, row[cell])
        for (asset, time), (frame, row) in sent.items()
        for cell in range(len(row))
    ]
    assert set(cells) == {(asset, time, cell) for asset, time, cell, *_ in expected}
    for asset, time, cell, volts, row in expected:
        found = cells[asset, time, cell]
        volt = volts[int(cell[1:]) - 1] if isinstance(volts, list) else volts
        assert found["voltage_v"] == volt
        for name, column in (("soc", Result.SOC), ("soh", Result.SOH),
                             ("thermal_score", Result.THERMAL_SCORE),
                             ("excess_heat_w", Result.EXCESS_HEAT_W)):  # fmt: skip
            if np.isnan(row[column]):
                assert found[name] is None
            else:
                assert found[name] == pytest.approx(float(row[column]), rel=1e-6)
        assert found["quality"] == int(row[Result.QUALITY])
        assert isinstance(found["phase"], int)
    events = rows(influx, "event")
    assert sorted(str(r["event_id"]) for r in events) == sorted(e.event_id for e in results.events)
    records = {e.event_id: e for e in results.events}
    for event in events:
        assert (
            msgspec.json.decode(str(event["record"]), type=Event) == records[str(event["event_id"])]
        )
        assert str(event["code"]) in {"device", records[str(event["event_id"])].alarm.code}
    cycles = rows(influx, "cycle")
    assert len(cycles) == len(results.cycles) > 3
    by_identity = {(c.summary.asset, c.summary.cell, c.summary.start_ms * 1_000_000): c.summary
                   for c in results.cycles}  # fmt: skip
    for found in cycles:
        summary = by_identity[str(found["asset"]), str(found["cell"]), int(str(found["time"]))]
        assert found["capacity_ah"] == summary.capacity_ah
        assert found["complete"] is summary.complete
    online = [i for i in STORY if isinstance(i, StatusIn)]
    assert len(rows(influx, "status")) == len({(i.name, i.arrival_ms) for i in online})
    assert influx.encodings == {"gzip"}


def test_again_from_the_start_changes_nothing(influx: InfluxWorld, journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    drain(make_sink(journal, influx))
    measurements = ("telemetry", "cell", "sensor", "cycle", "event", "status", "config")
    before = {name: rows(influx, name) for name in measurements}
    assert all(before.values())
    journal.path.with_name("j.sqlite.influx").unlink()
    drain(make_sink(journal, influx))
    assert {name: rows(influx, name) for name in measurements} == before


def test_frames_that_came_late_are_kept_apart(influx: InfluxWorld, journal: Journal) -> None:
    batch: list[Input] = []
    for seq, t in ((1, 0), (2, 1000), (6, 5000), (3, 2000), (4, 2000), (5, 4000)):
        text = (
            f'{{"v":1,"session":"\\"\\\\","seq":{seq},\n"timestamp_ms":{T0 + t},"voltage_v":3.7}}'
        )
        payload = text.encode()
        batch.append(FrameIn("a", decode_telemetry(payload)[0], T0 + t, payload))
    results = make_engine().process(batch)
    assert [one.verdict for one in results.handled] == [0, 0, 0, 3, 3, 3]
    journal.commit(results)
    drain(make_sink(journal, influx))
    late = [decode_telemetry(str(row["record"]).encode())[0] for row in rows(influx, "late")]
    assert late == [item.frame for item in batch[3:] if isinstance(item, FrameIn)]
    assert influx.count("cell", "voltage_v") == 3


def test_what_is_confirmed_is_not_sent_again(influx: InfluxWorld, journal: Journal) -> None:
    run(journal, make_engine(), STORY[:200])
    drain(make_sink(journal, influx))
    sink = make_sink(journal, influx)
    assert sink.state.position == journal.last_id
    writes = len(influx.writes)
    sink.step()
    assert len(influx.writes) == writes


class Recorder:
    """A server of the test: what it takes, and when it does not."""

    def __init__(self, refuses: str = "\0", kill_after: int | None = None) -> None:
        self.lines: list[str] = []
        self.requests = 0
        self.refuses = refuses
        self.kill_after = kill_after

    def write(self, lines: Sequence[str]) -> None:
        self.requests += 1
        if self.requests == self.kill_after:
            raise KeyboardInterrupt
        if any(self.refuses in line for line in lines):
            raise RefusedError(f"no {self.refuses}")
        self.lines += lines


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_nothing_is_skipped_or_doubled_at_any_cut(journal: Journal, batch: int) -> None:
    run(journal, make_engine(), STORY[:250])
    expected = Outbox(journal.path, "whole", 100).next_batch(10**9, 10**12)
    outbox = Outbox(journal.path, "t", 100)
    lines: list[str] = []
    for round_ in range(10**6):
        found = outbox.next_batch(batch, 50_000)
        assert len(found.lines) <= max(batch, 5)
        lines += found.lines
        outbox.confirm(found.after, found.broken, 0)
        if round_ % 50 == 0:  # as after a kill
            outbox.close()
            outbox = Outbox(journal.path, "t", 100)
        if not found.more:
            break
    assert lines == expected.lines
    assert outbox.position == expected.after
    # What comes later comes once, too.
    run(journal, make_engine(), STORY[250:300])
    later = outbox.next_batch()
    assert later.lines
    assert not set(later.lines) & set(lines[:100])
    outbox.close()


def test_alarms_and_cycles_go_first(journal: Journal) -> None:
    run(journal, make_engine(), STORY)
    outbox = Outbox(journal.path, "t", 100)
    kinds = [line.split(",", 1)[0] for line in outbox.next_batch(10**9, 10**12).lines]
    first_frame = min(kinds.index("telemetry"), kinds.index("cell"), kinds.index("config"))
    assert {"event", "cycle"} == set(kinds[:first_frame])
    assert not {"event", "cycle"} & set(kinds[first_frame:])
    outbox.close()


def test_a_field_of_another_type_is_set_aside_with_the_reason_and_blocks_nothing(
    influx: InfluxWorld, journal: Journal
) -> None:
    run(journal, make_engine(), STORY[:120])
    times = [i.frame.timestamp_ms for i in STORY[:120] if isinstance(i, FrameIn)]
    # Another program wrote text where we write numbers, in the same shard.
    influx.write(f'sensor,asset=two,sensor=t02 temperature_c="warm" {T0 * 1_000_000 - 1}')
    sink = make_sink(journal, influx)
    drain(sink)
    sensors = influx.count("sensor", "temperature_c")
    refused = [line for line in Outbox(journal.path, "x", 100).next_batch().lines
               if line.startswith("sensor")]  # fmt: skip
    assert sensors == 1
    db = sqlite3.connect(journal.path.with_name("j.sqlite.influx"))
    aside = db.execute("SELECT line, reason FROM set_aside").fetchall()
    db.close()
    assert sorted(line for line, _ in aside) == sorted(refused)
    assert sink.state.set_aside == len(refused) > 10
    assert all("field type conflict" in reason for _, reason in aside)
    assert influx.count("cell", "voltage_v") > len(set(times)) * 0.8
    assert sink.state.inputs == 0
    assert len(influx.writes) < 10
    # A restart remembers how many there are.
    assert make_sink(journal, influx).state.set_aside == len(refused)


def test_a_few_lines_of_another_type_among_many(influx: InfluxWorld) -> None:
    start = T0 * 1_000_000
    influx.write(f'm,asset=a v="text",x=1 {start}')
    lines = [
        f"m,asset=a {'v=2.5,' if k % 100 == 7 else ''}x={k} {start + k}" for k in range(1, 1_000)
    ]
    refused = deliver(InfluxWriter(target(influx)), [*lines, f"n,asset=a v=3 {start}"])
    assert [line for line, _ in refused] == [line for line in lines if "v=2.5" in line]
    assert influx.count("m", "x") == 1_000 - len(refused)
    assert influx.count("n", "v") == 1
    assert len(influx.writes) == 3


def test_garbage_is_found_by_halving(influx: InfluxWorld) -> None:
    lines = [f"m,asset=a x={k} {T0 * 1_000_000 + k}" for k in range(500)]
    lines[123] = "this is no line"
    lines[400] = "m,asset=a x=not_a_number"
    refused = deliver(InfluxWriter(target(influx)), lines)
    assert [line for line, _ in refused] == [lines[123], lines[400]]
    assert all("unable to parse" in reason for _, reason in refused)
    assert influx.count("m", "x") == 498


def test_points_beyond_the_retention_of_the_bucket_are_let_go(influx: InfluxWorld) -> None:
    influx.query(f'ALTER RETENTION POLICY autogen ON "{BUCKET}" DURATION 1h SHARD DURATION 1h')
    lines = [f"m,asset=a x={k} {T0 * 1_000_000 + k}" for k in range(50)]
    assert deliver(InfluxWriter(target(influx)), lines) == []
    assert influx.count("m", "x") == 0


def test_a_server_that_refuses_everything_costs_a_bounded_number_of_requests() -> None:
    recorder = Recorder(refuses="m,")
    lines = [f"m,asset=a x={k}" for k in range(10_000)]
    refused = deliver(recorder, lines)
    assert sorted(line for line, _ in refused) == sorted(lines)
    assert recorder.requests < 1_000


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(503), "503"),
        (Answer(500, b"<html>a proxy</html>"), "a proxy"),
        (Answer(401, b'{"code":"unauthorized","message":"unauthorized access"}'), "unauthorized"),
        (Answer(404, b'{"message":"bucket \\"x\\" not found"}'), "not found"),
        (Answer(429, headers={"Retry-After": "7"}), "429"),
    ],
)
def test_a_server_that_cannot_now_is_away(influx: InfluxWorld, answer: Answer, says: str) -> None:
    influx.next_answers = [answer]
    writer = InfluxWriter(target(influx))
    with pytest.raises(AwayError, match=says) as caught:
        writer.write(["m x=1 1"])
    assert caught.value.wait_s == (7.0 if answer.status == 429 else 0.0)
    writer.write(["m x=1 1"])
    assert TOKEN not in str(caught.value)


def test_nobody_there_and_a_wrong_token(influx: InfluxWorld, free_port: int) -> None:
    nowhere = f"http://127.0.0.1:{free_port}"
    with pytest.raises(AwayError, match="does not answer"):
        InfluxWriter(Target(nowhere, ORG, BUCKET, TOKEN)).write(["m x=1 1"])
    wrong = Target(influx.url, ORG, BUCKET, "another-secret")
    with pytest.raises(AwayError, match="401") as caught:
        InfluxWriter(wrong).write(["m x=1 1"])
    assert "another-secret" not in str(caught.value) + repr(wrong) + str(wrong)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe not UTF-8", b"{" * 5_000, b"[" * 100_000, b"9" * 9_000]
)
def test_an_answer_that_makes_no_sense_is_waited_out(influx: InfluxWorld, body: bytes) -> None:
    influx.next_answers = [Answer(503, body)]
    with pytest.raises(AwayError, match="InfluxDB"):
        InfluxWriter(target(influx)).write(["m x=1 1"])


def test_what_cannot_be_sent_at_all_tells_no_token(influx: InfluxWorld) -> None:
    """A token with a line end, from the environment, is refused by the HTTP client by its text."""
    with pytest.raises(AwayError, match="ValueError") as caught:
        InfluxWriter(Target(influx.url, ORG, BUCKET, "a-secret\n")).write(["m x=1 1"])
    assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("9" * 5_000, LONGEST_ASKED_S), ("\u00b2", 0.0), ("\u0667", 0.0), ("-1", 0.0),
     ("nan", 0.0), ("", 0.0), (None, 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_a_pause_that_is_asked_for_has_a_bound(said: object, seconds: float) -> None:
    assert asked_s(said) == seconds


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"a":' * 5_000, "\ud800", '{"message": %s}' % ("9" * 5_000),
     b"\xff", None, 5, '{"data": [{"error_message": null}]}'],
)  # fmt: skip
def test_the_reason_in_a_body_is_found_or_not_and_never_raises(body: object) -> None:
    assert len(reason_of(body)) <= 10_100


async def until(condition: Callable[[], object], process: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            assert not process.done()
            await asyncio.sleep(0.02)


async def test_the_database_stops_and_comes_back(
    influx: InfluxWorld, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine()
    run(journal, engine, STORY[:150])
    sink = make_sink(journal, influx, poll_s=0.02)
    supervisor = Supervisor(wall_clock_ms, first_wait_s=0.05)
    task: asyncio.Task[None] = asyncio.create_task(supervisor.run("influx", sink.run))
    await until(lambda: sink.state.position == journal.last_id, task)
    influx.stop(kill=True)
    before = journal.last_id
    run(journal, engine, STORY[150:])
    await until(lambda: sink.state.inputs == journal.last_id - before, task)
    assert sink.state.oldest_ms is not None
    influx.start()
    await until(lambda: sink.state.position == journal.last_id, task)
    await until(lambda: supervisor.states()["influx"].state == "ok", task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sink.close()
    results = make_engine().process(STORY)
    frames = {(i.asset, i.frame.timestamp_ms)
              for i, row in zip(STORY, results.rows, strict=True)
              if isinstance(i, FrameIn) and row is not None}  # fmt: skip
    assert {(str(r["asset"]), int(str(r["time"])) // 1_000_000)
            for r in rows(influx, "cell")} == frames  # fmt: skip
    assert influx.count("event", "event_id") == len(results.events)
    told = [record.getMessage() for record in caplog.records if record.name == "monitor.supervisor"]
    assert len(told) == 2
    assert re.fullmatch(r"influx: InfluxDB http://\S+ bucket \w+ .*; trying again", told[0])
    assert told[1] == "influx works again"
    assert TOKEN not in caplog.text


async def test_a_database_too_slow_for_a_whole_batch_gets_smaller_ones(journal: Journal) -> None:
    class Slow:
        """Answers in time only where it has few lines to write."""

        def __init__(self) -> None:
            self.taken: list[int] = []

        def write(self, lines: Sequence[str]) -> None:
            if len(lines) > 2 * FEWEST_LINES:
                raise AwayError("does not answer")
            self.taken.append(len(lines))

    run(journal, make_engine(), STORY)
    whole = len(Outbox(journal.path, "whole", 100).next_batch().lines)
    assert whole > 4 * FEWEST_LINES
    slow = Slow()
    sink = Sink(journal.path, "slow", lambda: slow, "m1", poll_s=0.001)
    supervisor = Supervisor(wall_clock_ms, first_wait_s=0.001)
    task: asyncio.Task[None] = asyncio.create_task(supervisor.run("influx", sink.run))
    await until(lambda: sink.state.position == journal.last_id, task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    sink.close()
    assert sum(slow.taken) == whole


def test_the_page_lists_every_name_that_is_written(influx: InfluxWorld, journal: Journal) -> None:
    page = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    rows_of_page = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", page, re.MULTILINE)
    listed = {
        name: set(re.findall(r"`(\w+)`", tags + fields)) for name, tags, fields in rows_of_page
    }
    run(journal, make_engine(), STORY)
    drain(make_sink(journal, influx))
    written: dict[str, set[str]] = {}
    for name in listed:
        for row in rows(influx, name):
            written.setdefault(name, set()).update(row.keys() - {"time"})
    assert written.keys() == listed.keys() - {"late", "monitor"}
    for name, names in written.items():
        assert names <= listed[name], name


def test_assets_past_the_bound_are_not_written(journal: Journal) -> None:
    engine = make_engine()
    payload = b'{"v":1,"timestamp_ms":1700000000000,"voltage_v":3.7}'
    batch: list[Input] = [
        FrameIn(f"a{k}", decode_telemetry(payload)[0], T0, payload) for k in range(5)
    ]
    journal.commit(engine.process(batch))
    outbox = Outbox(journal.path, "t", 3)
    found = outbox.next_batch()
    assert {line.split(",asset=")[1][:2] for line in found.lines} == {"a0", "a1", "a2"}
    assert found.after.input == journal.last_id
    outbox.close()


def test_a_gateway_with_a_hostile_name_writes_no_line(journal: Journal) -> None:
    names = ("a b", "x,asset=y", "z online=1i 1\ncell", "sys$", "x" * 10_000)
    batch: list[Input] = [StatusIn(name, True, True, T0) for name in (*names, "gw-1")]
    journal.commit(make_engine().process(batch))
    found = Outbox(journal.path, "t", 100).next_batch()
    assert [line for line in found.lines if line.startswith("status")] == [
        f"status,asset=gw-1,level=gateway online=1i {T0}000000"
    ]


def test_a_row_that_no_journal_writes_is_set_aside(journal: Journal) -> None:
    run(journal, make_engine(), STORY[:30])
    other = sqlite3.connect(journal.path)
    other.execute("UPDATE input SET payload = '{broken' WHERE id = 10")
    other.commit()
    other.close()
    recorder = Recorder()
    sink = Sink(journal.path, "t", lambda: recorder, "m1")
    drain(sink)
    assert sink.state.set_aside == 1
    assert sink.state.position == journal.last_id
    assert len(recorder.lines) > 50


def test_a_time_that_no_database_can_hold_is_set_aside(
    influx: InfluxWorld, journal: Journal
) -> None:
    far = 9_223_372_036_854
    batch: list[Input] = [ConfigIn("a", make_config(), T0)]
    for t in (T0, far - 1, far, 253_402_300_799_999):
        payload = b'{"v":1,"timestamp_ms":%d,"voltage_v":3.7}' % t
        batch.append(FrameIn("a", decode_telemetry(payload)[0], T0, payload))
    journal.commit(make_engine().process(batch))
    sink = make_sink(journal, influx)
    drain(sink)
    assert influx.count("cell", "voltage_v") == 2
    assert sink.state.set_aside == 2
    assert len(influx.writes) == 1


def test_the_monitor_s_own_counters_go_along(influx: InfluxWorld, journal: Journal) -> None:
    sink = make_sink(journal, influx)
    values: dict[str, Any] = {f.name: 1 for f in msgspec.structs.fields(MonitorMetrics)}
    metrics = MonitorMetrics(
        **{**values, "timestamp_ms": T0, "latency_ms_p99": 2.5, "inference": {}}
    )
    sink.tell(metrics)
    drain(sink)
    (found,) = rows(influx, "monitor")
    assert found["latency_ms_p99"] == 2.5
    assert found["frames"] == 1
    assert found["monitor"] == "m1"
    assert found["time"] == T0 * 1_000_000


def test_positions_of_two_targets_are_apart(journal: Journal) -> None:
    run(journal, make_engine(), STORY[:30])
    one = Outbox(journal.path, "one", 100)
    one.confirm(one.next_batch().after, [], 0)
    two = Outbox(journal.path, "two", 100)
    assert one.next_batch().lines == []
    assert two.position == Position()
    assert two.next_batch().lines
    with pytest.raises(StoreError):
        Outbox(journal.path.parent / "absent.sqlite", "t", 1).next_batch()


def test_what_a_power_loss_took_from_the_journal_is_not_taken_for_sent(journal: Journal) -> None:
    run(journal, make_engine(), STORY[:30])
    box = Outbox(journal.path, "one", 100)
    box.confirm(box.next_batch().after, [], 0)
    box.close()
    journal._db.execute("DELETE FROM input WHERE id > 10")  # the newest commits are gone
    again = Outbox(journal.path, "one", 100)
    assert again.position.input == 10
    journal._db.execute(
        "INSERT INTO input SELECT 11, kind, asset_id, timestamp_ms, arrival_ms, payload, result "
        "FROM input WHERE kind = 0 ORDER BY id DESC LIMIT 1"
    )
    assert again.next_batch().lines
    again.close()
