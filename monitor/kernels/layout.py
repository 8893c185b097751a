"""The names under which state travels: any record's fields, and the columns of earlier versions.

State that was written by another version of the program is taken over field by field. A field that
is not there any more is left out, one that is new keeps what it had.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.kernels.admission import ADMISSION
from monitor.kernels.cell import CELL, MEMORY_FROM
from monitor.kernels.columns import Records, Result

Field = tuple[str, str, tuple[int, ...]]  # name, with dots; type, as in "<f8"; shape
Layouts = dict[str, list[Field]]  # of arrays by their names


def fields(dtype: np.dtype[np.void], before: str = "") -> Iterator[Field]:
    """A structured dtype's plain fields in order, those of nested records as `outer.inner`."""
    for name in dtype.names or ():
        part = dtype[name]
        if part.names:
            yield from fields(part, f"{before}{name}.")
        else:
            yield f"{before}{name}", part.base.str, part.shape


def of_record(records: Records, name: str) -> Records:
    """A field's values by its dotted name, a view; raises ValueError where there is none."""
    for part in name.split("."):
        records = records[part]
    return records


def records_of(name: str, array: Records) -> Records:
    """An array of the state, by its name, with its columns as fields; a view of whole rows."""
    if name in _COLUMNS:
        return array.view(_COLUMNS[name])[:, 0]
    return array


def memory(cells: Records) -> NDArray[np.uint8]:
    """The bytes of consecutive records of CELL without their config, (rows, bytes); a view.

    They have no holes: they are the fields of `written_layout` in a row.
    """
    return cells.view(np.uint8).reshape(len(cells), CELL.itemsize)[:, MEMORY_FROM:]


@cache
def written_layout() -> bytes:
    """The fields of the arrays that `Fleet.take` writes; stands beside their bytes."""
    cell = [one for one in fields(CELL) if not one[0].startswith("config.")]
    layouts = {
        "cells": cell,
        "admission": list(fields(ADMISSION)),
        **{name: list(fields(dtype)) for name, dtype in _COLUMNS.items()},
    }
    return zlib.compress(msgspec.json.encode(layouts), 9)


def read_layout(data: bytes) -> Layouts:
    """What `written_layout` gave, of any version. Raises ValueError."""
    try:
        return msgspec.json.decode(zlib.decompress(data), type=Layouts)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"layout of the state: {error}") from error


def packed_dtype(layout: Sequence[Field]) -> np.dtype[np.void]:
    """The fields in a row, without holes, under their dotted names."""
    return np.dtype([(name, kind, shape) for name, kind, shape in layout])


def take_over_inplace(target: Records, data: bytes, layout: list[Field]) -> None:
    """Write packed records of another layout into `target`, (rows,), field by field.

    Raises ValueError where the bytes are not as many records.
    """
    found = np.frombuffer(data, packed_dtype(layout))
    if len(found) != len(target):
        raise ValueError(f"{len(found):,} records of state, expected {len(target):,}")
    ours = {name: shape for name, _, shape in fields(target.dtype)}
    for name, _, shape in layout:
        if ours.get(name) == shape:
            of_record(target, name)[...] = found[name]


_COLUMNS = {
    "value": np.dtype([(one.name.lower(), "f8") for one in Result]),
    "value_ms": np.dtype([(one.name.lower(), "i8") for one in Result]),
}

# The matrix of versions 7 and 8, column by column under today's names; "-" was not used.
_SCALARS = (
    "timestamp_ms", "voltage_v", "current_a", "temperature_c", "-", "charge_in_ah",
    "charge_out_ah", "energy_in_wh", "energy_out_wh", "soc", "capacity_ah", "since_full_ah",
    "dv_dt_v_per_s", "dt_dt_c_per_s", "voltage_mean_v", "voltage_var", "current_mean_a",
    "current_var", "temperature_mean_c", "temperature_var", "phase", "resistance_ohm",
    "rest_voltage_v",
    *(f"half_cycle.{name}" for name in (
        "direction", "start_ms", "end_ms", "charge_ah", "energy_wh", "voltage_start_v",
        "voltage_end_v", "voltage_min_v", "voltage_max_v", "current_as", "current_squared_a2s",
        "loaded_s", "temperature_cs", "temperature_s", "temperature_max_c", "r60_ohm", "gap",
        "from_end", "reached_end",
    )),
    "charges", "discharges", "rest_s", "at_end", "at_end_ah", "heat.stored_w", "heat.cooled_w",
    "heat.joule_w", "-", "voltage_signal.frozen_since_ms", "voltage_signal.frozen_current_a",
    "thermometer.frozen_since_ms", "thermometer.frozen_current_a", "heat.ambient_c",
    "heat.slot_start_ms", "heat.slots_filled", "voltage_ms", "temperature_ms",
    "voltage_signal.raw_v", "thermometer.raw_c", "rest_ms", "half_cycle.rest_voltage_v",
    "voltage_signal.frozen_deviation_a", "-",
    *(f"balance.{name}" for name in (
        "last_ms", "c_rate", "temperature_c", "ambient_c", "voltage_v", "origin_ms", "number",
        "gap_s", "duration_s", "warming_c", "sum_temperature_cs", "sum_ambient_cs",
        "sum_c_rate_s", "sum_c_rate_squared_s", "sum_voltage_vs", "joule", "reversible", "deep",
        "charge_voltage", "discharge_voltage", "fixture_c", "fast", "slow", "ambient_used_c",
        "coefficient", "covariance",
    )),
    *(f"thermometer.{name}" for name in (
        "raw_ms", "smallest_c", "change_c", "noise_c", "turns", "still", "longest", "expected_c",
        "extra_heat", "was_frozen", "offset_c", "stepped_ms", "climb", "volts_before",
    )),
    *(f"voltage_signal.{name}" for name in (
        "good_v", "good_ms", "good_current_a", "suspect_v", "run", "glitches",
    )),
    "thermometer.spiked",
    *(f"slope.{name}" for name in (
        "start_ms", "start_c", "next_ms", "next_c", "slope_c_per_s", "heating_c_per_s",
        "rising_c_per_s",
    )),
    "half_cycle.marks_passed", "half_cycle.mark_drop_v",
)  # fmt: skip
_SHAPES = {
    "balance.coefficient": (8,), "balance.covariance": (8, 8), "half_cycle.mark_drop_v": (16,),
}  # fmt: skip
# What versions 7 and 8 wrote of a cell: four arrays, which are one record today.
VERSION_8_CELLS: Layouts = {
    "scalars": [
        (f"unused_{k}" if name == "-" else name, "<f8", _SHAPES.get(name, ()))
        for k, name in enumerate(_SCALARS)
    ],
    "histogram": [("histogram", "<f4", (2, 160))],
    "window": [("window", "<f4", (16, 4))],
    "unlike_bins": [("soh_unlike_bins", "<f4", ())],
}
VERSION_8: Layouts = {
    "admission": [
        (name, "<i8", ())
        for name in ("session", "seq", "seen", "timestamp_ms", "behind", "missed")
    ],
    **{
        array: [
            (name, kind, ())
            for name in (
                "soc", "soh", "soh_low", "soh_high", "soh_state", "resistance_ohm",
                "thermal_score", "excess_heat_w", "phase", "quality", "dt_dt_c_per_s", "c_rate",
                "risk", "risk_cause",
            )
        ]
        for array, kind in (("value", "<f8"), ("value_ms", "<i8"))
    },
}  # fmt: skip
