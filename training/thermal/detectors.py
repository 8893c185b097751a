"""Every thermal detector of the benchmark behind one small interface.

`fit` sees healthy streams only. `score` gives one number a slot, higher is worse, NaN where the
detector cannot say; it may look at the past of the stream and at nothing later (the contract suite
holds that). What is learned is learned in `fit`: `score` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from training.thermal.data import Floats
from training.thermal.networks import CarriedAutoencoder, dense_autoencoder, lstm_autoencoder
from training.thermal.physical import HeatBalance, ResidualAutoencoder, ShippedScorer
from training.thermal.slots import Slots
from training.thermal.windowed import histogram_outliers, isolation_forest, principal_components


class Detector(Protocol):
    """What the benchmark asks of a detector."""

    @property
    def name(self) -> str:
        """The detector's name in tables."""

    @property
    def history_s(self) -> float:
        """How much past a score may depend on; infinite for a state that is carried."""
        ...

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Learn from healthy streams. May be called again and then starts afresh."""
        ...

    def score(self, slots: Slots) -> Floats:
        """(n,) scores of a stream."""
        ...


class Rule:
    """A baseline without learning: a function of the slot."""

    history_s = 0.0
    limit: float | None = None  # a fixed one; None is set on the training groups

    def __init__(self, name: str, of: Callable[[Slots], Floats]) -> None:
        self.name = name
        self._of = of

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Nothing to learn."""

    def score(self, slots: Slots) -> Floats:
        """What the function gives; a score a slot."""
        return self._of(slots)


def random_rule() -> Rule:
    """Noise that depends on nothing but the time of the slot."""

    def of(slots: Slots) -> Floats:
        mixed = (slots.timestamp_ms.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(
            11
        )
        return mixed.astype(np.float64) / 2.0**53

    return Rule("random", of)


def temperature_rule() -> Rule:
    """Absolute temperature, what a plain limit looks at."""
    return Rule("absolute temperature", lambda slots: slots.temperature_c.copy())


def sixty_degrees() -> Rule:
    """The plain limit that the lead times are compared with: 60 C, whatever it costs."""
    rule = Rule("60 C limit", lambda slots: slots.temperature_c.copy())
    rule.limit = 60.0
    return rule


def slope_rule() -> Rule:
    """Slope of the temperature over the slot, C/s."""
    return Rule("dT/dt", lambda slots: slots.warming_c / slots.duration_s)


def all_detectors() -> Mapping[str, Callable[[], Detector]]:
    """Makers of every detector by name, baselines first."""
    makers: list[Callable[[], Detector]] = [
        random_rule,
        temperature_rule,
        sixty_degrees,
        slope_rule,
        principal_components,
        isolation_forest,
        histogram_outliers,
        dense_autoencoder,
        lstm_autoencoder,
        CarriedAutoencoder,
        lambda: HeatBalance(adapt=False),
        HeatBalance,
        ResidualAutoencoder,
        ShippedScorer,
    ]
    return {make().name: make for make in makers}
