"""The way into the alarm book: one batch of changes goes in, the transitions come out.

    changes of conditions -> transitions -> those that they suppress follow -> groups -> events

The changes of one input are taken in their order, and the inputs in theirs, so that the outcome is
the same wherever a stream is cut into batches. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from operator import attrgetter
from typing import NamedTuple

from monitor.alarms.book import AlarmBook, Key
from monitor.alarms.changes import PACK, Change, Together, trouble, trouble_over
from monitor.alarms.commands import is_notice, notice_of, obey, shelves_end
from monitor.alarms.groups import group_events
from monitor.alarms.rules import Rule
from monitor.contract import Event, Reply
from monitor.inputs import CommandIn, Trouble

TROUBLE_ENDS_MS = 60_000
Holding = tuple[str, int, str]  # code, severity and source of a condition that holds


class Outcome(NamedTuple):
    """What followed from changes."""

    events: list[Event]  # in the order of the inputs
    changed: dict[Key, None]  # alarms whose record is another, though no event says so
    assets: set[str]  # of which an alarm has moved


class Alarms:
    """The alarm book, with the rules and the troubles that raise its alarms."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.book = AlarmBook.empty()
        self.troubles: dict[Key, int] = {}  # those whose alarm stands, and their newest arrival
        self.set_rules(rules)

    def set_rules(self, rules: Sequence[Rule]) -> None:
        """Take other rules over; what stands by rules that are gone is left to `ruleless`."""
        self._rules = tuple(rules)
        self._suppressing = {code for rule in rules for code in rule.suppressed_by}

    def hand_over(self, batch: Iterable[Together]) -> Outcome:
        """Take a batch of changes."""
        outcome = Outcome([], {}, set())
        for together in sorted(batch, key=attrgetter("place")):
            self._group(self._moved(together.changes), outcome)
        return outcome

    def tick(self, now_ms: int, changes: Sequence[Change]) -> Outcome:
        """Take what the wall clock changes; troubles and shelves end by it as well."""
        changes = [*changes, *self._troubles_over(now_ms)]
        # An alarm that is shelved changes without an event: its asset has something new too.
        outcome = Outcome([], {}, {change.asset for change in changes})
        self._group([*self._moved(changes), *shelves_end(self.book, now_ms)], outcome)
        return outcome

    def command(self, item: CommandIn, places: tuple[int, int] | None) -> tuple[Reply, Outcome]:
        """Do what an operator asks; `places` is how many cells and sensors the asset has."""
        reply, events = obey(self.book, self._rules, item, places)
        outcome = Outcome([], {}, set())
        self._group(events, outcome)
        return reply, outcome

    def trouble(self, item: Trouble) -> Change:
        """Something went wrong; its alarm ends a minute after the newest of its kind."""
        self.troubles[item.asset, item.code, item.source] = item.arrival_ms
        return trouble(item)

    def holds(self, asset: str, code: str) -> bool:
        """Whether the condition of an asset's alarm holds."""
        alarm = self.book.alarms.get((asset, code, PACK))
        return alarm is not None and alarm.active

    def ruleless(self, rules: Sequence[Rule], now_ms: int) -> list[Change]:
        """The ends of what stands by none of these rules."""
        known = {(rule.code, rule.severity) for rule in rules}
        return [
            Change(alarm.asset, notice_of(alarm, level), alarm.source, False, None, None, now_ms)
            for _, alarm in sorted(self.book.alarms.items())
            if not alarm.is_group and not is_notice(alarm.code)
            for level in alarm.levels
            if (alarm.code, level.severity) not in known
        ]

    def orphans(self, asset: str, holding: Set[Holding]) -> list[Change]:
        """The ends of what stands by a rule though nothing is left to hold it.

        `holding` is what holds now, by a limit, a cell and a sensor that are there.
        """
        # Frames may come with another wiring each, and an asset may have thousands of alarms.
        held = [
            alarm
            for alarm in self.book.of_asset.get(asset, {}).values()
            if alarm.levels and not alarm.is_group
        ]
        held.sort(key=attrgetter("key"))
        return [
            Change(asset, rule, alarm.source, False, None, None, None)
            for rule in self._rules
            for alarm in held
            if alarm.code == rule.code
            and (rule.code, rule.severity, alarm.source) not in holding
            and any(level.severity == rule.severity for level in alarm.levels)
        ]

    def _moved(self, changes: Iterable[Change]) -> list[Event]:
        """The transitions that changes make, and those of the alarms that follow them."""
        events = []
        for change in changes:
            key = (change.asset, change.rule.code, change.source)
            at_ms = change.timestamp_ms
            if at_ms is None:
                at_ms = self.book.alarms[key].timestamp_ms
            event = self.book.condition(
                change.asset, change.rule, change.source, change.active, change.value,
                change.limit, at_ms,
            )  # fmt: skip
            if event is not None:
                events.append(event)
            if change.measured and change.rule.code in self._suppressing:
                alarm = self.book.alarms.get(key)
                if alarm is not None:
                    events += self.book.follow(alarm, at_ms)
        return events

    def _group(self, events: list[Event], outcome: Outcome) -> None:
        """Add transitions that came at once, with those of the groups that they make."""
        outcome.assets.update(event.alarm.asset for event in events)
        outcome.events.extend(group_events(self.book, events, outcome.changed))

    def _troubles_over(self, now_ms: int) -> list[Change]:
        over = [key for key, ms in self.troubles.items() if ms <= now_ms - TROUBLE_ENDS_MS]
        for key in over:
            del self.troubles[key]
        return [trouble_over(*key, now_ms) for key in over]
