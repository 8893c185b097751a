"""The graphite electrode's potential against lithium while a cell charges. Pure NumPy, vectorised.

A BMS cannot measure it; it is estimated from state of charge, current and temperature. Below 0 V
lithium may plate. The electrode is that of Chen et al. (2020), J. Electrochem. Soc. 167, 080534
(LG M50, graphite with SiOx), the temperature dependence of diffusion that of Ecker et al. (2015),
J. Electrochem. Soc. 162, A1836, of the electrolyte that of Nyman et al. (2008), Electrochim. Acta
53, 6356. Another cell's anode differs: this is a proxy, and its zero is a convention.

    phi = U(x_surface) - (2 R T / F) asinh(j / (2 j0)) - c W(T)

with U the open-circuit potential, j the current density of `c` C on the particles, j0 the exchange
current density and W the ohmic drop in the electrode's electrolyte between its mean and the
separator, L / (3 kappa) for a uniform reaction. The surface is filled ahead of the mean by the
diffusion in a sphere (`SURFACE_STEADY`, three exact modes and the rest at once).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FARADAY = 96485.33212
GAS_CONSTANT = 8.314462618
ZERO_CELSIUS_K = 273.15
REFERENCE_K = 298.15

EMPTY_X, FULL_X = 0.0279, 0.9014  # stoichiometry at 0 and 100 % state of charge
RADIUS_M, DIFFUSIVITY = 5.86e-6, 3.3e-14  # m, m2/s
MAXIMUM = 33133.0  # mol/m3
EXCHANGE = 6.48e-7 * np.sqrt(1000.0) * MAXIMUM  # A/m2 over sqrt(x (1 - x)), electrolyte at 1 M
DIFFUSION_J_PER_MOL, EXCHANGE_J_PER_MOL, ELECTROLYTE_J_PER_MOL = 30_300.0, 35_000.0, 17_000.0
THICKNESS_M, POROSITY, CONDUCTIVITY = 85.2e-6, 0.25, 0.9487  # m, -, S/m at 1 M
ONE_C_A_PER_M2 = 5.0 / (0.065 * 1.58)  # of electrode

FILL_PER_S = (FULL_X - EMPTY_X) / 3600.0  # mean stoichiometry at 1 C
ONE_C_ON_PARTICLE = FILL_PER_S * FARADAY * RADIUS_M * MAXIMUM / 3.0  # A/m2
DROP_V = ONE_C_A_PER_M2 * THICKNESS_M / (3.0 * CONDUCTIVITY * POROSITY**1.5)  # at 1 C
# A sphere under constant flux: the surface ends FILL R^2 / (15 D) ahead of the mean; the roots of
# tan(r) = r are its modes, with 10 / r^2 of that and a rate r^2 D / R^2 (Crank 1975, eq. 6.60).
SURFACE_STEADY = FILL_PER_S * RADIUS_M**2 / (15.0 * DIFFUSIVITY)  # stoichiometry at 1 C
MODE_ROOTS = np.array([4.493409, 7.725252, 10.904122])
MODE_SHARES = 10.0 / MODE_ROOTS**2
MODE_RATES = MODE_ROOTS**2 * DIFFUSIVITY / RADIUS_M**2  # 1/s


def arrhenius(temperature_c: ArrayLike, activation_j_per_mol: float) -> Floats:
    """Factor on a rate at a temperature, 1 at 25 degrees Celsius."""
    kelvin = np.asarray(temperature_c, dtype=np.float64) + ZERO_CELSIUS_K
    return np.asarray(np.exp(activation_j_per_mol / GAS_CONSTANT * (1 / REFERENCE_K - 1 / kelvin)))


def open_circuit_v(x: ArrayLike) -> Floats:
    """Graphite's potential against lithium at a stoichiometry (Chen et al. 2020, eq. 9)."""
    x = np.asarray(x, dtype=np.float64)
    return np.asarray(
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )


def stoichiometry(soc: ArrayLike) -> Floats:
    """Mean filling of the electrode at a state of charge."""
    return np.asarray(EMPTY_X + (FULL_X - EMPTY_X) * np.asarray(soc, dtype=np.float64))


def potential_v(
    surface_x: ArrayLike,
    current_c: ArrayLike,
    temperature_c: ArrayLike,
    exchange: ArrayLike = 1.0,
    resistance: ArrayLike = 1.0,
) -> Floats:
    """Potential at the separator side, V against lithium; current in C of the present capacity.

    `exchange` and `resistance` are factors on the exchange current and the electrolyte's drop.
    """
    x = np.clip(np.asarray(surface_x, dtype=np.float64), 0.005, 0.995)
    c = np.asarray(current_c, dtype=np.float64)
    kelvin = np.asarray(temperature_c, dtype=np.float64) + ZERO_CELSIUS_K
    j0 = EXCHANGE * np.sqrt(x * (1.0 - x)) * arrhenius(temperature_c, EXCHANGE_J_PER_MOL)
    eta = 2.0 * GAS_CONSTANT * kelvin / FARADAY
    eta = eta * np.arcsinh(ONE_C_ON_PARTICLE * c / (2.0 * j0 * np.asarray(exchange)))
    drop = c * DROP_V / arrhenius(temperature_c, ELECTROLYTE_J_PER_MOL) * np.asarray(resistance)
    return np.asarray(open_circuit_v(x) - eta - drop)


def steady_potential_v(
    soc: ArrayLike,
    current_c: ArrayLike,
    temperature_c: ArrayLike,
    exchange: ArrayLike = 1.0,
    diffusion: ArrayLike = 1.0,
    resistance: ArrayLike = 1.0,
) -> Floats:
    """Potential once the particles' profile has settled: the least that this current leads to."""
    speed = np.asarray(diffusion) * arrhenius(temperature_c, DIFFUSION_J_PER_MOL)
    surface_x = stoichiometry(soc) + SURFACE_STEADY / speed * np.asarray(current_c)
    return potential_v(surface_x, current_c, temperature_c, exchange, resistance)
