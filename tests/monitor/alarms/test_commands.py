"""What operators may ask before an alarm was ever raised, and of a whole asset."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from monitor.contract import Command, DeviceAlarm, Event, Frame
from monitor.engine import Engine
from monitor.inputs import CommandIn, ConfigIn, DeviceAlarmIn, Tick
from tests.engine_world import T0, frame_in, make_config

IDS = count(1)


def world(cells: int = 3) -> Engine:
    engine = Engine(None, None)
    engine.process([ConfigIn("p", make_config(cells), T0)])
    feed(engine, 0, 1)
    return engine


def feed(engine: Engine, start: int, stop: int, volts: float = 3.7) -> list[Event]:
    frames = [
        frame_in(
            "p",
            Frame(v=1, timestamp_ms=T0 + 1_000 * k, current_a=0.0, voltage_v=[volts] * 3,
                  temperature_c=[25.0, 25.0]),
        )
        for k in range(start, stop)
    ]  # fmt: skip
    return engine.process(frames).events


def ask(
    engine: Engine, action: str, code: str, source: str = "pack", *, at: int = 10, **more: Any
) -> tuple[str | None, list[Event]]:
    command = Command(v=1, id=str(next(IDS)), action=action, code=code, source=source, **more)  # type: ignore[arg-type]  # a command's own word
    results = engine.process([CommandIn("p", "ann", command, T0 + 1_000 * at)])
    reply = results.handled[0].reply
    assert reply is not None
    assert (reply.result == "done") is (reply.reason is None)
    return reply.reason, results.events


@pytest.mark.parametrize(
    ("code", "source"),
    [("under_voltage", "c003"), ("over_temperature", "t02"), ("cell_imbalance", "pack"),
     ("stale", "pack"), ("offline", "pack"), ("device_fan", "pack"), ("device_fan", "c001")],
)  # fmt: skip
def test_an_alarm_is_parked_before_it_was_ever_raised(code: str, source: str) -> None:
    for action, state, release in (
        ("shelve", "shelved", "unshelve"),
        ("out_of_service", "out of service", "in_service"),
    ):
        engine = world()
        reason, events = ask(engine, action, code, source, duration_s=60.0, comment="welding")
        assert reason is None
        (event,) = events
        assert (event.user, event.comment, event.alarm.state) == ("ann", "welding", state)
        assert (event.previous, event.alarm.count) == ("normal", 0)
        assert event.alarm.message
        (record,) = engine.alarm_records()
        assert (record.code, record.source, record.state) == (code, source, state)
        reason, events = ask(engine, release, code, source)
        assert [e.alarm.state for e in events] == ["normal"]
        assert engine.alarm_records() == []


@pytest.mark.parametrize(
    ("code", "source", "reason"),
    [
        ("under_voltage", "c004", "under_voltage has no place c004 on p"),
        ("under_voltage", "pack", "under_voltage has no place pack on p"),
        ("over_temperature", "t03", "over_temperature has no place t03 on p"),
        ("nonsense", "pack", "there is no alarm nonsense"),
        ("device_a/b", "pack", "there is no alarm device_a/b"),
        ("stale", "c001", "stale has no place c001 on p"),
    ],
)
def test_what_does_not_exist_cannot_be_parked(code: str, source: str, reason: str) -> None:
    engine = world()
    assert ask(engine, "shelve", code, source, duration_s=60.0) == (reason, [])
    assert ask(engine, "acknowledge", code, source)[0] == f"there is no alarm {code}/{source} on p"
    assert len(engine.book.alarms) == 0


def test_an_alarm_shelved_beforehand_stays_quiet_and_comes_back() -> None:
    engine = world()
    ask(engine, "shelve", "under_voltage", "c002", duration_s=60.0)
    raised = [(e.alarm.source, e.cause) for e in feed(engine, 1, 20, volts=2.0)]
    assert ("c002", "raise") not in raised
    assert ("c001", "raise") in raised
    events = engine.process([Tick(T0 + 80_000)]).events
    assert [(e.alarm.source, e.alarm.state) for e in events if e.cause == "unshelve"] == [
        ("c002", "unacknowledged")
    ]


def test_nothing_of_an_asset_out_of_service_asks_for_anybody() -> None:
    engine = world()
    feed(engine, 1, 5, volts=2.0)
    reason, events = ask(engine, "out_of_service", "asset", comment="new fuse")
    assert reason is None
    assert events[0].alarm.message == "p: the asset is out of service; its alarms are suppressed"
    assert {(e.user, e.comment) for e in events} == {("ann", "new fuse")}
    assert {r.state for r in engine.alarm_records()} == {"suppressed", "out of service"}
    late = [
        *engine.process([Tick(T0 + 3_600_000)]).events,  # silent for an hour
        *feed(engine, 10, 30, volts=4.9),
        *engine.process(
            [DeviceAlarmIn("p", DeviceAlarm(v=1, timestamp_ms=T0, name="fan", active=True), T0)]
        ).events,
    ]
    assert {e.alarm.code for e in late} >= {"stale", "over_voltage", "device_fan"}
    assert {e.alarm.state for e in late} == {"suppressed"}
    assert ask(engine, "out_of_service", "asset")[0] == (
        "out_of_service is not possible while the alarm is out of service"
    )
    _, events = ask(engine, "in_service", "asset", comment="done", at=3_601)
    back = {(e.alarm.code, e.alarm.state) for e in events}
    assert ("over_voltage", "unacknowledged") in back
    assert ("under_voltage", "normal") in back
    assert "suppressed" not in {r.state for r in engine.alarm_records()}


def test_a_shelf_outlasts_the_assets_service() -> None:
    engine = world()
    ask(engine, "shelve", "under_voltage", "c002", duration_s=3_600.0)
    ask(engine, "out_of_service", "asset")
    ask(engine, "in_service", "asset")
    assert [(r.source, r.state) for r in engine.alarm_records()] == [("c002", "shelved")]


def test_a_shelf_that_ends_while_the_asset_is_out_of_service_stays_quiet() -> None:
    engine = world()
    feed(engine, 1, 5, volts=2.0)
    ask(engine, "out_of_service", "under_voltage", "c001")
    ask(engine, "out_of_service", "asset")
    _, events = ask(engine, "in_service", "under_voltage", "c001")
    assert [e.alarm.state for e in events] == ["unacknowledged", "suppressed"]


def test_a_comment_changes_nothing_and_is_journalled() -> None:
    engine = world()
    feed(engine, 1, 5, volts=2.0)
    _, (event,) = ask(engine, "comment", "under_voltage", "c001", comment="seen on camera")
    assert (event.previous, event.alarm.state, event.cause) == (
        "unacknowledged", "unacknowledged", "comment",
    )  # fmt: skip
    assert (event.user, event.comment) == ("ann", "seen on camera")
    assert ask(engine, "comment", "under_voltage", "c001", comment=" ")[0] == (
        "a comment needs words"
    )


def test_of_a_whole_asset_only_service_can_be_asked() -> None:
    engine = world()
    assert ask(engine, "acknowledge", "asset")[0] == "acknowledge is not possible for a whole asset"
    assert ask(engine, "shelve", "asset", duration_s=1.0)[0] == (
        "shelve is not possible for a whole asset"
    )
    unknown = Engine(None, None)
    assert ask(unknown, "out_of_service", "asset")[0] == "there is no asset p"


def test_it_survives_a_restart() -> None:
    engine = world()
    feed(engine, 1, 5, volts=2.0)
    ask(engine, "out_of_service", "asset")
    again = Engine(None, None)
    again.put_asset_state(engine.asset_state("p"))
    assert again.alarm_records() == engine.alarm_records()
    assert {e.alarm.state for e in feed(again, 10, 20, volts=4.9)} == {"suppressed"}
