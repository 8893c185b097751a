"""A batch of changes into the alarm book: what comes out, and in which order."""

from __future__ import annotations

import random

from monitor.alarms.changes import Change, Together, clock_set_back, presence, source_of
from monitor.alarms.handover import Alarms, Outcome
from monitor.alarms.rules import DEFAULT_RULES, TROUBLES, Rule
from monitor.inputs import Trouble

BY_CODE = {rule.code: rule for rule in DEFAULT_RULES}
HOT = BY_CODE["over_temperature"]
ANOMALY = BY_CODE["thermal_anomaly"]
SENSOR = BY_CODE["temperature_signal_fault"]


def change(
    rule: Rule, *, active: bool = True, at_ms: int | None = 0, asset: str = "p",
    measured: bool = True,
) -> Change:  # fmt: skip
    return Change(asset, rule, "t01", active, 70.0, 60.0, at_ms, measured)


def told(outcome: Outcome) -> list[tuple[str, str, str, int]]:
    return [(e.alarm.asset, e.alarm.code, e.cause, e.alarm.timestamp_ms) for e in outcome.events]


def test_events_are_in_the_order_of_the_inputs_and_of_each_ones_changes() -> None:
    batch = [
        Together(0, [presence("a", True, 1)]),
        Together(1, [change(HOT, at_ms=2), change(ANOMALY, at_ms=2)]),
        Together(2, clock_set_back("a", 3)),
        Together(2, [change(HOT, active=False, at_ms=3)]),
    ]
    expected = [
        ("a", "offline", "raise", 1),
        ("p", "over_temperature", "raise", 2),
        ("p", "thermal_anomaly", "raise", 2),
        ("a", "clock_jump", "raise", 3),
        ("a", "clock_jump", "clear", 3),
        ("p", "over_temperature", "clear", 3),
    ]
    outcome = Alarms(DEFAULT_RULES).hand_over(batch)
    assert told(outcome) == expected
    assert outcome.assets == {"a", "p"}
    later_first = [batch[2], batch[3], batch[0], batch[1]]  # the engine sees gaps before conditions
    assert told(Alarms(DEFAULT_RULES).hand_over(later_first)) == expected


def test_a_batch_and_its_inputs_one_by_one_come_to_the_same() -> None:
    dice = random.Random(7)
    rules = [HOT, ANOMALY, SENSOR, BY_CODE["fast_heating"]]
    batch = [
        Together(
            k,
            [
                change(
                    dice.choice(rules), active=dice.random() < 0.7, at_ms=k,
                    asset=f"p{dice.randrange(15)}",
                )
                for _ in range(dice.randrange(4))
            ],
        )
        for k in range(300)
    ]  # fmt: skip
    whole, singly = Alarms(DEFAULT_RULES), Alarms(DEFAULT_RULES)
    parts = [singly.hand_over([one]) for one in batch]
    outcome = whole.hand_over(batch)
    assert outcome.events == [event for part in parts for event in part.events]
    assert any(event.group for event in outcome.events)
    assert list(whole.book.records()) == list(singly.book.records())


def test_what_is_suppressed_by_design_follows_what_was_measured() -> None:
    alarms = Alarms(DEFAULT_RULES)
    outcome = alarms.hand_over([Together(0, [change(ANOMALY), change(SENSOR)])])
    assert [cause for _, _, cause, _ in told(outcome)] == ["raise", "raise", "suppress"]
    gone = alarms.hand_over([Together(1, [change(SENSOR, active=False, measured=False)])])
    assert [code for _, code, _, _ in told(gone)] == ["temperature_signal_fault"]


def test_what_nothing_holds_ends_at_the_alarms_own_time() -> None:
    alarms = Alarms(DEFAULT_RULES)
    alarms.hand_over([Together(0, [change(HOT, at_ms=5), change(SENSOR, at_ms=6)])])
    held = {(SENSOR.code, SENSOR.severity, "t01")}
    orphans = alarms.orphans("p", held)
    assert [(one.rule.code, one.active, one.timestamp_ms) for one in orphans] == [
        ("over_temperature", False, None)
    ]
    assert told(alarms.hand_over([Together(0, orphans)])) == [("p", "over_temperature", "clear", 5)]
    assert alarms.orphans("p", held) == []


def test_what_stands_by_no_rule_ends() -> None:
    alarms = Alarms(DEFAULT_RULES)
    alarms.hand_over([Together(0, [change(HOT), change(SENSOR), presence("p", True, 0)])])
    fewer = [rule for rule in DEFAULT_RULES if rule.code != HOT.code]
    (gone,) = alarms.ruleless(fewer, 9)
    assert (gone.rule.code, gone.active, gone.timestamp_ms) == ("over_temperature", False, 9)
    assert alarms.ruleless(DEFAULT_RULES, 9) == []


def test_a_trouble_ends_a_minute_after_the_newest() -> None:
    alarms = Alarms(DEFAULT_RULES)
    code = next(iter(TROUBLES))
    for at_ms in (0, 30_000):
        alarms.hand_over([Together(0, [alarms.trouble(Trouble("p", code, "pack", at_ms))])])
    assert alarms.tick(89_999, []).events == []
    outcome = alarms.tick(90_000, [])
    assert told(outcome) == [("p", code, "clear", 90_000)]
    assert outcome.assets == {"p"}
    assert alarms.troubles == {}


def test_a_shelved_alarm_moves_without_an_event_but_its_asset_has_something_new() -> None:
    alarms = Alarms(DEFAULT_RULES)
    alarms.hand_over([Together(0, [presence("p", True, 0)])])
    alarms.book.command(("p", "offline", "pack"), "shelve", 1, "ann", None, 100)
    outcome = alarms.tick(2, [presence("p", False, 2)])
    assert (outcome.events, outcome.assets) == ([], {"p"})
    assert not alarms.holds("p", "offline")
    assert told(alarms.tick(100, [])) == [("p", "offline", "unshelve", 100)]


def test_the_place_of_a_condition() -> None:
    assert source_of("cell", 2, 0) == "c003"
    assert source_of("sensor", 2, 0) == "t01"
    assert source_of("pack", 2, 0) == "pack"
