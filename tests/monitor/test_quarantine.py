"""What raises is set aside: the rest goes on, the state is as if it had never come, an alarm tells.

The engine of these tests raises at one current, after it has changed its state: a mistake of ours.
The module is long because every place where an input may raise is tried on one stage.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.alarms.handover import Alarms
from monitor.alarms.rules import DEFAULT_RULES
from monitor.contract import (
    AlarmRecord,
    DeviceAlarm,
    Event,
    Frame,
    Rejected,
    Topics,
    decode,
    encode,
)
from monitor.engine import Engine
from monitor.errors import StoreError, reason_of
from monitor.inputs import FrameIn, Input, StatusIn, Stored, Tick
from monitor.mqtt.link import Message
from monitor.pipeline import Pipeline
from monitor.results import Handled, Results
from monitor.store.checkpoint import Checkpoint, newest, write
from monitor.store.journal import Journal
from tests.engine_world import T0, make_config, soh_model, thermal_model, version_8_arrays
from tests.monitor.test_pipeline import World, message, rows_of

POISON_A = 666.0
ALARM = "bms/p/alarm/input_quarantined/pack"


class Mistaken(Engine):
    """Raises at one current, with everything already changed."""

    mistaken = True

    def process(self, inputs: Sequence[Input]) -> Results:
        results = super().process(inputs)
        for item in inputs:
            if self.mistaken and isinstance(item, FrameIn) and item.frame.current_a == POISON_A:
                raise ZeroDivisionError("a mistake of ours")
        return results


class MistakenWorld(World):
    """A pipeline around it."""

    engine: Mistaken

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.engine = Mistaken(soh_model(), thermal_model())
        self.pipeline = Pipeline(self.engine, self.journal, self.out, Topics(), "monitor")


def frame(k: int, current_a: float = -1.0, *, hot: bool = False) -> Frame:
    return Frame(
        v=1, session="s", seq=k, timestamp_ms=T0 + 3_000 * k, current_a=current_a,
        voltage_v=3.7 - 0.001 * k, temperature_c=61.0 + k if hot else 25.0 + 0.01 * k,
    )  # fmt: skip


def batch(*frames: Frame) -> list[Message]:
    return [message("bms/p/telemetry", one, one.timestamp_ms) for one in frames]


def states(engine: Engine) -> dict[str, object]:
    """What is known of every asset, but for the alarms about what was set aside."""
    return {
        name: {
            key: value
            for key, value in msgspec.msgpack.decode(engine.asset_state(name)).items()
            if key != "alarms"
        }
        for name in engine.fleet.assets
    }


def without_the_poison(tmp_path: Path, *frames: Frame) -> Engine:
    calm = World(tmp_path / "calm.sqlite")
    calm.configure()
    for one in frames:
        calm.pipeline.step(batch(one), T0)
    calm.journal.close()
    return calm.engine


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MistakenWorld]:
    made = MistakenWorld(tmp_path / "j.sqlite")
    made.configure()
    yield made
    made.journal.close()


def test_the_rest_of_the_batch_is_taken(world: MistakenWorld, tmp_path: Path) -> None:
    poison = frame(2, POISON_A)
    messages = batch(frame(0), frame(1), poison, frame(3), frame(4))
    world.pipeline.step(messages, T0)
    assert states(world.engine) == states(
        without_the_poison(tmp_path, frame(0), frame(1), frame(3), frame(4))
    )
    # Counted, kept with the reason, answered, acknowledged, and an alarm.
    assert world.pipeline.quarantined == 1
    path = world.journal.path
    ((asset, arrival, topic, reason, payload),) = rows_of(path, "SELECT * FROM quarantine")
    assert (asset, arrival, topic) == ("p", poison.timestamp_ms, "bms/p/telemetry")
    assert reason == "ZeroDivisionError: a mistake of ours"
    assert decode(Frame, str(payload).encode()) == poison
    refusal = decode(Rejected, world.out.published("/rejected")[0][1])
    assert refusal.reason == "set aside: ZeroDivisionError: a mistake of ours"
    acknowledged = acknowledged_of(world)
    assert sorted(acknowledged) == [m.mid for m in messages]
    record = decode(AlarmRecord, dict(world.out.published("quarantined/pack"))[ALARM])
    assert (record.state, record.severity) == ("unacknowledged", 3)
    assert rows_of(path, "SELECT count(*) FROM input WHERE kind = 0") == [(4,)]


def test_the_alarm_ends_a_minute_after_the_newest(world: MistakenWorld) -> None:
    world.pipeline.step(batch(frame(0), frame(1, POISON_A)), T0)
    at_ms = frame(1).timestamp_ms
    world.pipeline.tick(at_ms + 59_000)
    of_it = [e for e in events(world) if e.alarm.code == "input_quarantined"]
    assert [e.cause for e in of_it] == ["raise"]
    world.pipeline.tick(at_ms + 60_000)
    assert [e.cause for e in events(world) if e.alarm.code == "input_quarantined"] == [
        "raise", "clear",
    ]  # fmt: skip


def acknowledged_of(world: World) -> list[int]:
    return [mid for entry in world.out.log if entry[0] == "acknowledge" for mid in entry[1:]]


def events(world: World) -> list[Event]:
    return [decode(Event, payload) for _, payload in world.out.published("/event")]


def test_what_waits_for_its_commit_is_taken_again_too(world: MistakenWorld, tmp_path: Path) -> None:
    """Computed, announced, not yet committed when the next batch raises: nothing of it is lost."""
    hot = [frame(0, hot=True), frame(1, hot=True)]
    world.pipeline.take(batch(*hot), T0)
    world.pipeline.take(batch(frame(2, POISON_A), frame(3, hot=True)), T0)
    world.pipeline.flush()
    assert states(world.engine) == states(without_the_poison(tmp_path, *hot, frame(3, hot=True)))
    said = [e.event_id for e in events(world) if e.alarm.code == "over_temperature"]
    kept = rows_of(world.journal.path, "SELECT event_id FROM event WHERE record LIKE '%over_temp%'")
    assert set(said) == {event_id for (event_id,) in kept}
    assert len(kept) == 1


def test_recovery_goes_the_same_way(world: MistakenWorld, tmp_path: Path) -> None:
    world.pipeline.step(batch(frame(0), frame(1, POISON_A), frame(2)), T0)
    again = MistakenWorld(world.journal.path)
    assert again.pipeline.recover() == 4  # the config, two frames, what tells of the third
    assert again.pipeline.quarantined == 0
    assert again.engine.asset_state("p") == world.engine.asset_state("p")
    assert again.engine.shared_state() == world.engine.shared_state()
    again.journal.close()


def test_a_store_that_fails_meanwhile_loses_nothing(world: MistakenWorld, tmp_path: Path) -> None:
    world.journal.broken = True
    messages = batch(frame(0), frame(1, POISON_A), frame(2))
    with pytest.raises(StoreError):
        world.pipeline.take(messages, T0)
    with pytest.raises(StoreError):
        world.pipeline.tick(T0 + 10_000)
    later = batch(frame(3))
    with pytest.raises(StoreError):
        world.pipeline.take(later, T0)
    assert [entry for entry in world.out.log if entry[0] == "acknowledge"] == []
    world.journal.broken = False
    world.pipeline.flush()
    assert states(world.engine) == states(
        without_the_poison(tmp_path, frame(0), frame(2), frame(3))
    )
    acknowledged = acknowledged_of(world)
    assert sorted(acknowledged) == [m.mid for m in messages + later]
    assert world.pipeline.quarantined == 1


def test_what_cannot_be_written_is_set_aside(
    world: MistakenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = world.journal._row

    def unwritable(one: Handled, *more: Any) -> object:
        if isinstance(one.input, FrameIn) and one.input.frame.seq == 1:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return row(one, *more)

    monkeypatch.setattr(world.journal, "_row", unwritable)
    world.pipeline.step(batch(frame(0), frame(1), frame(2)), T0)
    assert states(world.engine) == states(without_the_poison(tmp_path, frame(0), frame(2)))
    assert rows_of(world.journal.path, "SELECT reason FROM quarantine") == [
        ("OverflowError: Python int too large to convert to SQLite INTEGER",)
    ]


def test_what_cannot_be_read_is_set_aside(
    world: MistakenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message of which the contract should have said why it is refused."""

    def mistaken(payload: bytes) -> list[Frame]:
        raise MemoryError("a mistake of ours")

    monkeypatch.setattr("monitor.received.decode_telemetry", mistaken)
    odd = message("bms/p/telemetry", b"\xff{", T0 + 5)
    named = DeviceAlarm(v=1, timestamp_ms=T0, name="short", active=True)
    world.pipeline.step([odd, message("bms/p/device_alarm", named)], T0)
    assert rows_of(world.journal.path, "SELECT asset, topic, payload FROM quarantine") == [
        ("p", "bms/p/telemetry", "\\xff{")
    ]
    assert {e.alarm.code for e in events(world)} == {"input_quarantined", "device_short"}


def test_what_the_publisher_does_not_take_is_no_inputs_fault(world: MistakenWorld) -> None:
    publish = world.out.publish

    def choosy(topic: str, payload: bytes, **more: Any) -> None:
        if "over_temperature" in topic:
            raise ValueError("Payload too large.")
        publish(topic, payload, **more)

    world.out.publish = choosy  # type: ignore[method-assign]  # a fault put in
    world.pipeline.step(batch(*[frame(k, hot=True) for k in range(3)]), T0)
    assert world.pipeline.quarantined == 0
    assert [e.alarm.code for e in events(world)] == ["over_temperature"]
    assert rows_of(world.journal.path, "SELECT count(*) FROM input WHERE kind = 0") == [(3,)]


def test_an_alarm_that_cannot_be_written_is_said_wholly_or_not_at_all(
    world: MistakenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the broker would retain an alarm that the journal does not know."""

    def mistaken(one: Any) -> bytes:
        if isinstance(one, Event) and one.alarm.code == "over_temperature":
            raise ValueError("a mistake of ours")
        return encode(one)

    monkeypatch.setattr("monitor.announcements.encode", mistaken)
    world.pipeline.step(batch(*[frame(k, hot=True) for k in range(2)], frame(2)), T0)
    assert world.pipeline.quarantined == 1
    assert world.out.published("over_temperature/t01") == []
    assert "over_temperature" not in {r.code for r in world.engine.alarm_records()}


def test_an_alarm_whose_rule_was_taken_out_is_gone_after_a_restart_too(tmp_path: Path) -> None:
    """The rules are in no input: the checkpoint before the change knows the alarm as standing."""
    world = World(tmp_path / "j.sqlite")
    world.configure()
    world.pipeline.step(batch(*[frame(k, hot=True) for k in range(2)]), T0)
    world.pipeline.checkpoint()
    fewer = [rule for rule in DEFAULT_RULES if rule.code != "over_temperature"]
    world.pipeline.set_rules(fewer, T0 + 10_000)
    assert standing(world) == [("over_temperature", "t01", "returned-unacknowledged")]
    world.journal.close()
    again = World(world.journal.path)
    again.engine = Engine(soh_model(), thermal_model(), fewer)
    again.pipeline = Pipeline(again.engine, again.journal, again.out, Topics(), "monitor")
    again.pipeline.recover()
    again.pipeline.flush()
    assert standing(again) == standing(world)
    said = rows_of(world.journal.path, "SELECT event_id FROM event")
    assert len(said) == len(set(said)) == 3
    again.journal.close()


def test_an_estimate_that_cannot_be_made_stops_no_other(
    world: MistakenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = world.engine.estimate

    def mistaken(name: str) -> object:
        if name == "p":
            raise IndexError("a mistake of ours")
        return estimate(name)

    monkeypatch.setattr(world.engine, "estimate", mistaken)
    other = message("bms/q/telemetry", frame(0))
    world.pipeline.step([*batch(frame(0)), other], T0)
    world.pipeline.publish_estimates(1e9)
    assert [topic for topic, _ in world.out.published("/estimate")] == ["bms/q/estimate"]
    world.pipeline.publish_estimates(1e9)
    world.pipeline.flush()
    assert [(e.alarm.asset, e.alarm.code) for e in events(world)] == [("p", "estimate_failed")]


def test_a_tick_that_raises_leaves_the_engine_as_it_was(world: MistakenWorld) -> None:
    world.pipeline.step(batch(frame(0)), T0)
    before = world.engine.asset_state("p")
    process = world.engine.process

    def mistaken(inputs: Sequence[Input]) -> Results:
        results = process(inputs)
        if any(isinstance(item, Tick) for item in inputs):
            raise ZeroDivisionError("a mistake of ours")
        return results

    world.engine.process = mistaken  # type: ignore[method-assign]  # a fault put in
    with pytest.raises(ZeroDivisionError):
        world.pipeline.tick(T0 + 10**9)
    assert world.engine.asset_state("p") == before
    world.engine.process = process  # type: ignore[method-assign]  # the fault taken out
    world.pipeline.tick(T0 + 10**9)
    assert [e.alarm.code for e in events(world)] == ["stale"]


def standing(world: World) -> list[tuple[str, str, str]]:
    return [(r.code, r.source, r.state) for r in world.engine.alarm_records()]


class UnreadableJournal(Journal):
    """A journal that cannot be read while `broken`."""

    broken = False

    def inputs_after(self, input_id: int) -> Iterator[Stored]:
        if self.broken:
            raise StoreError("store: it cannot be read")
        return super().inputs_after(input_id)


@pytest.mark.parametrize("where", ["engine", "alarms"])
def test_a_tick_that_raises_while_the_store_cannot_be_read(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is cleared by then: nothing may be taken or saved before it is back."""
    world = MistakenWorld(tmp_path / "j.sqlite")
    world.journal.close()
    journal = UnreadableJournal(world.journal.path)
    pipeline = Pipeline(world.engine, journal, world.out, Topics(), "monitor")
    pipeline.step([message("bms/p/config", make_config())], T0)
    pipeline.step(batch(frame(0)), T0)
    before = world.engine.asset_state("p")

    def mistaken(*_: object) -> Results:
        raise ZeroDivisionError("a mistake of ours")

    if where == "engine":
        monkeypatch.setattr(world.engine, "_tick", mistaken)
    else:
        monkeypatch.setattr("monitor.announcements.encode", mistaken)
    journal.broken = True
    with pytest.raises(StoreError):
        pipeline.tick(T0 + 10**9)
    with pytest.raises(StoreError):
        pipeline.take(batch(frame(1)), T0)
    with pytest.raises(StoreError):
        pipeline.checkpoint()
    monkeypatch.undo()
    journal.broken = False
    pipeline.flush()
    calm = without_the_poison(tmp_path, frame(0), frame(1))
    assert states(world.engine) == states(calm)
    assert before != world.engine.asset_state("p")
    pipeline.tick(T0 + 10**9)
    assert [e.alarm.code for e in events(world)] == ["stale"]
    journal.close()


def test_what_tells_of_a_message_may_raise_too(
    world: MistakenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError("another mistake of ours")

    monkeypatch.setattr(Alarms, "trouble", mistaken)
    world.pipeline.step(batch(frame(0), frame(1, POISON_A), frame(2)), T0)
    world.pipeline.step(batch(frame(3)), T0)
    calm = without_the_poison(tmp_path, frame(0), frame(2), frame(3))
    assert states(world.engine) == states(calm)


def test_an_alarm_of_what_cannot_be_written_does_not_stay_with_the_broker(
    world: MistakenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was published before the commit, as ever; then its frame is set aside."""
    row = world.journal._row

    def unwritable(one: Handled, *more: Any) -> object:
        if isinstance(one.input, FrameIn) and one.input.frame.seq == 1:
            raise OverflowError("a mistake of ours")
        return row(one, *more)

    monkeypatch.setattr(world.journal, "_row", unwritable)
    world.pipeline.step(batch(*[frame(k, hot=True) for k in range(2)]), T0)
    said = [payload for _, payload in world.out.published("over_temperature/t01")]
    assert len(said) == 2
    assert said[-1] == b""


def test_words_that_nothing_can_write_are_written(world: MistakenWorld) -> None:
    error = ValueError("half a sign: \ud800")
    assert reason_of(error) == "ValueError: half a sign: \\ud800"


# At the start


def test_what_nests_deeply_is_not_kept_as_it_came(tmp_path: Path) -> None:
    """Python reads it or does not by how deep its caller stands: a start may stand deeper."""
    world = World(tmp_path / "j.sqlite")
    deep = encode(frame(0))[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}"
    shallow = encode(frame(1))[:-1] + b',"x":[[1]]}'
    world.pipeline.step([message("bms/p/telemetry", deep), message("bms/p/telemetry", shallow)], T0)
    kept = [
        str(payload) for (payload,) in rows_of(tmp_path / "j.sqlite", "SELECT payload FROM input")
    ]
    assert [decode(Frame, payload.encode()) for payload in kept] == [frame(0), frame(1)]
    assert '"x"' not in kept[0]
    assert '"x":[[1]]' in kept[1]
    world.journal.close()


def test_rows_that_cannot_be_read_cost_no_second_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = poisoned_store(tmp_path, frame(0), frame(1))
    first = MistakenWorld(path)
    first.pipeline.recover()
    first.pipeline.checkpoint()
    first.journal.close()
    with closing(sqlite3.connect(path)) as db:
        rows = [
            *[(2, 1, f'{{"v":1,"nominal_capacity_ah":{k}e9}}') for k in range(1, 30)],
            (0, 99, encode(frame(5)).decode()),  # of an asset that is not there
            (0, 1, b"\x00blob"),
            (77, 1, "{}"),
        ]
        db.executemany(
            "INSERT INTO input (kind, asset_id, arrival_ms, payload) VALUES (?, ?, 0, ?)", rows
        )
        db.commit()
    world = MistakenWorld(path)
    loaded: list[bytes] = []
    put = world.engine.put_asset_state

    def counted(data: bytes) -> None:
        loaded.append(data)
        put(data)

    monkeypatch.setattr(world.engine, "put_asset_state", counted)
    world.pipeline.recover()
    assert len(loaded) == 1
    world.pipeline.flush()
    assert rows_of(path, "SELECT count(*) FROM quarantine") == [(32,)]
    assert world.engine.fleet.assets.keys() == {"p"}
    world.pipeline.tick(T0)
    world.journal.close()


def test_a_machine_without_memory_spoils_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = poisoned_store(tmp_path, frame(0))
    first = MistakenWorld(path)
    first.pipeline.recover()
    first.pipeline.checkpoint()
    first.journal.close()
    world = MistakenWorld(path)

    def exhausted(data: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(world.engine, "put_asset_state", exhausted)
    with pytest.raises(MemoryError):
        world.pipeline.recover()
    assert newest(path) is not None
    assert not list(tmp_path.glob("*.unusable"))
    world.journal.close()


def poisoned_store(tmp_path: Path, *frames: Frame) -> Path:
    """A store in which a frame stands that raises since the newest version of the program."""
    world = MistakenWorld(tmp_path / "old.sqlite")
    world.engine.mistaken = False
    world.configure()
    world.pipeline.step(batch(*frames), T0)
    world.journal.close()
    return world.journal.path


def test_a_start_leaves_out_what_raises(tmp_path: Path) -> None:
    frames = [frame(k, POISON_A if k in (3, 7) else -1.0) for k in range(12)]
    path = poisoned_store(tmp_path, *frames)
    world = MistakenWorld(path)
    world.pipeline.recover()
    good = [one for one in frames if one.current_a != POISON_A]
    assert states(world.engine) == states(without_the_poison(tmp_path, *good))
    world.pipeline.tick(T0)
    assert world.pipeline.quarantined == 2
    assert [e.alarm.code for e in events(world)] == ["input_quarantined"]
    assert rows_of(path, "SELECT count(*) FROM quarantine") == [(2,)]
    assert rows_of(path, "SELECT count(*) FROM input WHERE kind = 0") == [(12,)]  # all kept
    world.journal.close()
    again = MistakenWorld(path)
    again.pipeline.recover()
    assert again.pipeline.quarantined == 0  # known by now
    assert again.engine.asset_state("p") == world.engine.asset_state("p")
    again.journal.close()


@pytest.mark.parametrize(
    "payload",
    [
        '{"v":1,"nominal_capacity_ah":2,"max_gap_ms":1180591620717411303424}',
        '{"v":1,"nominal_capacity_ah":2,"expected_interval_ms":2000000000000000000}',
        '{"v":1,"nominal_capacity_ah":2,"max_gap_ms":1' + "0" * 400 + "}",
        "not JSON",
        "",
    ],
)
def test_a_start_leaves_out_a_row_that_is_against_the_contract(
    tmp_path: Path, payload: str
) -> None:
    """A config that an earlier version took, and could not start with any more."""
    path = poisoned_store(tmp_path, frame(0), frame(1))
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "INSERT INTO input (kind, asset_id, arrival_ms, payload) VALUES (2, 1, 0, ?)",
            (payload,),
        )
        db.commit()
    world = MistakenWorld(path)
    world.pipeline.recover()
    world.pipeline.step(batch(frame(2)), T0)
    assert states(world.engine) == states(
        without_the_poison(tmp_path, frame(0), frame(1), frame(2))
    )
    ((kept, input_id),) = rows_of(
        path,
        "SELECT payload, json_extract(payload, '$.detail.input_id') FROM input WHERE kind = 7",
    )
    assert json.loads(str(kept))["detail"].get("payload", "") == payload
    assert input_id == 4
    world.pipeline.checkpoint()
    world.journal.close()


@pytest.mark.parametrize("damage", ["version", "state", "groups"])
def test_a_checkpoint_that_cannot_be_used_is_kept_and_the_journal_replayed(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole by its checksum, and of another version, or with a state that nothing can read."""
    path = poisoned_store(tmp_path, frame(0), frame(1))
    world = MistakenWorld(path)
    world.pipeline.recover()
    expected = world.engine.asset_state("p")
    world.pipeline.checkpoint()
    good = newest(path)
    assert good is not None
    state = msgspec.msgpack.decode(good.assets[0])
    if damage == "version":
        state["version"] = 99
    elif damage == "state":
        state["arrays"] = {}
    groups = b"\xc1" if damage == "groups" else good.groups
    write(path, Checkpoint(good.input_id + 0, [msgspec.msgpack.encode(state)], groups))
    write(path, Checkpoint(good.input_id + 0, [msgspec.msgpack.encode(state)], groups))
    world.journal.close()
    again = MistakenWorld(path)
    assert again.pipeline.recover() == 3
    assert again.engine.asset_state("p") == expected
    kept = sorted(p.name for p in tmp_path.glob("old.sqlite.checkpoint-*"))
    assert kept == ["old.sqlite.checkpoint-a.unusable", "old.sqlite.checkpoint-b.unusable"]
    assert "cannot be used" in caplog.text
    assert "old.sqlite.checkpoint-a.unusable" in caplog.text
    if damage == "version":  # the sentence says which file, what is lost and what to do
        said = [record.message for record in caplog.records if "cannot be used" in record.message]
        assert len(said) == 2
        for sentence in said:
            assert "version 99; this program reads" in sentence
            assert f"checkpoint {path}.checkpoint-" in sentence
            assert "(keep_raw_days) is lost" in sentence
            assert "start the version that wrote it, else delete it" in sentence
    again.journal.close()


def test_a_checkpoint_of_version_7_is_read(tmp_path: Path) -> None:
    """What version 8 has elsewhere: the session's name, and what is known beside the assets."""
    world = World(tmp_path / "j.sqlite")
    world.configure(gateway="gw")
    world.pipeline.step(batch(frame(0, hot=True), frame(1, hot=True)), T0)
    world.engine.process([StatusIn("gw", True, False, T0)])
    new = msgspec.msgpack.decode(world.engine.asset_state("p"))
    old = new | {"version": 7, "session": "s", "session_number": 1, "gateway_online": False}
    admission = bytearray(new["arrays"]["admission"])
    admission[:8] = (1).to_bytes(8, "little")
    fleet = world.engine.fleet
    cells = version_8_arrays(fleet.cells[fleet.slice(fleet.assets["p"])])
    old["arrays"] = new["arrays"] | cells | {"admission": bytes(admission)}
    del old["arrays"]["cells"], old["layout"]
    moved = Engine(soh_model(), thermal_model())
    moved.put_asset_state(msgspec.msgpack.encode(old))
    moved.put_shared_state(msgspec.msgpack.encode({"alarms": [], "replies": [], "asset": "_group"}))
    assert moved.asset_state("p") == world.engine.asset_state("p")
    again = moved.process([FrameIn("p", frame(1), T0, encode(frame(1)))])
    assert [one.verdict for one in again.handled] == [2]  # the same session: it came before
    world.journal.close()
