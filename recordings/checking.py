"""What every reader does to an operation before it hands it out, and how it reports a bad one.

A monitor must cope with glitches, so samples pass through as they were recorded: a spike, a false
first current or an over-range voltage is data. Only what cannot be data is put right: a number that
no instrument reads is missing, rows in which nothing was measured are left out, and an operation
whose clock is broken is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recordings.errors import RecordingError, SamplesError, TooLargeError
from recordings.messages import Message, Place, at_row
from recordings.types import MAX_OPERATION_ROWS, MAX_TEXT, Floats, Operation, is_asset_name

OnBad = Callable[[RecordingError], None]
"""Called with the error of each operation or file that was skipped."""

NO_READING = 1e30  # so large a number is none; its square would be past a float32 or infinite
LONGEST_S = 1e9  # thirty years
EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 4_102_444_800_000  # 1900 to 2100


def checked(operation: Operation, where: Place) -> Operation:
    """The operation with every promise of `Operation` kept.

    Numbers that no instrument reads (from 1e30 on) become missing; rows without any measurement
    (voltage, current and temperature all missing) are left out; both are noted. Raises
    RecordingError, with `where` and the row, if columns differ in length, a time is not a finite
    number or runs backwards, there are more rows than `MAX_OPERATION_ROWS`, or no row is left.
    """
    n = len(operation.time_s)
    if n > MAX_OPERATION_ROWS:
        raise TooLargeError(
            Message("limit.operation_rows", found=n, most=MAX_OPERATION_ROWS), where
        )
    columns: dict[str, Floats | NDArray[np.bool_] | None] = {
        "current": operation.current_a,
        "voltage": operation.voltage_v,
        "temperature": operation.temperature_c,
        "ambient temperature": operation.ambient_c,
        "fault flag": operation.fault_active,
    }
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise SamplesError(
                Message("samples.lengths", expected=n, found=len(column), name=name), where
            )
    if not np.isfinite(operation.time_s).all():
        row = int(np.flatnonzero(~np.isfinite(operation.time_s))[0])
        raise SamplesError(Message("samples.time_not_a_number"), where.at(at_row(row)))
    if n and float(np.abs(operation.time_s).max()) > LONGEST_S:
        row = int(np.abs(operation.time_s).argmax())
        raise SamplesError(
            Message("samples.time_impossible", found=float(operation.time_s[row])),
            where.at(at_row(row)),
        )
    if not EARLIEST_MS <= operation.start_ms <= LATEST_MS:
        raise SamplesError(Message("samples.start_impossible", found=operation.start_ms), where)
    backwards = np.flatnonzero(np.diff(operation.time_s) < 0)
    if len(backwards):
        row = int(backwards[0]) + 1
        before_s, found_s = operation.time_s[row - 1 : row + 1].tolist()
        raise SamplesError(
            Message("samples.time_backwards", before=before_s, found=found_s),
            where.at(at_row(row)),
        )
    operation = _readings(operation)
    measured = (
        np.isfinite(operation.current_a)
        | np.isfinite(operation.voltage_v).any(axis=1)
        | np.isfinite(operation.temperature_c).any(axis=1)
    )
    if not measured.any():
        raise SamplesError(Message("samples.no_measurement"), where)
    if measured.all():
        return operation
    empty = int((~measured).sum())
    return replace(
        operation,
        time_s=operation.time_s[measured],
        current_a=operation.current_a[measured],
        voltage_v=operation.voltage_v[measured],
        temperature_c=operation.temperature_c[measured],
        ambient_c=None if operation.ambient_c is None else operation.ambient_c[measured],
        fault_active=None if operation.fault_active is None else operation.fault_active[measured],
        notes=(
            *operation.notes,
            Message("note.empty_row" if empty == 1 else "note.empty_rows", found=empty),
        ),
    )


def _readings(operation: Operation) -> Operation:
    """The operation with every number that is no reading missing, and a note of how many."""
    wrong = 0
    arrays: dict[str, Floats] = {}
    for name in ("current_a", "voltage_v", "temperature_c", "ambient_c"):
        array = getattr(operation, name)
        if array is None:
            continue
        huge = np.abs(array) >= NO_READING
        if huge.any():
            wrong += int(np.count_nonzero(huge))
            arrays[name] = np.where(huge, np.nan, array)
    if not wrong:
        return operation
    note = Message("note.no_reading" if wrong == 1 else "note.no_readings", found=wrong)
    return replace(operation, notes=(*operation.notes, note), **arrays)  # type: ignore[arg-type]


def asset_name(text: str) -> str:
    """`text` as a legal asset name: illegal characters become `-`; empty becomes `cell`."""
    if is_asset_name(text):
        return text
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text[:MAX_TEXT]).lstrip("._-")[:64]
    return name or "cell"


def raise_or_report(error: RecordingError, on_bad: OnBad | None) -> None:
    """Raise the error, or hand it to `on_bad` where the caller wants to go on."""
    if on_bad is None:
        raise error
    on_bad(error)
