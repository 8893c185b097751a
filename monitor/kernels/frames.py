"""What goes into the kernels and comes out of them: frames, samples and finished half-cycles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from monitor.kernels.columns import (
    BINS,
    ENDED_WIDTH,
    EXTRAS,
    FEATURES,
    SOH_WIDTH,
    THERMAL_WIDTH,
    Floats,
    Floats32,
    Ints,
    Mask,
    Records,
)
from monitor.kernels.jit import kernel

# A frame holds the cells `row` .. `row + cells - 1`. Its values stand in two flat arrays of all
# frames, from a place on and so many; a cell past its frame's voltages has none.
FRAME = np.dtype(
    [
        ("row", "i8"),
        ("cells", "i8"),
        ("timestamp_ms", "i8"),
        ("current_a", "f8"),  # NaN where missing, as the ambient
        ("ambient_c", "f8"),
        ("volts_from", "i8"),
        ("volts_count", "i8"),
        ("temperatures_from", "i8"),
        ("temperatures_count", "i8"),
        ("new_segment", "?"),  # the clock jumped back: bridge nothing
    ],
    align=True,
)
SAMPLE = np.dtype(
    [
        ("row", "i8"),  # of the cell
        ("frame", "i8"),  # index of the frame that it came with
        ("timestamp_ms", "i8"),
        ("quality", "i8"),  # bits of `Quality`
        ("soh_ms", "i8"),  # when the SOH that its result carries was found, -1 for never
        ("soh_usable", "?"),  # whether its row of the model's inputs is filled
        ("thermal_usable", "?"),
        ("features", "f8", (FEATURES,)),
        ("extras", "f8", (EXTRAS,)),
    ],
    align=True,
)
END = np.dtype(
    [
        ("sample", "i8"),  # index of the sample that it ended with
        ("values", "f8", (ENDED_WIDTH,)),  # columns of `Ended`
        ("histogram", "f4", (BINS,)),  # Ah per bin
    ],
    align=True,
)


class Sample(NamedTuple):
    """One cell's readings as a kernel hands them on; NaN is missing or not believed."""

    t_ms: int
    voltage_v: float
    current_a: float  # positive charges
    temperature_c: float
    ambient_c: float
    new_segment: bool


@dataclass(frozen=True, slots=True)
class Frames:
    """A run of frames: (n,) of FRAME, V and °C of all of them in order."""

    rows: Records
    volts: Floats
    temperatures: Floats

    @staticmethod
    def of(volts: Floats, temperatures: Floats, **columns: ArrayLike) -> Frames:
        """From a column for every name of FRAME; raises KeyError where one is missing."""
        rows = np.empty(len(np.atleast_1d(columns["row"])), FRAME)
        for name in FRAME.names or ():
            rows[name] = columns[name]
        return Frames(rows, volts, temperatures)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Outputs:
    """Room for what the kernels write about up to `size` samples; reused between calls.

    The arrays below `ends` are views of the records above, by their names.
    """

    size: int
    samples: Records = field(init=False)  # (size,) of SAMPLE
    soh_inputs: Floats32 = field(init=False)  # (size, SOH_WIDTH)
    thermal_inputs: Floats32 = field(init=False)  # (size, THERMAL_WIDTH)
    ends: Records = field(init=False)  # (size,) of END, the half-cycles that ended
    row: Ints = field(init=False)
    frame: Ints = field(init=False)
    timestamp_ms: Ints = field(init=False)
    quality: Ints = field(init=False)
    soh_ms: Ints = field(init=False)
    soh_usable: Mask = field(init=False)
    thermal_usable: Mask = field(init=False)
    features: Floats = field(init=False)  # (size, FEATURES)
    extras: Floats = field(init=False)  # (size, EXTRAS)
    ended: Floats = field(init=False)  # (size, ENDED_WIDTH)
    ended_sample: Ints = field(init=False)
    ended_histogram: Floats32 = field(init=False)  # (size, BINS)

    def __post_init__(self) -> None:
        self.samples = np.zeros(self.size, SAMPLE)
        self.soh_inputs = np.zeros((self.size, SOH_WIDTH), np.float32)
        self.thermal_inputs = np.zeros((self.size, THERMAL_WIDTH), np.float32)
        self.ends = np.zeros(self.size, END)
        for name in SAMPLE.names or ():
            setattr(self, name, self.samples[name])
        self.ended = self.ends["values"]
        self.ended_sample = self.ends["sample"]
        self.ended_histogram = self.ends["histogram"]


@kernel
def first_unfit(frames: Records, rows: int, size: int, volts: int, temperatures: int) -> int:
    """The first frame that reaches past the cells, the values or the room; -1 where none does.

    `frames`: (n,) of FRAME; the others are how many cells, samples and values there are.
    """
    left = size
    for k in range(len(frames)):
        f = frames[k]
        if f.row < 0 or f.cells < 0 or f.cells > rows - f.row or f.cells > left:
            return k
        if not _within(f.volts_from, f.volts_count, volts):
            return k
        if not _within(f.temperatures_from, f.temperatures_count, temperatures):
            return k
        left -= f.cells
    return -1


@kernel
def _within(first: int, count: int, size: int) -> bool:
    return first >= 0 and count >= 0 and count <= size - first
