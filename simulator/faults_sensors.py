"""Faults of sensors: what was measured is changed, what happened is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Channel = Literal["voltage", "current", "temperature"]
CHANNELS: tuple[Channel, ...] = ("voltage", "current", "temperature")

SensorKind = Literal["bias", "drift", "noise", "frozen", "stuck-zero", "spikes"]

# The largest size a severity of 1 means, in the channel's unit: a constant offset, an offset an
# hour, a standard deviation, a spike's mean height.
FULL_SIZE: dict[str, dict[Channel, float]] = {
    "bias": {"voltage": 0.1, "current": 0.5, "temperature": 10.0},
    "drift": {"voltage": 0.02, "current": 0.1, "temperature": 5.0},
    "noise": {"voltage": 0.05, "current": 0.2, "temperature": 3.0},
    "spikes": {"voltage": 2.0, "current": 5.0, "temperature": 40.0},
    "frozen": {"voltage": 0.0, "current": 0.0, "temperature": 0.0},
    "stuck-zero": {"voltage": 0.0, "current": 0.0, "temperature": 0.0},
}
SPIKE_SHARE = 0.01  # of samples


@dataclass(slots=True)
class SensorFault:
    """One faulty sensor. It remembers the last sound reading, which a frozen sensor repeats."""

    kind: SensorKind
    channel: Channel
    size: float
    rng: np.random.Generator
    _held: float | None = None

    @property
    def label(self) -> str:
        """The fault's name in the truth."""
        return f"{self.kind}-{self.channel}"

    def distort(self, values: Floats, since_onset_s: Floats) -> Floats:
        """The readings with the fault where it has begun. Called once for each operation, in order.

        Both arguments have shape (n,).
        """
        begun = since_onset_s >= 0
        seen = values.copy()
        if not begun.any():
            if len(values):
                self._held = float(values[-1])
            return seen
        count = int(begun.sum())
        if self.kind == "bias":
            seen[begun] += self.size
        elif self.kind == "drift":
            seen[begun] += self.size * since_onset_s[begun] / 3600.0
        elif self.kind == "noise":
            seen[begun] += self.rng.normal(0.0, self.size, count)
        elif self.kind == "spikes":
            hit = self.rng.random(count) < SPIKE_SHARE
            height = self.rng.choice([-1.0, 1.0], count) * self.rng.exponential(self.size, count)
            seen[begun] += np.where(hit, height, 0.0)
        elif self.kind == "stuck-zero":
            seen[begun] = 0.0
        else:
            first = int(np.argmax(begun))
            if first > 0:
                self._held = float(values[first - 1])
            if self._held is None:
                self._held = float(values[first])
            seen[begun] = self._held
        return seen
