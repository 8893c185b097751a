"""What comes out of the engine: a record for every input, and what the inputs brought about."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.alarms.book import Key
from monitor.contract import CycleSummary, Event, Reply
from monitor.inputs import Input


class Handled(Struct, frozen=True):
    """One input and what became of it. A Struct, since one is made for every frame."""

    input: Input
    verdict: int = 0  # of `Verdict`, for a frame
    row: NDArray[np.float32] | None = None  # (cells, RESULTS) of a frame that was taken
    reply: Reply | None = None  # to a command


@dataclass(frozen=True, slots=True)
class FinishedCycle:
    """A finished half-cycle with its incremental-capacity histogram, Ah per 10 mV from 2.7 V."""

    summary: CycleSummary
    histogram: NDArray[np.float32]  # (BINS,)


@dataclass(slots=True)
class Results:
    """What came of a batch."""

    handled: list[Handled] = field(default_factory=list)  # in the order of the inputs
    cycles: list[FinishedCycle] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # assets with something new
    changed: dict[Key, None] = field(default_factory=dict)  # alarm records that no event tells of
    samples: int = 0

    @property
    def rows(self) -> list[NDArray[np.float32] | None]:
        """The result matrix (cells, RESULTS) of every input that is a frame and was taken."""
        return [one.row for one in self.handled]

    def add(self, later: Results) -> None:
        """Take over what came of the batch behind this one."""
        self.handled += later.handled
        self.cycles += later.cycles
        self.events += later.events
        self.touched |= later.touched
        self.changed |= later.changed
        self.samples += later.samples
