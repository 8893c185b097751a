"""One step of the monitor without a broker: what is said when, and what happens if it cannot.

The module is long because every failure is tried on the same stage.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.contract import (
    MAX_PAYLOAD_BYTES,
    AlarmRecord,
    Command,
    CycleSummary,
    DeviceAlarm,
    Estimate,
    Event,
    Frame,
    Rejected,
    Reply,
    Topics,
    decode,
    encode,
)
from monitor.engine import Engine
from monitor.errors import StoreError
from monitor.estimate_queue import ESTIMATE_EVERY_S
from monitor.mqtt.link import Message
from monitor.outgoing import REJECTED_PER_S
from monitor.pipeline import COMMIT_EVERY_S, Pipeline
from monitor.results import Results
from monitor.store.checkpoint import newest
from monitor.store.journal import Journal
from tests.engine_world import (
    T0,
    FakePublisher,
    cycling,
    make_config,
    soh_model,
    thermal_model,
)

MIDS = count(1)


def message(
    topic: str, payload: bytes | msgspec.Struct | list[Frame], arrival_ms: int = T0,
    *, retain: bool = False,
) -> Message:  # fmt: skip
    data = payload if isinstance(payload, bytes) else encode(payload)
    return Message(topic, data, 1, retain, next(MIDS), arrival_ms, 1)


class FailingJournal(Journal):
    """A journal whose commits fail while `broken`."""

    broken = False
    log: list[tuple[Any, ...]]

    def commit(self, results: Results) -> None:
        if self.broken:
            raise StoreError("store: the disk is full")
        super().commit(results)
        self.log.append(("commit", len(results.handled)))


class World:
    """A pipeline with a fake publisher; the journal's commits stand in the publisher's log."""

    def __init__(self, path: Path) -> None:
        self.out = FakePublisher()
        self.journal = FailingJournal(path)
        self.journal.log = self.out.log
        self.engine = Engine(soh_model(), thermal_model())
        self.pipeline = Pipeline(self.engine, self.journal, self.out, Topics(), "monitor")

    def configure(self, name: str = "p", cells: int = 1, **more: object) -> None:
        config = make_config(cells, **more)
        self.pipeline.step([message(f"bms/{name}/config", config, retain=True)], T0)
        self.out.log.clear()

    def kinds(self) -> list[str]:
        """The log in words: what was published by its last levels, commits, acknowledges."""
        words = []
        for entry in self.out.log:
            topic = str(entry[1]) if entry[0] == "publish" else ""
            words.append(topic.split("/", 2)[2].split("/")[0] if topic else str(entry[0]))
        return words


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "j.sqlite")
    yield made
    made.journal.close()


def rows_of(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def hot(k: int, name: str = "p") -> Message:
    frame = Frame(
        v=1, session="s", seq=k, timestamp_ms=T0 + 3000 * k, voltage_v=3.7, temperature_c=50.0 + k
    )
    return message(f"bms/{name}/telemetry", frame, frame.timestamp_ms)


def test_alarm_then_commit_then_acknowledge(world: World) -> None:
    world.configure()
    batch = [hot(0), hot(1)]
    world.pipeline.step(batch, T0)
    assert world.kinds() == ["alarm", "event", "commit", "acknowledge"]
    topic, payload = world.out.published("over_temperature/t01")[0]
    assert topic == "bms/p/alarm/over_temperature/t01"
    record = decode(AlarmRecord, payload)
    assert (record.state, record.value, record.limit) == ("unacknowledged", 51.0, 45.0)
    retained = [entry for entry in world.out.log if entry[0] == "publish" and entry[4]]
    assert len(retained) == 1  # the record is retained, the event is not
    event = decode(Event, world.out.published("/event")[0][1])
    assert event.alarm == record
    assert world.out.log[-1] == ("acknowledge", batch[0].mid, batch[1].mid)


def test_an_alarm_that_is_over_is_cleared_from_the_broker(world: World) -> None:
    world.configure()
    world.pipeline.step([hot(0), hot(1)], T0)
    command = Command(v=1, id="9", action="acknowledge", code="over_temperature", source="t01")
    world.pipeline.step([message("bms/p/command/ann", command)], T0)
    reply = decode(Reply, world.out.published("p/reply")[0][1])
    assert reply == Reply(v=1, id="9", result="done", user="ann")
    cool = [
        Frame(
            v=1, session="s", seq=2 + k, timestamp_ms=T0 + 60_000 + 31_000 * k, temperature_c=38.0
        )
        for k in range(2)
    ]
    world.pipeline.step([message("bms/p/telemetry", cool)], T0)
    sent = [payload for _, payload in world.out.published("over_temperature/t01")]
    assert [decode(AlarmRecord, p).state for p in sent[:2]] == ["unacknowledged", "acknowledged"]
    assert sent[2:] == [b""]
    assert list(world.engine.alarm_records()) == []


def test_a_reply_waits_for_the_commit(world: World) -> None:
    world.configure()
    command = Command(v=1, id="9", action="acknowledge", code="stale")
    world.pipeline.step([message("bms/p/command/ann", command)], T0)
    assert world.kinds() == ["commit", "acknowledge", "reply"]
    reply = decode(Reply, world.out.published("p/reply")[0][1])
    assert reply.result == "refused"
    assert reply.reason == "there is no alarm stale/pack on p"


def test_a_retained_command_is_refused(world: World) -> None:
    world.configure()
    world.pipeline.step([hot(0), hot(1)], T0)
    command = Command(v=1, id="9", action="acknowledge", code="over_temperature", source="t01")
    world.pipeline.step([message("bms/p/command/ann", command, retain=True)], T0)
    assert next(iter(world.engine.alarm_records())).state == "unacknowledged"
    assert world.out.published("p/reply") == []
    refusal = decode(Rejected, world.out.published("/rejected")[0][1])
    assert refusal.reason == "a retained command is ignored"


BAD = [
    ("bms/p/telemetry", b"{", "malformed|truncated"),
    ("bms/p/telemetry", b'{"v":2,"timestamp_ms":1}', r"\$\.v"),
    ("bms/p/telemetry", b'{"v":1,"timestamp_ms":1,"x":"\xff"}', "utf-8"),
    ("bms/p/telemetry", b" " * (MAX_PAYLOAD_BYTES + 1), "at most 262144"),
    ("bms/p/telemetry", b"", "truncated"),
    ("bms/p/config", b'{"v":1}', "nominal_capacity_ah"),
    ("bms/p/status", b"maybe", "online"),
    ("bms/p/device_alarm", b'{"v":1,"timestamp_ms":1,"name":"a/+","active":true}', "name"),
    ("bms/p/command/ann", b"{}", "Command"),
    ("bms/p/estimate", b"{}", "no such topic"),
    ("bms/_gateway/telemetry", b'{"v":1,"timestamp_ms":1}', "no such topic"),
    ("bms/_monitor/config", b'{"v":1,"nominal_capacity_ah":1}', "no such topic"),
    ("bms/_simulator/command/ann", b"{}", "no such topic"),
    ("bms/a$b/telemetry", b'{"v":1,"timestamp_ms":1}', "asset name"),
    ("bms/ä/telemetry", b'{"v":1,"timestamp_ms":1}', "asset name"),
    ("bms//telemetry", b'{"v":1,"timestamp_ms":1}', "asset name"),
    ("bms/" + "x" * 10_000 + "/telemetry", b"{}", "asset name"),
    ("elsewhere/p/telemetry", b"{}", "not under bms/"),
]


@pytest.mark.parametrize(("topic", "payload", "reason"), BAD, ids=lambda x: str(x)[:30])
def test_a_bad_message_is_counted_answered_and_stops_nothing(
    world: World, topic: str, payload: bytes, reason: str
) -> None:
    world.configure()
    bad = message(topic, payload)
    results = world.pipeline.step([hot(0), bad, hot(1)], T0 + 5)
    assert results.samples == 2
    assert world.pipeline.rejected == 1
    ((where, answer),) = world.out.published("/rejected")
    assert where == "bms/_monitor/monitor/rejected"
    refusal = decode(Rejected, answer)
    assert refusal.topic == topic[:200]
    assert refusal.timestamp_ms == T0 + 5
    assert refusal.count == 1
    assert len(refusal.payload_start) <= 100
    assert re.search(reason, refusal.reason)
    # It is acknowledged too: refused once is refused for good.
    acknowledged = [entry for entry in world.out.log if entry[0] == "acknowledge"]
    assert bad.mid in acknowledged[-1]
    world.pipeline.publish_estimates(10.0)
    world.pipeline.checkpoint()
    assert sorted(world.engine.fleet.assets) == ["p"]


def test_refusals_are_rate_limited_but_counted(world: World) -> None:
    bad = [message("bms/p/telemetry", b"{") for _ in range(REJECTED_PER_S * 20)]
    world.pipeline.step(bad, T0)
    assert world.pipeline.rejected == len(bad)
    answers = world.out.published("/rejected")
    # The window may turn once while the step runs.
    assert REJECTED_PER_S <= len(answers) <= 2 * REJECTED_PER_S


def test_a_store_that_fails_keeps_everything_until_it_works(world: World) -> None:
    world.configure()
    world.journal.broken = True
    batch = [hot(0), hot(1)]
    with pytest.raises(StoreError):
        world.pipeline.step(batch, T0)
    assert world.kinds() == ["alarm", "event"]  # the warning does not wait for the disk
    with pytest.raises(StoreError):
        world.pipeline.flush()
    with pytest.raises(StoreError):
        world.pipeline.tick(T0 + 10**6)
    assert world.kinds() == ["alarm", "event"]
    frames_before = world.engine.counters.frames
    world.journal.broken = False
    world.pipeline.flush()
    assert world.kinds() == ["alarm", "event", "commit", "acknowledge"]
    assert world.out.log[-1] == ("acknowledge", batch[0].mid, batch[1].mid)
    world.pipeline.flush()  # nothing is left, nothing is written twice
    assert world.kinds() == ["alarm", "event", "commit", "acknowledge"]
    assert world.engine.counters.frames == frames_before == 2
    assert world.journal.last_id == 3


def test_messages_share_a_commit_and_alarms_do_not_wait_for_it(world: World) -> None:
    world.configure()
    pipeline = world.pipeline
    assert pipeline.commit_in_s(0.0) is None
    first, second = hot(0), hot(1)
    pipeline.take([first], T0)
    assert pipeline.commit_in_s(1e12) == 0.0  # long after the last commit: nothing to wait for
    pipeline.take([second], T0)
    assert world.kinds() == ["alarm", "event"]
    assert world.journal.last_id == 1
    pipeline.flush()
    assert world.out.log[-2:] == [("commit", 2), ("acknowledge", first.mid, second.mid)]
    assert world.journal.last_id == 3
    assert pipeline.commit_in_s(1e12) is None
    pipeline.take([hot(2)], T0)
    wait_s = pipeline.commit_in_s(time.monotonic())
    assert wait_s is not None
    assert 0.0 <= wait_s <= COMMIT_EVERY_S
    rows = rows_of(world.journal.path, "SELECT kind, payload FROM input WHERE id > 1")
    assert [kind for kind, _ in rows] == [0, 0]
    pipeline.checkpoint()  # takes what waits with it
    saved = newest(world.journal.path)
    assert saved is not None
    assert saved.input_id == world.journal.last_id == 4


def test_estimates_that_are_due_come_first_and_a_few_at_once(world: World) -> None:
    for name in ("a", "b", "c"):
        world.configure(name)
        world.pipeline.step([hot(0, name)], T0)
    world.out.log.clear()
    assert world.pipeline.publish_estimates(100.0, most=2) == 0.0  # one more is due
    assert len(world.out.published("estimate")) == 2
    assert world.pipeline.publish_estimates(100.0, most=2) is None
    told = {topic for topic, _ in world.out.published("estimate")}
    assert len(told) == 3
    world.pipeline.step([hot(1, "b")], T0)
    assert world.pipeline.publish_estimates(100.1) == pytest.approx(ESTIMATE_EVERY_S - 0.1)
    assert world.pipeline.publish_estimates(100.0 + ESTIMATE_EVERY_S) is None
    assert len(world.out.published("estimate")) == 4


def test_no_checkpoint_of_what_the_store_has_not_taken(world: World) -> None:
    """A kill then would lose it: the engine would take what comes again for a duplicate."""
    world.configure()
    world.journal.broken = True
    with pytest.raises(StoreError):
        world.pipeline.step([hot(0)], T0)
    with pytest.raises(StoreError):
        world.pipeline.checkpoint()
    assert newest(world.journal.path) is None
    world.journal.broken = False
    world.pipeline.flush()
    world.pipeline.checkpoint()
    saved = newest(world.journal.path)
    assert saved is not None
    assert saved.input_id == world.journal.last_id == 2


def test_arrays_and_single_frames_store_the_same(world: World, tmp_path: Path) -> None:
    world.configure()
    frames = [item.frame for item in cycling("p", 40)]
    world.pipeline.step([message("bms/p/telemetry", frames)], T0)
    other = World(tmp_path / "other.sqlite")
    other.configure()
    other.pipeline.step([message("bms/p/telemetry", f, T0) for f in frames], T0)
    rows = [
        sqlite3.connect(w.journal.path)
        .execute("SELECT kind, payload, result FROM input")
        .fetchall()
        for w in (world, other)
    ]
    assert rows[0] == rows[1]
    other.journal.close()


def test_estimates_are_limited_and_retained_with_an_expiry(world: World) -> None:
    world.configure()
    world.pipeline.step([hot(0)], T0)
    world.out.log.clear()
    world.pipeline.publish_estimates(100.0)
    world.pipeline.publish_estimates(100.1)  # nothing new
    world.pipeline.step([hot(1)], T0)
    world.pipeline.publish_estimates(100.0 + ESTIMATE_EVERY_S / 2)  # too soon
    assert len(world.out.published("p/estimate")) == 1
    world.pipeline.publish_estimates(100.0 + ESTIMATE_EVERY_S)
    sent = [e for e in world.out.log if str(e[1]).endswith("estimate")]
    assert len(sent) == 2
    assert all(entry[3:] == (0, True, 3_600) for entry in sent)
    assert decode(Estimate, bytes(sent[1][2])).timestamp_ms == T0 + 3000


def test_a_finished_cycle_is_published_after_its_commit(world: World) -> None:
    world.configure()
    stream = cycling("p", 400)
    world.pipeline.step([message("bms/p/telemetry", f.frame) for f in stream], T0)
    words = world.kinds()
    assert words.count("cycle") >= 2
    assert words.index("commit") < words.index("cycle")
    last = len(words) - 1 - words[::-1].index("cycle")
    assert words[last + 1 :] == ["estimate"]  # one of the asset, however many ended
    cycle = decode(CycleSummary, world.out.published("p/cycle")[0][1])
    assert (cycle.asset, cycle.cell, cycle.number, cycle.kind) == ("p", "c001", 1, "charge")
    stored = rows_of(world.journal.path, "SELECT summary FROM cycle")
    assert {str(row[0]).encode() for row in stored} == {
        p for _, p in world.out.published("p/cycle")
    }


def test_reconcile_publishes_only_differences(world: World) -> None:
    world.configure()
    world.configure("q")
    world.pipeline.step([hot(0), hot(1), hot(0, "q"), hot(1, "q")], T0)
    right = dict(world.out.published("over_temperature/t01"))
    assert len(right) == 2
    world.out.log.clear()
    world.pipeline.reconcile(right)
    assert world.out.log == []
    first = "bms/p/alarm/over_temperature/t01"
    old = "bms/p/alarm/stale/pack"
    world.pipeline.reconcile({**right, first: b"old", old: b"{}"})
    assert sorted(world.out.log) == [
        ("publish", first, right[first], 1, True, None),
        ("publish", old, b"", 1, True, None),
    ]
    world.out.log.clear()
    world.pipeline.reconcile({})
    assert dict(world.out.published("")) == right


def test_restart_goes_on_where_the_journal_ends(tmp_path: Path) -> None:
    """Kill after a commit: state, alarms and their ids go on as if nothing had been."""
    stream = [message("bms/p/telemetry", f.frame, f.arrival_ms) for f in cycling("p", 320)]
    whole = World(tmp_path / "whole.sqlite")
    whole.configure()
    for start in range(0, len(stream), 10):
        whole.pipeline.step(stream[start : start + 10], T0)

    path = tmp_path / "cut.sqlite"
    first = World(path)
    first.configure()
    for start in range(0, 200, 10):
        first.pipeline.step(stream[start : start + 10], T0)
        if start == 100:
            first.pipeline.checkpoint()
    first.journal.close()
    second = World(path)
    assert second.pipeline.recover() == 90
    assert second.engine.asset_state("p") == first.engine.asset_state("p")
    # What was not acknowledged comes again, and changes nothing.
    second.pipeline.step(stream[190:200], T0)
    for start in range(200, len(stream), 10):
        second.pipeline.step(stream[start : start + 10], T0)
    assert second.engine.asset_state("p") == whole.engine.asset_state("p")
    events = first.out.published("p/event") + second.out.published("p/event")
    assert events == whole.out.published("p/event")
    assert len(events) >= 2
    second.journal.close()
    whole.journal.close()


def test_a_journal_that_is_older_than_its_checkpoint_is_run_from_the_start(tmp_path: Path) -> None:
    world = World(tmp_path / "j.sqlite")
    world.configure()
    world.pipeline.step([hot(0), hot(1)], T0)
    world.pipeline.checkpoint()
    world.journal._db.execute("DELETE FROM input WHERE id > 2")
    world.journal.close()
    again = World(tmp_path / "j.sqlite")
    assert again.pipeline.recover() == 2
    assert again.engine.counters.frames == 1
    again.journal.close()


def test_a_power_loss_leaves_the_older_checkpoint_in_force(tmp_path: Path) -> None:
    calm = World(tmp_path / "calm.sqlite")
    world = World(tmp_path / "j.sqlite")
    for one in (calm, world):
        one.configure()
        one.pipeline.step([hot(0), hot(1)], T0)
        one.pipeline.checkpoint()
        one.pipeline.step([hot(2)], T0)
    world.pipeline.step([hot(3)], T0)
    world.pipeline.checkpoint()
    with world.journal._db as db:
        db.execute("DELETE FROM input WHERE id = 2")  # retention does so behind both checkpoints
        db.execute("DELETE FROM input WHERE id = 5")  # hot(3), the commit that is lost
    world.journal.close()
    again = World(tmp_path / "j.sqlite")
    assert again.pipeline.recover() == 1
    assert again.engine.asset_state("p") == calm.engine.asset_state("p")
    for one in (calm, again):
        one.pipeline.step([hot(4)], T0)  # another input with the lost one's number
    again.journal.close()
    last = World(tmp_path / "j.sqlite")
    assert last.pipeline.recover() == 2
    assert last.engine.asset_state("p") == calm.engine.asset_state("p")
    last.journal.close()
    calm.journal.close()


def test_a_device_alarm_and_statuses(world: World) -> None:
    world.configure(gateway="gw")
    alarm = DeviceAlarm(v=1, timestamp_ms=T0, name="short_circuit", active=True, source="c001")
    world.pipeline.step(
        [
            message("bms/p/device_alarm", alarm),
            message("bms/_gateway/gw/status", b"offline", retain=True),
            message("bms/p/status", b"online", retain=True),
            message("bms/p/status", b"", retain=True),  # a status that was deleted
            message("bms/p/config", b"", retain=True),
        ],
        T0,
    )
    assert world.pipeline.rejected == 0
    assert {topic for topic, _ in world.out.published("") if "/alarm/" in topic} == {
        "bms/p/alarm/device_short_circuit/c001", "bms/p/alarm/offline/pack",
    }  # fmt: skip


def test_the_pipeline_counts(world: World) -> None:
    world.configure()
    world.pipeline.step([hot(0), hot(1), hot(1), hot(5), hot(3)], T0)
    assert (world.pipeline.messages, world.pipeline.commits) == (6, 2)
    assert list(world.pipeline.batches) == [1, 5]
    assert len(world.pipeline.latencies_ms) == 6
