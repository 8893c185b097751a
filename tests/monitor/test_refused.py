"""What is refused changes nothing: not an alarm, not a wiring, not what a recovery finds."""

from __future__ import annotations

from pathlib import Path

import msgspec

from monitor.contract import Command, Frame, Provenance, Reply, decode
from tests.engine_world import T0
from tests.monitor.test_pipeline import World, message, rows_of
from tests.monitor.test_quarantine import batch, events, frame, standing, states


def test_the_configs_that_ended_the_monitor(tmp_path: Path) -> None:
    world = World(tmp_path / "j.sqlite")
    for payload in (
        b'{"v":1,"nominal_capacity_ah":2,"expected_interval_ms":2000000000000000000}',
        b'{"v":1,"nominal_capacity_ah":2,"max_gap_ms":1180591620717411303424}',
        b'{"v":1,"nominal_capacity_ah":2,"max_gap_ms":1%s}' % (b"0" * 400),
        b'{"v":1,"nominal_capacity_ah":1e-320}',
    ):
        world.pipeline.step([message("bms/dev1/config", payload, retain=True)], T0)
        world.pipeline.tick(T0 + 1)
        world.pipeline.checkpoint()
    assert world.pipeline.rejected == 4
    assert world.pipeline.quarantined == 0
    assert world.journal.last_id == 0
    assert world.engine.fleet.assets == {}
    world.journal.close()


# A refused frame changes nothing


def test_a_refused_frame_leaves_the_alarm_and_the_recovery(tmp_path: Path) -> None:
    """One frame a day ahead with one temperature instead of two: the alarm of the second stands."""
    world = World(tmp_path / "j.sqlite")
    world.configure(cells=2, provenance=Provenance())
    for k in range(4):
        hot = msgspec.structs.replace(frame(k), temperature_c=[25.0, 70.0 + k])
        world.pipeline.step(batch(hot), T0)
    assert standing(world) == [("over_temperature", "t02", "unacknowledged")]
    before = states(world.engine), world.journal.last_id
    ahead = Frame(v=1, session="x", seq=9, timestamp_ms=T0 + 86_400_000, temperature_c=25.0)
    world.pipeline.step([message("bms/p/telemetry", ahead)], T0)
    known = frame(3)
    again = Frame(v=1, session="s", seq=3, timestamp_ms=known.timestamp_ms, temperature_c=25.0)
    no_number = Frame(v=1, session="y", timestamp_ms=known.timestamp_ms, temperature_c=25.0)
    world.pipeline.step(batch(again, no_number), T0)
    assert standing(world) == [("over_temperature", "t02", "unacknowledged")]
    assert (states(world.engine), world.journal.last_id) == before
    recovered = World(world.journal.path)
    recovered.pipeline.recover()
    assert recovered.engine.asset_state("p") == world.engine.asset_state("p")
    recovered.journal.close()
    world.journal.close()


def test_a_refused_first_frame_makes_no_asset(tmp_path: Path) -> None:
    world = World(tmp_path / "j.sqlite")
    ahead = Frame(v=1, timestamp_ms=T0 + 86_400_000, voltage_v=[3.7] * 8)
    world.pipeline.step([message("bms/new/telemetry", ahead)], T0)
    assert world.engine.fleet.assets == {}
    assert world.pipeline.rejected == 1
    assert world.engine.counters.future == 1
    world.pipeline.step([message("bms/new/telemetry", frame(0))], T0)
    assert world.engine.fleet.assets["new"].cells == 1
    world.journal.close()


def test_a_late_frame_does_not_rewire(tmp_path: Path) -> None:
    world = World(tmp_path / "j.sqlite")
    world.configure(cells=2, provenance=Provenance())
    for k in (0, 1, 3, 4):
        hot = msgspec.structs.replace(frame(k), temperature_c=[25.0, 70.0 + k])
        world.pipeline.step(batch(hot), T0)
    world.pipeline.step(batch(msgspec.structs.replace(frame(2), temperature_c=25.0)), T0)
    assert world.engine.fleet.assets["p"].sensors == 2
    assert ("over_temperature", "t02", "unacknowledged") in standing(world)
    world.journal.close()


def test_an_event_id_never_comes_twice_though_the_memory_is_gone(tmp_path: Path) -> None:
    """No checkpoint, the journal trimmed: a later raise is a row of its own."""
    path = tmp_path / "j.sqlite"
    first = World(path)
    first.configure()
    for k in range(3):
        first.pipeline.step(batch(frame(k, hot=True)), T0)
    first.pipeline.step(batch(frame(4)), T0)
    before = rows_of(path, "SELECT event_id FROM event")
    assert before
    first.journal.trim(first.journal.last_id)
    first.journal.close()
    second = World(path)
    second.pipeline.recover()
    for k in range(100, 103):
        second.pipeline.step(batch(frame(k, hot=True)), T0)
    said = {e.event_id for e in events(second)}
    kept = {event_id for (event_id,) in rows_of(path, "SELECT event_id FROM event")}
    assert said
    assert said <= kept
    assert len(kept) == len(before) + len(said)
    second.journal.close()


def test_who_is_offline_is_known_after_a_restart_though_nobody_else_is(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    world = World(path)
    world.pipeline.step(
        [message("bms/_gateway/gw/status", b"offline"), message("bms/early/status", b"offline")], T0
    )
    world.pipeline.checkpoint()
    again = World(path)
    assert again.pipeline.recover() == 0
    again.configure("p", gateway="gw")
    again.configure("early")
    assert sorted((r.asset, r.code) for r in again.engine.alarm_records()) == [
        ("early", "offline"), ("p", "offline"),
    ]  # fmt: skip
    for one in (world, again):
        one.journal.close()


def test_a_command_to_nothing_is_not_remembered(tmp_path: Path) -> None:
    """Its asset may come; the command given again is then another one, as after a restart."""
    world = World(tmp_path / "j.sqlite")
    command = Command(v=1, id="1", action="out_of_service", code="asset")
    world.pipeline.step([message("bms/p/command/ann", command)], T0)
    world.configure()
    assert world.engine.book.replies == {}
    world.pipeline.step([message("bms/p/command/ann", command)], T0)
    reply = decode(Reply, world.out.published("p/reply")[-1][1])
    assert reply.result == "done"
    world.journal.close()
    again = World(world.journal.path)
    again.pipeline.recover()
    assert again.engine.asset_state("p") == world.engine.asset_state("p")
    again.journal.close()
