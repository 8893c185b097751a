"""Faults injected into a recording, through the twin's equations.

Two twins follow the recorded current from the recording's start: a healthy one and one with the
fault. What the fault changes is the difference of the two, added to what was recorded:

    V = V_recorded + (V_faulty - V_healthy), and so for current and temperature.

Before the onset the difference is exactly zero. The world answers the fault as it would:
- a charger at constant voltage goes on holding the recorded voltage, so the current rises;
- a load ends its discharge once the faulty cell is below the recording's own cut-off;
- at `OPENS_C` the cell's protection opens the circuit for good.
In a pack of several cells only the faulty cell's voltage and temperature change, and the string's
current stays as recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitor.refusals import refusal
from recordings.messages import Message
from recordings.types import Operation, Recording, RecordingInfo
from simulator.faults import CellFault
from simulator.faults_frames import distort_frames
from simulator.faults_recorded import RecordedCell, delivered_ah, sensor_of
from simulator.faults_scenario import FaultError, FaultSpec, Onset, check_assets
from simulator.faults_sensors import Channel, SensorFault
from simulator.replay import Timed
from simulator.twin import (
    CellParameters,
    Conditions,
    Run,
    Tables,
    TwinState,
    run_inplace,
    terminal_voltage,
)

Floats = NDArray[np.float64]

OPENS_C = 90.0  # an assumption: where a PTC or a BMS has opened the circuit
_START_LOSS = 0.1  # until the recording's first capacity is seen
_FIRST_STEP_S = 1e-3
_HOLDING_V = 0.015  # a charge this close to its voltage limit is at constant voltage


@dataclass(slots=True)
class _Running:
    """When one fault begins and ends, in ms; the onset of a cycle is known once it is played."""

    spec: FaultSpec
    cell_fault: CellFault | None
    sensor: SensorFault | None
    onset_ms: int | None = None

    def since_s(self, at_ms: Floats) -> Floats:
        """Seconds since the onset, below zero where the fault is not active."""
        if self.onset_ms is None:
            return np.full(len(at_ms), -1.0)
        since_s = (at_ms - self.onset_ms) / 1000.0
        if self.spec.duration_s is not None:
            since_s = np.where(since_s < self.spec.duration_s, since_s, -1.0)
        return np.asarray(since_s)

    def notice(self, operation: Operation, start_ms: int) -> None:
        """Fix the onset when the operation is reached that it begins with."""
        onset: Onset = self.spec.onset
        if self.onset_ms is not None:
            return
        if onset.time_s is not None:
            self.onset_ms = start_ms + round(onset.time_s * 1000)
        elif (onset.cycle is not None and operation.cycle >= onset.cycle) or (
            onset.operation is not None and operation.index >= onset.operation
        ):
            self.onset_ms = operation.start_ms + round(float(operation.time_s[0]) * 1000)


@dataclass(frozen=True, slots=True)
class InjectedRecording:
    """A recording with faults; a `recordings.types.Recording` itself, and synthetic.

    Faults of the telemetry's way are not of its operations: `distort` puts them on the messages of
    its replay. Raises FaultError where a fault's cell is not in the pack.
    """

    original: Recording
    faults: tuple[FaultSpec, ...]
    parameters: CellParameters
    seed: int = 0
    info: RecordingInfo = field(init=False)

    def __post_init__(self) -> None:
        info = self.original.info
        for spec in self.faults:
            if spec.cell > info.cells:
                raise FaultError(
                    refusal(
                        "fault_cell", fault=spec.kind, cell=spec.cell, asset=info.asset,
                        cells=info.cells,
                    )
                )  # fmt: skip
        labels = ", ".join(spec.label for spec in self.faults)
        changed = replace(
            info,
            synthetic=True,
            problems=(*info.problems, Message("problem.injected", faults=labels)),
        )
        object.__setattr__(self, "info", changed)

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """The operations with the faults; also those before `start` are followed, not given."""
        parameters = self.parameters
        if abs(self.info.nominal_capacity_ah / parameters.nominal_ah - 1.0) > 0.01:
            parameters = parameters.scaled_to(self.info.nominal_capacity_ah)
        tables = parameters.tables()
        running = [self._running(number, spec) for number, spec in enumerate(self.faults)]
        cells = {run.spec.cell for run in running if run.cell_fault is not None}
        pairs = {
            cell: _Pair(tables, self.info, [r for r in running if r.spec.cell == cell])
            for cell in sorted(cells)
        }
        start_ms: int | None = None
        for operation in self.original.operations():
            if len(operation):
                if start_ms is None:
                    start_ms = operation.start_ms
                for run in running:
                    run.notice(operation, start_ms)
                operation = self._inject(operation, running, pairs)
            if operation.index >= start:
                yield operation

    def distort(self, messages: Iterator[Timed]) -> Iterator[Timed]:
        """The replay's messages as they arrive over the faulty links."""
        for number, spec in enumerate(self.faults):
            fault = spec.frame_fault()
            if fault is not None:
                messages = distort_frames(messages, fault, self._rng(number))
        return messages

    def _rng(self, number: int) -> np.random.Generator:
        """Randomness of one fault's own."""
        name = [ord(letter) for letter in self.info.asset]
        return np.random.default_rng([self.seed, number, *name])

    def _running(self, number: int, spec: FaultSpec) -> _Running:
        sensor = spec.sensor()
        if sensor is None:
            return _Running(spec, spec.cell_fault(), None)
        kind, channel, size = sensor
        return _Running(spec, None, SensorFault(kind, channel, size, self._rng(number)))

    def _inject(
        self, operation: Operation, running: Sequence[_Running], pairs: dict[int, _Pair]
    ) -> Operation:
        """One operation with every fault on it, labelled."""
        for pair in pairs.values():
            operation = pair.follow(operation)
        at_ms = operation.start_ms + operation.time_s * 1000.0
        active = np.zeros(len(operation), dtype=np.bool_)
        labels = []
        for run in running:
            since_s = run.since_s(at_ms)
            if run.sensor is not None:
                operation = _distort(operation, run.sensor, run.spec.cell, since_s)
            elif run.cell_fault is None:
                continue
            if bool((since_s >= 0).any()):
                labels.append(run.spec.label)
                active |= since_s >= 0
        if not labels:
            return operation
        return replace(operation, fault="+".join(labels), fault_active=active)


def inject(
    recordings: Sequence[Recording],
    faults: Sequence[FaultSpec],
    parameters: CellParameters,
    seed: int = 0,
) -> list[Recording]:
    """The recordings with their faults. Raises FaultError for a fault of none of them."""
    check_assets(faults, [recording.info.asset for recording in recordings])
    result: list[Recording] = []
    for recording in recordings:
        own = tuple(fault for fault in faults if fault.asset == recording.info.asset)
        injected = InjectedRecording(recording, own, parameters, seed)
        result.append(injected if own else recording)
    return result


def _distort(operation: Operation, fault: SensorFault, cell: int, since_s: Floats) -> Operation:
    """The operation as a faulty sensor sees it."""
    channel: Channel = fault.channel
    if channel == "current":
        return replace(operation, current_a=fault.distort(operation.current_a, since_s))
    if channel == "voltage":
        voltage_v = operation.voltage_v.copy()
        voltage_v[:, cell - 1] = fault.distort(voltage_v[:, cell - 1], since_s)
        return replace(operation, voltage_v=voltage_v)
    column = sensor_of(operation, cell)
    if column is None:
        return operation
    temperature_c = operation.temperature_c.copy()
    temperature_c[:, column] = fault.distort(temperature_c[:, column], since_s)
    return replace(operation, temperature_c=temperature_c)


class _Pair:
    """The healthy and the faulty twin of one cell of a recording."""

    def __init__(self, tables: Tables, info: RecordingInfo, faults: Sequence[_Running]) -> None:
        self._tables = tables
        self._info = info
        self._faults = faults
        self._cell = faults[0].spec.cell
        self._healthy: TwinState | None = None
        self._faulty: TwinState | None = None  # None before the onset: the two are one
        self._last_ms = 0.0
        self._open = False

    def follow(self, operation: Operation) -> Operation:
        """Advance both twins through an operation; the operation as the faulty cell ran it."""
        at_ms = operation.start_ms + operation.time_s * 1000.0
        recorded = RecordedCell.of(operation, self._cell, self._info)
        if self._healthy is None:
            self._healthy = self._placed(recorded)
            self._last_ms = at_ms[0] - _FIRST_STEP_S * 1000.0
        healthy = self._healthy
        self._rest(max(0.0, (at_ms[0] - self._last_ms) / 1000.0), at_ms[0], recorded.ambient_c[0])
        self._anchor(recorded.temperature_c)
        dt_s = np.maximum(np.diff(at_ms, prepend=at_ms[0]) / 1000.0, _FIRST_STEP_S)
        self._last_ms = float(at_ms[-1])
        profile = Conditions.resting(len(operation), ambient_c=0.0)
        profile.setpoint[:] = recorded.current_a
        profile.ambient_c[:] = recorded.ambient_c
        since_s = [run.since_s(at_ms) for run in self._faults]
        if self._faulty is None and any((since >= 0).any() for since in since_s):
            self._faulty = healthy.copy()
        sound = run_inplace(healthy, profile, self._tables, dt_s)
        result = operation
        if self._faulty is not None:
            begun = np.array(at_ms >= self._first_ms())
            profile = self._answer(profile, recorded, sound, begun)
            for run, since in zip(self._faults, since_s, strict=True):
                if run.cell_fault is not None:
                    run.cell_fault.apply_inplace(profile, since)
            sick = self._drive(profile, recorded, sound, dt_s, begun)
            result = self._difference(operation, recorded, sound, sick, profile)
        self._learn(operation)
        return result

    def _placed(self, recorded: RecordedCell) -> TwinState:
        """A twin that shows the first voltage under the first current."""
        temperature_c = float(recorded.temperature_c[0])
        soc = np.linspace(0.0, 1.0, 201)
        trial = TwinState.at(self._tables, soc=soc, loss=_START_LOSS, temperature_c=temperature_c)
        conditions = Conditions.resting(len(soc), ambient_c=temperature_c)
        conditions.setpoint[:] = recorded.current_a[0]
        shown_v = np.maximum.accumulate(terminal_voltage(trial, conditions, self._tables))
        found = float(np.interp(recorded.voltage_v[0], shown_v, soc))
        return TwinState.at(self._tables, soc=found, loss=_START_LOSS, temperature_c=temperature_c)

    def _rest(self, gap_s: float, until_ms: float, ambient_c: float) -> None:
        """Both twins rest from the last sample to the next, in steps for the fault to grow."""
        if gap_s <= 2 * _FIRST_STEP_S or self._healthy is None:
            return
        steps = max(1, min(200, round(gap_s / 30.0)))
        dt_s = np.full(steps, gap_s / steps)
        profile = Conditions.resting(steps, ambient_c=ambient_c)
        run_inplace(self._healthy, profile, self._tables, dt_s)
        if self._faulty is not None:
            at_ms = until_ms - gap_s * 1000.0 + np.cumsum(dt_s) * 1000.0
            for run in self._faults:
                if run.cell_fault is not None:
                    run.cell_fault.apply_inplace(profile, run.since_s(at_ms))
            run_inplace(self._faulty, profile, self._tables, dt_s)

    def _anchor(self, temperature_c: Floats) -> None:
        """Move both twins' temperature by what the healthy one is off; their difference stays."""
        if self._healthy is None or not np.isfinite(temperature_c[0]):
            return
        off_c = float(temperature_c[0] - self._healthy.temperature_c[0])
        self._healthy.temperature_c[:] += off_c
        if self._faulty is not None:
            self._faulty.temperature_c[:] += off_c

    def _first_ms(self) -> int:
        """When the first of the faults began."""
        return min(run.onset_ms for run in self._faults if run.onset_ms is not None)

    def _answer(
        self, profile: Conditions, recorded: RecordedCell, sound: Run, begun: NDArray[np.bool_]
    ) -> Conditions:
        """The profile of the faulty twin: what the charger does about its voltage."""
        answer = Conditions(profile.values.copy())
        if self._info.cells > 1 or not recorded.charging:
            return answer
        limit_v = recorded.limit_v
        healthy_v = sound.output.voltage_v
        holding = (recorded.voltage_v > limit_v - _HOLDING_V) & (recorded.current_a > 0)
        room_v = np.where(holding, 0.0, np.maximum(limit_v - recorded.voltage_v, 0.0))
        answer.voltage_max_v[:] = np.where(begun, healthy_v + room_v, np.inf)
        # At constant voltage the charger gives what the cell takes, up to its constant current.
        answer.setpoint[:] = np.where(begun & holding, recorded.charge_a, recorded.current_a)
        return answer

    def _drive(
        self,
        profile: Conditions,
        recorded: RecordedCell,
        sound: Run,
        dt_s: Floats,
        begun: NDArray[np.bool_],
    ) -> Run:
        """Run the faulty twin; open the circuit where the load or the protection does."""
        if self._faulty is None:
            raise ValueError("there is no faulty twin before the onset")
        if self._open:
            profile.setpoint[:] = 0.0
        start = self._faulty.copy()
        sick = run_inplace(self._faulty, profile, self._tables, dt_s)
        if self._info.cells > 1 or self._open:
            return sick
        seen_v = recorded.voltage_v + sick.output.voltage_v - sound.output.voltage_v
        empty = begun & recorded.loaded & (seen_v < recorded.cutoff_v)
        empty &= recorded.voltage_v >= recorded.cutoff_v
        seen_c = recorded.temperature_c + sick.temperature_c - sound.temperature_c
        hot = begun & (seen_c > OPENS_C)
        stops = np.flatnonzero(empty | hot)
        if not len(stops):
            return sick
        profile.setpoint[stops[0] + 1 :] = 0.0
        self._open = bool(hot[stops[0]])
        self._faulty.values[:] = start.values
        sick = run_inplace(self._faulty, profile, self._tables, dt_s)
        if not self._open:
            # After the load is off a growing short may still overheat the cell.
            seen_c = recorded.temperature_c + sick.temperature_c - sound.temperature_c
            self._open = bool((begun & (seen_c > OPENS_C)).any())
        return sick

    def _difference(
        self,
        operation: Operation,
        recorded: RecordedCell,
        sound: Run,
        sick: Run,
        profile: Conditions,
    ) -> Operation:
        """The recorded operation plus what the fault changes."""
        voltage_v, temperature_c = operation.voltage_v.copy(), operation.temperature_c.copy()
        change_v = sick.output.voltage_v - sound.output.voltage_v
        voltage_v[:, self._cell - 1] = np.maximum(voltage_v[:, self._cell - 1] + change_v, 0.0)
        column = sensor_of(operation, self._cell)
        if column is not None:
            temperature_c[:, column] += sick.temperature_c - sound.temperature_c
        current_a = operation.current_a
        if self._info.cells == 1:
            opened = (profile.setpoint == 0.0) & (recorded.current_a != 0.0)
            change_a = sick.output.current_a - sound.output.current_a
            current_a = np.where(opened, 0.0, operation.current_a + change_a)
        changed = replace(
            operation, voltage_v=voltage_v, temperature_c=temperature_c, current_a=current_a
        )
        if operation.capacity_ah is None or operation.kind != "discharge":
            return changed
        return replace(changed, capacity_ah=delivered_ah(changed, recorded, operation.capacity_ah))

    def _learn(self, operation: Operation) -> None:
        """Take health and a full charge from the recording, as far as they are known."""
        healthy, faulty = self._healthy, self._faulty
        if healthy is None:
            return
        if operation.kind == "discharge" and operation.capacity_ah is not None:
            loss = 1.0 - operation.capacity_ah / self._info.nominal_capacity_ah
            loss = min(max(loss, self._tables.loss_low), 0.6)
            change = loss - float(healthy.capacity_loss[0])
            for state in (healthy, faulty):
                if state is not None:
                    state.capacity_loss[:] += change
                    state.resistance_age[:] += change
        charged = operation.kind == "charge" and bool(
            np.nanmax(operation.voltage_v[:, self._cell - 1])
            > self._info.charge_voltage_v - _HOLDING_V
        )
        if charged and abs(float(operation.current_a[-1])) < 0.1 * self._info.nominal_capacity_ah:
            over_ah = float(healthy.discharged_ah[0])
            for state in (healthy, faulty):
                if state is not None:
                    state.discharged_ah[:] -= over_ah
