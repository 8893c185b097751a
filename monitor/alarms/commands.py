"""What operators ask of alarms: checked, done, and answered; a repeated command does nothing.

An alarm may be shelved or taken out of service before it was ever raised, where a rule and a place
for it exist. A command on a group is done to its members too. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from monitor.alarms.book import Alarm, AlarmBook, Key, Level
from monitor.alarms.groups import acknowledge_members
from monitor.alarms.rules import ASSET, DATA_NOTICES, Notice, Rule
from monitor.contract import VERSION, DeviceAlarm, Event, Reply, is_asset_name
from monitor.inputs import CommandIn
from monitor.refusals import refusal

_PARKS = ("shelve", "out_of_service")
_WHOLE_ASSET = ("out_of_service", "in_service", "comment")


def obey(
    book: AlarmBook, rules: Sequence[Rule], item: CommandIn, places: tuple[int, int] | None
) -> tuple[Reply, list[Event]]:
    """Do what is asked; the answer, and the transitions that it made.

    `places` is how many cells and sensors the asset has, None for an asset that is not known. A
    command that comes again gets its answer again and does nothing.
    """
    command = item.command
    answered = book.replies.get(item.asset, {}).get(command.id)
    if answered is not None:
        return answered, []
    outcome = _do(book, rules, item, places)
    reason = outcome if isinstance(outcome, str) else None
    reply = Reply(VERSION, command.id, "done" if reason is None else "refused", reason, item.user)
    if places is not None or item.asset in book.of_asset:
        book.remember(item.asset, reply)  # of what is not known nothing is kept
    return reply, [] if isinstance(outcome, str) else outcome


def shelves_end(book: AlarmBook, now_ms: int) -> list[Event]:
    """The transitions of the alarms whose time on the shelf is over."""
    events = []
    for key in book.shelves_ended(now_ms):
        event = book.command(key, "unshelve", now_ms, None, "its time is over")
        if isinstance(event, Event):
            events += [event, *_back_under_suppression(book, book.alarms[key], now_ms)]
    return events


def _do(
    book: AlarmBook, rules: Sequence[Rule], item: CommandIn, places: tuple[int, int] | None
) -> list[Event] | str:
    command = item.command
    now_ms = item.arrival_ms
    key = (item.asset, command.code, command.source)
    if command.action == "shelve" and command.duration_s is None:
        return refusal("no_duration")
    if command.code == ASSET.code and command.action not in _WHOLE_ASSET:
        return refusal("not_for_asset", action=command.action)
    if command.action == "comment" and not (command.comment or "").strip():
        return refusal("no_words")
    if key not in book.alarms and command.action in _PARKS:
        reason = _prepare(book, rules, key, places, now_ms)
        if reason is not None:
            return reason
    until_ms = now_ms + round(1000 * (command.duration_s or 0.0))
    event = book.command(key, command.action, now_ms, item.user, command.comment, until_ms)
    if isinstance(event, str):
        return event
    events = [event]
    alarm = book.alarms[key]
    if command.action == "comment":
        return events
    if command.code == ASSET.code:
        events += book.follow(alarm, now_ms, item.user, command.comment)
    elif command.action == "acknowledge":
        events += acknowledge_members(book, key, now_ms, item.user, command.comment)
    else:
        events += _back_under_suppression(book, alarm, now_ms)
    return events


def _back_under_suppression(book: AlarmBook, alarm: Alarm, now_ms: int) -> list[Event]:
    """An alarm that comes back while something suppresses it is suppressed at once."""
    if alarm.state != "unacknowledged" or not book.is_suppressed(alarm):
        return []
    event = book.move(alarm, "suppress", now_ms)
    return [] if event is None else [event]


def _prepare(
    book: AlarmBook, rules: Sequence[Rule], key: Key, places: tuple[int, int] | None, now_ms: int
) -> str | None:
    """Make an alarm that was never raised, so that it can be parked; or why that cannot be."""
    asset, code, source = key
    if places is None:
        return refusal("no_asset", asset=asset)
    rule = _rule(rules, code)
    if rule is None:
        return refusal("no_alarm", alarm=code)
    cells, sensors = places
    by_scope = {"pack": _one(source), "cell": _within("c", source, cells)}
    by_scope["sensor"] = _within("t", source, sensors)
    scope = rule.scope if isinstance(rule, Rule) else "pack"
    if not (any(by_scope.values()) if code.startswith("device_") else by_scope[scope]):
        return refusal("no_place", alarm=code, place=source, asset=asset)
    by = rule.suppressed_by if isinstance(rule, Rule) else ()
    alarm = Alarm(asset, code, source, rule.severity, rule.unit, suppressed_by=by)
    alarm.says, alarm.says_zh = rule.says, rule.says_zh
    alarm.action, alarm.action_zh = rule.action, rule.action_zh
    alarm.since_ms = now_ms
    book.add(alarm)
    return None


def _rule(rules: Sequence[Rule], code: str) -> Rule | Notice | None:
    name = code.removeprefix("device_")
    if name != code:
        alarm = DeviceAlarm(VERSION, 0, name, True)
        return device_notice(alarm) if is_asset_name(name) else None
    known: list[Rule | Notice] = [*rules, *DATA_NOTICES, ASSET]
    return next((rule for rule in known if rule.code == code), None)


def device_notice(alarm: DeviceAlarm) -> Notice:
    """An alarm that the BMS itself raises, as one of ours."""
    detail = alarm.detail or alarm.name
    return Notice(
        f"device_{alarm.name}", 4, "1", f"the BMS itself says: {detail}", f"BMS 报警：{detail}",
        "See the BMS maker's manual.", "请查阅 BMS 手册。",
    )  # fmt: skip


def is_notice(code: str) -> bool:
    """Whether the engine raises it by itself, or the BMS, rather than a rule."""
    return code.startswith("device_") or any(one.code == code for one in (*DATA_NOTICES, ASSET))


def notice_of(alarm: Alarm, level: Level) -> Notice:
    """What an alarm says at one severity, where its rule is gone."""
    return Notice(
        alarm.code, level.severity, alarm.unit, alarm.says, alarm.says_zh, alarm.action,
        alarm.action_zh,
    )  # fmt: skip


def _one(source: str) -> bool:
    return source == "pack"


def _within(letter: str, source: str, count: int) -> bool:
    found = re.fullmatch(letter + r"([0-9]{2,4})", source)
    return found is not None and 1 <= int(found[1]) <= count
