"""Arbin workbooks: which there are, when each test began, and their samples as arrays.

`peek` reads a workbook's short first sheet; `read_rows` reads all of it. Whatever calamine raises
on damaged bytes becomes RecordingError with the workbook, the sheet and the row.
"""

from __future__ import annotations

import io
import itertools
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
from recordings.errors import FormatError, NotFoundError, RecordingError, SamplesError, reason_of
from recordings.messages import Message, Place, Words, at_row
from recordings.sheets import refuse_claims, small_parts
from recordings.types import Floats

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


@dataclass(frozen=True, slots=True)
class Workbook:
    """Where one workbook's bytes are, and when its test began."""

    name: str
    path: Path
    member: archive.Member  # inside a zip; empty if it is a file itself
    start: datetime
    checks: tuple[int, ...]  # CRC of each data sheet
    size: int

    def read(self) -> Path | io.BytesIO:
        """What calamine and zipfile can open."""
        return archive.read(self.path, self.member) if self.member else self.path


def workbooks(path: Path) -> Iterator[tuple[str, archive.Member, Path]]:
    """Name, member and file of each workbook in a folder, a zip, or the file itself.

    Raises RecordingError if a file is no zip at all.
    """
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


def peek(name: str, member: archive.Member, path: Path) -> Workbook:
    """When the workbook's test began, and the CRC of its sheets, without reading the samples."""
    holder = Workbook(name, path, member, datetime.min, (), 0)
    where = Place(name)
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
        raise FormatError(Message("passed_on", reason=reason_of(error)), where) from None
    inflated = sum(entry.file_size for entry in sheets)
    start = _stated_start(_open_book(small_parts(content, where), where), where)
    if start is None:
        refuse_claims(content, where)
        book = _open_book(content, where)
        dates = _sheet_columns(book, _data_sheets(book, where)[0], where)["Date_Time"]
        start = _moment(dates[0], where)
    data = sorted(sheets, key=lambda entry: entry.file_size)[1:] or sheets
    return Workbook(
        name,
        path,
        member,
        start,
        tuple(sorted(entry.CRC for entry in data)),
        inflated,
    )


def in_order(books: list[Workbook]) -> tuple[list[Workbook], tuple[Words, ...]]:
    """Workbooks by start, of several with one start the longest, and what was left out."""
    kept: list[Workbook] = []
    said: list[Words] = []
    for book in sorted(books, key=lambda one: (one.start, -one.size, one.name)):
        if kept and kept[-1].start == book.start:
            same = kept[-1].checks == book.checks
            said.append(
                Message(
                    "problem.same_workbook" if same else "problem.shorter_workbook",
                    left_out=book.name,
                    kept=kept[-1].name,
                )
            )
        else:
            kept.append(book)
    return kept, tuple(said)


def _open_book(content: Path | io.BytesIO, where: Place) -> Any:
    if isinstance(content, io.BytesIO):
        content.seek(0)
    with _calamine(where):
        return python_calamine.load_workbook(content)


class _calamine:  # noqa: N801  (used like a function)
    """Turns whatever calamine raises on damaged bytes, Rust panics too, into RecordingError."""

    def __init__(self, where: Place) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if error is None or isinstance(error, RecordingError):
            return
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            message = Message("workbook.damaged", reason=reason_of(error))
            raise FormatError(message, self._where) from None


def _stated_start(book: Any, where: Place) -> datetime | None:
    if "Info" not in book.sheet_names:
        return None
    with _calamine(where.at(Message("at.sheet", sheet="Info"))):
        rows = book.get_sheet_by_name("Info").to_python()
    for head, values in itertools.pairwise(rows):
        if _START_CELL in head and isinstance(values[head.index(_START_CELL)], datetime):
            found: datetime = values[head.index(_START_CELL)]
            return found
    return None


def _data_sheets(book: Any, where: Place) -> list[str]:
    sheets = [sheet for sheet in book.sheet_names if sheet.lower().startswith("channel")]
    if not sheets:
        found = ", ".join(book.sheet_names)
        raise NotFoundError(Message("workbook.no_channel", found=found), where)
    return sheets


def _sheet_columns(book: Any, sheet: str, around: Place) -> dict[str, tuple[Any, ...]]:
    """The needed columns of one sheet, cells as calamine gives them."""
    where = around.at(Message("at.sheet", sheet=sheet))
    with _calamine(where):
        rows: list[list[Any]] = book.get_sheet_by_name(sheet).to_python()
    if len(rows) < 2:
        raise SamplesError(Message("table.no_rows"), where)
    missing = [column for column in _NEEDED if column not in rows[0]]
    if missing:
        raise FormatError(Message("table.no_column", column=", ".join(missing)), where)
    columns = list(zip(*rows[1:], strict=True))
    return {column: columns[rows[0].index(column)] for column in _NEEDED}


def _moment(value: Any, where: Place) -> datetime:
    if not isinstance(value, datetime):
        raise SamplesError(Message("workbook.first_date", found=value), where)
    return value


def read_rows(book: Workbook, cycles_before: int) -> Rows:
    """All samples of one workbook; raises RecordingError naming sheet and row."""
    content = book.read()
    where = Place(book.name)
    refuse_claims(content, where)
    opened = _open_book(content, where)
    first_date: Any = None
    parts: dict[str, list[Floats]] = {name: [] for name in _NEEDED if name != "Date_Time"}
    for sheet in _data_sheets(opened, where):
        found = _sheet_columns(opened, sheet, where)
        first_date = found["Date_Time"][0] if first_date is None else first_date
        for name, chunks in parts.items():
            chunks.append(_numbers(found[name], name, where.at(Message("at.sheet", sheet=sheet))))
    columns = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    elapsed_s = columns["Test_Time(s)"] - columns["Test_Time(s)"][0]
    if not (np.abs(columns["Cycle_Index"]) < 2.0**31).all():
        raise SamplesError(Message("workbook.impossible", column="Cycle_Index"), where)
    index = columns["Cycle_Index"].astype(np.int64)
    if not np.isfinite(elapsed_s).all() or np.abs(elapsed_s).max() > _LONGEST_S:
        raise SamplesError(Message("workbook.impossible", column="Test_Time(s)"), where)
    steps = np.flatnonzero(np.diff(index) < 0)
    if len(steps):
        at = where.at(at_row(int(steps[0]) + 3))
        raise SamplesError(Message("workbook.cycle_backwards"), at)
    start = _moment(first_date, where).replace(tzinfo=UTC)
    return Rows(
        start_ms=round(start.timestamp() * 1000),
        elapsed_s=elapsed_s,
        cycle=cycles_before + 1 + np.searchsorted(np.unique(index), index).astype(np.int64),
        current_a=columns["Current(A)"],
        voltage_v=columns["Voltage(V)"],
        discharged_ah=columns["Discharge_Capacity(Ah)"],
    )


def _numbers(cells: tuple[Any, ...], name: str, where: Place) -> Floats:
    if not set(map(type, cells)) <= {float, int}:
        row = next(i for i, cell in enumerate(cells) if type(cell) not in (float, int))
        message = Message("table.not_a_number", column=name, found=cells[row])
        raise SamplesError(message, where.at(at_row(row + 2)))
    return np.array(cells, dtype=np.float64)
