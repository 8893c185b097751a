"""The life cycle of an alarm against its published table, over any run of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alarms import book as alarms
from monitor.alarms.book import AlarmBook, Cause, next_state
from monitor.alarms.rules import DEFAULT_RULES, STALE, Rule
from monitor.contract import AlarmRecord, AlarmState, Event

STATES: tuple[AlarmState, ...] = get_args(AlarmState)
CAUSES: tuple[Cause, ...] = get_args(Cause)
RULE = DEFAULT_RULES[0]
KEY = ("a", RULE.code, "c001")

NORMAL, RAISED, SEEN, RETURNED, SHELVED, SUPPRESSED, OUT = STATES
TABLE: dict[tuple[AlarmState, Cause], tuple[AlarmState, AlarmState]] = {
    # state and cause: what follows while the condition does not hold, and while it does
    (NORMAL, "raise"): (RAISED, RAISED),
    (NORMAL, "shelve"): (SHELVED, SHELVED),
    (NORMAL, "suppress"): (SUPPRESSED, SUPPRESSED),
    (NORMAL, "out_of_service"): (OUT, OUT),
    (RAISED, "escalate"): (RAISED, RAISED),
    (RAISED, "deescalate"): (RAISED, RAISED),
    (RAISED, "reflash"): (RAISED, RAISED),
    (SEEN, "reflash"): (RAISED, RAISED),
    (SEEN, "escalate"): (RAISED, RAISED),
    (SEEN, "deescalate"): (SEEN, SEEN),
    (RAISED, "clear"): (RETURNED, RETURNED),
    (RAISED, "acknowledge"): (SEEN, SEEN),
    (RAISED, "shelve"): (SHELVED, SHELVED),
    (RAISED, "suppress"): (SUPPRESSED, SUPPRESSED),
    (RAISED, "out_of_service"): (OUT, OUT),
    (SEEN, "clear"): (NORMAL, NORMAL),
    (SEEN, "shelve"): (SHELVED, SHELVED),
    (SEEN, "suppress"): (SUPPRESSED, SUPPRESSED),
    (SEEN, "out_of_service"): (OUT, OUT),
    (RETURNED, "raise"): (RAISED, RAISED),
    (RETURNED, "acknowledge"): (NORMAL, NORMAL),
    (RETURNED, "shelve"): (SHELVED, SHELVED),
    (RETURNED, "suppress"): (SUPPRESSED, SUPPRESSED),
    (RETURNED, "out_of_service"): (OUT, OUT),
    (SHELVED, "unshelve"): (NORMAL, RAISED),
    (SHELVED, "suppress"): (SUPPRESSED, SUPPRESSED),
    (SHELVED, "out_of_service"): (OUT, OUT),
    (SUPPRESSED, "unsuppress"): (NORMAL, RAISED),
    (SUPPRESSED, "out_of_service"): (OUT, OUT),
    (OUT, "in_service"): (NORMAL, RAISED),
    **{(state, "comment"): (state, state) for state in STATES},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("cause", CAUSES)
def test_the_table(state: AlarmState, cause: Cause) -> None:
    for active in (False, True):
        expected = TABLE.get((state, cause))
        assert next_state(state, cause, active) == (None if expected is None else expected[active])


def test_the_documented_table_names_every_state() -> None:
    assert alarms.__doc__ is not None
    for state in STATES:
        assert f"\n| {state} " in alarms.__doc__


Step = Literal["on", "off"] | Cause
ON_OFF: tuple[Step, ...] = ("on", "off")
COMMANDS = [c for c in CAUSES if c not in ("raise", "clear", "escalate", "deescalate", "reflash")]
STEPS = st.lists(
    st.tuples(st.sampled_from([*ON_OFF, *COMMANDS]), st.sampled_from(["c001", "c002"])),
    max_size=40,
)


def drive(steps: list[tuple[Step, str]], book: AlarmBook) -> list[Event]:
    """The transitions that come of steps: conditions on and off, and commands."""
    events = []
    for t, (step, source) in enumerate(steps):
        if step == "on" or step == "off":
            event = book.condition("a", RULE, source, step == "on", 4.3, 4.25, t)
            if event is not None:
                events.append(event)
        else:
            outcome = book.command(("a", RULE.code, source), step, t, "ann", None)
            if isinstance(outcome, Event):
                events.append(outcome)
            else:
                assert outcome
    return events


@given(STEPS)
def test_no_run_of_events_leaves_the_table(steps: list[tuple[Step, str]]) -> None:
    book = AlarmBook.empty()
    events = drive(steps, book)
    assert len({event.event_id for event in events}) == len(events)
    holding = {"c001": False, "c002": False}
    state: dict[str, AlarmState] = {"c001": NORMAL, "c002": NORMAL}
    raised = {"c001": 0, "c002": 0}
    expected = iter(events)
    for t, (step, source) in enumerate(steps):
        known = ("a", RULE.code, source) in book.alarms and raised[source] > 0
        if step == "on" or step == "off":
            if holding[source] == (step == "on"):
                continue
            holding[source] = step == "on"
            raised[source] += step == "on"
            cause: Cause = "raise" if step == "on" else "clear"
        else:
            if not known:
                continue  # refused: there is no such alarm yet
            cause = step
        after = TABLE.get((state[source], cause))
        if after is None:
            continue
        event = next(expected)
        assert (event.previous, event.cause) == (state[source], cause)
        state[source] = after[holding[source]]
        record = event.alarm
        assert (record.state, record.source, record.timestamp_ms) == (state[source], source, t)
        assert record.count == raised[source]
    assert next(expected, None) is None
    standing = {record.source: record.state for record in book.records()}
    assert standing == {source: s for source, s in state.items() if s != NORMAL}


@given(STEPS, st.integers(0, 40))
def test_the_same_stream_gives_the_same_ids_however_cut(
    steps: list[tuple[Step, str]], cut: int
) -> None:
    whole = drive(steps, AlarmBook.empty())
    first = AlarmBook.empty()
    events = drive(steps[:cut], first)
    second = AlarmBook.empty()
    second.put_bytes(first.to_bytes("a"))
    rest = drive(steps[cut:], second)
    assert [e.event_id for e in events + rest] == [e.event_id for e in whole]
    assert [e.alarm.state for e in events + rest] == [e.alarm.state for e in whole]


def test_ids_tell_alarms_apart() -> None:
    book = AlarmBook.empty()
    ids = set()
    for asset in ("a", "b"):
        for rule in (RULE, DEFAULT_RULES[1], STALE):
            for source in ("c001", "c002", "pack"):
                event = book.condition(asset, rule, source, True, 1.0, 2.0, 5)
                assert event is not None
                ids.add(event.event_id)
    assert len(ids) == 18


def test_an_alarm_parked_while_it_holds_comes_back_unacknowledged() -> None:
    pairs: tuple[tuple[Cause, Cause], ...] = (
        ("shelve", "unshelve"), ("suppress", "unsuppress"), ("out_of_service", "in_service"),
    )  # fmt: skip
    for park, release in pairs:
        book = AlarmBook.empty()
        book.condition("a", RULE, "c001", True, 4.3, 4.25, 1)
        for step in (park, release):
            outcome = book.command(KEY, step, 2, "ann", "why")
            assert isinstance(outcome, Event)
            assert (outcome.user, outcome.comment) == ("ann", "why")
        assert isinstance(outcome, Event)
        assert outcome.alarm.state == RAISED
        book.command(KEY, park, 3, "ann", None)
        assert book.condition("a", RULE, "c001", False, 4.1, 4.25, 4) is None
        back = book.command(KEY, release, 5, "ann", None)
        assert isinstance(back, Event)
        assert back.alarm.state == NORMAL


def test_refusals_say_why() -> None:
    book = AlarmBook.empty()
    assert book.command(KEY, "acknowledge", 1, "ann", None) == (
        "there is no alarm over_voltage/c001 on a"
    )
    book.condition("a", RULE, "c001", True, 4.3, 4.25, 1)
    book.command(KEY, "acknowledge", 1, "ann", None)
    assert book.command(KEY, "acknowledge", 1, "ann", None) == (
        "acknowledge is not possible while the alarm is acknowledged"
    )


def test_a_record_says_everything_itself() -> None:
    book = AlarmBook.empty()
    event = book.condition("pack-7", RULE, "c003", True, 4.3123, 4.25, 1_000)
    assert event is not None
    record = event.alarm
    assert (
        record.message == "pack-7 c003: cell voltage is above its maximum: 4.312 V (limit 4.25 V)"
    )
    assert record.message_zh == "pack-7 c003：电芯电压高于上限: 4.312 V (限值 4.25 V)"
    assert record.action == RULE.action
    assert (record.since_ms, record.count, record.severity) == (1_000, 1, 4)
    whole = book.condition("pack-7", STALE, "pack", True, None, None, 2_000)
    assert whole is not None
    assert whole.alarm.message == "pack-7: no frame has come for longer than expected"


def test_severities_of_one_quantity_are_one_alarm() -> None:
    low, high = replace(RULE, severity=2), replace(RULE, severity=5)
    book = AlarmBook.empty()

    def change(rule: Rule, active: bool, limit: float, t: int) -> tuple[str, str, int, float]:
        event = book.condition("a", rule, "c001", active, 4.3, limit, t)
        assert event is not None
        assert event.alarm.limit is not None
        return event.cause, event.alarm.state, event.alarm.severity, event.alarm.limit

    assert change(low, True, 4.2, 1) == ("raise", RAISED, 2, 4.2)
    book.command(KEY, "acknowledge", 2, "ann")
    assert change(high, True, 4.25, 3) == ("escalate", RAISED, 5, 4.25)
    book.command(KEY, "acknowledge", 4, "ann")
    assert change(high, False, 4.25, 5) == ("deescalate", SEEN, 2, 4.2)
    assert change(low, False, 4.2, 6) == ("clear", NORMAL, 2, 4.2)
    # The higher limit may be seen first; the lower one beneath it says nothing.
    assert change(high, True, 4.25, 7) == ("raise", RAISED, 5, 4.25)
    assert book.condition("a", low, "c001", True, 4.3, 4.2, 8) is None
    assert book.condition("a", low, "c001", False, 4.3, 4.2, 9) is None
    assert change(high, False, 4.25, 10) == ("clear", RETURNED, 5, 4.25)
    assert book.alarms[KEY].count == 2


def test_an_alarm_that_is_over_keeps_the_severity_that_nobody_has_seen_and_says_so() -> None:
    low, high = replace(RULE, severity=2), replace(RULE, severity=5)
    book = AlarmBook.empty()

    def change(rule: Rule, active: bool, value: float, t: int) -> AlarmRecord:
        event = book.condition("a", rule, "c001", active, value, 4.2, t)
        assert event is not None
        return event.alarm

    change(low, True, 4.3, 1)
    change(high, True, 4.5, 2)
    assert change(high, False, 4.3, 3).severity == 2  # while it stands: as bad as it is now
    over = change(low, False, 4.1, 4)
    assert (over.state, over.severity) == (RETURNED, 5)
    assert over.message == ("a c001: over: cell voltage is above its maximum: 4.1 V (limit 4.2 V)")
    assert over.message_zh == "a c001：已恢复：电芯电压高于上限: 4.1 V (限值 4.2 V)"
    again = change(low, True, 4.3, 5)
    assert (again.severity, "over: " in again.message) == (2, False)
    assert change(low, False, 4.1, 6).severity == 5
    seen = book.command(KEY, "acknowledge", 7, "ann")
    assert isinstance(seen, Event)
    assert (seen.alarm.state, seen.alarm.severity) == (NORMAL, 5)
    change(low, True, 4.3, 8)
    assert change(low, False, 4.1, 9).severity == 2


def test_a_value_that_only_says_whether_it_is_so_is_not_told() -> None:
    book = AlarmBook.empty()
    fault = next(rule for rule in DEFAULT_RULES if rule.code == "voltage_signal_fault")
    event = book.condition("a", fault, "c001", True, 1.0, 0.5, 1)
    assert event is not None
    assert event.alarm.message == f"a c001: {fault.says}"
    knee = next(rule for rule in DEFAULT_RULES if rule.code == "knee")
    event = book.condition("a", knee, "c001", True, 511.0, 0.5, 1)
    assert event is not None
    assert event.alarm.message == "a c001: the capacity fade has passed its knee (cycle 511)"


def test_a_shelf_ends_by_itself_also_after_a_restart() -> None:
    book = AlarmBook.empty()
    book.condition("a", RULE, "c001", True, 4.3, 4.25, 1)
    book.command(KEY, "shelve", 10, "ann", None, until_ms=1_000)
    again = AlarmBook.empty()
    again.put_bytes(book.to_bytes("a"))
    assert again.shelves_ended(999) == []
    assert again.shelves_ended(1_000) == [KEY]
    event = again.command(KEY, "unshelve", 1_000, None)
    assert isinstance(event, Event)
    assert event.alarm.state == RAISED
    assert again.shelves_ended(2_000) == []
