"""Several recorded cells stacked into one pack in series.

The first recording gives current, clock and ambient; the others give their voltages and
temperatures, operation by operation, read at the same share of the operation. Cells in series would
carry one current and these did not quite: the pack is made up, and its provenance says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recordings.types import Floats, Operation, Recording, RecordingError, RecordingInfo


@dataclass(frozen=True, slots=True)
class StackedPack:
    """A `Recording` of n cells in series; raises RecordingError where the cells do not fit."""

    name: str
    cells: Sequence[Recording]

    def __post_init__(self) -> None:
        if not self.cells:
            raise RecordingError("a pack needs at least one recording")
        first = self.cells[0].info
        for recording in self.cells:
            if recording.info.cells != 1:
                raise RecordingError(
                    f"{recording.info.asset} is a pack already: stack single cells"
                )
            if recording.info.nominal_capacity_ah != first.nominal_capacity_ah:
                raise RecordingError(
                    f"{recording.info.asset} has another nominal capacity than {first.asset}"
                )

    @property
    def info(self) -> RecordingInfo:
        """What the pack says of itself: the shortest cell's limits, all cells' names."""
        names = ", ".join(recording.info.asset for recording in self.cells)
        return replace(
            self.cells[0].info,
            asset=self.name,
            cells=len(self.cells),
            sensors=sum(recording.info.sensors for recording in self.cells),
            synthetic=True,
            source=f"stacked from {names}",
        )

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations while every cell has one; the shortest recording ends the pack's."""
        streams = [recording.operations(start) for recording in self.cells]
        for operations in zip(*streams, strict=False):
            first = operations[0]
            for operation, recording in zip(operations, self.cells, strict=True):
                if operation.kind != first.kind:
                    raise RecordingError(
                        f"operation {first.index} is a {first.kind} on {self.cells[0].info.asset} "
                        f"and a {operation.kind} on {recording.info.asset}: they cannot be stacked"
                    )
            grid = _share(first.time_s)
            yield replace(
                first,
                voltage_v=np.hstack([_read(op.voltage_v, op.time_s, grid) for op in operations]),
                temperature_c=np.hstack(
                    [_read(op.temperature_c, op.time_s, grid) for op in operations]
                ),
                capacity_ah=_smallest([op.capacity_ah for op in operations]),
                fault=next((op.fault for op in operations if op.fault is not None), None),
                fault_active=None,
            )


def _share(time_s: Floats) -> Floats:
    """How much of an operation has passed at each sample, 0 to 1."""
    return time_s / time_s[-1] if len(time_s) and time_s[-1] > 0.0 else np.zeros(len(time_s))


def _read(values: Floats, time_s: Floats, grid: Floats) -> Floats:
    own = _share(time_s)
    if len(own) == len(grid) and np.array_equal(own, grid):
        return values
    columns = [np.interp(grid, own, values[:, k]) for k in range(values.shape[1])]
    return np.column_stack(columns) if columns else np.empty((len(grid), 0))


def _smallest(capacities: Sequence[float | None]) -> float | None:
    known = [capacity for capacity in capacities if capacity is not None]
    return min(known) if len(known) == len(capacities) else None
