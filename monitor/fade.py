"""How fast a cell fades, whether it fades faster than it did, and the knee, found online.

One small object a cell, fed once a finished half-cycle. The fade is a straight line kept by
recursive means with a long memory; a second line with a short memory says how it fades now. The
knee is where SOH keeps falling below what the long line said, by Page-Hinkley's test or another of
`drift`. Capacity regenerates after rests: a single value above or below does not count as a knee.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

from msgspec import Struct, field

from monitor.drift import CLIP, NewTest, PageHinkley, RiseTest, RiverTest

WARM_UP = 60  # cycles before the line is believed
MEMORY = 300.0  # cycles over which the long line forgets
RECENT_MEMORY = 40.0  # cycles over which the short one does
SLOWEST_FADE = 2e-4  # of SOH a cycle: a slower long line counts as this in the ratio of the two
SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class Fade:
    """What is known after a cycle. Slopes are fractions of nominal a cycle, negative for fade."""

    cycles: int
    soh: float  # smoothed
    slope_per_cycle: float | None  # of the long line; None while it warms up
    acceleration: float | None  # fade of the short line over that of the long one; 1: steady
    knee_cycle: int | None  # where the knee was noticed; never taken back


class LineState(Struct, array_like=True):
    """Moments of (cycle, SOH), exponentially weighted; the cycle counts back from now."""

    weight: float = 0.0
    t: float = 0.0
    tt: float = 0.0
    y: float = 0.0
    ty: float = 0.0

    def shift_inplace(self, memory: float) -> None:
        """Let a cycle pass: every kept time is one further back, every weight a bit smaller."""
        keep = math.exp(-1.0 / memory)
        self.tt = keep * (self.tt - 2.0 * self.t + self.weight)
        self.t = keep * (self.t - self.weight)
        self.ty = keep * (self.ty - self.y)
        self.weight *= keep
        self.y *= keep

    def add_inplace(self, soh: float) -> None:
        """A value at this cycle."""
        self.weight += 1.0
        self.y += soh

    def now(self) -> tuple[float, float] | None:
        """The line's value now and its slope a cycle, None before three values."""
        if self.weight < 2.5:
            return None
        mean_t, mean_y = self.t / self.weight, self.y / self.weight
        spread = self.tt / self.weight - mean_t * mean_t
        if spread <= 1e-9:
            return None
        slope = (self.ty / self.weight - mean_t * mean_y) / spread
        return mean_y - slope * mean_t, slope


class TrackerState(Struct, array_like=True):
    """A tracker as a checkpoint keeps it."""

    cycles: int = 0
    values: int = 0
    soh: float | None = None
    long: LineState = field(default_factory=LineState)
    recent: LineState = field(default_factory=LineState)
    knee: int | None = None
    test: PageHinkley | dict[str, list[float]] | None = None  # or what a River test was `given`


class FadeTracker:
    """A cell's fade. `update` is called once a finished cycle, in order."""

    def __init__(self, state: TrackerState | None = None, new_test: NewTest = PageHinkley) -> None:
        """Go on from a state; a test that cannot (see `_resumed`) begins anew."""
        state = TrackerState() if state is None else state
        self._cycles, self.values = state.cycles, state.values
        self._soh = math.nan if state.soh is None else state.soh
        self._long, self._recent = _copied(state.long), _copied(state.recent)
        self._knee = state.knee
        self._new_test = new_test
        self._test = _resumed(state.test, new_test)

    def update(self, soh: float) -> Fade:
        """One more cycle's SOH as a fraction. NaN is a cycle without a value."""
        self._cycles += 1
        self._long.shift_inplace(MEMORY)
        self._recent.shift_inplace(RECENT_MEMORY)
        if math.isnan(soh):
            return self.now()
        self.values += 1
        line = self._long.now()
        if math.isnan(self._soh):
            self._soh = soh
        self._soh += SMOOTHING * (soh - self._soh)
        if line is not None and self._cycles > WARM_UP and self._knee is None:
            if self._test is None:
                self._test = self._new_test()
            if self._test.update_inplace(min(CLIP, max(-CLIP, line[0] - self._soh))):
                self._knee = self._cycles
                self._test = None
        if self._knee is None or line is None:
            self._long.add_inplace(soh)
        self._recent.add_inplace(soh)
        return self.now()

    def now(self) -> Fade:
        """The state after the last cycle."""
        line, recent = self._long.now(), self._recent.now()
        if line is None or self._cycles <= WARM_UP:
            return Fade(self._cycles, self._soh, None, None, self._knee)
        ratio = None if recent is None else -recent[1] / max(SLOWEST_FADE, -line[1])
        return Fade(self._cycles, self._soh, line[1], ratio, self._knee)

    def state(self) -> TrackerState:
        """All that it remembers."""
        return TrackerState(
            self._cycles,
            self.values,
            None if math.isnan(self._soh) else self._soh,
            _copied(self._long),
            _copied(self._recent),
            self._knee,
            _remembered(self._test),
        )


class CellFade:
    """A cell's fade by what was measured and by what was estimated, kept apart.

    A complete discharge measures SOH; the model estimates it from a charge. The two differ by the
    model's error, so a cell that goes from one to the other must not look as if it had faded.
    """

    def __init__(
        self,
        states: tuple[TrackerState, TrackerState] | None = None,
        new_test: NewTest = PageHinkley,
    ) -> None:
        measured, estimated = (None, None) if states is None else states
        self._measured = FadeTracker(measured, new_test)
        self._estimated = FadeTracker(estimated, new_test)

    def discharged(self, soh: float | None) -> None:
        """A discharge ended; SOH where it was a complete one."""
        self._measured.update(math.nan if soh is None else soh)

    def charged(self, soh: float | None) -> None:
        """A charge ended; SOH where the model gave one."""
        self._estimated.update(math.nan if soh is None else soh)

    def now(self) -> Fade:
        """By the one of the two that has had more values."""
        measured, estimated = self._measured, self._estimated
        return (measured if measured.values >= estimated.values else estimated).now()

    def states(self) -> tuple[TrackerState, TrackerState]:
        """All that it remembers."""
        return self._measured.state(), self._estimated.state()


def _remembered(test: RiseTest | None) -> PageHinkley | dict[str, list[float]] | None:
    if isinstance(test, RiverTest):
        return {"given": test.given.copy()}
    return copy(test) if isinstance(test, PageHinkley) else None


def _resumed(
    state: PageHinkley | dict[str, list[float]] | None, new_test: NewTest
) -> RiseTest | None:
    """The test as it was; None where another test was chosen since, of which no more is known."""
    if isinstance(state, PageHinkley):
        return copy(state) if new_test is PageHinkley else None
    if state is None:
        return None
    test = new_test()
    for x in state["given"]:
        test.update_inplace(x)
    return test


def _copied(line: LineState) -> LineState:
    return LineState(line.weight, line.t, line.tt, line.y, line.ty)
