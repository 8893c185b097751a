"""Half-cycles of recorded cells as the monitor would see them, with capacity labels.

Every operation of a recording goes through `monitor.kernels.update.update_inplace`, the kernel
that runs live, and its `soh_inputs` rows are kept at instants `SNAPSHOT_S` apart. A charge is
labelled with the next discharge's capacity over nominal, a discharge with its own; `excluded` says
why a label is not used. A window that begins in mid-charge is cut from two snapshots
(`window_inputs`): the histogram only grows, so the difference of two rows is what a kernel that
began in between holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.cell import cell_config, empty_cells
from monitor.kernels.columns import BIN_V, CHARGE_FIRST_V, SOH_BINS, TERMS, Feature, Phase
from monitor.kernels.frames import Frames, Outputs
from monitor.kernels.update import update_inplace
from monitor.models.onnx import ThermalPrior
from recordings.open import open_recording
from recordings.types import Operation, OperationKind, Recording, RecordingInfo

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

SNAPSHOT_S = 30.0
MAX_GAP_MS = {"calce": 1_200_000.0}  # CALCE logs its CV phase by current, up to 20 min apart
USUAL_MAX_GAP_MS = 120_000.0
NO_HEAT = ThermalPrior(1.0, 0.0, 0.0, [0.0] * TERMS, [0.0] * TERMS)  # SOH asks nothing of heat
START, END, TABLE, R60, C_MEAN, C_SPREAD = range(SOH_BINS, SOH_BINS + 6)  # columns of soh_inputs

FULL_V = 4.18  # a complete charge comes to here
EMPTY_V = 2.75  # and a complete discharge down to here, under load
NASA_TAPER_A = 0.1
CALCE_TAPER_A = 0.06
NASA_CAPACITY_AH = (0.5, 2.1)
CALCE_LOWEST_SOH = 0.3
NASA_COUNTED_TO_V = 2.7  # the published capacity ends here, whatever the discharge's cut-off
SAME_CURRENT = 0.2  # two discharges' mean currents may differ by this share


@dataclass(frozen=True, slots=True)
class HalfCycle:
    """One recorded charge or discharge, seen by the kernel.

    The arrays hold k snapshots of its constant-current part (a discharge: of its loaded part);
    k is 0 where the kernel had nothing for the model (B0025's square wave, sampled every 10 s).
    """

    cell: str
    cell_type: str | None
    nominal_ah: float
    index: int  # of the operation in its recording
    cycle: int  # the publisher's number
    kind: OperationKind
    start_ms: int
    rest_s: float  # without load before it, as far as the clock tells; NaN for the first
    soh: float  # the label, NaN where there is none
    excluded: str  # why the label is not used; empty where it is
    time_s: Floats  # (k,) since the load began
    voltage_v: Floats  # (k,)
    inputs: Floats32  # (k, SOH_WIDTH)
    charge_ah: float  # coulomb count of the whole half-cycle
    below_ah: float  # of it, drawn after the loaded voltage first fell under NASA_COUNTED_TO_V
    current_a: float  # mean under load, positive
    temperature_c: float  # mean, NaN where no sensor is
    from_empty: bool  # the discharge before it was complete
    complete: bool  # reached its own end: full and tapered, or empty under load

    @property
    def usable(self) -> bool:
        """Whether the label is used."""
        return not self.excluded

    @property
    def whole(self) -> Floats32:
        """The last row, (SOH_WIDTH,): all that was seen of this half-cycle."""
        row: Floats32 = self.inputs[-1]
        return row

    def of_table(self, table: int) -> Floats32:
        """The rows that one table of the model answers, (n, SOH_WIDTH), n may be 0."""
        rows: Floats32 = self.inputs[self.inputs[:, TABLE] == table]
        return rows

    @property
    def first_bin(self) -> float:
        """The first bin of a charge that was crossed under load, whether it began empty or not."""
        return max(0.0, float(np.ceil((self.voltage_v[0] - CHARGE_FIRST_V) / BIN_V)))


def read_cells(path: Path, table_of: dict[str, int]) -> list[list[HalfCycle]]:
    """Half-cycles of each recording in a file or folder. Raises RecordingError."""
    return [read_half_cycles(recording, table_of) for recording in open_recording(path)]


def read_half_cycles(recording: Recording, table_of: dict[str, int]) -> list[HalfCycle]:
    """Run a recording through the kernel. `table_of`: first table for each family of cells.

    A cell of no known family gets table 0, so that its rows exist; the model is not asked then.
    """
    info = recording.info
    cells = empty_cells(1)
    cells["config"][0] = cell_config(
        info.nominal_capacity_ah,
        info.charge_voltage_v,
        info.discharge_voltage_v,
        MAX_GAP_MS.get(info.dataset, USUAL_MAX_GAP_MS),
        prior=NO_HEAT,
        soh_table=table_of.get(info.cell_type or "", 0),
    )
    cells["config"]["sensor"] = 0 if info.sensors else -1

    found: list[HalfCycle] = []
    loaded_until_ms: float = np.nan
    out = Outputs(0)
    for operation in recording.operations():
        if len(operation) > out.size:
            out = Outputs(len(operation))
        update_inplace(cells, frames_of(operation), out)
        if operation.kind not in ("charge", "discharge"):
            continue
        half = _half_cycle(info, operation, out, loaded_until_ms)
        if half is not None:
            found.append(half)
            loaded = np.flatnonzero(np.abs(operation.current_a) > 0.01 * info.nominal_capacity_ah)
            loaded_until_ms = operation.start_ms + 1000.0 * float(operation.time_s[loaded[-1]])
    return _labelled(found, info.dataset)


def frames_of(operation: Operation) -> Frames:
    """One operation of one cell as the kernel's frames."""
    n = len(operation)
    sensors = operation.temperature_c.shape[1]
    nothing = np.full(n, np.nan)
    return Frames.of(
        np.ascontiguousarray(operation.voltage_v[:, 0]),
        np.ascontiguousarray(operation.temperature_c[:, 0]) if sensors else nothing,
        row=np.zeros(n, np.int64),
        cells=1,
        timestamp_ms=operation.start_ms + np.round(operation.time_s * 1000.0).astype(np.int64),
        current_a=operation.current_a,
        ambient_c=nothing if operation.ambient_c is None else operation.ambient_c,
        volts_from=np.arange(n),
        volts_count=1,
        temperatures_from=np.arange(n),
        temperatures_count=1 if sensors else 0,
        new_segment=False,
    )


def window_inputs(half: HalfCycle, first: int, last: int, *, resistance: bool) -> Floats32:
    """The row of a kernel that began a charge at snapshot `first` and has come to `last`.

    `resistance` keeps the resistance measured when the charge began, which a monitor that
    joined in mid-charge lacks; without it the row says so (-1). From the first snapshot on it is
    the row as it was.
    """
    row: Floats32 = half.inputs[last].copy()
    if first > 0:
        row[:SOH_BINS] -= half.inputs[first, :SOH_BINS]
        start = np.ceil((half.voltage_v[first] - CHARGE_FIRST_V) / BIN_V)
        row[START] = min(max(start, 0.0), row[END])
    if not resistance:
        row[R60] = -1.0
    return row


def _half_cycle(
    info: RecordingInfo, operation: Operation, out: Outputs, loaded_until_ms: float
) -> HalfCycle | None:
    n = len(operation)
    features = out.features[:n]
    sign = 1.0 if operation.kind == "charge" else -1.0
    phase = features[:, Feature.PHASE]
    running = features[:, Feature.DIRECTION] == sign
    wanted = Phase.CC_CHARGE if sign > 0 else Phase.DISCHARGE
    seen = np.flatnonzero(running & out.soh_usable[:n] & (phase == wanted))
    loaded = np.flatnonzero(
        running & (operation.current_a * sign > 0.01 * info.nominal_capacity_ah)
    )
    if not len(loaded):
        return None
    began = operation.time_s[loaded[0]]
    time_s = operation.time_s[seen] - began
    step = np.floor(time_s / SNAPSHOT_S)
    keep = np.flatnonzero(np.diff(step, prepend=-1.0) > 0)
    if len(keep) and keep[-1] != len(seen) - 1:
        keep = np.append(keep, len(seen) - 1)
    inputs = out.soh_inputs[seen[keep]]
    if sign > 0 and len(seen) and loaded[-1] > seen[-1] and out.soh_usable[loaded[-1]]:
        inputs = np.vstack([inputs[:-1], out.soh_inputs[loaded[-1]]])  # with the last CC step in
    start_ms = operation.start_ms + round(1000.0 * float(began))
    temperature = features[loaded, Feature.TEMPERATURE_C]
    return HalfCycle(
        cell=info.asset,
        cell_type=info.cell_type,
        nominal_ah=info.nominal_capacity_ah,
        index=operation.index,
        cycle=operation.cycle,
        kind=operation.kind,
        start_ms=start_ms,
        rest_s=(start_ms - loaded_until_ms) / 1000.0,
        soh=np.nan if operation.capacity_ah is None
        else operation.capacity_ah / info.nominal_capacity_ah,
        excluded="",
        time_s=time_s[keep],
        voltage_v=features[seen[keep], Feature.VOLTAGE_V],
        inputs=inputs,
        charge_ah=float(features[loaded[-1], Feature.HALF_CYCLE_AH]),
        below_ah=_drawn_below(features[loaded]) if sign < 0 else 0.0,
        current_a=float(np.mean(np.abs(operation.current_a[loaded]))),
        temperature_c=float(np.nanmean(temperature)) if np.isfinite(temperature).any() else np.nan,
        from_empty=False,
        complete=_reached_its_end(info, operation, features, loaded),
    )  # fmt: skip


def _drawn_below(loaded: Floats) -> float:
    """Charge of a discharge's loaded samples after the first under NASA_COUNTED_TO_V, Ah."""
    low = np.flatnonzero(loaded[:, Feature.VOLTAGE_V] < NASA_COUNTED_TO_V)
    if not len(low):
        return 0.0
    counted = loaded[[low[0], -1], Feature.HALF_CYCLE_AH]
    return max(0.0, float(counted[1] - counted[0]))


def _reached_its_end(
    info: RecordingInfo, operation: Operation, features: Floats, loaded: NDArray[np.int64]
) -> bool:
    volts = features[loaded, Feature.VOLTAGE_V]
    if not np.isfinite(volts).any():
        return False
    if operation.kind == "discharge":
        return bool(np.nanmin(volts) <= EMPTY_V)
    taper = CALCE_TAPER_A if info.dataset == "calce" else NASA_TAPER_A
    tail = operation.current_a[loaded[-5:]]
    return bool(np.nanmax(volts) >= FULL_V and np.nanmin(tail) <= taper)


def _labelled(found: list[HalfCycle], dataset: str) -> list[HalfCycle]:
    """Labels and the reasons against them; charges take the next discharge's."""
    out: list[HalfCycle] = []
    for i, half in enumerate(found):
        before = found[:i]
        if half.kind == "discharge":
            label, own = half, half
        else:
            after = found[i + 1] if i + 1 < len(found) else None
            if after is None or after.kind != "discharge":
                out.append(replace(half, soh=np.nan, excluded="no discharge follows"))
                continue
            label, own = after, half
            before = found[: i + 1]
        from_empty, why = _why_not(label, before, dataset)
        out.append(replace(own, soh=label.soh, excluded=why, from_empty=from_empty))
    return out


def _why_not(label: HalfCycle, before: list[HalfCycle], dataset: str) -> tuple[bool, str]:
    """Whether the charge before began empty, and why the label is not used."""
    charges = 0
    while charges < len(before) and before[-1 - charges].kind == "charge":
        charges += 1
    earlier = before[-1 - charges] if charges < len(before) else None
    from_empty = earlier is not None and earlier.complete and charges == 1
    low, high = NASA_CAPACITY_AH
    if np.isnan(label.soh):
        return from_empty, "no capacity published"
    if dataset == "nasa":
        if not low <= label.soh * label.nominal_ah <= high:
            return from_empty, f"capacity outside {low} to {high} Ah"
    elif label.soh < CALCE_LOWEST_SOH:
        return from_empty, f"SOH under {CALCE_LOWEST_SOH:.0%}"
    if not label.complete:
        return from_empty, f"the discharge ends above {EMPTY_V} V"
    if charges != 1:
        return from_empty, f"{charges} charges before the discharge, not one"
    if not before[-1].complete:
        return from_empty, "the charge before it is not complete"
    if not from_empty:
        return from_empty, "the discharge before that is not complete"
    if earlier is None or dataset != "nasa":
        return from_empty, ""
    # Empty at one current is not empty at a smaller one: the charge between was only a part.
    if not abs(earlier.current_a - label.current_a) <= SAME_CURRENT * label.current_a:
        return from_empty, "the discharge before that was at another current"
    if not low <= earlier.soh * earlier.nominal_ah <= high:
        return from_empty, f"the discharge before that has no capacity of {low} to {high} Ah"
    return from_empty, ""


def exclusions(cells: list[HalfCycle]) -> dict[str, int]:
    """How many labels each rule removed from one cell's discharges, and how many stay."""
    counts: dict[str, int] = {"discharges": 0, "used": 0}
    for half in cells:
        if half.kind == "discharge":
            counts["discharges"] += 1
            counts[half.excluded or "used"] = counts.get(half.excluded or "used", 0) + 1
    return counts


def dataset_files(data: Path, dataset: str, cells: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Where the named cells are under `data`: the publisher's form or the tidy one."""
    for cell in cells:
        choices = (
            data / dataset / "tidy" / f"{cell}.parquet",
            data / dataset / "mat" / f"{cell}.mat",
            data / dataset / f"{cell}.mat",
            data / dataset / cell,
            data / dataset / f"{cell}.zip",
        )
        for path in choices:
            if path.exists():
                yield cell, path
                break
        else:
            raise FileNotFoundError(f"{cell}: looked for {choices[0]} and {choices[1]}")
