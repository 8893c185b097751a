"""The life of an alarm, by the names of ISA-18.2 / IEC 62682, as one pure state machine.

What may happen (`active`: the condition holds at that moment, which is evaluated in every state):

| state                     | raise          | clear                     | acknowledge | shelve, suppress, out_of_service | unshelve, unsuppress, in_service |
|---------------------------|----------------|---------------------------|-------------|----------------------------------|----------------------------------|
| normal                    | unacknowledged | -                         | refused     | shelved, suppressed, out of service | refused |
| unacknowledged            | -              | returned-unacknowledged   | acknowledged | the same | refused |
| acknowledged              | -              | normal                    | refused     | the same | refused |
| returned-unacknowledged   | unacknowledged | -                         | normal      | the same | refused |
| shelved                   | -              | -                         | refused     | suppressed, out of service       | unshelve: unacknowledged if active, else normal |
| suppressed                | -              | -                         | refused     | out of service                   | unsuppress: the same |
| out of service            | -              | -                         | refused     | refused                          | in_service: the same |

A quantity with several severities is one alarm. `escalate` (its severity rises) makes an acknowledged
alarm unacknowledged again; `deescalate` lowers the severity and keeps the state; both are published.
An alarm that is over has the highest severity since an operator acknowledged it, and says that it is over.
Shelved, suppressed and out-of-service alarms follow silently. `reflash` (ISA-18.1: more alarms join a
group that stands, see `alarm_groups`) makes an acknowledged group unacknowledged again.

`comment` is possible in every state and changes none: what an operator has to say, for the journal.
A whole asset is taken out of service by its alarm `asset`: while that is out of service, every other
alarm of the asset is suppressed. An alarm may be shelved or taken out of service before it was ever raised.

`-` changes nothing but the condition. A transition's `event_id` is a hash of the asset, code, source
and the alarm's own transition number, so the same stream gives the same ids.

The module is long because an alarm's states, its memory and the indexes over it are one thing.
"""  # noqa: E501

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import Struct

from monitor.alarms.rules import ASSET, Notice, Rule
from monitor.contract import VERSION, AlarmRecord, AlarmState, Event, Reply
from monitor.refusals import refusal

Cause = Literal[
    "raise", "clear", "escalate", "deescalate", "reflash", "acknowledge", "comment",
    "shelve", "unshelve", "suppress", "unsuppress", "out_of_service", "in_service",
]  # fmt: skip
Key = tuple[str, str, str]  # asset, code, source
REPLIES_KEPT = 1_000  # of an asset

_PARKED: dict[Cause, AlarmState] = {
    "shelve": "shelved",
    "suppress": "suppressed",
    "out_of_service": "out of service",
}
_RANK: dict[AlarmState, int] = {"shelved": 1, "suppressed": 2, "out of service": 3}
STANDING: frozenset[AlarmState] = frozenset(
    ("unacknowledged", "acknowledged", "returned-unacknowledged")
)
ENTERS: frozenset[Cause] = frozenset(("raise", "unshelve", "unsuppress", "in_service"))
PLACES_NAMED = 1_000  # of a group's places, in its record
_RELEASE: dict[Cause, AlarmState] = {
    "unshelve": "shelved",
    "unsuppress": "suppressed",
    "in_service": "out of service",
}


def next_state(state: AlarmState, cause: Cause, active: bool) -> AlarmState | None:
    """The state after `cause`, or None where nothing follows (the module's table)."""
    parked = _RANK.get(state, 0)
    if cause == "comment":
        return state
    if cause == "raise":
        return "unacknowledged" if state in ("normal", "returned-unacknowledged") else None
    if cause == "clear":
        if state == "unacknowledged":
            return "returned-unacknowledged"
        return "normal" if state == "acknowledged" else None
    if cause in ("escalate", "deescalate", "reflash"):
        if state not in ("unacknowledged", "acknowledged"):
            return None
        return state if cause == "deescalate" else "unacknowledged"
    if cause == "acknowledge":
        if state == "unacknowledged":
            return "acknowledged"
        return "normal" if state == "returned-unacknowledged" else None
    if cause in _PARKED:
        target = _PARKED[cause]
        return target if _RANK[target] > parked else None
    if state == _RELEASE[cause]:
        return "unacknowledged" if active else "normal"
    return None


class Level(Struct, frozen=True):
    """One severity whose limit is passed."""

    severity: int
    limit: float | None


class Alarm(Struct):
    """One alarm's memory."""

    asset: str
    code: str
    source: str
    severity: int
    unit: str  # "1" for a plain number, "" where the value is only whether it is so
    state: AlarmState = "normal"
    levels: list[Level] = []  # the severities whose limits are passed now, lowest first
    value: float | None = None
    limit: float | None = None
    since_ms: int = 0
    timestamp_ms: int = 0
    count: int = 0  # times raised
    transitions: int = 0
    shelved_until_ms: int | None = None
    suppressed_by: tuple[str, ...] = ()
    says: str = ""
    says_zh: str = ""
    action: str = ""
    action_zh: str = ""
    raised_ms: int = 0  # when it last became unacknowledged by itself
    published: bool = False  # whether it was ever published by itself, not in a group
    group: Key | None = None  # the grouped alarm that speaks for this one
    is_group: bool = False
    members: int = 0  # of a group: how many stand now
    members_told: int = 0  # and stood at its last transition
    worst: str = ""
    places: list[str] = []
    highest: int = 0  # severity since it was normal or acknowledged

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.asset, self.code, self.source

    @property
    def active(self) -> bool:
        """Whether the condition holds, at any severity."""
        return bool(self.levels)

    def take_severity(self) -> None:
        """Follow the levels; of an alarm that is over, the highest that nobody has seen yet."""
        seen = self.state in ("normal", "acknowledged")
        if self.levels:
            self.severity = self.levels[-1].severity
            self.highest = self.severity if seen else max(self.severity, self.highest)
        elif not seen:
            self.severity = self.highest


class _Portable(Struct):
    """An asset's part of the book as it travels."""

    alarms: list[Alarm]
    replies: list[Reply]
    asset: str


@dataclass(slots=True)
class AlarmBook:
    """All alarms that have ever left normal, by asset, code and source.

    The indexes follow from the alarms: those of an asset, those that stand by their code, and a
    group's members.
    """

    alarms: dict[Key, Alarm]
    replies: dict[str, dict[str, Reply]]  # by asset and command id, the newest of each asset
    gateways: dict[str, str | None] = field(default_factory=dict)  # of every configured asset
    of_asset: dict[str, dict[Key, Alarm]] = field(default_factory=dict)
    standing: dict[str, dict[Key, Alarm]] = field(default_factory=dict)
    members: dict[Key, dict[Key, Alarm]] = field(default_factory=dict)
    written: dict[Key, int] = field(default_factory=dict)  # transitions, of alarms to be made anew

    @staticmethod
    def empty() -> AlarmBook:
        """A book without alarms."""
        return AlarmBook({}, {})

    def condition(
        self, asset: str, rule: Rule | Notice, source: str, active: bool,
        value: float | None, limit: float | None, timestamp_ms: int,
    ) -> Event | None:  # fmt: skip
        """The condition of an alarm changed at one severity; returns the transition, if any."""
        key = (asset, rule.code, source)
        alarm = self.alarms.get(key)
        if alarm is None:
            if not active:
                return None
            by = rule.suppressed_by if isinstance(rule, Rule) else ()
            alarm = Alarm(asset, rule.code, source, rule.severity, rule.unit, suppressed_by=by)
            self.add(alarm)
        before = alarm.levels
        if any(level.severity == rule.severity for level in before) == active:
            return None
        rest = [level for level in before if level.severity != rule.severity]
        if active:
            rest = sorted([*rest, Level(rule.severity, limit)], key=lambda level: level.severity)
        alarm.levels = rest
        if before and rest and rest[-1] == before[-1]:
            return None  # a lower severity, under one that stands
        alarm.value = value
        alarm.limit = rest[-1].limit if rest else limit
        alarm.says, alarm.says_zh = rule.says, rule.says_zh
        alarm.action, alarm.action_zh = rule.action, rule.action_zh
        alarm.timestamp_ms = timestamp_ms
        alarm.take_severity()
        if not before:
            alarm.since_ms = timestamp_ms
            alarm.count += 1
            suppressed = self.is_suppressed(alarm) and alarm.state not in _RANK
            return self.move(alarm, "suppress" if suppressed else "raise", timestamp_ms)
        if not rest:
            return self.move(alarm, "clear", timestamp_ms)
        return self.move(alarm, "escalate" if active else "deescalate", timestamp_ms)

    def continue_numbers(self, written: Mapping[Key, int]) -> None:
        """Number transitions on from so many of each alarm, known now or made later."""
        self.written = dict(written)
        for key, alarm in self.alarms.items():
            alarm.transitions = max(alarm.transitions, self.written.pop(key, 0))

    def add(self, alarm: Alarm) -> None:
        """Take an alarm in, in the place of one with its key."""
        alarm.transitions = max(alarm.transitions, self.written.pop(alarm.key, 0))
        before = self.alarms.get(alarm.key)
        if before is not None:
            self.standing.get(alarm.code, {}).pop(alarm.key, None)
            if before.group is not None:
                self.members.get(before.group, {}).pop(alarm.key, None)
        self.alarms[alarm.key] = alarm
        self.of_asset.setdefault(alarm.asset, {})[alarm.key] = alarm
        if alarm.state in STANDING:
            self.standing.setdefault(alarm.code, {})[alarm.key] = alarm
        if alarm.group is not None:
            self.members.setdefault(alarm.group, {})[alarm.key] = alarm

    def command(
        self, key: Key, cause: Cause, timestamp_ms: int, user: str | None,
        comment: str | None = None, until_ms: int | None = None,
    ) -> Event | str:  # fmt: skip
        """What an operator does; returns the transition, or the reason why it is refused.

        A shelf ends by itself at `until_ms`.
        """
        alarm = self.alarms.get(key)
        if alarm is None:
            return refusal("no_alarm_on", alarm=f"{key[1]}/{key[2]}", asset=key[0])
        alarm.shelved_until_ms = until_ms if cause == "shelve" else alarm.shelved_until_ms
        event = self.move(alarm, cause, timestamp_ms, user, comment)
        if event is None:
            return refusal("not_in_state", action=cause, state=alarm.state)
        return event

    def follow(
        self, suppressor: Alarm, timestamp_ms: int,
        user: str | None = None, comment: str | None = None,
    ) -> list[Event]:  # fmt: skip
        """Suppress what a changed alarm suppresses by design, or release it."""
        events = []
        for alarm in self.alarms_of(suppressor.asset):
            if alarm is suppressor or not (
                suppressor.code == ASSET.code
                or (
                    suppressor.code in alarm.suppressed_by
                    and suppressor.source in (alarm.source, "pack")
                )
            ):
                continue
            cause: Cause = "suppress" if self.is_suppressed(alarm) else "unsuppress"
            if cause == "suppress" and alarm.state in ("normal", "shelved"):
                continue  # suppressed when it is raised, or when its time on the shelf is over
            event = self.move(alarm, cause, timestamp_ms, user, comment)
            if event is not None:
                events.append(event)
        return events

    def is_suppressed(self, alarm: Alarm) -> bool:
        """Whether the asset is out of service, or an alarm stands that suppresses this one."""
        if alarm.code == ASSET.code:
            return False
        asset = self.alarms.get((alarm.asset, ASSET.code, "pack"))
        if asset is not None and asset.state == "out of service":
            return True
        return any(
            other.active
            for code in alarm.suppressed_by
            for source in (alarm.source, "pack")
            if (other := self.alarms.get((alarm.asset, code, source))) is not None
        )

    def shelves_ended(self, now_ms: int) -> list[Key]:
        """The alarms whose time on the shelf is over."""
        return sorted(
            key
            for key, alarm in self.alarms.items()
            if alarm.state == "shelved"
            and alarm.shelved_until_ms is not None
            and alarm.shelved_until_ms <= now_ms
        )

    def alarms_of(self, asset: str) -> list[Alarm]:
        """One asset's alarms, by code and source: in which order they came hangs on the batches."""
        return [alarm for _, alarm in sorted(self.of_asset.get(asset, {}).items())]

    def records(self) -> Iterator[AlarmRecord]:
        """Every alarm that is not normal and not spoken for by a group, by asset and code."""
        for _, alarm in sorted(self.alarms.items()):
            if alarm.state != "normal" and alarm.group is None:
                yield record(alarm)

    def record_of(self, key: Key) -> AlarmRecord | None:
        """One alarm as it is to be shown; None where it is normal or a group speaks for it."""
        alarm = self.alarms.get(key)
        if alarm is None or alarm.state == "normal" or alarm.group is not None:
            return None
        return record(alarm)

    def to_bytes(self, asset: str) -> bytes:
        """One asset's alarms and answered commands, for a checkpoint."""
        return msgspec.msgpack.encode(
            _Portable(
                self.alarms_of(asset),
                list(self.replies.get(asset, {}).values()),
                asset,
            )
        )

    def put_bytes(self, data: bytes) -> str:
        """Take alarms back from `to_bytes`; returns the asset that they are of."""
        portable = msgspec.msgpack.decode(data, type=_Portable)
        for alarm in portable.alarms:
            self.add(alarm)
        for reply in portable.replies:
            self.remember(portable.asset, reply)
        return portable.asset

    def remember(self, asset: str, reply: Reply) -> None:
        """Keep the answer to a command, so that the same command can be answered again."""
        replies = self.replies.setdefault(asset, {})
        replies[reply.id] = reply
        if len(replies) > REPLIES_KEPT:
            del replies[next(iter(replies))]

    def move(
        self, alarm: Alarm, cause: Cause, timestamp_ms: int,
        user: str | None = None, comment: str | None = None,
    ) -> Event | None:  # fmt: skip
        """One step of the state machine; None where nothing follows."""
        after = next_state(alarm.state, cause, alarm.active)
        if after is None:
            return None
        before = alarm.state
        alarm.state = after
        alarm.timestamp_ms = timestamp_ms
        alarm.transitions += 1
        if cause in ENTERS and after == "unacknowledged":
            alarm.raised_ms = timestamp_ms
        standing = self.standing.setdefault(alarm.code, {})
        if after in STANDING:
            standing[alarm.key] = alarm
        else:
            standing.pop(alarm.key, None)
        name = f"{alarm.asset}\n{alarm.code}\n{alarm.source}\n{alarm.transitions}"
        event_id = hashlib.blake2s(name.encode(), digest_size=10).hexdigest()
        return Event(VERSION, event_id, before, cause, record(alarm), user, comment)


def record(alarm: Alarm) -> AlarmRecord:
    """The alarm as it is published: self-sufficient, in English and Chinese."""
    where = alarm.asset if alarm.source == "pack" else f"{alarm.asset} {alarm.source}"
    if alarm.is_group:
        where = alarm.source if alarm.asset.startswith("_") else alarm.asset
    figures, figures_zh = _figures(alarm)
    if alarm.is_group:
        figures = f" at {alarm.members} places; the worst is {alarm.worst}{figures}"
        figures_zh = f"，共 {alarm.members} 处；最严重的是 {alarm.worst}{figures_zh}"
    over, over_zh = ("", "") if alarm.active or not alarm.count else ("over: ", "已恢复：")
    return AlarmRecord(
        v=VERSION,
        asset=alarm.asset,
        source=alarm.source,
        code=alarm.code,
        severity=alarm.severity,
        state=alarm.state,
        value=alarm.value,
        limit=alarm.limit,
        unit=alarm.unit,
        since_ms=alarm.since_ms,
        timestamp_ms=alarm.timestamp_ms,
        count=alarm.count,
        message=f"{where}: {over}{alarm.says}{figures}",
        message_zh=f"{where}：{over_zh}{alarm.says_zh}{figures_zh}",
        action=alarm.action,
        action_zh=alarm.action_zh,
        members=alarm.members,
        worst=alarm.worst or None,
        places=alarm.places[:PLACES_NAMED] if alarm.is_group else None,
    )


def _figures(alarm: Alarm) -> tuple[str, str]:
    """The value and its limit in words, in English and Chinese."""
    if alarm.value is None or not alarm.unit:
        return "", ""
    if alarm.unit == "cycle":
        return f" (cycle {alarm.value:.0f})", f"（第 {alarm.value:.0f} 次循环）"
    unit = "" if alarm.unit == "1" else f" {alarm.unit}"
    value = f": {alarm.value:.4g}{unit}"
    if alarm.limit is None:
        return value, value
    limit = f"{alarm.limit:.4g}{unit}"
    return f"{value} (limit {limit})", f"{value} (限值 {limit})"
