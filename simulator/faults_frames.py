"""Faults of the telemetry's way: frames lost, frames late, a clock that jumps.

They act on the messages of a replay, after the recording and its sensors.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from monitor.contract import Frame, Truth
from simulator.replay import Timed

FrameKind = Literal["dropped", "late", "clock-jump"]

# What a severity of 1 means: the share of frames lost, the mean delay of a late frame in seconds
# (a tenth of the frames are late), the jump in seconds.
FULL_SIZE: dict[str, float] = {"dropped": 1.0, "late": 600.0, "clock-jump": 86_400.0}
LATE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class FrameFault:
    """A faulty link: from so many seconds of the replay on, or from a cycle's first operation."""

    kind: FrameKind
    size: float
    after_s: float | None = None
    cycle: int | None = None
    duration_s: float | None = None


def distort_frames(
    messages: Iterator[Timed], fault: FrameFault, rng: np.random.Generator
) -> Iterator[Timed]:
    """The messages of one recording as they arrive over the faulty link, by the time they are due.

    A late frame keeps its timestamp and its number; a jumped clock stamps frames wrongly by `size`
    seconds but they arrive when they were measured. Truth messages pass, and one more tells where
    the fault begins and where it ends.
    """
    waiting: list[tuple[int, int, Timed]] = []
    order = 0
    begun_ms: int | None = None
    over = False
    told: Truth | None = None
    for timed in messages:
        now_ms = timed.offset_ms
        while waiting and waiting[0][0] <= now_ms:
            yield heapq.heappop(waiting)[2]
        if isinstance(timed.message, Truth):
            told = timed.message
            yield timed
        if begun_ms is None and _begins(fault, now_ms, told):
            begun_ms = now_ms
            if told is not None:
                yield _label(timed, told, fault, True)
        if begun_ms is not None and not over and fault.duration_s is not None:
            over = now_ms >= begun_ms + fault.duration_s * 1000
            if over and told is not None:
                yield _label(timed, told, fault, False)
        if not isinstance(timed.message, Frame):
            continue
        if begun_ms is None or over:
            yield timed
        elif fault.kind == "dropped":
            if rng.random() >= fault.size:
                yield timed
        elif fault.kind == "clock-jump":
            stamp = timed.message.timestamp_ms + round(fault.size * 1000)
            yield timed._replace(message=msgspec.structs.replace(timed.message, timestamp_ms=stamp))
        elif rng.random() < LATE_SHARE:
            due_ms = now_ms + max(1, round(rng.exponential(fault.size * 1000)))
            order += 1
            heapq.heappush(waiting, (due_ms, order, timed._replace(offset_ms=due_ms)))
        else:
            yield timed
    while waiting:
        yield heapq.heappop(waiting)[2]


def _begins(fault: FrameFault, offset_ms: int, told: Truth | None) -> bool:
    if fault.cycle is not None:
        return told is not None and told.cycle is not None and told.cycle >= fault.cycle
    return offset_ms >= (fault.after_s or 0.0) * 1000


def _label(timed: Timed, told: Truth, fault: FrameFault, active: bool) -> Timed:
    stamp = timed.message.timestamp_ms
    label = msgspec.structs.replace(told, timestamp_ms=stamp, fault=fault.kind, fault_active=active)
    return timed._replace(message=label)
