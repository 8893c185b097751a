"""Faults that act inside the twin's equations, as functions of the time since their onset.

Every fault is synthetic: no NASA or CALCE cell shows a real thermal failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from simulator.twin import Conditions


class CellFault(Protocol):
    """A fault of one cell."""

    @property
    def label(self) -> str: ...

    def apply_inplace(self, conditions: Conditions, cell: int, since_onset_s: float) -> None:
        """Change the conditions of one cell for the next step; nothing before the onset."""
        ...


@dataclass(frozen=True, slots=True)
class InternalShort:
    """A short circuit between the electrodes: its resistance falls exponentially, then stays."""

    start_ohm: float
    end_ohm: float
    growth_s: float
    label: str = "isc"

    def resistance_ohm(self, since_onset_s: float) -> float:
        """Resistance of the short; infinite before the onset."""
        if since_onset_s < 0:
            return math.inf
        share = 1.0 if self.growth_s <= 0 else min(since_onset_s / self.growth_s, 1.0)
        return float(self.start_ohm * (self.end_ohm / self.start_ohm) ** share)

    def apply_inplace(self, conditions: Conditions, cell: int, since_onset_s: float) -> None:
        conditions.short_s[cell] = 1.0 / self.resistance_ohm(since_onset_s)


@dataclass(frozen=True, slots=True)
class CoolingLoss:
    """Heat transfer to the ambient falls to a fraction of the healthy one, linearly, then stays."""

    remaining: float
    ramp_s: float = 0.0
    label: str = "cooling"

    def apply_inplace(self, conditions: Conditions, cell: int, since_onset_s: float) -> None:
        if since_onset_s < 0:
            return
        share = 1.0 if self.ramp_s <= 0 else min(since_onset_s / self.ramp_s, 1.0)
        conditions.cooling[cell] = 1.0 + (self.remaining - 1.0) * share
