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

from recordings.types import (
    MAX_OPERATION_ROWS,
    MAX_TEXT,
    Floats,
    Operation,
    RecordingError,
    is_asset_name,
)

OnBad = Callable[[RecordingError], None]
"""Called with the error of each operation or file that was skipped."""

NO_READING = 1e30  # so large a number is none; its square would be past a float32 or infinite
LONGEST_S = 1e9  # thirty years
EARLIEST_MS, LATEST_MS = -2_208_988_800_000, 4_102_444_800_000  # 1900 to 2100


def checked(operation: Operation, where: str) -> Operation:
    """The operation with every promise of `Operation` kept.

    Numbers that no instrument reads (from 1e30 on) become missing; rows without any measurement
    (voltage, current and temperature all missing) are left out; both are noted. Raises
    RecordingError, with `where` and the row, if columns differ in length, a time is not a finite
    number or runs backwards, there are more rows than `MAX_OPERATION_ROWS`, or no row is left.
    """
    n = len(operation.time_s)
    if n > MAX_OPERATION_ROWS:
        raise RecordingError(
            f"{where}: {n:,} rows; at most {MAX_OPERATION_ROWS:,} of one charge or discharge are "
            "read"
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
            raise RecordingError(f"{where}: {n} times but {len(column)} {name} values")
    if not np.isfinite(operation.time_s).all():
        row = int(np.flatnonzero(~np.isfinite(operation.time_s))[0])
        raise RecordingError(f"{where}, row {row}: the time is not a number")
    if n and float(np.abs(operation.time_s).max()) > LONGEST_S:
        row = int(np.abs(operation.time_s).argmax())
        raise RecordingError(
            f"{where}, row {row}: a time of {operation.time_s[row]:g} s cannot be; "
            "it is counted in seconds from the start"
        )
    if not EARLIEST_MS <= operation.start_ms <= LATEST_MS:
        raise RecordingError(f"{where}: a start {operation.start_ms:g} ms from 1970 cannot be")
    backwards = np.flatnonzero(np.diff(operation.time_s) < 0)
    if len(backwards):
        row = int(backwards[0]) + 1
        raise RecordingError(
            f"{where}, row {row}: time runs backwards, from {operation.time_s[row - 1]:g} s "
            f"to {operation.time_s[row]:g} s"
        )
    operation = _readings(operation)
    measured = (
        np.isfinite(operation.current_a)
        | np.isfinite(operation.voltage_v).any(axis=1)
        | np.isfinite(operation.temperature_c).any(axis=1)
    )
    if not measured.any():
        raise RecordingError(f"{where}: no row with a measurement")
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
            f"{empty} row{'s' * (empty > 1)} without any measurement left out",
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
    note = f"{wrong} number{'s' * (wrong > 1)} that no instrument reads left out"
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
