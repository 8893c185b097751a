"""How to charge: every policy answers what a BMS sees with a current and a voltage to hold.

What it sees is one row a cell, in the order of `monitor.charging.advice.ADVICE_INPUTS`. What it
answers goes through the shield (`monitor.charging.shield.allowed_c`) before it reaches a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.charging.advice import SEEN

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

START_SOC, END_SOC = 0.10, 0.80
HIGHEST_C = 3.0
CHARGER_V = 4.2
STAGES = 5


class Policy(Protocol):
    """Currents to charge with. Arrays are (n,), in C of nominal capacity."""

    @property
    def name(self) -> str:
        """The policy's name in tables."""

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """Current and the voltage that the charger is to hold, from what is seen (n, columns)."""
        ...

    def only(self, kept: Bools) -> Policy:
        """The same policy for some of its charges, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class CcCv:
    """Constant current up to a voltage, then that voltage. `rate_c`, `cut_v` broadcast to n."""

    rate_c: Floats
    cut_v: Floats
    name: str = "CC-CV"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """The same rate and voltage whatever is seen."""
        n = len(seen)
        return np.broadcast_to(self.rate_c, n), np.broadcast_to(self.cut_v, n)

    def only(self, kept: Bools) -> CcCv:
        """The policy of the cells that are kept."""
        return CcCv(_some(self.rate_c, kept), _some(self.cut_v, kept), self.name)


def _some(values: Floats, kept: Bools) -> Floats:
    """Values of some charges; one that holds for all stays."""
    return values if len(values) == 1 else values[kept]


def always_1c() -> CcCv:
    """1 C up to the charger's voltage."""
    return CcCv(np.ones(1), np.full(1, CHARGER_V), "always 1C")


@dataclass(frozen=True, slots=True)
class CcCvByAmbient:
    """A CC-CV setting for every range of ambient temperature, as chargers with a table have."""

    ambients_c: Floats  # (k,) ascending; the nearest counts
    rate_c: Floats  # (k,)
    cut_v: Floats  # (k,)
    name: str = "CC-CV by ambient"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """The rate and voltage of the nearest ambient."""
        middles = 0.5 * (self.ambients_c[1:] + self.ambients_c[:-1])
        at = np.searchsorted(middles, seen[:, SEEN["ambient_c"]])
        return self.rate_c[at], self.cut_v[at]

    def only(self, kept: Bools) -> CcCvByAmbient:
        """The same for any cells."""
        return self


@dataclass(frozen=True, slots=True)
class MultiStage:
    """Constant currents, one for each of equal stretches of state of charge."""

    rates_c: Floats  # (stages,) or (n, stages)
    name: str = "multi-stage CC"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """The rate of the stage that the state of charge is in."""
        stages = self.rates_c.shape[-1]
        place = (seen[:, SEEN["soc"]] - START_SOC) / (END_SOC - START_SOC) * stages
        stage = np.clip(place.astype(np.int64), 0, stages - 1)
        rates = np.broadcast_to(self.rates_c, (len(seen), stages))
        return rates[np.arange(len(seen)), stage], np.full(len(seen), CHARGER_V)

    def only(self, kept: Bools) -> MultiStage:
        """The policy of the cells that are kept."""
        return self if self.rates_c.ndim == 1 else MultiStage(self.rates_c[kept], self.name)


@dataclass(frozen=True, slots=True)
class Network:
    """A trained policy: rectified layers over scaled inputs, its answer a current on a log scale.

    `squash` is whether the last layer goes through tanh (SAC) or is clipped to -1..1 (PPO).
    """

    weights: Sequence[tuple[Floats, Floats]]  # (inputs, outputs), (outputs,) of each layer
    squash: bool = False
    name: str = "PPO"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """What the network answers, up to the charger's voltage."""
        return current_of(self.action(scaled(seen))), np.full(len(seen), CHARGER_V)

    def only(self, kept: Bools) -> Network:
        """The same for any cells."""
        return self

    def action(self, x: Floats) -> Floats:
        """The action, -1 to 1, from scaled inputs (n, columns)."""
        for weight, bias in self.weights[:-1]:
            x = np.maximum(x @ weight + bias, 0.0)
        weight, bias = self.weights[-1]
        raw = (x @ weight + bias)[:, 0]
        return np.asarray(np.tanh(raw) if self.squash else np.clip(raw, -1.0, 1.0))


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Several policies that take turns over the charges: the first, the second, and again."""

    policies: Sequence[Policy]
    name: str = "side by side"

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        """Each policy answers for its own cells, in turn."""
        current_c, cut_v = np.empty(len(seen)), np.empty(len(seen))
        step = len(self.policies)
        for index, policy in enumerate(self.policies):
            current_c[index::step], cut_v[index::step] = policy.ask(seen[index::step])
        return current_c, cut_v

    def only(self, kept: Bools) -> Policy:
        """Raises NotImplementedError."""
        raise NotImplementedError("charges that leave would break the turns")


LOWEST_C = 0.15
# What becomes about -1 to 1: the middle and the half width of every input.
CENTRE = np.array([0.45, 3.7, 0.8, 26.0, 24.0, 0.9, 1.5, 0.4])
WIDTH = np.array([0.35, 0.4, 0.8, 6.0, 6.0, 0.1, 1.5, 0.8])


def scaled(seen: Floats) -> Floats:
    """What is seen as a network wants it: the weight on wear as its logarithm, all about one."""
    x = seen.copy()
    x[:, SEEN["wear_weight"]] = np.log10(x[:, SEEN["wear_weight"]])
    return np.asarray((x - CENTRE) / WIDTH)


def current_of(action: Floats) -> Floats:
    """LOWEST_C to HIGHEST_C on a logarithmic scale for an action of -1 to 1."""
    share = 0.5 * (np.clip(action, -1.0, 1.0) + 1.0)
    return np.asarray(LOWEST_C * (HIGHEST_C / LOWEST_C) ** share)
