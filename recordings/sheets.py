"""What the sheets of an `.xlsx` workbook claim, before a reader makes room for it.

calamine lays a sheet out as a full table from its first to its last cell: one cell at XFD1048576
in a file of 5 kB asks for 512 GiB, and the process ends. So every part of a workbook is inflated
once in pieces and the places of its cells are looked at before calamine sees it: a table may have
as many places as its part has bytes, which a full one never needs. That takes about half as long as
reading it; to tell only when a test began, `small_parts` leaves the samples out.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from recordings import archive
from recordings.errors import FormatError, RecordingError, TooLargeError, reason_of
from recordings.messages import Message, Place

MAX_TABLE = 1 << 25  # places of a sheet: every row that Excel has, and 32 columns
_SMALL_TABLE = 100_000
_LEAST_ROW_BYTES = 50  # of the samples that are read: six cells
MAX_PARTS = 1_000
SMALL_BYTES = 1 << 17
_CHUNK_BYTES = 1 << 20
_EMPTY = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    b"<sheetData/></worksheet>"
)
# A cell with something in it (a far one may be there for its looks only), a row, and a cell that
# does not name its place and so has that of its row.
_CELL = re.compile(
    rb"<(?:\w+:)?c\s[^<]*?\br\s*=\s*[\"']\s*([A-Za-z]*)([0-9]+)[^<]*(?<!/)>", re.ASCII
)
_ROW = re.compile(rb"<(?:\w+:)?row\s[^<]*?\br\s*=\s*[\"']\s*([0-9]+)", re.ASCII)
_PLACELESS = re.compile(rb"<(?:\w+:)?c(?=[\s>])(?![^<>]*\br\s*=)", re.ASCII)


def refuse_claims(content: Path | io.BytesIO, where: Place) -> None:
    """Raise RecordingError if the workbook is no plain `.xlsx`, or claims more than is read."""
    with _Book(content, where) as book:
        for entry in _parts(book, where):
            with book.open(entry) as part:
                _refuse_far_cells(part, entry.file_size, where.at(entry.filename))


def small_parts(content: Path | io.BytesIO, where: Place) -> io.BytesIO:
    """The workbook with each part over 128 KiB left empty. Raises RecordingError as above."""
    out = io.BytesIO()
    with _Book(content, where) as book, zipfile.ZipFile(out, "w") as small:
        for entry in _parts(book, where):
            body = _EMPTY
            if entry.file_size <= SMALL_BYTES:
                body = book.read(entry)
                _refuse_far_cells(io.BytesIO(body), entry.file_size, where.at(entry.filename))
            small.writestr(entry.filename, body)
    out.seek(0)
    return out


class _Book:
    """The zip of a workbook; whatever zipfile raises on damaged bytes is a RecordingError."""

    def __init__(self, content: Path | io.BytesIO, where: Place) -> None:
        self._content, self._where = content, where

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self._zip = zipfile.ZipFile(self._content)
        except Exception as error:
            raise self._damaged(error) from None
        return self._zip

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._zip.close()
        if isinstance(error, Exception) and not isinstance(error, RecordingError):
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> RecordingError:
        return FormatError(Message("workbook.damaged", reason=reason_of(error)), self._where)


def _parts(book: zipfile.ZipFile, where: Place) -> Iterator[zipfile.ZipInfo]:
    """The parts with a name. What is no `.xlsx` calamine might read as something else."""
    entries = [entry for entry in book.infolist() if entry.filename]
    names = {entry.filename.lower() for entry in entries}
    if len(names) != len(entries):
        raise FormatError(Message("workbook.two_parts"), where)
    if "xl/workbook.xml" not in names or names & {"xl/workbook.bin", "content.xml"}:
        raise FormatError(Message("workbook.not_xlsx"), where)
    if len(entries) > MAX_PARTS:
        raise TooLargeError(Message("workbook.parts", most=MAX_PARTS), where)
    inflated = sum(entry.file_size for entry in entries)
    if inflated > archive.MAX_MEMBER_BYTES:
        most = archive.MAX_MEMBER_BYTES // 2**20
        raise TooLargeError(Message("workbook.sheets", found=inflated / 2**20, most=most), where)
    yield from entries


def _refuse_far_cells(part: IO[bytes], size: int, where: Place) -> None:
    """All of a part is inflated here: no more than the head of the zip says, and checked."""
    most = min(MAX_TABLE, max(_SMALL_TABLE, size))
    columns = 26  # and so many rows `far` passes over
    rows = min(most // columns, max(1_000, size // _LEAST_ROW_BYTES))
    far = _past(rows)
    named = 0  # the last row that says its number
    for piece in _pieces(part):
        if far.search(piece):
            for letters, digits in _CELL.findall(piece):
                rows = max(rows, int(digits[:9]))
                columns = max(columns, _number(letters))
            named = max([named, *(int(digits[:9]) for digits in _ROW.findall(piece))])
        if named > rows and _PLACELESS.search(piece):
            rows = named
    if rows * columns > most:
        raise TooLargeError(
            Message("workbook.far_cells", rows=rows, columns=columns, bytes=size, most=most), where
        )


def _past(row: int) -> re.Pattern[bytes]:
    """A cell past column Z or the row: quick to search for, as one seldom is there."""
    digits = str(row)
    larger = [rf"[0-9]{{{len(digits) + 1},}}"]
    for at, digit in enumerate(digits):
        if digit != "9":
            rest = len(digits) - at - 1
            larger.append(rf"{digits[:at]}[{int(digit) + 1}-9][0-9]{{{rest}}}")
    pattern = rf"r\s*=\s*[\"']\s*(?:[A-Za-z]{{2,}}|[A-Za-z]?(?:{'|'.join(larger)}))"
    return re.compile(pattern.encode())


def _pieces(part: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a part, cut where a tag begins."""
    held = b""
    while chunk := part.read(_CHUNK_BYTES):
        chunk = held + chunk
        end = chunk.rfind(b"<")
        if end <= 0 and len(chunk) < 2 * _CHUNK_BYTES:
            held = chunk
            continue
        end = end if end > 0 else len(chunk)
        held = chunk[end:]
        yield chunk[:end]
    yield held


def _number(letters: bytes) -> int:
    """A column's number from its letters: 1 of A, 27 of AA."""
    number = 0
    for letter in letters.upper()[:8]:
        number = 26 * number + letter - 64
    return number
