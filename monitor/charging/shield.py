"""What a charge must not pass, and the shield that holds any wish below it. Pure and vectorised.

The shield uses only what a BMS measures or estimates. It is what trains with the policies and what
the monitor runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.charging import anode

Floats = NDArray[np.float64]

LOWEST_SOH = 0.8  # at which the tolerance's error of health weighs as much as it ever does
_SOC_POINTS, _TEMPERATURES_C = 101, (-20.0, 60.0, 41)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the cell and what is thought of it may be off, to the bad side all at once.

    The margin at the anode is worked out from it at every state of charge and temperature: where
    little current flows little can go wrong, so a margin in volts for all of them would be either
    too small somewhere or too large elsewhere.
    """

    parameters: float = 0.10  # of the anode's and the capacity
    soc: float = 0.02
    soh: float = 0.03
    hold_s: float = 20.0  # how long a current is held before the shield looks again
    rest_v: float = 0.005  # the table's own error, and a profile that lags behind its current
    heat_margin_k: float = 0.5
    derating_k: float = 4.0  # below the limit the current falls to nothing over so many kelvin


# Of one who knows the cell: for a bound on what any shield could let through, not for use.
PERFECT = Tolerance(0.0, 0.0, 0.0, 0.0, 0.0, heat_margin_k=0.3, derating_k=1.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a charge must not pass. Current in C of nominal capacity."""

    voltage_max_v: float = 4.2
    current_max_c: float = 3.0
    temperature_max_c: float = 45.0
    anode_min_v: float = 0.0
    tolerance: Tolerance = Tolerance()


def allowed_c(soc: ArrayLike, soh: ArrayLike, temperature_c: ArrayLike, limits: Limits) -> Floats:
    """The largest current, in C of nominal capacity, that keeps temperature and anode in bounds.

    Voltage is the charger's own matter: it is told `limits.voltage_max_v`. Below 0 degrees Celsius
    the anode's bound goes on falling; nothing is allowed outside -20 to 60 degrees.
    """
    temperature_c = np.asarray(temperature_c, dtype=np.float64)
    by_heat = limits.current_max_c * _cool(temperature_c, limits)
    by_anode = np.minimum(
        _anode_c(limits, soc, temperature_c) * np.asarray(soh), limits.current_max_c
    )
    low, high, _ = _TEMPERATURES_C
    usable = (temperature_c >= low) & (temperature_c <= high)
    return np.asarray(np.where(usable, np.minimum(by_heat, by_anode), 0.0))


def which_limit(soc: float, soh: float, temperature_c: float, limits: Limits) -> str:
    """Which bound `allowed_c` comes from: "current", "temperature" or "plating"."""
    by_anode = float(_anode_c(limits, soc, temperature_c) * soh)
    by_heat = limits.current_max_c * float(_cool(temperature_c, limits))
    if min(by_anode, by_heat) >= limits.current_max_c:
        return "current"
    return "temperature" if by_heat < by_anode else "plating"


def _cool(temperature_c: ArrayLike, limits: Limits) -> Floats:
    """1 where it is cool enough for any current, falling to 0 at the limit less its margin."""
    tolerance = limits.tolerance
    below_k = limits.temperature_max_c - tolerance.heat_margin_k - np.asarray(temperature_c)
    return np.asarray(np.clip(below_k / tolerance.derating_k, 0.0, 1.0))


def _anode_c(limits: Limits, soc: ArrayLike, temperature_c: ArrayLike) -> Floats:
    """Current of present capacity, as it is thought to be, that the anode bears at the worst."""
    table = _anode_table(limits.anode_min_v, limits.tolerance)
    low, high, count = _TEMPERATURES_C
    row = np.clip(np.asarray(soc, dtype=np.float64), 0.0, 1.0) * (_SOC_POINTS - 1)
    column = (np.asarray(temperature_c, dtype=np.float64) - low) / (high - low) * (count - 1)
    column = np.clip(column, 0.0, count - 1)
    i = np.minimum(row.astype(np.int64), _SOC_POINTS - 2)
    j = np.minimum(column.astype(np.int64), count - 2)
    u, v = row - i, column - j
    below = table[i, j] * (1.0 - v) + table[i, j + 1] * v
    above = table[i + 1, j] * (1.0 - v) + table[i + 1, j + 1] * v
    return np.asarray(below * (1.0 - u) + above * u)


@lru_cache(maxsize=8)
def _anode_table(anode_min_v: float, tolerance: Tolerance) -> Floats:
    """`_anode_c` on a grid of state of charge and temperature, by bisection. (101, 41)"""
    low_c, high_c, count = _TEMPERATURES_C
    soc = np.linspace(0.0, 1.0, _SOC_POINTS)[:, None]
    temperature_c = np.linspace(low_c, high_c, count)[None, :]
    low, high = np.zeros((_SOC_POINTS, count)), np.full((_SOC_POINTS, count), 10.0)
    least_v = anode_min_v + tolerance.rest_v
    for _ in range(24):
        middle = 0.5 * (low + high)
        fine = worst_anode_v(soc, middle, temperature_c, tolerance) > least_v
        low, high = np.where(fine, middle, low), np.where(fine, high, middle)
    low.setflags(write=False)
    return low


def worst_anode_v(
    soc: ArrayLike, current_c: ArrayLike, temperature_c: ArrayLike, tolerance: Tolerance
) -> Floats:
    """The settled anode of the worst cell within the tolerance, V against lithium.

    `soc` and `current_c` are what the BMS thinks, the current in C of the capacity that it thinks
    the cell has. The potential falls with each of the deviations, so the worst is all at once.
    """
    off = tolerance.parameters
    own_c = np.asarray(current_c) * (1.0 + tolerance.soh / LOWEST_SOH) / (1.0 - off)
    fuller = np.asarray(soc) + tolerance.soc + own_c * tolerance.hold_s / 3600.0
    return anode.steady_potential_v(
        fuller, own_c, temperature_c, exchange=1.0 - off, diffusion=1.0 - off, resistance=1.0 + off
    )
