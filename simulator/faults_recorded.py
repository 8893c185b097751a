"""One cell's part of a recorded operation, as the twin is driven through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recordings.types import Operation, RecordingInfo

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecordedCell:
    """One cell's part of an operation, without gaps in it."""

    current_a: Floats
    voltage_v: Floats
    temperature_c: Floats
    ambient_c: Floats
    charging: bool
    limit_v: float  # the voltage at which this charge is held
    charge_a: float  # its constant current
    loaded: NDArray[np.bool_]
    cutoff_v: float

    @classmethod
    def of(cls, operation: Operation, cell: int, info: RecordingInfo) -> RecordedCell:
        """One cell of an operation, gaps filled."""
        current_a = _filled(operation.current_a, 0.0)
        voltage_v = _filled(operation.voltage_v[:, cell - 1], 3.7)
        column = sensor_of(operation, cell)
        around = _filled(operation.ambient_c, 24.0) if operation.ambient_c is not None else None
        if column is None:
            temperature_c = around if around is not None else np.full(len(operation), 24.0)
        else:
            temperature_c = _filled(operation.temperature_c[:, column], 24.0)
        if around is None:
            around = np.full(len(operation), float(temperature_c[0]))
        charging = operation.kind == "charge"
        held = voltage_v[(current_a > 0) & (voltage_v > info.charge_voltage_v - 0.1)]
        # A charge has no load to end; NASA's have one false sample of discharge at their start.
        loaded = (current_a < -0.05 * info.nominal_capacity_ah) & (not charging)
        lowest = float(voltage_v[loaded].min()) if loaded.any() else 0.0
        return cls(
            current_a=current_a,
            voltage_v=voltage_v,
            temperature_c=temperature_c,
            ambient_c=around,
            charging=charging,
            limit_v=float(np.median(held[-50:])) if len(held) else info.charge_voltage_v,
            charge_a=float(np.quantile(current_a, 0.9)) if charging else 0.0,
            loaded=loaded,
            cutoff_v=max(lowest, info.discharge_voltage_v),
        )


def _filled(values: Floats, otherwise: float) -> Floats:
    """The values with NaN replaced by the one before, or by `otherwise` at the start."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    index = np.where(missing, 0, np.arange(len(values)))
    np.maximum.accumulate(index, out=index)
    filled = values[index]
    return np.where(np.isnan(filled), otherwise, filled)


def sensor_of(operation: Operation, cell: int) -> int | None:
    """The thermometer of a cell: sensors are spread evenly over the cells. None without one."""
    sensors = operation.temperature_c.shape[1]
    return (cell - 1) * sensors // operation.voltage_v.shape[1] if sensors else None


def delivered_ah(operation: Operation, recorded: RecordedCell, published_ah: float) -> float:
    """The capacity of a faulty discharge: what was published, by the charge still drawn."""
    dt_s = np.diff(operation.time_s, prepend=operation.time_s[0])
    before = float(np.sum(np.maximum(-recorded.current_a, 0.0) * dt_s))
    after = float(np.sum(np.maximum(-operation.current_a, 0.0) * dt_s))
    return published_ah * after / before if before > 0 else published_ah
