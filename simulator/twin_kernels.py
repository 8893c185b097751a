"""The twin's equations, compiled. All its jitted functions stand here, since the cache on disk is
keyed by this file (see `monitor.kernels.cache`).

Rows of the arrays are quantities, columns are cells: see `twin.TwinState` and `twin.Conditions`.

Electrical. An open-circuit voltage U(z), an ohmic resistance and two diffusion-like pairs:

    V = U + f(T) (R0 I + R1 i1 + R2 i2),   di/dt = (I - i) / tau,

with i the current that has settled in each pair (Plett 2015, Battery Management Systems I), so a
resistance may change with state of charge and the cell still relaxes to U. The pairs are stepped by
the exact solution for constant current and the terminal voltage is solved for at the end of the
step, so any step is stable, also with a short circuit or at constant voltage.

Thermal. Bernardi's heat (Bernardi et al. 1985): I (V - U) + I T dU/dT, into one lumped heat
capacity, stepped by its exact exponential. Above `REACTION_C` four decomposition reactions add
heat (Hatchard et al. 2001; Kim et al. 2007) in substeps of at most 2 K, and where the
separator has melted a hard short circuit stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from monitor.kernels.jit import njit

Floats = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])

GAS_CONSTANT = 8.314462618
ZERO_CELSIUS_K = 273.15
_SECONDS_PER_HOUR = 3600.0
_SECONDS_PER_DAY = 86400.0
REACTION_C = 60.0  # below it a reaction moves less than 1e-6 of its reactant an hour
_SUBSTEP_K = 2.0
_AGEING_LIMIT_C = 100.0  # hotter, decomposition takes over from ageing
_LOSS_LIMIT = 0.95

# Rows of the state.
DISCHARGED_AH, PAIR1_A, PAIR2_A, TEMPERATURE_C = 0, 1, 2, 3
CAPACITY_LOSS, RESISTANCE_AGE, CALENDAR_ROOT, THROUGHPUT_AH, RESISTANCE_SCALE = 4, 5, 6, 7, 8
SEI, ANODE, SEI_GROWN, CATHODE, ELECTROLYTE, MELTED = 9, 10, 11, 12, 13, 14
STATE_ROWS = 15

# Rows of the conditions: what the outside and a fault do to a cell during a step.
SETPOINT, IS_POWER, VOLTAGE_MAX_V, AMBIENT_C, COOLING = 0, 1, 2, 3, 4
SHORT_S, EXTERNAL_HEAT_W, CONTACT_OHM, LOSS_PER_S = 5, 6, 7, 8
CONDITION_ROWS = 9

# Rows of the outputs.
VOLTAGE_V, CURRENT_A, CELL_CURRENT_A, HEAT_W, OCV_V, LOSS_TO_AMBIENT_W, REACTION_W = range(7)
OUTPUT_ROWS = 7


class Tables(NamedTuple):
    """A cell's parameters as the kernel reads them; every axis is uniform."""

    nominal_ah: float
    stoichiometry_low: float  # first and last point of the axis of the next two
    stoichiometry_high: float
    ocv_v: Floats  # (m,) over z, the charge left as a fraction of total_ah; past 0..1 in abuse
    entropy_v_per_k: Floats  # (m,) dU/dT over the same axis
    soc_low: float  # first point of the resistances' axis, which ends at 1
    loss_low: float  # first and last point of the ageing axis
    loss_high: float
    total_ah: Floats  # (k,) charge between OCV limits, over capacity loss
    # (5, k, s) over ageing and state of charge: ohmic, both pairs discharging, both charging.
    resistance_ohm: Floats
    tau1_s: float
    tau2_s: float
    activation_j_per_mol: float
    reference_k: float
    heat_capacity_j_per_k: float
    heat_transfer_w_per_k: float
    ageing: Floats  # (12,) in the order of twin_parameters.Ageing
    reactions: Floats  # (4, 3): frequency in 1/s, activation temperature in K, heat in J
    reaction_start: Floats  # (5,): SEI, anode, SEI grown, cathode, electrolyte of a sound cell
    sei_reference: float  # z0 of the anode reaction's damping
    melt_c: float
    melted_s: float  # conductance of the short circuit through a melted separator


def inlined(function: F) -> F:
    """Put the function's body where it is called: a call would count references on every table,
    which costs more than the arithmetic."""
    return cast(F, numba.njit(inline="always", nogil=True, error_model="numpy")(function))


@inlined
def _interpolate(table: Floats, position: float) -> float:
    """Linear interpolation at a position in grid steps; held constant outside."""
    last = table.shape[0] - 1
    if np.isnan(position):  # no number is a place in a table
        return np.nan
    if position <= 0.0:
        return float(table[0])
    if position >= last:
        return float(table[last])
    index = int(position)
    return float(table[index] + (table[index + 1] - table[index]) * (position - index))


@inlined
def _bilinear(table: Floats, row: float, column: float) -> float:
    """Bilinear interpolation at a position in grid steps; held constant outside."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    if np.isnan(row) or np.isnan(column):
        return np.nan
    row = min(max(row, 0.0), float(rows))
    column = min(max(column, 0.0), float(columns))
    i = min(int(row), rows - 1)
    j = min(int(column), columns - 1)
    u, v = row - i, column - j
    low = table[i, j] + (table[i, j + 1] - table[i, j]) * v
    high = table[i + 1, j] + (table[i + 1, j + 1] - table[i + 1, j]) * v
    return float(low + (high - low) * u)


@inlined
def _age_inplace(
    state: Floats,
    c: int,
    p: Tables,
    dt_s: float,
    current_a: float,
    ocv_v: float,
    loss_per_s: float,
) -> None:
    """Advance capacity loss and resistance age of cell c; the law is in `twin_parameters`."""
    a = p.ageing
    kelvin = min(state[TEMPERATURE_C, c], _AGEING_LIMIT_C) + ZERO_CELSIUS_K
    # Calendar loss L = rate t^n at any rate: L^(1/n) grows by rate^(1/n) dt.
    grown = loss_per_s * dt_s
    stress = a[0] * ocv_v - a[1]
    if stress > 0.0:
        before = state[CALENDAR_ROOT, c]
        after = before + np.exp((np.log(stress) - a[2] / kelvin) / a[3]) * dt_s / _SECONDS_PER_DAY
        state[CALENDAR_ROOT, c] = after
        grown += np.exp(a[3] * np.log(after))
        if before > 0.0:
            grown -= np.exp(a[3] * np.log(before))
    moved_ah = abs(current_a) * dt_s / _SECONDS_PER_HOUR
    if moved_ah > 0.0:
        away_v = ocv_v - a[5]
        inverse = 1.0 / p.reference_k - 1.0 / kelvin
        exponent = (a[7] if inverse > 0.0 else a[8]) * inverse
        c_rate = abs(current_a) / p.nominal_ah
        exponent += max(a[9] * kelvin + a[10], 0.0) * (c_rate - a[11])
        per_throughput = a[4] * (1.0 + a[6] * away_v * away_v) * np.exp(exponent)
        grown += per_throughput * moved_ah / p.nominal_ah
        state[THROUGHPUT_AH, c] += moved_ah
    state[CAPACITY_LOSS, c] = min(state[CAPACITY_LOSS, c] + grown, _LOSS_LIMIT)
    state[RESISTANCE_AGE, c] = min(state[RESISTANCE_AGE, c] + grown, _LOSS_LIMIT)


@inlined
def _react_inplace(state: Floats, c: int, p: Tables, dt_s: float) -> float:
    """Advance the four decomposition reactions at constant temperature; the heat freed, in J."""
    r = p.reactions
    kelvin = state[TEMPERATURE_C, c] + ZERO_CELSIUS_K
    # First order in what is left: exact exponentials.
    sei = state[SEI, c] * np.exp(-r[0, 0] * np.exp(-r[0, 1] / kelvin) * dt_s)
    damping = np.exp(-state[SEI_GROWN, c] / p.sei_reference)
    anode = state[ANODE, c] * np.exp(-r[1, 0] * damping * np.exp(-r[1, 1] / kelvin) * dt_s)
    electrolyte = state[ELECTROLYTE, c] * np.exp(-r[3, 0] * np.exp(-r[3, 1] / kelvin) * dt_s)
    # Autocatalytic, da/dt = k a (1 - a): the exact logistic.
    a = state[CATHODE, c]
    growth = np.exp(-r[2, 0] * np.exp(-r[2, 1] / kelvin) * dt_s)
    cathode = a / (a + (1.0 - a) * growth)
    heat_j = r[0, 2] * (state[SEI, c] - sei) + r[1, 2] * (state[ANODE, c] - anode)
    heat_j += r[2, 2] * (cathode - a) + r[3, 2] * (state[ELECTROLYTE, c] - electrolyte)
    state[SEI_GROWN, c] += state[ANODE, c] - anode
    state[SEI, c], state[ANODE, c] = sei, anode
    state[CATHODE, c], state[ELECTROLYTE, c] = cathode, electrolyte
    return float(heat_j)


@inlined
def _warm_inplace(
    state: Floats, c: int, p: Tables, dt_s: float, heat_w: float, ambient_c: float, cooling: float
) -> float:
    """Advance the temperature under constant heat; the mean heat of the reactions, in W."""
    transfer = p.heat_transfer_w_per_k * cooling
    left_s, freed_j = dt_s, 0.0
    while left_s > 0.0:
        before_c = state[TEMPERATURE_C, c]
        step_s, power_w = left_s, heat_w
        if before_c > REACTION_C:
            # A trial over a short time tells how fast the reactions run now.
            sei, anode, grown = state[SEI, c], state[ANODE, c], state[SEI_GROWN, c]
            cathode, electrolyte = state[CATHODE, c], state[ELECTROLYTE, c]
            trial_s = min(left_s, 1e-3)
            trial_w = abs(_react_inplace(state, c, p, trial_s) / trial_s + heat_w)
            state[SEI, c], state[ANODE, c], state[SEI_GROWN, c] = sei, anode, grown
            state[CATHODE, c], state[ELECTROLYTE, c] = cathode, electrolyte
            step_s = min(left_s, _SUBSTEP_K * p.heat_capacity_j_per_k / max(trial_w, 1e-9))
            step_s = min(max(step_s, 1e-4), left_s, 10.0)
            reaction_j = _react_inplace(state, c, p, step_s)
            freed_j += reaction_j
            power_w += reaction_j / step_s
        if transfer > 0.0:
            settled_c = ambient_c + power_w / transfer
            fade = np.exp(-transfer * step_s / p.heat_capacity_j_per_k)
            state[TEMPERATURE_C, c] = settled_c + (before_c - settled_c) * fade
        else:
            state[TEMPERATURE_C, c] = before_c + power_w * step_s / p.heat_capacity_j_per_k
        left_s -= step_s
    if state[TEMPERATURE_C, c] > p.melt_c:
        state[MELTED, c] = 1.0
    return freed_j / dt_s


@inlined
def _step_cell_inplace(
    state: Floats, conditions: Floats, output: Floats, p: Tables, dt_s: float, c: int, at: int
) -> None:
    """Advance cell c under the conditions in column `at`; write output to the same column."""
    decay1, decay2 = np.exp(-dt_s / p.tau1_s), np.exp(-dt_s / p.tau2_s)
    hours = dt_s / _SECONDS_PER_HOUR
    kelvin = state[TEMPERATURE_C, c] + ZERO_CELSIUS_K
    # Where the cell stands.
    ageing_steps = (p.total_ah.shape[0] - 1) / (p.loss_high - p.loss_low)
    capacity_ah = p.nominal_ah * (1.0 - state[CAPACITY_LOSS, c])
    total_ah = _interpolate(p.total_ah, (state[CAPACITY_LOSS, c] - p.loss_low) * ageing_steps)
    out_ah = state[DISCHARGED_AH, c]
    z = 1.0 - out_ah / total_ah
    z_steps = (p.ocv_v.shape[0] - 1) / (p.stoichiometry_high - p.stoichiometry_low)
    place = (z - p.stoichiometry_low) * z_steps
    ocv_v = _interpolate(p.ocv_v, place)
    slope_v = _interpolate(p.ocv_v, place + 0.5) - _interpolate(p.ocv_v, place - 0.5)
    slope_v *= z_steps / total_ah  # volts per Ah
    age = (state[RESISTANCE_AGE, c] - p.loss_low) * ageing_steps
    soc_steps = (p.resistance_ohm.shape[2] - 1) / (1.0 - p.soc_low)
    soc = (1.0 - out_ah / capacity_ah - p.soc_low) * soc_steps
    warm = np.exp(p.activation_j_per_mol / GAS_CONSTANT * (1.0 / kelvin - 1.0 / p.reference_k))
    warm *= state[RESISTANCE_SCALE, c]
    i1, i2 = state[PAIR1_A, c], state[PAIR2_A, c]
    # Each pair by its own sign, so that its voltage passes through zero without a jump.
    charging1 = i1 * decay1 + conditions[SETPOINT, at] * (1.0 - decay1) > 0.0
    charging2 = i2 * decay2 + conditions[SETPOINT, at] * (1.0 - decay2) > 0.0
    r0 = _bilinear(p.resistance_ohm[0], age, soc) * warm
    r1 = _bilinear(p.resistance_ohm[3 if charging1 else 1], age, soc) * warm
    r2 = _bilinear(p.resistance_ohm[4 if charging2 else 2], age, soc) * warm
    # The electrodes at the end of the step are V = source + resistance * I; a short in parallel
    # and a contact in series make it, seen from outside, Thevenin's source.
    source = ocv_v + r1 * i1 * decay1 + r2 * i2 * decay2
    resistance = r0 + r1 * (1.0 - decay1) + r2 * (1.0 - decay2) + slope_v * hours
    short_s = conditions[SHORT_S, at] + p.melted_s * state[MELTED, c]
    contact = conditions[CONTACT_OHM, at]
    outer_source = source / (1.0 + short_s * resistance)
    outer_resistance = resistance / (1.0 + short_s * resistance) + contact
    current = conditions[SETPOINT, at]
    if conditions[IS_POWER, at] > 0.0:
        # V I = P, the root with the smaller current; the peak power where P cannot be had.
        root = outer_source * outer_source + 4.0 * outer_resistance * current
        current = (np.sqrt(max(root, 0.0)) - outer_source) / (2.0 * outer_resistance)
    if current > 0.0:
        limit = (conditions[VOLTAGE_MAX_V, at] - outer_source) / outer_resistance
        current = min(current, max(limit, 0.0))
    terminal_v = outer_source + outer_resistance * current
    node_v = terminal_v - contact * current
    cell_a = current - short_s * node_v
    heat_w = cell_a * (node_v - ocv_v - 0.5 * cell_a * slope_v * hours)
    heat_w += cell_a * kelvin * _interpolate(p.entropy_v_per_k, place)
    heat_w += short_s * node_v * node_v + contact * current * current
    heat_w += conditions[EXTERNAL_HEAT_W, at]
    if z > 1.0 and cell_a > 0.0:
        # Overcharge: a growing share of the charge goes into side reactions, as heat.
        heat_w += min((z - 1.0) / 0.3, 1.0) * cell_a * ocv_v
    state[PAIR1_A, c] = i1 * decay1 + cell_a * (1.0 - decay1)
    state[PAIR2_A, c] = i2 * decay2 + cell_a * (1.0 - decay2)
    state[DISCHARGED_AH, c] = out_ah - cell_a * hours
    _age_inplace(state, c, p, dt_s, cell_a, ocv_v, conditions[LOSS_PER_S, at])
    before_c = state[TEMPERATURE_C, c]
    reaction_w = _warm_inplace(
        state, c, p, dt_s, heat_w, conditions[AMBIENT_C, at], conditions[COOLING, at]
    )
    gained_w = (state[TEMPERATURE_C, c] - before_c) * p.heat_capacity_j_per_k / dt_s
    output[VOLTAGE_V, at] = terminal_v
    output[CURRENT_A, at] = current
    output[CELL_CURRENT_A, at] = cell_a
    output[HEAT_W, at] = heat_w + reaction_w
    output[OCV_V, at] = ocv_v
    output[LOSS_TO_AMBIENT_W, at] = heat_w + reaction_w - gained_w
    output[REACTION_W, at] = reaction_w


def step_kernel_inplace(
    state: Floats, conditions: Floats, output: Floats, p: Tables, dt_s: float
) -> None:
    """Advance every cell by dt_s under constant conditions, one column a cell.

    Raises ValueError where an array has not its rows, or a column too few.
    """
    _refuse_sizes(state, conditions, output, p, state.shape[1])
    _step_kernel_inplace(state, conditions, output, p, dt_s)


def run_kernel_inplace(
    state: Floats, profile: Floats, dt_s: Floats, output: Floats, temperature_c: Floats, p: Tables
) -> None:
    """Drive one cell through a profile: conditions and output have one column a step.

    Raises ValueError as above, and where `temperature_c` has not a place for every step.
    """
    steps = len(dt_s)
    _refuse_sizes(state, profile, output, p, steps)
    if state.shape[1] < 1 or len(temperature_c) < steps:
        raise ValueError(
            f"one cell and {steps} temperatures, not {state.shape[1]} and {len(temperature_c)}"
        )
    _run_kernel_inplace(state, profile, dt_s, output, temperature_c, p)


def _refuse_sizes(
    state: Floats, conditions: Floats, output: Floats, p: Tables, columns: int
) -> None:
    """The kernels check no index: what does not fit would read and write other memory."""
    if not (
        state.shape[0] == STATE_ROWS
        and conditions.shape[0] == CONDITION_ROWS
        and output.shape[0] == OUTPUT_ROWS
        and columns <= conditions.shape[1]
        and columns <= output.shape[1]
    ):
        raise ValueError(
            f"{columns} columns of {STATE_ROWS} quantities, {CONDITION_ROWS} conditions and "
            f"{OUTPUT_ROWS} outputs, not {state.shape}, {conditions.shape} and {output.shape}"
        )
    if not (
        len(p.ocv_v) > 0
        and len(p.entropy_v_per_k) > 0
        and len(p.total_ah) > 0
        and p.resistance_ohm.shape[0] == 5
        and min(p.resistance_ohm.shape) >= 2
        and p.ageing.shape == (12,)
        and p.reactions.shape == (4, 3)
    ):
        raise ValueError("a cell's tables have not the shapes that `Tables` says")


@njit
def _step_kernel_inplace(
    state: Floats, conditions: Floats, output: Floats, p: Tables, dt_s: float
) -> None:
    for c in range(state.shape[1]):
        _step_cell_inplace(state, conditions, output, p, dt_s, c, c)


@njit
def _run_kernel_inplace(
    state: Floats, profile: Floats, dt_s: Floats, output: Floats, temperature_c: Floats, p: Tables
) -> None:
    for j in range(dt_s.shape[0]):
        _step_cell_inplace(state, profile, output, p, dt_s[j], 0, j)
        temperature_c[j] = state[TEMPERATURE_C, 0]
