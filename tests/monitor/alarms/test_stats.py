"""EEMUA 191 figures on events whose answer can be counted by hand."""

from __future__ import annotations

import msgspec

from monitor.alarms.book import AlarmBook
from monitor.alarms.rules import DEFAULT_RULES
from monitor.alarms.stats import alarm_stats
from monitor.contract import Event

HOUR_MS = 3_600_000
RULE = DEFAULT_RULES[0]


def raise_and_clear(book: AlarmBook, source: str, at_ms: int, lasts_ms: int) -> list[Event]:
    on = book.condition("a", RULE, source, True, 4.3, 4.25, at_ms)
    off = book.condition("a", RULE, source, False, 4.2, 4.25, at_ms + lasts_ms)
    assert on is not None
    assert off is not None
    return [on, off]


def test_rates_floods_chattering_and_stale() -> None:
    book = AlarmBook.empty()
    events: list[Event] = []
    for k in range(3):  # three in a minute: chatters
        events += raise_and_clear(book, "c001", HOUR_MS + 20_000 * k, 5_000)
    for k in range(12):  # twelve in one ten-minute period: a flood
        events += raise_and_clear(book, f"c{k + 2:03d}", 2 * HOUR_MS + 1_000 * k, 500)
    standing = book.condition("a", RULE, "c099", True, 4.3, 4.25, 3 * HOUR_MS)
    assert standing is not None
    now_ms = 30 * HOUR_MS
    figures = alarm_stats([*events, standing], [standing.alarm], now_ms, 30 * HOUR_MS)
    assert figures.raised == 16
    assert figures.per_ten_minutes == 16 / 180
    assert figures.worst_ten_minutes == 12
    assert figures.floods == 1
    assert figures.by_severity == {RULE.severity: 16}
    assert figures.chattering == [("a", RULE.code, "c001")]
    assert figures.stale == [("a", RULE.code, "c099")]
    assert figures.most_frequent == [(RULE.code, 16)]


def test_what_is_older_than_the_period_does_not_count() -> None:
    events = raise_and_clear(AlarmBook.empty(), "c001", HOUR_MS, 1_000)
    assert alarm_stats(events, [], 10 * HOUR_MS, 2 * HOUR_MS).raised == 0


def test_what_a_group_speaks_for_is_counted_apart() -> None:
    events = raise_and_clear(AlarmBook.empty(), "c001", HOUR_MS, 1_000)
    hidden = [
        msgspec.structs.replace(e, group=f"a/alarm/{RULE.code}/group")
        for k in range(2, 900)
        for e in raise_and_clear(AlarmBook.empty(), f"c{k:03d}", HOUR_MS, 1_000)
    ]
    figures = alarm_stats([*events, *hidden], [], 2 * HOUR_MS, 2 * HOUR_MS)
    assert (figures.raised, figures.grouped, figures.floods) == (1, 898, 0)
    assert figures.chattering == []
