"""What a charge must not pass, and the shield that holds any wish below it. Pure and vectorised.

The shield uses only what a BMS measures or estimates. It is what trains with the policies and what
the monitor runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor import anode

Floats = NDArray[np.float64]

# Every parameter 10 % off to the bad side with the estimates' worst errors (2 % of state of charge,
# 3 % of health) brought the anode 43 mV below what was thought.
ANODE_MARGIN_V = 0.045
HEAT_MARGIN_K = 0.5
DERATING_K = 4.0  # below the limit the current falls to nothing over so many kelvin
_SOC_POINTS, _TEMPERATURES_C = 101, (-20.0, 60.0, 41)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a charge must not pass. Current in C of nominal capacity."""

    voltage_max_v: float = 4.2
    current_max_c: float = 3.0
    temperature_max_c: float = 45.0
    anode_min_v: float = 0.0


def allowed_c(soc: ArrayLike, soh: ArrayLike, temperature_c: ArrayLike, limits: Limits) -> Floats:
    """The largest current, in C of nominal capacity, that keeps temperature and anode in bounds.

    Voltage is the charger's own matter: it is told `limits.voltage_max_v`. Below 0 degrees Celsius
    the anode's bound goes on falling; nothing is allowed outside -20 to 60 degrees.
    """
    temperature_c = np.asarray(temperature_c, dtype=np.float64)
    by_heat = (limits.temperature_max_c - HEAT_MARGIN_K - temperature_c) / DERATING_K
    by_heat = limits.current_max_c * np.clip(by_heat, 0.0, 1.0)
    by_anode = np.minimum(
        _anode_c(limits.anode_min_v, soc, temperature_c) * np.asarray(soh), limits.current_max_c
    )
    low, high, _ = _TEMPERATURES_C
    usable = (temperature_c >= low) & (temperature_c <= high)
    return np.asarray(np.where(usable, np.minimum(by_heat, by_anode), 0.0))


def which_limit(soc: float, soh: float, temperature_c: float, limits: Limits) -> str:
    """Which bound `allowed_c` comes from: "current", "temperature" or "plating"."""
    by_anode = float(_anode_c(limits.anode_min_v, soc, temperature_c) * soh)
    heat = (limits.temperature_max_c - HEAT_MARGIN_K - temperature_c) / DERATING_K
    by_heat = limits.current_max_c * min(max(heat, 0.0), 1.0)
    if min(by_anode, by_heat) >= limits.current_max_c:
        return "current"
    return "temperature" if by_heat < by_anode else "plating"


def _anode_c(anode_min_v: float, soc: ArrayLike, temperature_c: ArrayLike) -> Floats:
    """Current of present capacity at which the settled anode stands ANODE_MARGIN_V above."""
    table = _anode_table(anode_min_v)
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
def _anode_table(anode_min_v: float) -> Floats:
    """`_anode_c` on a grid of state of charge and temperature, by bisection. (101, 41)"""
    low_c, high_c, count = _TEMPERATURES_C
    soc = np.linspace(0.0, 1.0, _SOC_POINTS)[:, None]
    temperature_c = np.linspace(low_c, high_c, count)[None, :]
    low, high = np.zeros((_SOC_POINTS, count)), np.full((_SOC_POINTS, count), 10.0)
    for _ in range(24):
        middle = 0.5 * (low + high)
        fine = anode.steady_potential_v(soc, middle, temperature_c) > anode_min_v + ANODE_MARGIN_V
        low, high = np.where(fine, middle, low), np.where(fine, high, middle)
    low.setflags(write=False)
    return low
