"""Floods: one cause, many alarms, one grouped notice; the members in the journal all the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alarms.groups import FLOOD, WINDOW_MS
from monitor.contract import AlarmRecord as Record
from monitor.contract import AssetConfig, Command, Event, Frame, Limits, Topics, decode, encode
from monitor.engine import Engine
from monitor.inputs import CommandIn, ConfigIn, FrameIn, Input, StatusIn, Tick
from monitor.mqtt.link import Message
from monitor.notify.webhook import Outbox
from monitor.pipeline import Pipeline
from monitor.store.journal import Journal
from monitor.store.sqlite_history import SqliteHistory
from tests.engine_world import T0, FakePublisher, frame_in, make_config

CELLS = 1_000


def config_in(name: str = "p", cells: int = CELLS, **more: object) -> ConfigIn:
    return ConfigIn(name, make_config(cells, limits=Limits(imbalance_max_v=None), **more), T0)


def frame(k: int, low: Sequence[int], *, asset: str = "p", cells: int = CELLS) -> FrameIn:
    """Second k: the cells in `low` (from 0) under their minimum, each a little deeper."""
    volts: list[float | None] = [3.7] * cells
    for cell in low:
        volts[cell] = 2.4 - cell * 1e-4
    return frame_in(
        asset,
        Frame(v=1, timestamp_ms=T0 + 1_000 * k, current_a=-1.0, voltage_v=volts),
    )


def command(
    action: str, code: str = "under_voltage", source: str = "group", **more: Any
) -> CommandIn:
    asset = str(more.pop("asset", "p"))
    at = int(more.pop("at", 100))
    body = Command(v=1, id=f"{action}-{code}-{source}-{at}", action=action, code=code,  # type: ignore[arg-type]  # a command's own word
                   source=source, **more)  # fmt: skip
    return CommandIn(asset, "ann", body, T0 + 1_000 * at)


def shown(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(e.cause, e.alarm.source, e.alarm.state) for e in events if e.group is None]


def flood(seconds: int = 5) -> list[Input]:
    return [config_in(), *(frame(k, range(CELLS)) for k in range(seconds))]


def test_a_thousand_cells_give_one_notice() -> None:
    engine = Engine(None, None)
    events = engine.process(flood()).events
    assert shown(events) == [("raise", "group", "unacknowledged")]
    assert len([e for e in events if e.group == "p/alarm/under_voltage/group"]) == CELLS
    (record,) = engine.alarm_records()
    assert (record.source, record.members, record.worst, record.severity) == (
        "group", CELLS, "c1000", 3,
    )  # fmt: skip
    assert record.value == pytest.approx(2.4 - 0.0999)
    assert record.places is not None
    assert record.places[:2] == ["c001", "c002"]
    assert record.message.startswith(
        "p: cell voltage is below its minimum at 1000 places; the worst is c1000: 2.3 V (limit 2.5"
    )
    assert "共 1000 处" in record.message_zh
    assert engine.alarms_of("p") == [("under_voltage", "group")]


def test_ten_are_no_flood_and_eleven_are() -> None:
    for count in (FLOOD, FLOOD + 1):
        engine = Engine(None, None)
        engine.process([config_in(), *(frame(k, range(count)) for k in range(5))])
        sources = [r.source for r in engine.alarm_records()]
        assert (sources == ["group"]) is (count > FLOOD)
        assert len(sources) == (FLOOD if count == FLOOD else 1)


def test_alarms_that_come_one_by_one_are_gathered_once_there_are_too_many() -> None:
    engine = Engine(None, None)
    inputs: list[Input] = [config_in(cells=40)]
    inputs += [frame(k, range(k // 10), cells=40) for k in range(400)]
    results = engine.process(inputs)
    first = shown(results.events)[: FLOOD + 1]
    assert [source for _, source, _ in first] == [*(f"c{k:03d}" for k in range(1, 11)), "group"]
    assert all(("p", "under_voltage", f"c{k:03d}") in results.changed for k in range(1, 11))
    causes = [cause for cause, source, _ in shown(results.events) if source == "group"]
    assert causes == ["raise", "reflash"]  # again at twice as many
    (record,) = engine.alarm_records()
    assert record.members == 39


def test_slow_ones_are_no_flood() -> None:
    engine = Engine(None, None)
    step_s = WINDOW_MS // 1000 // FLOOD + 1
    inputs: list[Input] = [config_in(cells=20, max_gap_ms=WINDOW_MS)]
    for k in range(15):
        inputs += [frame(k * step_s + s, range(k), cells=20) for s in range(5)]
    engine.process(inputs)
    assert len(list(engine.alarm_records())) == 14


def test_the_operator_acknowledges_the_group_and_it_ends_when_all_have_cleared() -> None:
    engine = Engine(None, None)
    engine.process(flood())
    results = engine.process([command("acknowledge", comment="fuse")])
    reply = results.handled[0].reply
    assert reply is not None
    assert reply.result == "done"
    assert shown(results.events) == [("acknowledge", "group", "acknowledged")]
    members = [e for e in results.events if e.group is not None]
    assert len(members) == CELLS
    assert {(e.cause, e.user, e.comment) for e in members} == {("acknowledge", "ann", "fuse")}
    events = engine.process([frame(k, [7], asset="p") for k in range(200, 220)]).events
    assert shown(events) == []  # one of them still holds
    (record,) = engine.alarm_records()
    assert (record.state, record.members, record.worst) == ("acknowledged", 1, "c008")
    events = engine.process([frame(k, []) for k in range(220, 240)]).events
    assert shown(events) == [("clear", "group", "normal")]
    assert list(engine.alarm_records()) == []
    # Without an acknowledgement it waits for one.
    again = Engine(None, None)
    again.process([*flood(), *(frame(k, []) for k in range(5, 30))])
    assert [r.state for r in again.alarm_records()] == ["returned-unacknowledged"]
    again.process([command("acknowledge")])
    assert list(again.alarm_records()) == []
    assert all(alarm.state == "normal" for alarm in again.book.alarms.values())


def test_one_more_in_an_acknowledged_group_flashes_it_again() -> None:
    engine = Engine(None, None)
    engine.process([config_in(), *(frame(k, range(20)) for k in range(5))])
    engine.process([command("acknowledge")])
    events = engine.process([frame(k, range(21)) for k in range(200, 205)]).events
    assert shown(events) == [("reflash", "group", "unacknowledged")]
    assert events[0].alarm.members == 21


def test_a_gateway_that_goes_offline_is_one_notice() -> None:
    engine = Engine(None, None)
    for k in range(50):
        engine.process([config_in(f"p{k}", 1, gateway="gw1")])
        engine.process([frame(0, [], asset=f"p{k}", cells=1)])
    events = engine.process([StatusIn("gw1", True, False, T0)]).events
    assert [(e.alarm.asset, e.alarm.source, e.alarm.members) for e in events if not e.group] == [
        ("_group", "gw1", 50)
    ]
    events = engine.process([Tick(T0 + 3_600_000)]).events
    assert [(e.alarm.code, e.alarm.asset) for e in events if not e.group] == [("stale", "_group")]
    events = engine.process([command("acknowledge", "offline", "gw1", asset="_group")]).events
    assert len(events) == 51
    events = engine.process([StatusIn("gw1", True, True, T0 + 1)]).events
    assert [(e.cause, e.alarm.state) for e in events if not e.group] == [("clear", "normal")]


def test_groups_of_packs_are_grouped_again_behind_their_gateway() -> None:
    engine = Engine(None, None)
    packs = [f"p{k}" for k in range(12)]
    engine.process([config_in(name, 20, gateway="gw1") for name in packs])
    events: list[Event] = []
    for k in range(5):
        for name in packs:
            events += engine.process([frame(k, range(20), asset=name, cells=20)]).events
    (record,) = engine.alarm_records()
    assert (record.asset, record.source, record.members) == ("_group", "gw1", 12 * 20)
    assert record.places == sorted(packs)
    results = engine.process([command("acknowledge", source="gw1", asset="_group")])
    assert len(results.events) == 1 + 12 + 12 * 20
    assert {a.state for a in engine.book.alarms.values()} == {"acknowledged"}


def test_an_asset_out_of_service_and_back() -> None:
    engine = Engine(None, None)
    engine.process(flood())
    engine.process([command("out_of_service", "asset", "pack", comment="new fuse")])
    records = {r.source: r.state for r in engine.alarm_records() if r.source in ("pack", "group")}
    assert records == {"pack": "out of service", "group": "suppressed"}
    events = engine.process([command("in_service", "asset", "pack", at=200)]).events
    assert shown(events) == [
        ("unsuppress", "group", "normal"),
        ("raise", "group", "unacknowledged"),
        ("in_service", "pack", "normal"),
    ]
    (record,) = engine.alarm_records()
    assert (record.source, record.state, record.members) == ("group", "unacknowledged", CELLS)


def stream() -> list[Input]:
    """A flood that grows, is acknowledged, grows on, clears and comes back; two gateways' worth."""
    inputs: list[Input] = [
        config_in("p", 30, gateway="g"), config_in("q", 14, gateway="g"), config_in("r", 14),
    ]  # fmt: skip
    for k in range(90):
        low = range(0 if 45 < k < 65 else min(30, k))
        inputs.append(frame(k, low, cells=30))
        inputs.append(frame(k, range(14) if 20 < k < 40 else [], asset="q", cells=14))
        inputs.append(frame(k, range(9) if k > 10 else [], asset="r", cells=14))
        if k == 30:
            inputs.append(command("acknowledge", source="g", asset="_group", at=k))
            inputs.append(command("acknowledge", at=k))
        if k == 35:
            inputs.append(command("shelve", "under_voltage", "c003", duration_s=20.0, at=k))
            inputs.append(command("out_of_service", "asset", "pack", asset="q", at=k))
        if k in (50, 80):
            inputs.append(Tick(T0 + 1_000 * k))
        if k == 70:
            inputs.append(command("in_service", "asset", "pack", asset="q", at=k))
    return inputs


def told(events: Sequence[Event]) -> list[bytes]:
    return sorted(encode(e) for e in events)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 280), max_size=6), st.integers(0, 280))
def test_the_outcome_does_not_depend_on_the_cut_nor_on_a_restart(
    cuts: list[int], restart: int
) -> None:
    inputs = stream()
    whole = Engine(None, None)
    expected = whole.process(inputs).events
    engine = Engine(None, None)
    events: list[Event] = []
    edges = sorted({0, restart, len(inputs), *cuts})
    for a, b in pairwise(edges):
        if a == restart:
            again = Engine(None, None)
            for name in engine.fleet.assets:
                again.put_asset_state(engine.asset_state(name))
            again.put_shared_state(engine.shared_state())
            engine = again
        events += engine.process(inputs[a:b]).events
    assert told(events) == told(expected)
    assert {encode(r) for r in engine.alarm_records()} == {encode(r) for r in whole.alarm_records()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Pipeline, FakePublisher, Path]]:
    out = FakePublisher()
    path = tmp_path / "j.sqlite"
    journal = Journal(path)
    yield Pipeline(Engine(None, None), journal, out, Topics(), "m"), out, path
    journal.close()


def send(pipeline: Pipeline, inputs: Sequence[Input]) -> None:
    for item in inputs:
        if isinstance(item, FrameIn):
            topic, payload = f"bms/{item.asset}/telemetry", item.payload
        elif isinstance(item, ConfigIn):
            topic, payload = f"bms/{item.asset}/config", encode(item.config)
        else:
            assert isinstance(item, CommandIn)
            topic, payload = f"bms/{item.asset}/command/{item.user}", encode(item.command)
        pipeline.step([Message(topic, payload, 1, False, 1, T0, 1)], T0)


def retained(out: FakePublisher) -> dict[str, Record]:
    """What a broker would have kept of the alarm records."""
    kept: dict[str, bytes] = {}
    for entry in out.log:
        if entry[0] == "publish" and "/alarm/" in str(entry[1]):
            kept[str(entry[1])] = bytes(entry[2])
    return {topic: decode(Record, payload) for topic, payload in kept.items() if payload}


def test_the_wire_the_journal_and_the_webhook_during_a_flood(
    world: tuple[Pipeline, FakePublisher, Path],
) -> None:
    pipeline, out, path = world
    outbox = Outbox(path)
    start = outbox.position()
    slow: list[Input] = [config_in(cells=30), *(frame(k, range(k), cells=30) for k in range(30))]
    send(pipeline, slow)
    assert list(retained(out)) == ["bms/p/alarm/under_voltage/group"]
    assert retained(out)["bms/p/alarm/under_voltage/group"].members == 26
    db = sqlite3.connect(path)
    (journalled,) = db.execute(
        "SELECT count(*) FROM alarms WHERE source LIKE 'c%' AND state = 'unacknowledged'"
    ).fetchone()
    db.close()
    assert journalled == 26
    sent = [json.loads(record)["alarm"]["source"] for _, record in outbox.waiting(start)]
    assert sent == [*(f"c{k:03d}" for k in range(1, 11)), "group", "group"]
    history = SqliteHistory(path)
    assert len(history.events(limit=1_000)) == 28
    assert len(history.events(limit=1_000, members=False)) == 12
    send(pipeline, [command("acknowledge")])
    assert retained(out)["bms/p/alarm/under_voltage/group"].state == "acknowledged"
    out.log.clear()
    pipeline.checkpoint()
    again = Pipeline(Engine(None, None), Journal(path), out, Topics(), "m")
    again.recover()
    again.reconcile({"bms/p/alarm/under_voltage/c001": b"{}"})
    kept = retained(out)
    assert list(kept) == ["bms/p/alarm/under_voltage/group"]
    assert kept["bms/p/alarm/under_voltage/group"].members == 26


def test_an_asset_may_not_call_itself_a_group() -> None:
    engine_topics = Topics()
    assert engine_topics.split("bms/_group/alarm/offline/gw1")[0] == "_group"
    out = FakePublisher()
    pipeline = Pipeline(Engine(None, None), _NoJournal(), out, engine_topics, "m")  # type: ignore[arg-type]  # a fake journal
    for end in ("telemetry", "config", "status", "device_alarm"):
        pipeline.step([Message(f"bms/_group/{end}", b"{}", 1, False, 1, T0, 1)], T0)
    assert pipeline.rejected == 4
    assert isinstance(config_in().config, AssetConfig)


class _NoJournal:
    def commit(self, results: object) -> None:
        pass
