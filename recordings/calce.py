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

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recordings.arbin import Rows, Workbook, in_order, peek, read_rows, workbooks
from recordings.checking import OnBad, asset_name, checked, raise_or_report
from recordings.errors import NotFoundError, RecordingError, SamplesError
from recordings.messages import KINDS, Message, Place, Words
from recordings.types import Floats, Operation, OperationKind, RecordingInfo

CITATION = (
    "Center for Advanced Life Cycle Engineering (CALCE), University of Maryland: CS2 cells. "
    "W. He, N. Williard, M. Osterman, M. Pecht, Journal of Power Sources 196 (2011) 10314-10321; "
    "Y. Xing, E. Ma, K.-L. Tsui, M. Pecht, Microelectronics Reliability 53 (2013) 811-820."
)
CELL_TYPE = "calce-cs2"
RESTING_A = 0.01  # Arbin reads up to 1 mA at rest; a CV charge ends at 50 mA
COMPLETE_BELOW_V = 2.75  # a discharge that got here reached its cut-off of 2.7 V

_NAME = re.compile(r"(?P<cell>.+?)_\d{1,2}_\d{1,2}_\d{2,4}\Z")


def cell_info(asset: str, source: str, problems: tuple[Words, ...] = ()) -> RecordingInfo:
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
        problems=(Message("problem.no_temperature"), *problems),
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
) -> tuple[float | None, tuple[Words, ...]]:
    """The capacity that a discharge tells, in Ah, or None and the reason."""
    loaded = voltage_v[(current_a < -RESTING_A) & np.isfinite(voltage_v)]
    lowest = float(np.nanmin(loaded)) if len(loaded) else np.nan
    if lowest <= COMPLETE_BELOW_V:
        return moved_ah, ()
    return None, (Message("note.cut_short", lowest_v=lowest, moved_ah=moved_ah),)


def operations_of(
    rows: Rows, where: Place, index: int, on_bad: OnBad | None
) -> Iterator[Operation]:
    """The operations in `rows`, numbered from `index`."""
    edges = np.flatnonzero(np.diff(rows.cycle)) + 1
    for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(rows.cycle)], strict=True):
        for kind, part in split_cycle(rows.current_a[first:last]):
            cut = slice(first + part.start, first + part.stop)
            time_s = rows.elapsed_s[cut] - rows.elapsed_s[cut.start]
            current_a, voltage_v = rows.current_a[cut], rows.voltage_v[cut]
            capacity_ah: float | None = None
            notes: tuple[Words, ...] = ()
            if kind == "discharge":
                before = rows.discharged_ah[cut.start - 1] if cut.start else 0.0
                moved = float(rows.discharged_ah[cut.stop - 1] - before)
                capacity_ah, notes = discharge_capacity(moved, voltage_v, current_a)
            cycle = int(rows.cycle[first])
            at = Message(
                "at.operation_from_row", operation=index, kind=KINDS[kind],
                cycle=cycle, first_row=cut.start,
            )  # fmt: skip
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
                    where.at(at),
                )
            except RecordingError as error:
                raise_or_report(error, on_bad)
            else:
                yield operation
            index += 1


class CalceRecording:
    """A recording over the workbooks of one CALCE cell."""

    def __init__(
        self, asset: str, books: list[Workbook], source: Path, on_bad: OnBad | None
    ) -> None:
        self._books, dropped = in_order(books)
        self._on_bad = on_bad
        self._counts: dict[int, tuple[int, int]] = {}  # workbook -> its operations and cycles
        self._info = cell_info(asset, str(source), dropped)
        self.share = 0.0

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations workbook by workbook; see `Recording`. Known workbooks before are skipped."""
        index = cycle = 0
        previous_end_ms = 0
        total, done = sum(book.size for book in self._books) or 1, 0
        for number, book in enumerate(self._books):
            self.share = done / total
            done += book.size
            if number in self._counts and index + self._counts[number][0] <= start:
                index += self._counts[number][0]
                cycle += self._counts[number][1]
                continue
            try:
                rows = read_rows(book, cycle)
                if rows.start_ms < previous_end_ms:
                    raise SamplesError(Message("workbook.overlaps"), Place(book.name))
            except RecordingError as error:
                raise_or_report(error, self._on_bad)
                continue
            previous_end_ms = rows.start_ms + round(float(rows.elapsed_s[-1]) * 1000)
            first, cycles = index, int(rows.cycle[-1]) - cycle
            for operation in operations_of(rows, Place(book.name), index, self._on_bad):
                index = operation.index + 1
                part = (operation.start_ms - rows.start_ms) / max(
                    1, previous_end_ms - rows.start_ms
                )
                self.share = (done - (1.0 - part) * book.size) / total
                if operation.index >= start:
                    yield operation
            index = first + _count(rows)
            self._counts[number] = (index - first, cycles)
            cycle += cycles


def open_calce(path: Path, *, on_bad: OnBad | None = None) -> list[CalceRecording]:
    """The CALCE cells in a folder, a zip or a single workbook; one recording for each cell.

    Only each workbook's short first sheet is read here. Raises RecordingError if there is none.
    """
    books: dict[str, list[Workbook]] = {}
    refused: list[RecordingError] = []
    for name, member, file in workbooks(path):
        try:
            book = peek(name, member, file)
        except RecordingError as error:
            raise_or_report(error, on_bad)
            refused.append(error)
            continue
        match = _NAME.match(Path(name).stem)
        unnamed = path.stem if member or path.is_dir() else Path(name).stem
        books.setdefault(match["cell"] if match else unnamed, []).append(book)
    if not books and len(refused) == 1:
        raise refused[0]
    if not books:
        raise NotFoundError(Message("nothing.mat_or_xlsx"), Place(str(path)))
    return [
        CalceRecording(asset_name(cell), found, path, on_bad)
        for cell, found in sorted(books.items())
    ]


def _count(rows: Rows) -> int:
    edges = np.flatnonzero(np.diff(rows.cycle)) + 1
    return sum(len(split_cycle(part)) for part in np.split(rows.current_a, edges))
