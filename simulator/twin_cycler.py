"""A battery cycler and its sensors around one twin cell: CC-CV charge, rest, discharge, rest.

Pure: a seeded generator is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recordings.types import Operation, OperationKind
from simulator.faults import CellFault
from simulator.twin import Conditions, Tables, TwinState, step_inplace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A cycling protocol; the defaults are NASA's for B0005 (Saha and Goebel 2007)."""

    charge_a: float = 1.5
    charge_voltage_v: float = 4.2
    charge_end_a: float = 0.02
    charge_timeout_s: float = 4 * 3600.0
    discharge_a: float = 2.0
    discharge_voltage_v: float = 2.7
    rest_after_charge_s: float = 600.0
    rest_after_discharge_s: float = 1800.0
    trip_c: float = 80.0  # the cycler opens the circuit for good at this temperature
    sample_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Sensors:
    """Gaussian noise (standard deviation) and resolution of each channel; 0 for none."""

    voltage_noise_v: float = 0.0004
    voltage_step_v: float = 0.001
    current_noise_a: float = 0.0015
    current_step_a: float = 0.001
    temperature_noise_c: float = 0.01
    temperature_step_c: float = 0.01

    def read(self, true: Floats, noise: float, step: float, rng: np.random.Generator) -> Floats:
        """True values with noise, rounded to the resolution."""
        seen = true + rng.normal(0.0, noise, true.shape) if noise > 0 else true
        return np.round(seen / step) * step if step > 0 else seen


@dataclass(frozen=True, slots=True)
class Rig:
    """One cell on the cycler: where it stands and what befalls it."""

    tables: Tables
    protocol: Protocol
    ambient_c: Callable[[float], float]  # at a time in seconds
    fault: CellFault | None = None
    fault_onset_s: float = 0.0


def cycle(
    rig: Rig,
    state: TwinState,
    duration_s: float,
    *,
    start_ms: int,
    sensors: Sensors,
    rng: np.random.Generator,
    first: OperationKind = "charge",
) -> Iterator[Operation]:
    """Run one cell (n = 1) for duration_s, beginning with `first`; one Operation a phase.

    Changes `state`. A sample stands at the end of each step of `protocol.sample_s`, and its time
    counts from the operation's start. A first discharge has no capacity: its beginning was not
    seen. A first rest is one after a discharge.
    """
    if state.n != 1:
        raise ValueError(f"the cycler drives one cell, not {state.n}")
    time_s, index, number, tripped = 0.0, 0, 1, False
    phase: OperationKind = first
    after_charge = False
    while time_s < duration_s:
        if tripped:
            phase = "rest"
        rows, time_s, tripped = _phase(rig, state, phase, after_charge, time_s, duration_s, tripped)
        operation = _operation(rig, rows, phase, start_ms, sensors, rng)
        if index == 0:
            operation = replace(operation, capacity_ah=None)
        yield replace(operation, index=index, cycle=number)
        index += 1
        if phase == "charge":
            phase, after_charge = "rest", True
        elif phase == "discharge":
            phase, after_charge = "rest", False
            number += 1
        else:
            phase = "discharge" if after_charge else "charge"


def before_empty(rig: Rig, state: TwinState, left_s: float) -> TwinState:
    """Where a cell stands on its discharge left_s before the cut-off, to the sample.

    `state` is the cell as the discharge begins and stays as it was; the rig's fault is not applied.
    """
    healthy = replace(rig, fault=None)
    _, empty_s, _ = _phase(healthy, state.copy(), "discharge", False, 0.0, math.inf, False)
    begun = state.copy()
    _phase(healthy, begun, "discharge", False, 0.0, empty_s - left_s, False)
    return begun


def _phase(
    rig: Rig,
    state: TwinState,
    phase: OperationKind,
    after_charge: bool,
    time_s: float,
    end_s: float,
    tripped: bool,
) -> tuple[Floats, float, bool]:
    """Step one phase to its end: rows of (time, V, I, T, ambient, fault), the time, tripped."""
    p = rig.protocol
    rows: list[tuple[float, ...]] = []
    begun_s = time_s
    rest_s = p.rest_after_charge_s if after_charge else p.rest_after_discharge_s
    while time_s < end_s:
        conditions = Conditions.resting(1, ambient_c=rig.ambient_c(time_s))
        conditions.voltage_max_v[0] = p.charge_voltage_v
        conditions.setpoint[0] = {"charge": p.charge_a, "discharge": -p.discharge_a}.get(phase, 0.0)
        faulty = rig.fault is not None and time_s >= rig.fault_onset_s
        if rig.fault is not None:
            rig.fault.apply_inplace(conditions, np.array([time_s - rig.fault_onset_s]))
        output = step_inplace(state, conditions, rig.tables, p.sample_s)
        time_s = round(time_s + p.sample_s, 6)
        voltage_v, current_a = float(output.voltage_v[0]), float(output.current_a[0])
        temperature_c = float(state.temperature_c[0])
        rows.append(
            (time_s, voltage_v, current_a, temperature_c, conditions.ambient_c[0], float(faulty))
        )
        if temperature_c > p.trip_c and not tripped:
            return np.array(rows), time_s, True
        spent_s = time_s - begun_s
        if phase == "charge":
            done = current_a < p.charge_end_a or spent_s >= p.charge_timeout_s
        elif phase == "discharge":
            done = voltage_v < p.discharge_voltage_v
        else:
            done = spent_s >= rest_s and not tripped
        if done:
            break
    return np.array(rows), time_s, tripped


def _operation(
    rig: Rig,
    rows: Floats,
    phase: OperationKind,
    start_ms: int,
    sensors: Sensors,
    rng: np.random.Generator,
) -> Operation:
    """What the sensors saw of one phase."""
    s = sensors
    begin_s = rows[0, 0]
    active = rows[:, 5] > 0
    moved_ah = float(np.sum(rows[:, 2]) * rig.protocol.sample_s / 3600.0)
    low = float(rows[-1, 1]) < rig.protocol.discharge_voltage_v
    return Operation(
        index=0,
        cycle=1,
        kind=phase,
        start_ms=start_ms + round(begin_s * 1000),
        time_s=rows[:, 0] - begin_s,
        current_a=s.read(rows[:, 2], s.current_noise_a, s.current_step_a, rng),
        voltage_v=s.read(rows[:, 1:2], s.voltage_noise_v, s.voltage_step_v, rng),
        temperature_c=s.read(rows[:, 3:4], s.temperature_noise_c, s.temperature_step_c, rng),
        ambient_c=s.read(rows[:, 4], s.temperature_noise_c, s.temperature_step_c, rng),
        capacity_ah=-moved_ah if phase == "discharge" and low else None,
        fault=rig.fault.label if rig.fault is not None and bool(active.any()) else None,
        fault_active=active if rig.fault is not None and bool(active.any()) else None,
    )
