"""What a simulated board measures: a pack of the digital twin, or a recording played over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bridge.reading import Reading
from monitor.errors import ConfigurationError
from recordings.open import open_recording
from recordings.types import Operation
from simulator.twin import Conditions, TwinState, load_parameters, step_inplace

_FULL_V, _EMPTY_V = 4.15, 3.0
_SENSOR_CELLS = 4


class TwinPack:
    """Cells in series that cycle between full and empty at half their capacity an hour.

    `advance` moves the pack by event seconds; calling the pack gives what a board would measure.
    `hot_cell` (from 1) gets an internal short that warms it and drains it.
    """

    def __init__(
        self, cells: int = 16, capacity_ah: float = 100.0, hot_cell: int | None = None
    ) -> None:
        self._cell = load_parameters("nasa-18650").scaled_to(capacity_ah)
        self._tables = self._cell.tables()
        rng = np.random.default_rng(1)
        self._state = TwinState.at(
            self._tables,
            soc=0.7 + 0.01 * rng.standard_normal(cells),
            loss=0.05 + 0.01 * rng.random(cells),
            temperature_c=25.0 + 0.3 * rng.standard_normal(cells),
        )
        self._conditions = Conditions.resting(cells, ambient_c=24.0)
        self._current_a = -capacity_ah / 2
        self._capacity_ah = capacity_ah
        self._moved_ah = 0.0
        if hot_cell is not None:
            if not 1 <= hot_cell <= cells:
                raise ConfigurationError(f"hot cell {hot_cell}: expected 1 to {cells}")
            self._conditions.short_s[hot_cell - 1] = capacity_ah / 20
        self._step(1e-3)

    def advance(self, seconds: float) -> None:
        """Let event time pass."""
        while seconds > 0:
            step_s = min(seconds, 1.0)
            self._step(step_s)
            seconds -= step_s

    def __call__(self) -> Reading:
        """What the board measures now."""
        voltage_v = np.round(self._voltage_v, 3)
        sensors = [
            float(np.round(group.mean(), 1))
            for group in np.split(
                self._state.temperature_c,
                range(_SENSOR_CELLS, self._state.n, _SENSOR_CELLS),
            )
        ]
        soc = float(np.clip(self._state.soc(self._tables).min(), 0.0, 1.0))
        alarms = [
            name
            for name, raised in (
                ("cell_overvoltage", bool(voltage_v.max() > 4.25)),
                ("cell_undervoltage", bool(voltage_v.min() < 2.5)),
                ("discharge_overtemperature", max(sensors) > 60.0),
            )
            if raised
        ]
        return Reading(
            cell_voltage_v=tuple(map(float, voltage_v)),
            temperature_c=tuple(sensors),
            current_a=self._current_a,
            pack_voltage_v=float(round(voltage_v.sum(), 2)),
            soc=soc,
            remaining_capacity_ah=soc * self._capacity_ah,
            nominal_capacity_ah=self._capacity_ah,
            cycles=int(self._moved_ah / self._capacity_ah),
            charge_enabled=True,
            discharge_enabled=True,
            balancing=False,
            alarms=tuple(alarms),
        )

    def _step(self, seconds: float) -> None:
        self._conditions.setpoint[:] = self._current_a
        out = step_inplace(self._state, self._conditions, self._tables, seconds)
        self._voltage_v = out.voltage_v.copy()
        if self._current_a < 0:
            self._moved_ah -= self._current_a * seconds / 3600
            if self._voltage_v.min() < _EMPTY_V:
                self._current_a = self._capacity_ah / 2
        elif self._voltage_v.max() > _FULL_V:
            self._current_a = -self._capacity_ah / 2


class RecordedPack:
    """A recording's samples, one after the other as event time passes; starts over at its end."""

    def __init__(self, path: Path) -> None:
        self._recording = open_recording(path)[0]
        self._info = self._recording.info
        self._samples = self._endless()
        self._now_s = 0.0
        self._due_s, self._reading = next(self._samples)
        self._next = next(self._samples)

    def advance(self, seconds: float) -> None:
        """Let event time pass."""
        self._now_s += seconds
        while self._next[0] <= self._now_s:
            self._due_s, self._reading = self._next
            self._next = next(self._samples)

    def __call__(self) -> Reading:
        """What the board measures now."""
        return self._reading

    def _endless(self) -> Iterator[tuple[float, Reading]]:
        offset_s = 0.0
        for _ in itertools.count():
            for operation in self._recording.operations():
                for at in range(len(operation)):
                    yield offset_s + float(operation.time_s[at]), self._at(operation, at)
                if len(operation):
                    offset_s += float(operation.time_s[-1]) + 1.0

    def _at(self, operation: Operation, at: int) -> Reading:
        cells = tuple(_known(v) for v in operation.voltage_v[at])
        return Reading(
            cell_voltage_v=cells,
            temperature_c=tuple(_known(t) for t in operation.temperature_c[at]),
            current_a=_known(operation.current_a[at]),
            pack_voltage_v=sum(v for v in cells if v is not None),
            nominal_capacity_ah=self._info.nominal_capacity_ah,
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
