"""What every reader gives: a `Recording`, one battery's life as a lazy run of `Operation`s.

Signs and units are the project's own whatever the file had: positive current charges, volts,
amperes, degrees Celsius, ampere-hours, seconds. A missing value is NaN inside an array and None
elsewhere.

A file's head may claim anything in a few bytes. So every number that says how much is to come has
its bound here, and is held to it before room is made for it: cells and sensors as in the monitor's
messages, rows, and values (rows times cells and sensors).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recordings.errors import MappingError, RecordingError, SamplesError, TooLargeError
from recordings.messages import Message, Place, Words

__all__ = ["RecordingError"]  # where callers have always found it

OperationKind = Literal["charge", "discharge", "rest", "mixed"]
Floats = NDArray[np.float64]

MAX_CELLS = 4_096  # of a pack, and its sensors: `monitor.contract.MAX_CELLS`
MAX_ROWS = 100_000_000  # of a file: three years, a row a second
MAX_OPERATION_ROWS = 2_000_000
MAX_VALUES = 1 << 26  # held at once: half a GiB of numbers
MAX_COLUMNS = 10_000
MAX_NAME = 1_000  # characters of a column's name
MAX_TEXT = 2_000  # characters of whatever a recording says of itself
MIN_CAPACITY_AH, MAX_CAPACITY_AH = 1e-6, 1e6
MAX_VOLTAGE_V = 1e5
MAX_TEMPERATURE_C = 1e4
_ASSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def is_asset_name(text: str) -> bool:
    """Whether this is a legal asset name."""
    return _ASSET.match(text) is not None


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def refuse_too_many(where: Place, count: int, what: Literal["cells", "sensors"]) -> None:
    """Raise TooLargeError, beginning with `where`, if a pack cannot have so many of them."""
    if count > MAX_CELLS and what == "cells":
        raise TooLargeError(Message("limit.cells", found=count, most=MAX_CELLS), where)
    if count > MAX_CELLS:
        raise TooLargeError(Message("limit.sensors", found=count, most=MAX_CELLS), where)


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """What is known of a recorded battery before its first sample.

    `cell_type` names the family that a SOH model was trained on (`nasa-18650`, `calce-cs2`), or is
    None where no model of ours claims the cell. `problems` say what was found wrong.
    Raises RecordingError where a number or a text cannot be: more than `MAX_CELLS` cells or
    sensors, a capacity that is none.
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
    problems: tuple[Words, ...] = ()

    def __post_init__(self) -> None:
        where = Place(Path(self.source).name if self.source else self.asset)
        if not is_asset_name(self.asset):
            raise MappingError(Message("info.asset", found=self.asset), where)
        counts: tuple[tuple[Literal["cells", "sensors"], int, int], ...] = (
            ("cells", self.cells, 1),
            ("sensors", self.sensors, 0),
        )
        for what, count, least in counts:
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                raise MappingError(
                    Message("info.whole_number", key=what, found=count, least=least), where
                )
            refuse_too_many(where, count, what)
        for name, value, low, high in (
            ("nominal_capacity_ah", self.nominal_capacity_ah, MIN_CAPACITY_AH, MAX_CAPACITY_AH),
            ("charge_voltage_v", self.charge_voltage_v, 0.0, MAX_VOLTAGE_V),
            ("discharge_voltage_v", self.discharge_voltage_v, 0.0, MAX_VOLTAGE_V),
            ("temperature_max_c", self.temperature_max_c, -273.15, MAX_TEMPERATURE_C),
        ):
            if not (_finite(value) and low < value <= high):
                raise MappingError(
                    Message("info.range", key=name, found=value, low=low, high=high), where
                )
        for name, text in (
            ("dataset", self.dataset),
            ("chemistry", self.chemistry),
            ("cell_type", self.cell_type),
            ("citation", self.citation),
        ):
            if text is not None and len(text) > MAX_TEXT:
                raise TooLargeError(
                    Message("limit.text", key=name, found=len(text), most=MAX_TEXT), where
                )


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded operation: n samples of a pack of `cells` cells and `sensors` thermometers.

    Raises RecordingError where an array is not of its shape, or wider than a pack can be.
    """

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
    notes: tuple[Words, ...] = ()  # what the reader found wrong here, and what it did about it

    def __post_init__(self) -> None:
        where = Place().at(Message("at.operation", operation=self.index))
        for name, array, dimensions in (
            ("time_s", self.time_s, 1),
            ("current_a", self.current_a, 1),
            ("voltage_v", self.voltage_v, 2),
            ("temperature_c", self.temperature_c, 2),
            ("ambient_c", self.ambient_c, 1),
            ("fault_active", self.fault_active, 1),
        ):
            if array is not None and array.ndim != dimensions:
                raise SamplesError(
                    Message(
                        "samples.shape_one" if dimensions == 1 else "samples.shape_list",
                        name=name,
                        found=array.shape,
                    ),
                    where,
                )
        refuse_too_many(where, self.voltage_v.shape[1], "cells")
        refuse_too_many(where, self.temperature_c.shape[1], "sensors")

    def __len__(self) -> int:
        return len(self.time_s)


class Recording(Protocol):
    """One battery's recording. `operations` may be called again and starts from the beginning.

    The readers of this package also have a `share`: how much of it `operations` has read, 0..1, in
    records, rows or bytes, whichever is known beforehand.
    """

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations in time order from number `start` on, read as they are asked for.

        Raises RecordingError where the file is broken.
        """
        ...
