"""CSV, Parquet and HDF5 files of any maker, read through a column mapping, and BDF without one.

See `mapping` for what a mapping says, `tables` for the formats and `segmenting` for how a stream of
rows becomes operations. A discharge's `capacity_ah` is known only where the file counts the charge
drawn and the discharge came within 50 mV of the cut-off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recordings.checking import NO_READING, OnBad, checked, raise_or_report
from recordings.errors import MappingError, RecordingError, SamplesError
from recordings.mapping import (
    Column,
    Mapping,
    load_mapping,
    refuse_no_tables,
    resolve,
    sidecar,
)
from recordings.messages import KINDS, Message, Place, at_row
from recordings.segmenting import Batch, kind_of, segments
from recordings.tables import Table, open_table
from recordings.types import Floats, Operation, RecordingInfo

_COMPLETE_WITHIN_V = 0.05
_LAST_CYCLE = 2**31 - 1
_NO_TIME_S = 1e15  # a clock past it is refused with its row, see `checking`
_EARLIEST_MS = 1e11  # 1973; below it a number taken as milliseconds was seconds


class GenericRecording:
    """A recording over one file of columns."""

    def __init__(
        self,
        path: Path,
        *,
        mapping: Path | dict[str, Any] | None = None,
        nominal_capacity_ah: float | None = None,
        on_bad: OnBad | None = None,
    ) -> None:
        """Reads the head only. `mapping` defaults to the TOML file beside the recording.

        Raises RecordingError if the file is not readable or the mapping does not fit it.
        """
        if mapping is None:
            beside = sidecar(path)
            content = {} if beside is None else load_mapping(beside)
        else:
            content = mapping if isinstance(mapping, dict) else load_mapping(mapping)
        refuse_no_tables(Place(path.name), content)
        self._path = path
        self._on_bad = on_bad
        self._table: Table = open_table(path, content)
        self._mapping: Mapping = resolve(path, self._table, content, nominal_capacity_ah)
        self._info = replace(self._mapping.info, problems=self._mapping.problems)
        self.share = 0.0
        self.rows = self._table.rows  # about

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations as the current tells them; see `Recording`."""
        discharges = done = 0
        total = max(1, self._table.rows)
        info = self._info
        values = info.cells + info.sensors
        try:
            for index, rows in enumerate(segments(self._rows(), info.nominal_capacity_ah, values)):
                self.share = min(1.0, done / total)
                done += len(rows["elapsed_s"])
                kind = kind_of(rows["elapsed_s"], rows["current_a"], info.nominal_capacity_ah)
                cycle = discharges + 1
                if self._mapping.cycle is not None and np.isfinite(rows["cycle"][0]):
                    cycle = max(1, int(rows["cycle"][0]))
                discharges += kind == "discharge"
                if index < start:
                    continue
                at = Message("at.operation_kind", operation=index, kind=KINDS[kind])
                where = Place(self._path.name).at(at)
                try:
                    operation = self._operation(rows, index, cycle, where)
                except RecordingError as error:
                    raise_or_report(error, self._on_bad)
                    continue
                yield operation
        except RecordingError as error:  # the file itself: nothing follows
            raise_or_report(error, self._on_bad)

    def _operation(self, rows: Batch, index: int, cycle: int, where: Place) -> Operation:
        elapsed_s, current_a, voltage_v = rows["elapsed_s"], rows["current_a"], rows["voltage_v"]
        kind = kind_of(elapsed_s, current_a, self._info.nominal_capacity_ah)
        clock_ms = rows.get("clock_ms")
        start_ms = self._mapping.start_ms + float(elapsed_s[0]) * 1000
        if clock_ms is not None:
            start_ms = float(clock_ms[0])
        if not np.isfinite(start_ms):
            raise SamplesError(Message("samples.no_date"), where.at(at_row(0)))
        capacity_ah: float | None = None
        drawn = rows.get("discharged_ah")
        if kind == "discharge" and drawn is not None and np.isfinite(drawn).any():
            lowest = np.nanmin(voltage_v) if np.isfinite(voltage_v).any() else np.nan
            if lowest <= self._info.discharge_voltage_v + _COMPLETE_WITHIN_V:
                capacity_ah = float(np.nanmax(drawn) - np.nanmin(drawn))
        return checked(
            Operation(
                index=index,
                cycle=cycle,
                kind=kind,
                start_ms=round(start_ms),
                time_s=elapsed_s - elapsed_s[0],
                current_a=current_a,
                voltage_v=voltage_v,
                temperature_c=rows["temperature_c"],
                ambient_c=rows.get("ambient_c"),
                capacity_ah=capacity_ah,
            ),
            where,
        )

    def _rows(self) -> Iterator[Batch]:
        """The file's batches in our names, units and sign."""
        mapping, info = self._mapping, self._info
        where = Place(self._path.name)
        done = 0
        first_ms: float | None = None
        for table in self._table.batches(mapping.names(), mapping):
            rows: Batch = {}
            if mapping.clock is not None:
                rows["clock_ms"] = _converted(table, mapping.clock)
                finite = rows["clock_ms"][np.isfinite(rows["clock_ms"])]
                if first_ms is None and len(finite):
                    first_ms = float(finite[0])
                    if abs(first_ms) < _EARLIEST_MS:
                        message = Message("mapping.clock_unit", column=mapping.clock.name)
                        raise MappingError(message, where)
            if mapping.time is not None:
                elapsed = _scaled(table, mapping.time)
                rows["elapsed_s"] = np.clip(elapsed, -_NO_TIME_S, _NO_TIME_S)
            else:
                rows["elapsed_s"] = (rows["clock_ms"] - (first_ms or 0.0)) / 1000
            n = len(rows["elapsed_s"])
            if mapping.current is None:
                rows["current_a"] = np.full(n, np.nan)
            else:
                sign = 1.0 if mapping.charges_positive else -1.0
                rows["current_a"] = sign * _converted(table, mapping.current)
            rows["voltage_v"] = _matrix(table, mapping.voltage, n)
            rows["temperature_c"] = _matrix(table, mapping.temperature, n)
            for name, width in (("voltage_v", info.cells), ("temperature_c", info.sensors)):
                if rows[name].shape[1] != width:
                    found = rows[name].shape[1]
                    raise SamplesError(
                        Message("samples.width", found=found, name=name, expected=width),
                        where.at(Message("at.after_row", row=done)),
                    )
            done += n
            if mapping.ambient is not None:
                rows["ambient_c"] = _converted(table, mapping.ambient)
            if mapping.discharged is not None:
                rows["discharged_ah"] = _converted(table, mapping.discharged)
            rows["cycle"] = np.zeros(n)
            if mapping.cycle is not None:
                rows["cycle"] = np.clip(
                    np.nan_to_num(_converted(table, mapping.cycle)), 0, _LAST_CYCLE
                )
            yield rows


def _scaled(table: dict[str, Floats], column: Column) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, which is looked at after it
        return table[column.name] * column.scale + column.offset


def _converted(table: dict[str, Floats], column: Column) -> Floats:
    values = _scaled(table, column)
    # A clock in milliseconds is larger than any reading, and far from the bound.
    return np.where(np.abs(values) < NO_READING, values, np.nan)


def _matrix(table: dict[str, Floats], columns: tuple[Column, ...], n: int) -> Floats:
    if not columns:
        return np.empty((n, 0))
    return np.column_stack([_converted(table, column) for column in columns])
