"""What every reader gives: a `Recording`, one battery's life as a lazy run of `Operation`s.

Signs and units are the project's own whatever the file had: positive current charges, volts,
amperes, degrees Celsius, ampere-hours, seconds. A missing value is NaN inside an array and None
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

OperationKind = Literal["charge", "discharge", "rest", "mixed"]
Floats = NDArray[np.float64]


class RecordingError(Exception):
    """A recording cannot be read; names the file and, where known, the operation and the row."""


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """What is known of a recorded battery before its first sample.

    `cell_type` names the family that a SOH model was trained on (`nasa-18650`, `calce-cs2`), or is
    None where no model of ours claims the cell. `problems` are sentences on what was found wrong.
    """

    asset: str  # a legal asset name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}
    dataset: str  # "nasa", "calce", "twin", "csv", ...
    nominal_capacity_ah: float
    chemistry: str | None = None
    cell_type: str | None = None
    cells: int = 1
    sensors: int = 1
    charge_voltage_v: float = 4.2
    discharge_voltage_v: float = 2.7
    temperature_max_c: float = 60.0
    synthetic: bool = False
    citation: str = ""
    source: str = ""  # the path it was read from
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded operation: n samples of a pack of `cells` cells and `sensors` thermometers."""

    index: int  # position in the recording, from 0
    cycle: int  # the publisher's cycle number, from 1
    kind: OperationKind
    start_ms: int  # UTC; time_s counts from here
    time_s: Floats  # (n,), never decreasing
    current_a: Floats  # (n,), positive charges
    voltage_v: Floats  # (n, cells)
    temperature_c: Floats  # (n, sensors); sensors may be 0
    ambient_c: Floats | None = None  # (n,)
    capacity_ah: float | None = None  # the publisher's own figure for this operation
    fault: str | None = None  # label of an injected fault; the recording is synthetic then
    fault_active: NDArray[np.bool_] | None = None  # (n,)
    notes: tuple[str, ...] = ()  # what the reader found wrong here, and what it did about it

    def __len__(self) -> int:
        return len(self.time_s)


class Recording(Protocol):
    """One battery's recording. `operations` may be called again and starts from the beginning.

    The readers of this package also have a `share`: how much of it `operations` has read, 0..1, in
    records, rows or bytes, whichever is known beforehand.
    """

    @property
    def info(self) -> RecordingInfo: ...

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations in time order from number `start` on, read as they are asked for.

        Raises RecordingError where the file is broken.
        """
        ...
