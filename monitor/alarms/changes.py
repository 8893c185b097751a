"""A condition that begins or ends, as the alarm book is told of it; and what the data's own are.

Pure: whoever sees the condition makes a `Change` of it, and the book says what follows.
"""

from __future__ import annotations

from typing import NamedTuple

from monitor.alarms.commands import device_notice
from monitor.alarms.rules import (
    CLOCK_JUMP,
    OFFLINE,
    SEQUENCE_GAP,
    STALE,
    TROUBLES,
    Notice,
    Rule,
    Scope,
)
from monitor.contract import cell_name, sensor_name
from monitor.inputs import DeviceAlarmIn, Trouble

PACK = "pack"


class Change(NamedTuple):
    """The condition of one severity of an alarm holds from here on, or no longer."""

    asset: str
    rule: Rule | Notice
    source: str
    active: bool
    value: float | None
    limit: float | None
    timestamp_ms: int | None  # None: the alarm's own, where nothing is measured any more
    measured: bool = False  # in a sample: what it suppresses by design follows at once


class Together(NamedTuple):
    """Changes that come at once and are grouped as one; `place` is their input's in its batch."""

    place: int
    changes: list[Change]


def source_of(scope: Scope, cell: int, sensor: int) -> str:
    """Where a rule of a scope sees a cell's condition; cell and sensor count from 0."""
    if scope == "sensor":
        return sensor_name(sensor)
    return PACK if scope == "pack" else cell_name(cell)


def frames_missing(asset: str, missed: int, timestamp_ms: int) -> Change:
    """So many sequence numbers were skipped."""
    return Change(asset, SEQUENCE_GAP, PACK, True, float(missed), 0.0, timestamp_ms)


def frames_complete(asset: str, now_ms: int) -> Change:
    """None has been skipped for long enough."""
    return Change(asset, SEQUENCE_GAP, PACK, False, 0.0, 0.0, now_ms)


def clock_set_back(asset: str, timestamp_ms: int) -> list[Change]:
    """The device's clock was set back: a moment, so it ends as it begins."""
    return [
        Change(asset, CLOCK_JUMP, PACK, active, None, None, timestamp_ms)
        for active in (True, False)
    ]


def presence(asset: str, offline: bool, arrival_ms: int) -> Change:
    """The device or its gateway says that it is offline, or online."""
    return Change(asset, OFFLINE, PACK, offline, None, None, arrival_ms)


def staleness(asset: str, stale: bool, age_s: float, limit_s: float, now_ms: int) -> Change:
    """No frame has come for longer than expected, or one has."""
    return Change(asset, STALE, PACK, stale, age_s, limit_s, now_ms)


def device_alarm(item: DeviceAlarmIn) -> Change:
    """What the BMS itself raises or clears."""
    alarm = item.alarm
    notice = device_notice(alarm)
    return Change(item.asset, notice, alarm.source, alarm.active, None, None, alarm.timestamp_ms)


def trouble(item: Trouble) -> Change:
    """Something went wrong beside the readings."""
    notice = TROUBLES[item.code]
    return Change(item.asset, notice, item.source, True, None, None, item.arrival_ms)


def trouble_over(asset: str, code: str, source: str, now_ms: int) -> Change:
    """It has not gone wrong again for long enough."""
    return Change(asset, TROUBLES[code], source, False, None, None, now_ms)
