"""CALCE cells: a folder or zip of Arbin `.xlsx` workbooks, read one workbook at a time.

Choices, each of them tested:
- Workbooks are ordered by the start of their test, not by the date in their names, which is the
  date of download and sorts wrongly. Two workbooks of one start with the same sheets hold the same
  data (`_2_4_11` and `_2_10_11` of CS2_35 and CS2_38): one is read.
- Data are on the sheets named `Channel...`; several of them in a workbook continue each other.
- One Operation is one charge or one discharge within a cycle: CC, the pause between, CV and the
  rests before and behind belong to it, and it ends where the current changes its direction or the
  cycle ends. A cycle without current is one `rest`.
- The clock is the first `Date_Time` of a workbook (local, taken as UTC) plus `Test_Time(s)`, which
  has fractions and never jumps; `Date_Time` has whole seconds and drifts from it by up to 65 s.
- `Cycle_Index` restarts in each workbook; `Operation.cycle` counts on.
- `Discharge_Capacity(Ah)` adds up within a workbook; an operation's capacity is its increase. A
  discharge that stops above 2.75 V was cut short (a workbook ended in mid-cycle): its capacity is
  no capacity of the cell, so `capacity_ah` is None and a note gives the figure.
- There is no thermometer: `sensors` is 0.
"""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import python_calamine
from numpy.typing import NDArray

from recordings import archive
from recordings.checking import OnBad, asset_name, checked, raise_or_report
from recordings.types import Floats, Operation, OperationKind, RecordingError, RecordingInfo

CITATION = (
    "Center for Advanced Life Cycle Engineering (CALCE), University of Maryland: CS2 cells. "
    "W. He, N. Williard, M. Osterman, M. Pecht, Journal of Power Sources 196 (2011) 10314-10321; "
    "Y. Xing, E. Ma, K.-L. Tsui, M. Pecht, Microelectronics Reliability 53 (2013) 811-820."
)
CELL_TYPE = "calce-cs2"
RESTING_A = 0.01  # Arbin reads up to 1 mA at rest; a CV charge ends at 50 mA
COMPLETE_BELOW_V = 2.75  # a discharge that got here reached its cut-off of 2.7 V

_NAME = re.compile(r"(?P<cell>.+?)_\d{1,2}_\d{1,2}_\d{2,4}\Z")
_NEEDED = (
    "Test_Time(s)",
    "Date_Time",
    "Cycle_Index",
    "Current(A)",
    "Voltage(V)",
    "Discharge_Capacity(Ah)",
)
_LONGEST_S = 1e9  # thirty years
_START_CELL = "Start_DateTime"


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples of one workbook, or of as many cycles of it as are at hand, in order."""

    start_ms: int  # UTC; elapsed_s counts from here
    elapsed_s: Floats
    cycle: NDArray[np.int64]
    current_a: Floats
    voltage_v: Floats
    discharged_ah: Floats


def cell_info(asset: str, source: str, problems: tuple[str, ...] = ()) -> RecordingInfo:
    """The description of a CALCE cell by its name (CS2: 1.1 Ah; CX2: 1.35 Ah)."""
    is_cs2 = asset.upper().startswith("CS2")
    return RecordingInfo(
        asset=asset,
        dataset="calce",
        nominal_capacity_ah=1.35 if asset.upper().startswith("CX2") else 1.1,
        chemistry="LCO",
        cell_type=CELL_TYPE if is_cs2 else None,
        sensors=0,
        charge_voltage_v=4.2,
        discharge_voltage_v=2.7,
        citation=CITATION,
        source=source,
        problems=("no temperature was recorded", *problems),
    )


def split_cycle(current_a: Floats) -> list[tuple[OperationKind, slice]]:
    """One cycle's rows cut where the current changes its direction; rests go with what is before.

    Rests at the start of the cycle go with the first charge or discharge.
    """
    moving = np.flatnonzero(np.abs(current_a) > RESTING_A)
    if not len(moving):
        return [("rest", slice(0, len(current_a)))]
    sign = np.sign(current_a[moving])
    turns = np.flatnonzero(np.diff(sign)) + 1
    starts = [0, *(int(row) for row in moving[turns])]
    ends = [*starts[1:], len(current_a)]
    kinds: list[OperationKind] = [
        "charge" if sign[at] > 0 else "discharge" for at in (0, *turns.tolist())
    ]
    return [(kind, slice(a, b)) for kind, a, b in zip(kinds, starts, ends, strict=True)]


def discharge_capacity(
    moved_ah: float, voltage_v: Floats, current_a: Floats
) -> tuple[float | None, tuple[str, ...]]:
    """The capacity that a discharge tells, in Ah, or None and the reason."""
    loaded = voltage_v[current_a < -RESTING_A]
    lowest = float(np.nanmin(loaded)) if len(loaded) else np.nan
    if lowest <= COMPLETE_BELOW_V:
        return moved_ah, ()
    return None, (f"discharge cut short at {lowest:.2f} V after {moved_ah:.3f} Ah: no capacity",)


def operations_of(rows: Rows, where: str, index: int, on_bad: OnBad | None) -> Iterator[Operation]:
    """The operations in `rows`, numbered from `index`."""
    edges = np.flatnonzero(np.diff(rows.cycle)) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(rows.cycle)], strict=True):
        for kind, part in split_cycle(rows.current_a[first:last]):
            cut = slice(first + part.start, first + part.stop)
            time_s = rows.elapsed_s[cut] - rows.elapsed_s[cut.start]
            current_a, voltage_v = rows.current_a[cut], rows.voltage_v[cut]
            capacity_ah: float | None = None
            notes: tuple[str, ...] = ()
            if kind == "discharge":
                before = rows.discharged_ah[cut.start - 1] if cut.start else 0.0
                moved = float(rows.discharged_ah[cut.stop - 1] - before)
                capacity_ah, notes = discharge_capacity(moved, voltage_v, current_a)
            cycle = int(rows.cycle[first])
            try:
                operation = checked(
                    Operation(
                        index=index,
                        cycle=cycle,
                        kind=kind,
                        start_ms=rows.start_ms + round(float(rows.elapsed_s[cut.start]) * 1000),
                        time_s=time_s,
                        current_a=current_a,
                        voltage_v=voltage_v.reshape(-1, 1),
                        temperature_c=np.empty((len(time_s), 0)),
                        capacity_ah=capacity_ah,
                        notes=notes,
                    ),
                    f"{where}, operation {index} ({kind} of cycle {cycle}, row {cut.start})",
                )
            except RecordingError as error:
                raise_or_report(error, on_bad)
            else:
                yield operation
            index += 1


@dataclass(frozen=True, slots=True)
class _Workbook:
    """Where one workbook's bytes are, and when its test began."""

    name: str
    path: Path
    member: archive.Member  # inside a zip; empty if it is a file itself
    start: datetime
    checks: tuple[int, ...]  # CRC of each data sheet
    size: int

    def read(self) -> Path | io.BytesIO:
        return archive.read(self.path, self.member) if self.member else self.path


class CalceRecording:
    """A recording over the workbooks of one CALCE cell."""

    def __init__(
        self, asset: str, books: list[_Workbook], source: Path, on_bad: OnBad | None
    ) -> None:
        self._books, dropped = _in_order(books)
        self._on_bad = on_bad
        self._counts: dict[int, tuple[int, int]] = {}  # workbook -> its operations and cycles
        self._info = cell_info(asset, str(source), dropped)

    @property
    def info(self) -> RecordingInfo:
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations workbook by workbook; see `Recording`. Known workbooks before are skipped."""
        index = cycle = 0
        previous_end_ms = 0
        for number, book in enumerate(self._books):
            if number in self._counts and index + self._counts[number][0] <= start:
                index += self._counts[number][0]
                cycle += self._counts[number][1]
                continue
            try:
                rows = _read_rows(book, cycle)
                if rows.start_ms < previous_end_ms:
                    raise RecordingError(f"{book.name}: begins before the workbook before it ends")
            except RecordingError as error:
                raise_or_report(error, self._on_bad)
                continue
            previous_end_ms = rows.start_ms + round(float(rows.elapsed_s[-1]) * 1000)
            first, cycles = index, int(rows.cycle[-1]) - cycle
            for operation in operations_of(rows, book.name, index, self._on_bad):
                index = operation.index + 1
                if operation.index >= start:
                    yield operation
            index = first + _count(rows)
            self._counts[number] = (index - first, cycles)
            cycle += cycles


def open_calce(path: Path, *, on_bad: OnBad | None = None) -> list[CalceRecording]:
    """The CALCE cells in a folder, a zip or a single workbook; one recording for each cell.

    Only each workbook's short first sheet is read here. Raises RecordingError if there is none.
    """
    books: dict[str, list[_Workbook]] = {}
    for name, member, file in _workbooks(path):
        try:
            book = _peek(name, member, file)
        except RecordingError as error:
            raise_or_report(error, on_bad)
            continue
        match = _NAME.match(Path(name).stem)
        unnamed = path.stem if member or path.is_dir() else Path(name).stem
        books.setdefault(match["cell"] if match else unnamed, []).append(book)
    if not books:
        raise RecordingError(f"{path}: no Arbin .xlsx workbook in it")
    return [
        CalceRecording(asset_name(cell), found, path, on_bad)
        for cell, found in sorted(books.items())
    ]


def _count(rows: Rows) -> int:
    edges = np.flatnonzero(np.diff(rows.cycle)) + 1
    return sum(len(split_cycle(part)) for part in np.split(rows.current_a, edges))


def _workbooks(path: Path) -> Iterator[tuple[str, archive.Member, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.xlsx")):
            if not file.name.startswith("~$"):
                yield file.name, (), file
        return
    if archive.members(path, "[Content_Types].xml"):
        yield path.name, (), path
        return
    for member in archive.members(path, ".xlsx"):
        yield member[-1].rsplit("/", 1)[-1], member, path


def _peek(name: str, member: archive.Member, path: Path) -> _Workbook:
    """When the workbook's test began, and the CRC of its sheets, without reading the samples."""
    holder = _Workbook(name, path, member, datetime.min, (), 0)
    try:
        content = holder.read()
        with zipfile.ZipFile(content) as book_zip:
            sheets = [
                entry
                for entry in book_zip.infolist()
                if entry.filename.startswith("xl/worksheets/sheet")
            ]
    except RecordingError:
        raise
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        raise RecordingError(f"{name}: {_reason(error)}") from None
    book = _open_book(content, name)
    start = _stated_start(book, name)
    if start is None:
        dates = _sheet_columns(book, _data_sheets(book, name)[0], name)["Date_Time"]
        start = _moment(dates[0], name)
    data = sorted(sheets, key=lambda entry: entry.file_size)[1:] or sheets
    return _Workbook(
        name,
        path,
        member,
        start,
        tuple(sorted(entry.CRC for entry in data)),
        sum(entry.file_size for entry in sheets),
    )


def _in_order(books: list[_Workbook]) -> tuple[list[_Workbook], tuple[str, ...]]:
    """Workbooks by start, of several with one start the longest, and what was left out."""
    kept: list[_Workbook] = []
    said: list[str] = []
    for book in sorted(books, key=lambda one: (one.start, -one.size, one.name)):
        if kept and kept[-1].start == book.start:
            same = kept[-1].checks == book.checks
            reason = "holds the same data as" if same else "starts with, and is shorter than,"
            said.append(f"{book.name} {reason} {kept[-1].name}: left out")
        else:
            kept.append(book)
    return kept, tuple(said)


def _open_book(content: Path | io.BytesIO, name: str) -> Any:
    if isinstance(content, io.BytesIO):
        content.seek(0)
    with _calamine(name):
        return python_calamine.load_workbook(content)


class _calamine:  # noqa: N801  (used like a function)
    """Turns whatever calamine raises on damaged bytes, Rust panics too, into RecordingError."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if error is None or isinstance(error, RecordingError):
            return
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise RecordingError(
                f"{self._where}: not a readable workbook: {_reason(error)}"
            ) from None


def _stated_start(book: Any, name: str) -> datetime | None:
    if "Info" not in book.sheet_names:
        return None
    with _calamine(f"{name}, sheet Info"):
        rows = book.get_sheet_by_name("Info").to_python()
    for head, values in itertools.pairwise(rows):
        if _START_CELL in head and isinstance(values[head.index(_START_CELL)], datetime):
            found: datetime = values[head.index(_START_CELL)]
            return found
    return None


def _data_sheets(book: Any, name: str) -> list[str]:
    sheets = [sheet for sheet in book.sheet_names if sheet.lower().startswith("channel")]
    if not sheets:
        raise RecordingError(
            f"{name}: no sheet named Channel...; found {', '.join(book.sheet_names)}"
        )
    return sheets


def _sheet_columns(book: Any, sheet: str, name: str) -> dict[str, tuple[Any, ...]]:
    """The needed columns of one sheet, cells as calamine gives them."""
    where = f"{name}, sheet {sheet}"
    with _calamine(where):
        rows: list[list[Any]] = book.get_sheet_by_name(sheet).to_python()
    if len(rows) < 2:
        raise RecordingError(f"{where}: no rows")
    missing = [column for column in _NEEDED if column not in rows[0]]
    if missing:
        raise RecordingError(f"{where}: no column {', '.join(missing)}")
    columns = list(zip(*rows[1:], strict=True))
    return {column: columns[rows[0].index(column)] for column in _NEEDED}


def _moment(value: Any, name: str) -> datetime:
    if not isinstance(value, datetime):
        raise RecordingError(f"{name}: the first Date_Time is {value!r}, not a date and time")
    return value


def _read_rows(book: _Workbook, cycles_before: int) -> Rows:
    """All samples of one workbook; raises RecordingError naming sheet and row."""
    opened = _open_book(book.read(), book.name)
    first_date: Any = None
    parts: dict[str, list[Floats]] = {name: [] for name in _NEEDED if name != "Date_Time"}
    for sheet in _data_sheets(opened, book.name):
        found = _sheet_columns(opened, sheet, book.name)
        first_date = found["Date_Time"][0] if first_date is None else first_date
        for name, chunks in parts.items():
            chunks.append(_numbers(found[name], name, f"{book.name}, sheet {sheet}"))
    columns = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    elapsed_s = columns["Test_Time(s)"] - columns["Test_Time(s)"][0]
    index = columns["Cycle_Index"].astype(np.int64)
    if not np.isfinite(elapsed_s).all() or np.abs(elapsed_s).max() > _LONGEST_S:
        raise RecordingError(f"{book.name}: a Test_Time(s) that cannot be")
    steps = np.flatnonzero(np.diff(index) < 0)
    if len(steps):
        raise RecordingError(f"{book.name}, row {int(steps[0]) + 3}: Cycle_Index runs backwards")
    start = _moment(first_date, book.name).replace(tzinfo=UTC)
    return Rows(
        start_ms=round(start.timestamp() * 1000),
        elapsed_s=elapsed_s,
        cycle=cycles_before + 1 + np.searchsorted(np.unique(index), index).astype(np.int64),
        current_a=columns["Current(A)"],
        voltage_v=columns["Voltage(V)"],
        discharged_ah=columns["Discharge_Capacity(Ah)"],
    )


def _numbers(cells: tuple[Any, ...], name: str, where: str) -> Floats:
    if not set(map(type, cells)) <= {float, int}:
        row = next(i for i, cell in enumerate(cells) if type(cell) not in (float, int))
        raise RecordingError(f"{where}, row {row + 2}: {name} is {cells[row]!r}, not a number")
    return np.array(cells, dtype=np.float64)


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
