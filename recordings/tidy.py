"""The tidy Parquet form of published cells: one row a sample, one file a cell.

It gives the same Operations as the publishers' own files do (tested on B0025, B0029 and CS2_35),
up to float32 values and, for CALCE, whole milliseconds. Four kinds of file are told apart by their
columns: NASA (`op_index`), CALCE (`file_no`), mechanical abuse tests (`temp2_c`), and else one
operation a cycle (DMEGC). The last two have no clock: their operations are laid one after another,
an hour apart, from 1970 on, and `problems` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from recordings import calce
from recordings.arbin import Rows
from recordings.checking import OnBad, asset_name, checked, raise_or_report
from recordings.errors import FormatError, RecordingError, SamplesError, UnplacedError, reason_of
from recordings.messages import KINDS, Message, Place, Words
from recordings.nasa import nasa_info, usable_capacity
from recordings.parquet import Columns, arrow_errors, numpy_column, opened, runs
from recordings.types import Floats, Operation, OperationKind, RecordingInfo

REQUIRED = frozenset(
    {"cell_id", "cycle", "step", "time_s", "voltage_v", "current_a", "temperature_c"}
)
_COMMON = sorted(REQUIRED)
_SENSORS = ("temperature_c", "temp2_c", "temp3_c", "temp4_c", "temp5_c", "temp6_c")
_READ = frozenset((*REQUIRED, *_SENSORS, "op_index", "timestamp", "capacity_ah", "ambient_c"))
_PAUSE_MS = 3_600_000
_LATEST_MS = 1e15  # so that a millisecond is one; the bounds of a date are in `checking`
_NO_CLOCK = Message("problem.no_clock")

_DMEGC_CITATION = (
    "Wang et al. (2025), electro-thermal discharge data of DMEGC INR18650-26E cells, MIT licence."
)
_ABUSE_CITATION = (
    "Oak Ridge National Laboratory and Sandia National Laboratories, Mechanically Induced Thermal "
    "Runaway for Li-ion Batteries, Mendeley Data, doi:10.17632/sn2kv34r4h.1."
)


class TidyRecording:
    """A recording over one tidy Parquet file."""

    def __init__(self, path: Path, *, on_bad: OnBad | None = None) -> None:
        """Reads the head and the first rows. Raises RecordingError if this is no tidy file."""
        self._path = path
        self._on_bad = on_bad
        where = Place(path.name)
        with opened(path) as file:
            names = set(file.schema_arrow.names)
            if not names >= REQUIRED:
                lacking = ", ".join(sorted(REQUIRED - names))
                raise FormatError(Message("tidy.no_column", column=lacking), where)
            if file.metadata.num_rows == 0:
                raise SamplesError(Message("table.no_rows"), where)
            for field in file.schema_arrow:
                if field.name in _READ and pa.types.is_nested(field.type):
                    raise SamplesError(Message("table.lists", column=field.name), where)
            with arrow_errors(where):
                first = next(file.iter_batches(1, columns=["cell_id"]))
                cell = str(numpy_column(first.column("cell_id"))[0])
            self._row_count = file.metadata.num_rows
        self._cell = cell
        self.share = 0.0
        self._sensors: tuple[str, ...] = ("temperature_c",)
        asset, source = asset_name(cell), str(path)
        self._read: Callable[[], Iterator[Operation | RecordingError]]
        if "op_index" in names:
            self._info = nasa_info(asset, source)
            self._read = self._nasa
        elif "file_no" in names:
            self._info = calce.cell_info(asset, source)
            self._read = self._calce
        else:
            if "temp2_c" in names:
                self._sensors = _SENSORS
                self._info = _abuse_info(asset, source)
            else:
                self._info = _dmegc_info(asset, source)
            self._read = self._plain

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations in the order of the file; see `Recording`."""
        try:
            for found in self._read():
                if isinstance(found, RecordingError):
                    raise_or_report(found, self._on_bad)
                elif found.index >= start:
                    yield found
        except RecordingError as error:  # the file itself is broken: nothing follows
            raise_or_report(error, self._on_bad)
        except (ValueError, OverflowError, TypeError) as error:  # a null or NaN where none can be
            message = Message("passed_on", reason=reason_of(error))
            raise_or_report(SamplesError(message, Place(self._path.name)), self._on_bad)

    def _where(self, index: int, kind: OperationKind, cycle: int) -> Place:
        return Place(self._path.name).at(
            Message("at.operation_cycle", operation=index, kind=KINDS[kind], cycle=cycle)
        )

    def _runs(self, extra: list[str], key: str) -> Iterator[Columns]:
        done = 0
        for run in runs(self._path, [*_COMMON, *extra], key):
            self.share = done / self._row_count
            done += len(run[key])
            others = run["cell_id"] != self._cell
            if others.any():
                other = run["cell_id"][others][0]
                message = Message("tidy.another_cell", found=other, expected=self._cell)
                raise SamplesError(message, Place(self._path.name))
            yield run

    def _nasa(self) -> Iterator[Operation | RecordingError]:
        runs_ = self._runs(["op_index", "timestamp", "capacity_ah", "ambient_c"], "op_index")
        for index, run in enumerate(runs_):
            kind: OperationKind = "discharge" if run["step"][0] == "discharge" else "charge"
            time_s = _floats(run["time_s"])
            capacity_ah: float | None = None
            notes: tuple[Words, ...] = ()
            if kind == "discharge":
                capacity_ah, notes = usable_capacity(float(_floats(run["capacity_ah"])[0]))
            cycle = int(run["cycle"][0])
            yield _try(
                Operation(
                    index=index,
                    cycle=cycle,
                    kind=kind,
                    start_ms=_ms(run["timestamp"])[0] - round(time_s[0] * 1000),
                    time_s=time_s,
                    current_a=_floats(run["current_a"]),
                    voltage_v=_floats(run["voltage_v"]).reshape(-1, 1),
                    temperature_c=_floats(run["temperature_c"]).reshape(-1, 1),
                    ambient_c=_floats(run["ambient_c"]),
                    capacity_ah=capacity_ah,
                    notes=notes,
                ),
                self._where(index, kind, cycle),
            )

    def _calce(self) -> Iterator[Operation | RecordingError]:
        index = 0
        bad: list[RecordingError] = []
        for run in self._runs(["timestamp", "capacity_ah"], "cycle"):
            clock_ms = _ms(run["timestamp"])
            current_a = _floats(run["current_a"])
            published = _floats(run["capacity_ah"])
            discharged = np.zeros(len(current_a))
            loaded = np.flatnonzero(current_a < -calce.RESTING_A)
            if len(loaded) and np.isfinite(published).any():
                discharged[loaded[0] :] = np.nanmax(published)
            rows = Rows(
                start_ms=clock_ms[0],
                elapsed_s=(np.array(clock_ms) - clock_ms[0]) / 1000,
                cycle=np.full(len(current_a), int(run["cycle"][0])),
                current_a=current_a,
                voltage_v=_floats(run["voltage_v"]),
                discharged_ah=discharged,
            )
            first = index
            yield from calce.operations_of(rows, Place(self._path.name), first, bad.append)
            yield from bad
            bad.clear()
            index = first + len(calce.split_cycle(current_a))

    def _plain(self) -> Iterator[Operation | RecordingError]:
        start_ms = 0
        extra = [name for name in self._sensors if name not in _COMMON]
        for index, run in enumerate(self._runs([*extra, "ambient_c"], "cycle")):
            time_s = _floats(run["time_s"])
            current_a = _floats(run["current_a"])
            ambient = _floats(run["ambient_c"])
            kind, cycle = _kind(current_a), max(1, int(run["cycle"][0]))
            yield _try(
                Operation(
                    index=index,
                    cycle=cycle,
                    kind=kind,
                    start_ms=start_ms,
                    time_s=time_s,
                    current_a=current_a,
                    voltage_v=_floats(run["voltage_v"]).reshape(-1, 1),
                    temperature_c=np.column_stack([_floats(run[name]) for name in self._sensors]),
                    ambient_c=None if np.isnan(ambient).all() else ambient,
                ),
                self._where(index, kind, cycle),
            )
            start_ms += round(float(time_s[-1]) * 1000) + _PAUSE_MS


def _try(operation: Operation, where: Place) -> Operation | RecordingError:
    try:
        return checked(operation, where)
    except RecordingError as error:
        return error


def _kind(current_a: Floats) -> OperationKind:
    charging = bool((current_a > calce.RESTING_A).any())
    discharging = bool((current_a < -calce.RESTING_A).any())
    if charging == discharging:
        return "mixed" if charging or np.isnan(current_a).all() else "rest"
    return "charge" if charging else "discharge"


def _floats(column: object) -> Floats:
    return np.asarray(column, dtype=np.float64)


def _ms(column: object) -> list[int]:
    values = np.asarray(column)
    if values.dtype.kind == "f":
        if not (np.abs(values) < _LATEST_MS).all():
            raise UnplacedError(Message("tidy.timestamp"))
        values = values.astype(np.int64)
    out: list[int] = np.asarray(values, dtype="datetime64[ms]").astype(np.int64).tolist()
    return out


def _dmegc_info(asset: str, source: str) -> RecordingInfo:
    return RecordingInfo(
        asset=asset,
        dataset="dmegc" if asset.startswith("DMEGC") else "tidy",
        nominal_capacity_ah=2.6,
        chemistry="NMC",
        discharge_voltage_v=2.5,
        citation=_DMEGC_CITATION if asset.startswith("DMEGC") else "",
        source=source,
        problems=(_NO_CLOCK, Message("problem.discharges_only")),
    )


def _abuse_info(asset: str, source: str) -> RecordingInfo:
    stated = re.search(r"(\d+(?:\.\d+)?)(mAh|Ah)", asset)
    problems = [_NO_CLOCK, Message("problem.no_current")]
    nominal_ah = 1.0
    if stated is None:
        problems.append(Message("problem.no_capacity"))
    else:
        nominal_ah = float(stated[1]) / (1000 if stated[2] == "mAh" else 1)
    return RecordingInfo(
        asset=asset,
        dataset="abuse",
        nominal_capacity_ah=nominal_ah,
        sensors=len(_SENSORS),
        citation=_ABUSE_CITATION,
        source=source,
        problems=tuple(problems),
    )
