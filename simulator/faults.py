"""Faults of a cell, acting inside the twin's equations.

Each fault is a function of the time since its onset that changes the twin's `Conditions`: a
resistance, a heat flow, a voltage limit. Voltage, current and temperature follow from the physics;
no ramp is added to a signal. Every fault is synthetic: no NASA or CALCE cell shows a real thermal
failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from simulator.twin import Conditions

Floats = NDArray[np.float64]


class CellFault(Protocol):
    """A fault of a cell."""

    @property
    def label(self) -> str:
        """The fault's name in the truth."""

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """Change the conditions of the next step, column by column.

        Columns are cells, or one cell's steps. Where `since_onset_s` is below zero the fault has
        not begun and nothing changes.
        """
        ...


def _grown(since_onset_s: Floats, growth_s: float) -> Floats:
    """How far a fault has grown, 0..1, linearly over growth_s; meant where it has begun."""
    if growth_s <= 0:
        return np.ones_like(since_onset_s)
    return np.asarray(np.clip(since_onset_s / growth_s, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class InternalShort:
    """A short circuit between the electrodes: its resistance falls exponentially, then stays."""

    start_ohm: float
    end_ohm: float
    growth_s: float
    label: str = "isc"

    def resistance_ohm(self, since_onset_s: ArrayLike) -> Floats:
        """Resistance of the short; infinite before the onset."""
        since_s = np.asarray(since_onset_s, dtype=np.float64)
        ratio = self.end_ohm / self.start_ohm
        resistance = self.start_ohm * ratio ** _grown(since_s, self.growth_s)
        return np.where(since_s < 0, np.inf, resistance)

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """A resistance across the cell's terminals inside."""
        conditions.short_s[:] += 1.0 / self.resistance_ohm(since_onset_s)


@dataclass(frozen=True, slots=True)
class CoolingLoss:
    """Heat transfer to the ambient falls to a fraction of the healthy one, then stays."""

    remaining: float
    growth_s: float = 0.0
    label: str = "cooling"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """Less cooling, down to the share that remains."""
        begun = since_onset_s >= 0
        lost = (1.0 - self.remaining) * _grown(since_onset_s, self.growth_s)
        conditions.cooling[:] *= np.where(begun, 1.0 - lost, 1.0)


@dataclass(frozen=True, slots=True)
class ExternalHeating:
    """Heat from outside, such as a burning neighbour or a heater: it grows, then stays."""

    heat_w: float
    growth_s: float = 0.0
    label: str = "heating"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """Heat from outside, W."""
        begun = since_onset_s >= 0
        heat_w = self.heat_w * _grown(since_onset_s, self.growth_s)
        conditions.external_heat_w[:] += np.where(begun, heat_w, 0.0)


@dataclass(frozen=True, slots=True)
class Overcharge:
    """The charger ends at too high a voltage. It shows in charges only."""

    excess_v: float
    label: str = "overcharge"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """The charger goes on past its voltage."""
        conditions.voltage_max_v[:] += np.where(since_onset_s >= 0, self.excess_v, 0.0)


@dataclass(frozen=True, slots=True)
class CapacityDrop:
    """Capacity goes and resistance grows much faster than by ageing, as when lithium plates."""

    loss: float  # of nominal capacity in all
    growth_s: float
    label: str = "plating"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """Capacity is lost, a share of it a second."""
        running = (since_onset_s >= 0) & (since_onset_s < self.growth_s)
        conditions.loss_per_s[:] += np.where(running, self.loss / self.growth_s, 0.0)


@dataclass(frozen=True, slots=True)
class ContactResistance:
    """A weld or a terminal goes bad: resistance in series, inside the measured voltage."""

    end_ohm: float
    growth_s: float = 0.0
    label: str = "contact"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """A resistance in series, ohm."""
        begun = since_onset_s >= 0
        ohm = self.end_ohm * _grown(since_onset_s, self.growth_s)
        conditions.contact_ohm[:] += np.where(begun, ohm, 0.0)


@dataclass(frozen=True, slots=True)
class Runaway:
    """An internal short that grows until the decomposition reactions take over.

    The reactions are the twin's own (Hatchard et al. 2001, Kim et al. 2007) and run in every hot
    cell; this fault brings it there, with cooling hindered as it is inside a pack.
    """

    growth_s: float
    start_ohm: float = 50.0
    end_ohm: float = 0.3
    cooling_left: float = 0.5
    label: str = "runaway"

    def apply_inplace(self, conditions: Conditions, since_onset_s: Floats) -> None:
        """A short that ends in decomposition."""
        short = InternalShort(self.start_ohm, self.end_ohm, self.growth_s)
        short.apply_inplace(conditions, since_onset_s)
        CoolingLoss(self.cooling_left, self.growth_s).apply_inplace(conditions, since_onset_s)


def _scale(low: float, high: float) -> Callable[[float], float]:
    """A geometric scale over severity 0..1."""
    return lambda severity: low * (high / low) ** severity


# What a severity of 0..1 means where a fault is not given its own values: the end value's key, the
# scale, and how long the fault takes to grow (None where it does not).
SEVERITY: dict[str, tuple[str, Callable[[float], float], float | None]] = {
    "isc": ("ohm", _scale(100.0, 1.0), 3600.0),
    "isc-hard": ("ohm", _scale(1.0, 0.02), 0.0),
    "cooling": ("remaining", lambda severity: 1.0 - severity, 60.0),
    "heating": ("watt", lambda severity: 10.0 * severity, 60.0),
    "overcharge": ("volt", lambda severity: 0.6 * severity, None),
    "plating": ("loss", lambda severity: 0.3 * severity, 6 * 3600.0),
    "contact": ("ohm", lambda severity: 0.3 * severity, 600.0),
    "runaway": ("growth", _scale(3 * 3600.0, 540.0), None),
}
START_OHM = 150.0  # a growing short begins where it can hardly be seen


def cell_fault(kind: str, value: float, growth_s: float) -> CellFault:
    """The fault of a kind in `SEVERITY` with its end value. Raises KeyError for another kind."""
    makers: dict[str, Callable[[], CellFault]] = {
        "isc": lambda: InternalShort(max(START_OHM, value), value, growth_s),
        "isc-hard": lambda: InternalShort(value, value, 0.0, label="isc-hard"),
        "cooling": lambda: CoolingLoss(value, growth_s),
        "heating": lambda: ExternalHeating(value, growth_s),
        "overcharge": lambda: Overcharge(value),
        "plating": lambda: CapacityDrop(value, growth_s),
        "contact": lambda: ContactResistance(value, growth_s),
        "runaway": lambda: Runaway(value),
    }
    return makers[kind]()
