"""The alarms on healthy recordings one by one, and what else the recording says of them.

An alarm on a cell that nobody broke counts as false, whatever the cell did. But a reader wants to
know what it was: how much heat, whether the charger had to give more than in the charge before (a
leak takes its heat from there), and from which voltage the next operation began (a leak leaves it
lower).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.thermal.benchmark import Fitted
from training.thermal.data import Floats, Ints, Stream
from training.thermal.physical import HeatBalance
from training.thermal.scoring import alarm_times
from training.thermal.slots import Slots

AFTER_MS = 30 * 60_000  # the stretch that is looked at


@dataclass(frozen=True, slots=True)
class HealthyAlarm:
    """One alarm; None is what cannot be said."""

    group: str
    asset: str
    day: float  # of the recording
    charging: bool
    rise_c: float
    excess_w: float  # mean of the half hour after it
    start_v: float  # of its operation
    charger_w: float | None  # over the same minutes of the charge before
    next_start_v: float | None  # of the operation that follows
    usual_next_v: float | None  # of the one that followed the charge before


def healthy_alarms(
    fitted: Mapping[str, Fitted], streams: Sequence[Stream], slots: Sequence[Slots]
) -> list[HealthyAlarm]:
    """Every alarm of the heat balance on the groups it was not fitted on."""
    found: list[HealthyAlarm] = []
    for stream, one in zip(streams, slots, strict=True):
        detector = fitted[one.group].detector
        if not isinstance(detector, HeatBalance):
            continue
        alarms = alarm_times(one.timestamp_ms, fitted[one.group].score(one))
        excess = detector.trace(one).excess if len(alarms) else np.zeros(0)
        found.extend(_look(stream, one, excess, int(alarm)) for alarm in alarms)
    return found


def _look(stream: Stream, slots: Slots, excess: Floats, alarm_ms: int) -> HealthyAlarm:
    after = (slots.timestamp_ms >= alarm_ms) & (slots.timestamp_ms < alarm_ms + AFTER_MS)
    at = int(np.searchsorted(stream.timestamp_ms, alarm_ms))
    number = int(stream.operation[at])
    charges = [n for n in np.unique(stream.operation) if _charges(stream, int(n))]
    earlier = [int(n) for n in charges if n < number]
    charging = number in charges
    power = following = usual = None
    if charging and earlier:
        power = _more_power_w(stream, number, earlier[-1], alarm_ms)
        following, usual = _next_start_v(stream, number), _next_start_v(stream, earlier[-1])
    k = int(np.searchsorted(slots.timestamp_ms, alarm_ms))
    return HealthyAlarm(
        group=stream.group,
        asset=stream.asset,
        day=(alarm_ms - int(stream.timestamp_ms[0])) / 86_400_000,
        charging=charging,
        rise_c=float(slots.temperature_c[k] - slots.ambient_c[k]),
        excess_w=float(np.mean(excess[after])) * stream.nominal_ah,
        start_v=float(stream.voltage_v[_rows(stream, number)[0]]),
        charger_w=power,
        next_start_v=following,
        usual_next_v=usual,
    )


def _rows(stream: Stream, number: int) -> Ints:
    return np.flatnonzero(stream.operation == number)


def _charges(stream: Stream, number: int) -> bool:
    current = stream.current_a[_rows(stream, number)]
    return bool(np.nanmean(current) > 0.05 * stream.nominal_ah)


def _more_power_w(stream: Stream, number: int, before: int, alarm_ms: int) -> float:
    """The charger's power over that of an earlier charge at the same age, mean over the stretch."""
    now, then = _rows(stream, number), _rows(stream, before)
    age = stream.timestamp_ms[now] - stream.timestamp_ms[now[0]]
    old_age = stream.timestamp_ms[then] - stream.timestamp_ms[then[0]]
    part = (stream.timestamp_ms[now] >= alarm_ms) & (stream.timestamp_ms[now] < alarm_ms + AFTER_MS)
    more = stream.current_a[now] - np.interp(age, old_age, stream.current_a[then])
    return float(np.nanmean((stream.voltage_v[now] * more)[part]))


def _next_start_v(stream: Stream, number: int) -> float | None:
    later = np.flatnonzero(stream.operation > number)
    return float(stream.voltage_v[later[0]]) if len(later) else None
