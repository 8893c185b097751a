"""The digital twin: n cells stepped at once. Pure: no clock, no disk, no hidden randomness.

    cell = load_parameters("nasa-18650")
    state = TwinState.full(cell.tables(), loss=np.array([0.05, 0.3]), temperature_c=24.0)
    conditions = Conditions.resting(2, ambient_c=24.0)
    output = step_inplace(state, conditions, cell.tables(), dt_s=1.0)

Positive current charges. The equations are in `twin_kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator import twin_kernels as k
from simulator.twin_kernels import Tables
from simulator.twin_parameters import CellParameters, ParameterError, load_parameters

__all__ = [
    "CellParameters",
    "Conditions",
    "Output",
    "ParameterError",
    "Tables",
    "TwinState",
    "load_parameters",
    "run_inplace",
    "step_inplace",
    "terminal_voltage",
]

Floats = NDArray[np.float64]


def _row(values: Floats, index: int) -> Floats:
    """A view of one quantity of all cells."""
    row: Floats = values[index]
    return row


@dataclass(frozen=True, slots=True)
class TwinState:
    """State of n cells: one (rows, n) array, with a view of each row by name."""

    values: Floats

    @classmethod
    def at(
        cls, tables: Tables, *, soc: ArrayLike, loss: ArrayLike, temperature_c: ArrayLike
    ) -> TwinState:
        """Cells at rest at a state of charge (of the reference capacity) and capacity loss.

        The arguments broadcast against each other; loss is 1 - SOH. The resistances are those that
        the calibrated cells had at the same loss.
        """
        soc, loss, temperature_c = np.broadcast_arrays(
            np.atleast_1d(np.asarray(soc, dtype=np.float64)),
            np.asarray(loss, dtype=np.float64),
            np.asarray(temperature_c, dtype=np.float64),
        )
        values = np.zeros((k.STATE_ROWS, len(soc)))
        values[k.DISCHARGED_AH] = (1.0 - soc) * tables.nominal_ah * (1.0 - loss)
        values[k.TEMPERATURE_C] = temperature_c
        values[k.CAPACITY_LOSS] = loss
        values[k.RESISTANCE_AGE] = loss
        values[k.RESISTANCE_SCALE] = 1.0
        values[k.SEI : k.ELECTROLYTE + 1] = tables.reaction_start[:, None]
        return cls(values)

    @classmethod
    def full(cls, tables: Tables, *, loss: ArrayLike, temperature_c: ArrayLike) -> TwinState:
        """Full cells at rest; see `at`."""
        return cls.at(tables, soc=1.0, loss=loss, temperature_c=temperature_c)

    @property
    def n(self) -> int:
        """How many cells."""
        return int(self.values.shape[1])

    @property
    def temperature_c(self) -> Floats:
        """Temperature of the core, degC. (n,)"""
        return _row(self.values, k.TEMPERATURE_C)

    @property
    def discharged_ah(self) -> Floats:
        """Charge taken out since full; negative when overcharged."""
        return _row(self.values, k.DISCHARGED_AH)

    @property
    def capacity_loss(self) -> Floats:
        """1 - SOH of the reference discharge."""
        return _row(self.values, k.CAPACITY_LOSS)

    @property
    def resistance_age(self) -> Floats:
        """Capacity loss at which the calibrated cells had this resistance."""
        return _row(self.values, k.RESISTANCE_AGE)

    @property
    def resistance_scale(self) -> Floats:
        """Factor on all resistances of a cell, 1 for the calibrated one."""
        return _row(self.values, k.RESISTANCE_SCALE)

    @property
    def melted(self) -> Floats:
        """1 where the separator has melted and shorts the cell for good."""
        return _row(self.values, k.MELTED)

    def soc(self, tables: Tables) -> Floats:
        """State of charge as a fraction of the reference capacity."""
        capacity_ah = tables.nominal_ah * (1.0 - self.capacity_loss)
        return np.asarray(1.0 - self.discharged_ah / capacity_ah)

    def copy(self) -> TwinState:
        """A state of its own."""
        return TwinState(self.values.copy())


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the outside does to n cells during a step, one (rows, n) array with views by name.

    A setpoint is current in A, or power in W where `is_power` is 1. A charging current is held down
    so that the terminal voltage does not pass `voltage_max_v` (constant voltage).
    """

    values: Floats

    @classmethod
    def resting(cls, n: int, *, ambient_c: float) -> Conditions:
        """No current, healthy cooling, no fault."""
        values = np.zeros((k.CONDITION_ROWS, n))
        values[k.VOLTAGE_MAX_V] = np.inf
        values[k.AMBIENT_C] = ambient_c
        values[k.COOLING] = 1.0
        return cls(values)

    @property
    def setpoint(self) -> Floats:
        """Current, A, or power, W, that is asked for. (n,)"""
        return _row(self.values, k.SETPOINT)

    @property
    def is_power(self) -> Floats:
        """1 where `setpoint` is a power. (n,)"""
        return _row(self.values, k.IS_POWER)

    @property
    def voltage_max_v(self) -> Floats:
        """The charger's voltage, V. (n,)"""
        return _row(self.values, k.VOLTAGE_MAX_V)

    @property
    def ambient_c(self) -> Floats:
        """Ambient temperature, degC. (n,)"""
        return _row(self.values, k.AMBIENT_C)

    @property
    def cooling(self) -> Floats:
        """Factor on the heat transfer to the ambient; 1 is healthy, 0 is an adiabatic cell."""
        return _row(self.values, k.COOLING)

    @property
    def short_s(self) -> Floats:
        """Conductance of an internal short circuit, in siemens."""
        return _row(self.values, k.SHORT_S)

    @property
    def external_heat_w(self) -> Floats:
        """Heat from outside, W. (n,)"""
        return _row(self.values, k.EXTERNAL_HEAT_W)

    @property
    def contact_ohm(self) -> Floats:
        """Resistance in series outside the electrodes, inside the measured voltage."""
        return _row(self.values, k.CONTACT_OHM)

    @property
    def loss_per_s(self) -> Floats:
        """Capacity lost by a fault, on top of ageing, as a fraction of nominal a second."""
        return _row(self.values, k.LOSS_PER_S)


@dataclass(frozen=True, slots=True)
class Output:
    """Results of a step: terminal voltage and current at its end, heat as its mean."""

    values: Floats

    @property
    def voltage_v(self) -> Floats:
        """Terminal voltage, V. (n,)"""
        return _row(self.values, k.VOLTAGE_V)

    @property
    def current_a(self) -> Floats:
        """Terminal current, as the charger allowed it."""
        return _row(self.values, k.CURRENT_A)

    @property
    def cell_current_a(self) -> Floats:
        """Current through the electrodes: the terminal current less what a short takes."""
        return _row(self.values, k.CELL_CURRENT_A)

    @property
    def heat_w(self) -> Floats:
        """Heat made in the cell, W. (n,)"""
        return _row(self.values, k.HEAT_W)

    @property
    def ocv_v(self) -> Floats:
        """Open-circuit voltage at the start of the step."""
        return _row(self.values, k.OCV_V)

    @property
    def reaction_w(self) -> Floats:
        """Heat of the decomposition reactions, included in `heat_w`."""
        return _row(self.values, k.REACTION_W)

    @property
    def loss_to_ambient_w(self) -> Floats:
        """Heat given to the ambient, W. (n,)"""
        return _row(self.values, k.LOSS_TO_AMBIENT_W)


def step_inplace(
    state: TwinState,
    conditions: Conditions,
    tables: Tables,
    dt_s: float,
    output: Output | None = None,
) -> Output:
    """Advance every cell by dt_s seconds under constant conditions. Changes `state`.

    Stable for any dt_s above zero. Pass `output` to reuse its memory. Raises ValueError when dt_s
    is not positive.
    """
    if not dt_s > 0:
        raise ValueError(f"dt_s must be positive, not {dt_s}")
    if output is None:
        output = Output(np.empty((k.OUTPUT_ROWS, state.n)))
    k.step_kernel_inplace(state.values, conditions.values, output.values, tables, dt_s)
    return output


@dataclass(frozen=True, slots=True)
class Run:
    """What a driven cell did: one value a step of each output, and the temperature after it."""

    output: Output
    temperature_c: Floats


def run_inplace(state: TwinState, profile: Conditions, tables: Tables, dt_s: Floats) -> Run:
    """Drive one cell (n = 1) through a profile of len(dt_s) conditions. Changes `state`.

    Raises ValueError when lengths disagree or a step is not positive.
    """
    if state.n != 1 or profile.values.shape[1] != len(dt_s):
        raise ValueError(f"one cell and {profile.values.shape[1]} steps, not {len(dt_s)}")
    if not np.all(dt_s > 0):
        raise ValueError("every step must be positive")
    output = Output(np.empty((k.OUTPUT_ROWS, len(dt_s))))
    temperature_c = np.empty(len(dt_s))
    k.run_kernel_inplace(state.values, profile.values, dt_s, output.values, temperature_c, tables)
    return Run(output, temperature_c)


def terminal_voltage(state: TwinState, conditions: Conditions, tables: Tables) -> Floats:
    """Voltage that the cells would show at once under these conditions, without stepping. (n,)"""
    return step_inplace(state.copy(), conditions, tables, 1e-6).voltage_v
