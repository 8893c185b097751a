"""Floods: many alarms of one cause become one grouped alarm that an operator can handle.

More than `FLOOD` alarms of one code within `WINDOW_MS` are a group: those of one asset (source
`group`), and those of the assets behind one gateway (asset `_group`, source the gateway's name, or
`fleet` for assets that name none). The bounds are EEMUA publication 191's of a flood. While a group
stands, alarms of its code join it as they are raised. Its members live and are journalled as ever,
but the group speaks for them: it has the count, the worst of them and their places; acknowledging
it acknowledges them. It holds while one of them does, and ends when it has gone back to normal.

A group's state machine is that of every alarm, with one cause more: `reflash`, when an alarm joins
an acknowledged group or when twice as many stand as at the group's last transition.

Pure. What is grouped are the transitions of one frame or one other input, which is never cut, so
the outcome does not depend on how a stream is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from monitor.alarms.book import ENTERS, STANDING, Alarm, AlarmBook, Cause, Key, Level
from monitor.contract import GROUP_ASSET, Event

FLOOD = 10
WINDOW_MS = 600_000
GROUP = "group"
FLEET = "fleet"


def group_events(book: AlarmBook, events: Sequence[Event], changed: dict[Key, None]) -> list[Event]:
    """The transitions of one input with those of the groups that they make, change or end.

    `changed` gets the alarms whose published record is another now though no event says so.
    """
    if not events:
        return []
    spoken_for: dict[Key, Key] = {}
    made: list[Event] = []
    for scope in (_of_asset, _of_gateway):
        made += _Pass(book, scope, changed, spoken_for).run([*made, *events])
    out = []
    own = [event for event in events if book.alarms[_key(event)].is_group]
    others = [event for event in events if not book.alarms[_key(event)].is_group]
    for event in [*own, *made, *others]:  # in the order that each alarm went through them
        alarm = book.alarms[_key(event)]
        group = alarm.group or spoken_for.get(alarm.key)
        if group is None:
            alarm.published |= event.alarm.state != "normal"
            out.append(event)
        else:
            asset, code, source = group
            out.append(msgspec.structs.replace(event, group=f"{asset}/alarm/{code}/{source}"))
    return out


def acknowledge_members(
    book: AlarmBook, group: Key, timestamp_ms: int, user: str | None, comment: str | None
) -> list[Event]:
    """What acknowledging a group does to the alarms that it speaks for."""
    events = []
    for key, alarm in sorted(book.members.get(group, {}).items()):
        event = book.move(alarm, "acknowledge", timestamp_ms, user, comment)
        if event is not None:
            events.append(event)
        events += acknowledge_members(book, key, timestamp_ms, user, comment)
    return events


def _of_asset(book: AlarmBook, alarm: Alarm) -> Key | None:
    return None if alarm.is_group else (alarm.asset, alarm.code, GROUP)


def _of_gateway(book: AlarmBook, alarm: Alarm) -> Key | None:
    if alarm.asset == GROUP_ASSET:
        return None
    return GROUP_ASSET, alarm.code, book.gateways.get(alarm.asset) or FLEET


class _Pass:
    """The transitions of one input, looked at on one level."""

    def __init__(
        self,
        book: AlarmBook,
        scope: Callable[[AlarmBook, Alarm], Key | None],
        changed: dict[Key, None],
        spoken_for: dict[Key, Key],
    ) -> None:
        self._book = book
        self._scope = scope
        self._changed = changed
        self._spoken_for = spoken_for
        self._touched: dict[Key, int] = {}  # groups, and how many alarms joined them

    def run(self, events: Sequence[Event]) -> list[Event]:
        entered: dict[Key, list[Alarm]] = {}
        for event in events:
            alarm = self._book.alarms[_key(event)]
            scope = self._scope(self._book, alarm)
            if alarm.group is not None:
                if scope is None or (alarm.group[0] == GROUP_ASSET) != (scope[0] == GROUP_ASSET):
                    continue  # its group is of the other level
                self._touched.setdefault(alarm.group, 0)
                if alarm.state not in STANDING:
                    self._spoken_for[alarm.key] = alarm.group
                    self._leave(alarm)
            elif scope is not None and event.cause in ENTERS and alarm.state in STANDING:
                entered.setdefault(scope, []).append(alarm)
        now_ms = events[-1].alarm.timestamp_ms
        for key, alarms in entered.items():
            group = self._book.alarms.get(key)
            if group is None or group.state == "normal":
                alarms = self._recent(key, now_ms)
                if len(alarms) <= FLOOD:
                    continue
                if group is None:
                    group = _new_group(key, alarms[0])
                    self._book.add(group)
            for alarm in alarms:
                self._join(alarm, group)
        made = [self._update(key, now_ms) for key in self._touched]
        return [event for event in made if event is not None]

    def _recent(self, scope: Key, now_ms: int) -> list[Alarm]:
        asset, code, _ = scope
        standing = self._book.standing.get(code, {})
        held = standing if asset == GROUP_ASSET else self._book.of_asset.get(asset, {})
        recent = [
            alarm
            for alarm in min(standing, held, key=len).values()
            if alarm.state in STANDING
            and alarm.group is None
            and alarm.active
            and abs(now_ms - alarm.raised_ms) <= WINDOW_MS
            and self._scope(self._book, alarm) == scope
        ]
        return sorted(recent, key=lambda alarm: alarm.key)

    def _join(self, alarm: Alarm, group: Alarm) -> None:
        alarm.group = group.key
        self._book.members.setdefault(group.key, {})[alarm.key] = alarm
        self._touched[group.key] = self._touched.get(group.key, 0) + 1
        if alarm.published:
            self._changed[alarm.key] = None  # its own record goes

    def _leave(self, alarm: Alarm) -> None:
        if alarm.group is not None:
            self._book.members.get(alarm.group, {}).pop(alarm.key, None)
        alarm.group = None

    def _update(self, key: Key, now_ms: int) -> Event | None:
        """Let a group follow its members; its transition, if there is one."""
        group = self._book.alarms[key]
        members = [m for _, m in sorted(self._book.members.get(key, {}).items())]
        active = [member for member in members if member.active]
        held, severity = group.active, group.severity
        group.levels = []
        if active:
            worst = max(active, key=_badness)
            group.levels = [Level(worst.severity, worst.limit)]
            group.value, group.limit = worst.value, worst.limit
            group.worst = worst.worst if worst.is_group else _place(worst, key)
        if members:
            group.members = sum(m.members if m.is_group else 1 for m in members)
            group.places = sorted(_place(member, key) for member in members)
        group.take_severity()
        if bool(active) != held:
            cause: Cause = "raise" if active else "clear"
            if active:
                group.since_ms = now_ms
                group.count += 1
        elif group.severity != severity:
            cause = "escalate" if group.severity > severity else "deescalate"
        elif self._touched[key] and (
            group.state == "acknowledged" or group.members >= 2 * group.members_told
        ):
            cause = "reflash"
        else:
            self._changed[key] = None
            return None
        event = self._book.move(group, cause, now_ms)
        group.members_told = group.members
        if group.state == "normal":
            for member in members:
                self._leave(member)
                self._changed[member.key] = None
        if event is None:
            self._changed[key] = None
        return event


def _new_group(key: Key, member: Alarm) -> Alarm:
    asset, code, source = key
    group = Alarm(asset, code, source, member.severity, member.unit, is_group=True)
    group.says, group.says_zh = member.says, member.says_zh
    group.action, group.action_zh = member.action, member.action_zh
    return group


def _badness(alarm: Alarm) -> tuple[int, float]:
    """Severity first, then how far past the limit."""
    past = 0.0
    if alarm.value is not None and alarm.limit is not None:
        past = abs(alarm.value - alarm.limit)
    return alarm.severity, past


def _place(alarm: Alarm, group: Key) -> str:
    """Where a member is: its source within an asset, the asset (and source) behind a gateway."""
    if group[0] != GROUP_ASSET:
        return alarm.source
    return alarm.asset if alarm.source in ("pack", GROUP) else f"{alarm.asset}/{alarm.source}"


def _key(event: Event) -> Key:
    return event.alarm.asset, event.alarm.code, event.alarm.source
