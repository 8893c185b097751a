"""The twin's equations, compiled. All jitted functions stand here, since a cached kernel does not
notice that a callee in another file changed.

Rows of the arrays are quantities, columns are cells: see `twin.TwinState` and `twin.Conditions`.

A cell is an open-circuit voltage U(z), an ohmic resistance and two diffusion-like pairs

    V = U + f(T) (R0 I + R1 i1 + R2 i2),   di/dt = (I - i) / tau,

with i the current that has settled in each pair (Plett 2015, "Battery Management Systems I",
eq. 2.8), so a resistance may change with state of charge and the cell still relaxes to U. The pairs
are stepped by the exact exponential solution for constant current, and the terminal voltage is
solved for at the end of the step, so any step is stable, also with a short circuit or at constant
voltage. Heat is Bernardi's (1985): I (V - U) + I T dU/dT; the lumped temperature is stepped by its
own exact exponential.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])

GAS_CONSTANT = 8.314462618
ZERO_CELSIUS_K = 273.15
_SECONDS_PER_HOUR = 3600.0
_SECONDS_PER_DAY = 86400.0

# Rows of the state.
DISCHARGED_AH, PAIR1_A, PAIR2_A, TEMPERATURE_C = 0, 1, 2, 3
CAPACITY_LOSS, RESISTANCE_AGE, LOSS_CALENDAR, LOSS_CYCLE = 4, 5, 6, 7
THROUGHPUT_AH, RESISTANCE_SCALE = 8, 9
STATE_ROWS = 10

# Rows of the conditions: what the outside does to a cell during a step.
SETPOINT, IS_POWER, VOLTAGE_MAX_V, AMBIENT_C, COOLING = 0, 1, 2, 3, 4
SHORT_S, EXTERNAL_HEAT_W, CONTACT_OHM, CONTACT_HEAT_SHARE = 5, 6, 7, 8
CONDITION_ROWS = 9

# Rows of the outputs: terminal values at the end of the step, means over it.
VOLTAGE_V, CURRENT_A, CELL_CURRENT_A, HEAT_W, OCV_V, LOSS_TO_AMBIENT_W = 0, 1, 2, 3, 4, 5
OUTPUT_ROWS = 6


class Tables(NamedTuple):
    """A cell's parameters as the kernel reads them; every axis is uniform."""

    nominal_ah: float
    stoichiometry_low: float  # first and last point of the axis of the next two
    stoichiometry_high: float
    ocv_v: Floats  # (m,) over z, the charge left as a fraction of total_ah; past 0..1 in abuse
    entropy_v_per_k: Floats  # (m,) dU/dT over the same axis
    soc_low: float  # first point of the resistances' axis, which ends at 1
    loss_high: float  # last point of the ageing axis, which starts at 0
    total_ah: Floats  # (k,) charge between OCV limits, over capacity loss
    resistance_ohm: Floats  # (3, k, s): ohmic and two pairs, over ageing and state of charge
    charge_factor: float  # of the pairs when charging
    tau1_s: float
    tau2_s: float
    activation_j_per_mol: float
    reference_k: float
    heat_capacity_j_per_k: float
    heat_transfer_w_per_k: float
    ageing: Floats  # (9,) coefficients, see twin_parameters


def njit(function: F) -> F:
    """Compile, cache on disk, release the GIL, divide as IEEE 754 does."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@njit
def _interpolate(table: Floats, position: float) -> float:
    """Linear interpolation at a position in grid steps; held constant outside."""
    last = table.shape[0] - 1
    if position <= 0.0:
        return float(table[0])
    if position >= last:
        return float(table[last])
    index = int(position)
    return float(table[index] + (table[index + 1] - table[index]) * (position - index))


@njit
def _bilinear(table: Floats, row: float, column: float) -> float:
    """Bilinear interpolation at a position in grid steps; held constant outside."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    row = min(max(row, 0.0), float(rows))
    column = min(max(column, 0.0), float(columns))
    i = min(int(row), rows - 1)
    j = min(int(column), columns - 1)
    u, v = row - i, column - j
    low = table[i, j] + (table[i, j + 1] - table[i, j]) * v
    high = table[i + 1, j] + (table[i + 1, j + 1] - table[i + 1, j]) * v
    return float(low + (high - low) * u)


@njit
def _step_ageing(
    state: Floats, c: int, p: Tables, dt_s: float, current_a: float, voltage_v: float
) -> None:
    """Advance capacity loss and resistance age of cell c by the law in `twin_parameters`."""
    a = p.ageing
    kelvin = state[TEMPERATURE_C, c] + ZERO_CELSIUS_K
    days = dt_s / _SECONDS_PER_DAY
    stress = max(a[0] * voltage_v - a[1], 0.0)
    rate = stress * np.exp(-a[2] / kelvin)  # loss per day^a3
    if rate > 0.0 and days > 0.0:
        exponent = a[3]
        elapsed = (state[LOSS_CALENDAR, c] / rate) ** (1.0 / exponent)
        grown = rate * (elapsed + days) ** exponent
        calendar = grown - state[LOSS_CALENDAR, c]
        state[LOSS_CALENDAR, c] = grown
    else:
        calendar = 0.0
    moved_ah = abs(current_a) * dt_s / _SECONDS_PER_HOUR
    cycle = 0.0
    if moved_ah > 0.0:
        c_rate = abs(current_a) / p.nominal_ah
        away = voltage_v - a[5]
        per = a[4] * (1.0 + a[6] * away * away)
        per *= np.exp((a[7] + a[8] * c_rate) * (1.0 / p.reference_k - 1.0 / kelvin))
        cycle = per * moved_ah / p.nominal_ah
        state[LOSS_CYCLE, c] += cycle
        state[THROUGHPUT_AH, c] += moved_ah
    state[CAPACITY_LOSS, c] += calendar + cycle
    state[RESISTANCE_AGE, c] += calendar + cycle


@njit
def step_kernel_inplace(
    state: Floats, conditions: Floats, output: Floats, p: Tables, dt_s: float
) -> None:
    """Advance every cell by dt_s under constant conditions; write terminal values to `output`."""
    decay1, decay2 = np.exp(-dt_s / p.tau1_s), np.exp(-dt_s / p.tau2_s)
    ocv_steps = (p.ocv_v.shape[0] - 1) / (p.stoichiometry_high - p.stoichiometry_low)
    soc_steps = (p.resistance_ohm.shape[2] - 1) / (1.0 - p.soc_low)
    loss_steps = (p.total_ah.shape[0] - 1) / p.loss_high
    hours = dt_s / _SECONDS_PER_HOUR
    for c in range(state.shape[1]):
        temperature_c = state[TEMPERATURE_C, c]
        kelvin = temperature_c + ZERO_CELSIUS_K
        capacity_ah = p.nominal_ah * (1.0 - state[CAPACITY_LOSS, c])
        total_ah = _interpolate(p.total_ah, state[CAPACITY_LOSS, c] * loss_steps)
        out_ah = state[DISCHARGED_AH, c]
        z = 1.0 - out_ah / total_ah
        place = (z - p.stoichiometry_low) * ocv_steps
        ocv_v = _interpolate(p.ocv_v, place)
        slope_v = _interpolate(p.ocv_v, place + 0.5) - _interpolate(p.ocv_v, place - 0.5)
        slope_v *= ocv_steps / total_ah  # volts per Ah
        age = state[RESISTANCE_AGE, c] * loss_steps
        soc = (1.0 - out_ah / capacity_ah - p.soc_low) * soc_steps
        warm = np.exp(p.activation_j_per_mol / GAS_CONSTANT * (1.0 / kelvin - 1.0 / p.reference_k))
        warm *= state[RESISTANCE_SCALE, c]
        r0 = _bilinear(p.resistance_ohm[0], age, soc) * warm
        r1 = _bilinear(p.resistance_ohm[1], age, soc) * warm
        r2 = _bilinear(p.resistance_ohm[2], age, soc) * warm
        i1, i2 = state[PAIR1_A, c], state[PAIR2_A, c]
        if i2 * decay2 + conditions[SETPOINT, c] * (1.0 - decay2) > 0.0:
            r1 *= p.charge_factor
            r2 *= p.charge_factor
        # The cell at the end of the step is V = source + resistance * I.
        source = ocv_v + r1 * i1 * decay1 + r2 * i2 * decay2
        resistance = r0 + r1 * (1.0 - decay1) + r2 * (1.0 - decay2) + slope_v * hours
        short_s = conditions[SHORT_S, c]
        contact = conditions[CONTACT_OHM, c]
        # A short in parallel: as seen from outside, Thevenin's theorem.
        outer_source = source / (1.0 + short_s * resistance)
        outer_resistance = resistance / (1.0 + short_s * resistance) + contact
        if conditions[IS_POWER, c] > 0.0:
            # V I = P, the root with the smaller current; at the peak when P cannot be delivered.
            root = outer_source * outer_source + 4.0 * outer_resistance * conditions[SETPOINT, c]
            current = (np.sqrt(max(root, 0.0)) - outer_source) / (2.0 * outer_resistance)
        else:
            current = conditions[SETPOINT, c]
        if current > 0.0:
            limit = (conditions[VOLTAGE_MAX_V, c] - outer_source) / outer_resistance
            current = min(current, max(limit, 0.0))
        terminal_v = outer_source + outer_resistance * current
        node_v = terminal_v - contact * current
        cell_a = current - short_s * node_v
        heat_w = cell_a * (node_v - ocv_v - 0.5 * cell_a * slope_v * hours)
        heat_w += short_s * node_v * node_v
        entropy = _interpolate(p.entropy_v_per_k, place)
        heat_w += cell_a * kelvin * entropy
        heat_w += conditions[CONTACT_HEAT_SHARE, c] * contact * current * current
        heat_w += conditions[EXTERNAL_HEAT_W, c]
        state[PAIR1_A, c] = i1 * decay1 + cell_a * (1.0 - decay1)
        state[PAIR2_A, c] = i2 * decay2 + cell_a * (1.0 - decay2)
        state[DISCHARGED_AH, c] = out_ah - cell_a * hours
        transfer = p.heat_transfer_w_per_k * conditions[COOLING, c]
        if transfer > 0.0:
            settled_c = conditions[AMBIENT_C, c] + heat_w / transfer
            fade = np.exp(-transfer * dt_s / p.heat_capacity_j_per_k)
            state[TEMPERATURE_C, c] = settled_c + (temperature_c - settled_c) * fade
        else:
            state[TEMPERATURE_C, c] = temperature_c + heat_w * dt_s / p.heat_capacity_j_per_k
        gained_w = (state[TEMPERATURE_C, c] - temperature_c) * p.heat_capacity_j_per_k / dt_s
        output[VOLTAGE_V, c] = terminal_v
        output[CURRENT_A, c] = current
        output[CELL_CURRENT_A, c] = cell_a
        output[HEAT_W, c] = heat_w
        output[OCV_V, c] = ocv_v
        output[LOSS_TO_AMBIENT_W, c] = heat_w - gained_w
        _step_ageing(state, c, p, dt_s, cell_a, ocv_v)
