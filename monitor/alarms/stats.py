"""How much alarms ask of an operator, after EEMUA publication 191.

Its benchmarks: about one alarm per ten minutes in steady state is manageable, more than ten in ten
minutes is a flood; an alarm that stands for over a day is stale; one that comes and goes three
times within a minute chatters. Pure: events in, figures out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.contract import AlarmRecord, Event

TEN_MINUTES_MS = 600_000
FLOOD = 10
STALE_MS = 86_400_000
CHATTER_RAISES = 3
CHATTER_MS = 60_000


@dataclass(frozen=True, slots=True)
class AlarmStats:
    """Figures over a period of event time; sources are (asset, code, source)."""

    raised: int
    grouped: int  # raised too, but a group spoke for them
    per_ten_minutes: float
    worst_ten_minutes: int
    floods: int  # ten-minute periods with more than `FLOOD` alarms
    by_severity: dict[int, int]
    chattering: list[tuple[str, str, str]]
    stale: list[tuple[str, str, str]]
    most_frequent: list[tuple[str, int]]  # code, times raised


def alarm_stats(
    events: Sequence[Event], standing: Sequence[AlarmRecord], now_ms: int, period_ms: int
) -> AlarmStats:
    """What the events of the `period_ms` before `now_ms` and the alarms that stand amount to."""
    start = now_ms - period_ms
    all_raised = [
        event
        for event in events
        if event.cause == "raise" and start < event.alarm.timestamp_ms <= now_ms
    ]
    raised = [event.alarm for event in all_raised if event.group is None]
    buckets = Counter((alarm.timestamp_ms - start) // TEN_MINUTES_MS for alarm in raised)
    times: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for alarm in raised:
        times[alarm.asset, alarm.code, alarm.source].append(alarm.timestamp_ms)
    return AlarmStats(
        raised=len(raised),
        grouped=len(all_raised) - len(raised),
        per_ten_minutes=len(raised) * TEN_MINUTES_MS / max(1, period_ms),
        worst_ten_minutes=max(buckets.values(), default=0),
        floods=sum(count > FLOOD for count in buckets.values()),
        by_severity=dict(sorted(Counter(alarm.severity for alarm in raised).items())),
        chattering=sorted(key for key, stamps in times.items() if _chatters(sorted(stamps))),
        stale=sorted(
            (alarm.asset, alarm.code, alarm.source)
            for alarm in standing
            if now_ms - alarm.since_ms > STALE_MS
        ),
        most_frequent=Counter(alarm.code for alarm in raised).most_common(10),
    )


def _chatters(stamps: list[int]) -> bool:
    span = CHATTER_RAISES - 1
    return any(stamps[k + span] - stamps[k] <= CHATTER_MS for k in range(len(stamps) - span))
