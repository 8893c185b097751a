"""The telemetry that the engine is measured on: a fleet in constant-current charge, one sample a second.

The voltage and temperature follow a charge of NASA cell B0005 at 1.5 A (operation 10), read off at
a few instants, with measurement noise; eight groups of cells stand at eight points of the charge.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitor.contract import VERSION, AssetConfig, Frame, Limits, encode

Floats = NDArray[np.float64]

START_MS = 1_700_000_000_000
SESSION = "a1"
NOMINAL_AH = 2.0
CURRENT_A = 1.5
AMBIENT_C = 24.0
R60_OHM = 0.17  # as that cell's charges begin
GROUPS = 8
GROUP_STEP_S = 100.0
CELLS_A_SENSOR = 4

AT_S = (0, 6, 30, 60, 120, 240, 480, 720, 960, 1200, 1500, 1800, 2100, 2400, 2700, 3000)
VOLTS = (3.46, 3.47, 3.56, 3.63, 3.719, 3.82, 3.872, 3.913, 3.94, 3.96, 3.985, 4.011, 4.04, 4.076,
         4.119, 4.166)  # fmt: skip
CELSIUS = (29.4, 29.4, 29.2, 29.0, 28.5, 27.7, 26.9, 26.5, 26.3, 26.3, 26.5, 26.7, 27.1, 27.5,
           27.8, 28.3)  # fmt: skip

CHARGE_FROM_S = 3  # a rest, a moment at the cut-off voltage (the cells are empty), a rest, a charge
WARM_S = (0, 1, 2, *range(CHARGE_FROM_S, CHARGE_FROM_S + 601, 60))  # ends with the thermal window
FIRST_S = WARM_S[-1] + 1
LAST_S = int(AT_S[-1] - GROUP_STEP_S * (GROUPS - 1))


@dataclass(frozen=True, slots=True)
class Message:
    """One telemetry payload as it comes from the broker."""

    asset: str
    payload: bytes
    arrival_ms: int


@dataclass(frozen=True, slots=True)
class Instant:
    """What a fleet's sensors read at one instant."""

    volts: Floats  # (assets, cells of an asset)
    celsius: Floats  # (assets, sensors of an asset)
    current_a: float


@dataclass(frozen=True)
class FleetStream:
    """Assets of `frame` cells each, at least `cells` in all; the same seed gives the same bytes."""

    cells: int
    frame: int
    seed: int = 1
    first_group: int = 0

    @cached_property
    def assets(self) -> list[str]:
        """The assets' names."""
        return [f"pack-{k:06d}" for k in range(-(-self.cells // self.frame))]

    @property
    def sensors(self) -> int:
        """Temperature sensors of an asset."""
        return -(-self.frame // CELLS_A_SENSOR)

    @property
    def config(self) -> AssetConfig:
        """What every asset publishes of itself."""
        return AssetConfig(
            v=VERSION,
            nominal_capacity_ah=NOMINAL_AH,
            cell_type="nasa-18650",
            cells=self.frame,
            limits=Limits(charge_current_max_a=3.0, discharge_current_max_a=4.0),
        )

    def instant(self, second: int) -> Instant:
        """The readings `second` after the stream's beginning."""
        rng = np.random.default_rng((self.seed, second))
        assets = len(self.assets)
        cell = np.arange(assets * self.frame).reshape(assets, self.frame)
        group = (cell + self.first_group) % GROUPS
        into = np.maximum(0.0, second - CHARGE_FROM_S) + GROUP_STEP_S * group
        volts = np.interp(into, AT_S, VOLTS)
        celsius = np.interp(into, AT_S, CELSIUS)[:, ::CELLS_A_SENSOR]
        current = CURRENT_A
        if second < CHARGE_FROM_S:
            empty = second == 1
            rest = np.interp(into + 60.0, AT_S, VOLTS) - CURRENT_A * R60_OHM
            volts = np.full_like(volts, 2.65) if empty else rest
            current = -CURRENT_A if empty else 0.0
        return Instant(
            volts + rng.normal(0.0, 3e-4, volts.shape),
            celsius + rng.normal(0.0, 0.01, celsius.shape),
            current + (rng.normal(0.0, 1e-3) if current else 0.0),
        )

    def messages(self, second: int, *, numbered: bool = True) -> Iterator[Message]:
        """Every asset's message of that second; unnumbered where seconds are left out."""
        seq = second if numbered else None
        yield from encoded(self.assets, second, self.instant(second), seq)


def encoded(assets: list[str], second: int, instant: Instant, seq: int | None) -> Iterator[Message]:
    """One message an asset, its values rounded as a BMS would: 0.1 mV, 1 mA, 0.01 C."""
    t = START_MS + 1_000 * second
    current = round(instant.current_a, 3)
    volts = np.round(instant.volts, 4).tolist()
    celsius = np.round(instant.celsius, 2).tolist()
    for name, v, c in zip(assets, volts, celsius, strict=True):
        frame = Frame(VERSION, t, SESSION, seq, current, v, c, AMBIENT_C)
        yield Message(name, encode(frame), t + 20)
