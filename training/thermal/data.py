"""Recordings as flat columns, and the monitor's own kernel run over them.

Groups are cells that shared a chamber and its clock: sisters see the same ambient and the same
schedule, so a split by cell would leak. In the full NASA archive there are more than are listed
here; an unlisted cell is a group of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.cell import cell_config, empty_cells
from monitor.kernels.columns import Record
from monitor.kernels.frames import Frames, Outputs
from monitor.kernels.update import update_inplace
from recordings.open import open_recording
from recordings.types import Operation, Recording, RecordingError

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_GAP_MS = 120_000  # the contract's default: what a monitor without a special config bridges
CHUNK = 65_536

_GROUPS: dict[str, tuple[str, ...]] = {
    "nasa-05": ("B0005", "B0006", "B0007"),
    "nasa-18": ("B0018",),
    "nasa-25": ("B0025", "B0026", "B0027", "B0028"),
    "nasa-29": ("B0029", "B0030", "B0031", "B0032"),
    "nasa-33": ("B0033", "B0034"),
    "nasa-36": ("B0036",),
    "nasa-38": ("B0038",),
    "nasa-39": ("B0039", "B0040"),
    "nasa-41": ("B0041", "B0042", "B0043", "B0044"),
    "nasa-45": ("B0045", "B0046", "B0047", "B0048"),
    "nasa-49": ("B0049", "B0050", "B0051", "B0052"),
    "nasa-53": ("B0053", "B0054", "B0055", "B0056"),
}
_GROUP_OF = {cell: group for group, cells in _GROUPS.items() for cell in cells}
HOT_GROUPS = ("nasa-29", "nasa-33", "nasa-39")  # pass 60 C in normal use


@dataclass(frozen=True, slots=True)
class Stream:
    """One cell's life as columns of n samples; NaN is missing, positive current charges."""

    asset: str
    group: str
    nominal_ah: float
    charge_v: float
    discharge_v: float
    timestamp_ms: Ints
    current_a: Floats
    voltage_v: Floats
    temperature_c: Floats
    ambient_c: Floats
    operation: Ints  # position of the sample's operation in the recording

    def __len__(self) -> int:
        return len(self.timestamp_ms)

    @property
    def hours(self) -> float:
        """Hours that samples cover; steps longer than the bridged gap do not count."""
        return float(step_hours(self.timestamp_ms).sum())


def step_hours(timestamp_ms: Ints) -> Floats:
    """Hours that each sample stands for: the step before it, 0 where that was not bridged."""
    step = np.diff(timestamp_ms, prepend=timestamp_ms[:1]).astype(np.float64)
    step[(step < 0) | (step > MAX_GAP_MS)] = 0.0
    return step / 3.6e6


def group_of(asset: str, dataset: str) -> str:
    """The chamber that a cell shared with its sisters."""
    if dataset == "dmegc":
        return "dmegc"
    return _GROUP_OF.get(asset, asset)


def stream_of(recording: Recording, operations: Sequence[Operation] | None = None) -> Stream:
    """A recording as one stream; a multi-sensor asset gives its first cell and first sensor.

    Raises RecordingError where it holds no operation.
    """
    info = recording.info
    found = list(recording.operations()) if operations is None else list(operations)
    if not found:
        raise RecordingError(f"{info.source or info.asset}: no operation in it")
    nan = [np.full(len(o), np.nan) for o in found]
    return Stream(
        asset=info.asset,
        group=group_of(info.asset, info.dataset),
        nominal_ah=info.nominal_capacity_ah,
        charge_v=info.charge_voltage_v,
        discharge_v=info.discharge_voltage_v,
        timestamp_ms=np.concatenate(
            [o.start_ms + np.round(o.time_s * 1000.0).astype(np.int64) for o in found]
        ),
        current_a=np.concatenate([o.current_a for o in found]),
        voltage_v=np.concatenate([o.voltage_v[:, 0] for o in found]),
        temperature_c=np.concatenate(
            [
                o.temperature_c[:, 0] if o.temperature_c.shape[1] else n
                for o, n in zip(found, nan, strict=True)
            ]
        ),
        ambient_c=np.concatenate(
            [n if o.ambient_c is None else o.ambient_c for o, n in zip(found, nan, strict=True)]
        ),
        operation=np.concatenate([np.full(len(o), o.index) for o in found]),
    )


def recording_files(data: Path) -> list[Path]:
    """The recordings with a temperature channel under `data`: NASA and DMEGC, tidy or `.mat`."""
    found = sorted((data / "nasa" / "tidy").glob("*.parquet"))
    if not found:
        found = sorted((data / "nasa" / "mat").glob("B*.mat"))
    return found + sorted((data / "dmegc").glob("*.parquet"))


def healthy_streams(data: Path) -> Iterator[tuple[Stream, str]]:
    """Every healthy cell with a temperature channel and the sha256 of the file it came from.

    Broken operations are left out, as the readers report them. Raises RecordingError where
    nothing can be read.
    """
    files = recording_files(data)
    if not files:
        raise RecordingError(f"{data}: no nasa/tidy, nasa/mat or dmegc recordings in it")
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        for recording in open_recording(path, on_bad=lambda error: None):
            yield stream_of(recording), digest


@dataclass(frozen=True, slots=True)
class HeatParameters:
    """The heat balances' parameters per nominal Ah, as `models.onnx.ThermalPrior` has them."""

    heat_capacity_j_per_k_ah: float
    cooling_w_per_k_ah: float
    resistance_ohm_ah: float
    balance_mean: tuple[float, ...] = (0.15, 0.03, 0.04, -0.09, 0.5, 0.12, -0.03, 0.0)
    balance_spread: tuple[float, ...] = (0.08, 0.01, 0.06, 0.02, 0.15, 0.04, 0.06, 0.01)


def kernel_config(stream: Stream, heat: HeatParameters) -> Record:
    """A stream's cell as the kernel knows it, a record of CONFIG."""
    return cell_config(
        stream.nominal_ah, stream.charge_v, stream.discharge_v, MAX_GAP_MS, prior=heat
    )


@dataclass(frozen=True, slots=True)
class KernelRows:
    """What the kernel wrote about n samples from number `first` on; views, not copies."""

    first: int
    features: Floats  # (n, FEATURES)
    quality: Ints
    thermal_inputs: Floats32  # (n, THERMAL_WIDTH)
    usable: Mask


def run_kernel(stream: Stream, heat: HeatParameters, chunk: int = CHUNK) -> Iterator[KernelRows]:
    """The kernel over a whole stream in pieces, each valid until the next is asked for."""
    cells = empty_cells(1)
    cells["config"][0] = kernel_config(stream, heat)
    cells["config"]["sensor"] = 0
    out = Outputs(chunk)
    backwards = np.diff(stream.timestamp_ms, prepend=stream.timestamp_ms[:1]) < 0
    for first in range(0, len(stream), chunk):
        piece = slice(first, min(first + chunk, len(stream)))
        n = piece.stop - piece.start
        frames = Frames.of(
            np.ascontiguousarray(stream.voltage_v[piece]),
            np.ascontiguousarray(stream.temperature_c[piece]),
            row=np.zeros(n, np.int64),
            cells=1,
            timestamp_ms=stream.timestamp_ms[piece],
            current_a=stream.current_a[piece],
            ambient_c=stream.ambient_c[piece],
            volts_from=np.arange(n),
            volts_count=1,
            temperatures_from=np.arange(n),
            temperatures_count=1,
            new_segment=backwards[piece],
        )
        update_inplace(cells, frames, out)
        yield KernelRows(
            first, out.features[:n], out.quality[:n], out.thermal_inputs[:n], out.thermal_usable[:n]
        )
