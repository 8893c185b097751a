"""Recorded cycles, and the twin driven through them: what calibration and evaluation share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from recordings.tidy import TidyRecording
from recordings.types import Operation
from simulator.twin import Conditions, Run, Tables, TwinState, run_inplace

Floats = NDArray[np.float64]

NOMINAL_AH = 2.0


@dataclass(frozen=True, slots=True)
class Cycle:
    """One discharge, the rest and the charge after it, as the twin is driven through it."""

    cell: str
    loss: float  # 1 - published capacity / nominal
    dt_s: Floats
    current_a: Floats
    voltage_v: Floats
    temperature_c: Floats
    weight: Floats  # 0 where the measurement is not to be trusted
    discharging: NDArray[np.bool_]  # while the load was on
    start_c: float
    ambient_c: float

    def run(self, tables: Tables, loss: float | None = None, resistance_scale: float = 1.0) -> Run:
        """Drive a full twin cell through this cycle's current; by default with its own loss."""
        loss = self.loss if loss is None else loss
        state = TwinState.full(tables, loss=loss, temperature_c=self.start_c)
        state.resistance_scale[:] = resistance_scale
        profile = Conditions.resting(len(self.dt_s), ambient_c=self.ambient_c)
        profile.setpoint[:] = self.current_a
        return run_inplace(state, profile, tables, self.dt_s)


def read_cycles(path: Path, thin_to: int = 400) -> list[Cycle]:
    """Every discharge with a published capacity that a charge follows. Raises RecordingError."""
    recording = TidyRecording(path)
    cycles = []
    discharge: Operation | None = None
    for operation in recording.operations():
        if operation.kind == "discharge":
            discharge = operation
        elif operation.kind == "charge" and discharge is not None:
            if discharge.capacity_ah is not None and discharge.capacity_ah > 0.5:
                cycles.append(_cycle(recording.info.asset, discharge, operation, thin_to))
            discharge = None
    return cycles


def _cycle(cell: str, discharge: Operation, charge: Operation, thin_to: int) -> Cycle:
    """Lay a discharge and the charge after it on one clock."""
    if discharge.capacity_ah is None:
        raise ValueError("the discharge has no capacity")
    gap_s = (charge.start_ms - discharge.start_ms) / 1000.0
    n = len(discharge)
    time_s = np.concatenate([discharge.time_s, gap_s + charge.time_s])
    current_a = np.concatenate([discharge.current_a, charge.current_a])
    voltage_v = np.concatenate([discharge.voltage_v[:, 0], charge.voltage_v[:, 0]])
    temperature_c = np.concatenate([discharge.temperature_c[:, 0], charge.temperature_c[:, 0]])
    good = np.isfinite(voltage_v) & np.isfinite(current_a) & np.isfinite(temperature_c)
    weight = np.ones(len(time_s))
    # A charge's second sample shows a false discharge current (data README, NASA 5).
    current_a[n : n + 2] = 0.0
    weight[n + 1 : n + 5] = 0.0
    weight[n] = 10.0  # the one sample of a long rest: the open-circuit voltage itself
    # While the load switches, current and voltage are not of one moment.
    switching = np.abs(np.diff(current_a, prepend=current_a[0])) > 0.3
    weight[switching] = 0.0
    weight[(voltage_v < 2.0) | (voltage_v > 4.3)] = 0.0
    keep = good.copy()
    keep[n + 5 :] &= np.arange(len(time_s) - n - 5) % max(1, len(charge) // thin_to) == 0
    discharging = (np.arange(len(time_s)) < n) & (current_a < -0.2)
    dt_s = np.diff(time_s[keep], prepend=time_s[keep][0] - 1e-3)
    keep_positive = dt_s > 0
    index = np.flatnonzero(keep)[keep_positive]
    return Cycle(
        cell=cell,
        loss=1.0 - discharge.capacity_ah / NOMINAL_AH,
        dt_s=dt_s[keep_positive],
        current_a=current_a[index],
        voltage_v=voltage_v[index],
        temperature_c=temperature_c[index],
        weight=weight[index],
        discharging=discharging[index],
        start_c=float(temperature_c[index[0]]),
        ambient_c=float(temperature_c[index[0]]),  # a NASA cell rests before it is discharged
    )


def assimilate(cycle: Cycle, tables: Tables) -> tuple[float, float]:
    """The health (capacity loss, resistance scale) with which the twin follows a discharge best.

    The loss stays within about one percentage point of the published capacity's.
    """
    loaded = cycle.discharging & (cycle.weight > 0)

    def residuals(x: Floats) -> Floats:
        run = cycle.run(tables, loss=float(x[0]), resistance_scale=float(x[1]))
        wrong = (run.output.voltage_v - cycle.voltage_v)[loaded] / 0.01
        held = np.array([(x[0] - cycle.loss) / 0.001, (x[1] - 1.0) / 0.03])
        return np.concatenate([wrong, held])

    start = [cycle.loss, 1.0]
    found = least_squares(residuals, start, diff_step=np.array([1e-3, 1e-3]), max_nfev=20)
    return float(found.x[0]), float(found.x[1])


def life(cycles: Sequence[Cycle], tables: Tables, loss: float | None = None) -> Floats:
    """Capacity loss that the twin predicts after each cycle, from the first one's on. (n,)

    The twin is driven through the recorded current and is taken as full where each discharge
    begins, as the recorded cell was. Its first loss is `loss`, else the first cycle's own.
    """
    first = cycles[0]
    state = TwinState.full(
        tables, loss=first.loss if loss is None else loss, temperature_c=first.start_c
    )
    losses = []
    for cycle in cycles:
        state.discharged_ah[:] = 0.0
        profile = Conditions.resting(len(cycle.dt_s), ambient_c=cycle.ambient_c)
        profile.setpoint[:] = cycle.current_a
        run_inplace(state, profile, tables, cycle.dt_s)
        losses.append(float(state.capacity_loss[0]))
    return np.array(losses)


def spread(cycles: Sequence[Cycle], count: int) -> list[Cycle]:
    """About `count` cycles over a cell's whole life."""
    chosen = np.unique(np.linspace(1, len(cycles) - 2, count).astype(int))
    return [cycles[i] for i in chosen]
