"""CSV, Parquet and HDF5 as the same thing: named columns of numbers, read batch by batch.

Every value becomes float64 with NaN where it is missing; dates become milliseconds since 1970,
UTC where they name no zone.

The module is long because every kind of table is opened behind one protocol.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recordings.errors import (
    FormatError,
    MissingPackageError,
    NotTextError,
    RecordingError,
    SamplesError,
    TooLargeError,
    reason_of,
)
from recordings.mapping import Mapping
from recordings.messages import Message, Place, Words
from recordings.parquet import arrow_errors, floats, opened, refuse_columns, refuse_rows
from recordings.types import MAX_CELLS, MAX_COLUMNS, MAX_VALUES, Floats

BATCH_ROWS = 1 << 15
_BATCH_VALUES = MAX_VALUES >> 4  # of all columns that are read
_MAX_CHUNK_BYTES = 1 << 27  # of HDF5: any part of a chunk costs all of it
_MOST_DENSE = 1_100  # bytes that gzip makes of one
_FEW_ROWS = 1 << 20  # fill values of so many rows are cheap
_LONGEST = 200  # characters of what Arrow says
_HEAD_BYTES = 1 << 16
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_DURATION = re.compile(r"(?:(\d+)[-. dD]+)?(\d+):(\d\d?)(?::(\d\d?(?:\.\d+)?))?\Z")
# ISO 8601, and what Excel writes where it is Chinese.
_DATES = (pyarrow.csv.ISO8601, "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M:%S")
_NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-"]
_HDF5_MARK = b"\x89HDF\r\n\x1a\n"


class Table(Protocol):
    """A file of columns."""

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""

    @property
    def rows(self) -> int:
        """How many rows there are; of a text about how many, told from its first ones."""
        ...

    def width(self, name: str) -> int:
        """How many values a row of the column holds; raises RecordingError."""
        ...

    def batches(self, names: list[str], mapping: Mapping) -> Iterator[dict[str, Floats]]:
        """Columns `names` in batches of rows; a column may be (n, k). Raises RecordingError."""
        ...


def open_table(path: Path, content: dict[str, Any]) -> Table:
    """The table in a file, told by its first bytes; `content` may name how a text is to be read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        message = Message("passed_on", reason=error.strerror or str(error))
        raise RecordingError(message, Place(str(path))) from None
    if head.startswith(b"PAR1"):
        return _Parquet(path)
    if head == _HDF5_MARK:
        return _Hdf5(path)
    return _Csv(path, content.get("options", {}))


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as file:
            self.names = list(file.schema_arrow.names)
            self._types = {field.name: field.type for field in file.schema_arrow}
            self.rows = int(file.metadata.num_rows)
        if len(self._types) != len(self.names):
            raise FormatError(Message("table.two_columns"), Place(path.name))

    def width(self, name: str) -> int:
        kind = self._types[name]
        if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
            return 1
        where = Place(self._path.name)
        with opened(self._path) as file, arrow_errors(where):
            if pa.types.is_fixed_size_list(kind):
                return int(kind.list_size)
            if pa.types.is_nested(kind.value_type):
                raise SamplesError(Message("table.lists_of_lists", column=name), where)
            first = next(file.iter_batches(1, columns=[name]), None)
            return 0 if first is None else len(first.column(name)[0].values or ())

    def batches(self, names: list[str], mapping: Mapping) -> Iterator[dict[str, Floats]]:
        row = 0
        where = Place(self._path.name)
        rows = batch_rows(sum(self.width(name) for name in names))
        with opened(self._path) as file:
            batches = file.iter_batches(rows, columns=names, use_threads=False)
            while True:
                with arrow_errors(where.at(Message("at.after_row", row=row))):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield {name: _numbers(batch.column(name), name, where) for name in names}
                row += batch.num_rows


def batch_rows(values: int) -> int:
    """How many rows are read at once, of so many values each."""
    return max(1, min(BATCH_ROWS, _BATCH_VALUES // max(1, values)))


class _Csv:
    """Text: the delimiter and the decimal mark are found from the first rows unless given."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path = path
        skip = options.get("skip_rows", 0)
        self._skip = skip if isinstance(skip, int) and skip > 0 else 0
        self._encoding = "utf-8-sig"
        head = self._head()
        if len(head) <= self._skip or not head[self._skip].strip():
            raise FormatError(Message("table.no_header"), Place(path.name))
        line = head[self._skip]
        rows = head[self._skip + 1 :]
        self._delimiter = _one(options.get("delimiter")) or max(",;\t|", key=line.count)
        comma = self._delimiter != "," and any(re.search(r"\d,\d", row) for row in rows[:5])
        self._decimal = _one(options.get("decimal")) or ("," if comma else ".")
        self.names = [name.strip().strip('"') for name in line.split(self._delimiter)]
        refuse_columns(Place(path.name), self.names)
        first = rows[0].split(self._delimiter) if rows else []
        self._durations = {
            name
            for name, cell in zip(self.names, first, strict=False)
            if _DURATION.match(cell.strip())
        }
        mean_bytes = sum(len(row.encode(self._encoding)) for row in rows) / max(1, len(rows)) + 1
        self.rows = round(path.stat().st_size / mean_bytes)

    def _head(self) -> list[str]:
        with arrow_errors(Place(self._path.name), "text"), self._stream() as stream:
            start = bytes(stream.read(_HEAD_BYTES))
        whole = len(start) < _HEAD_BYTES
        for encoding in _encodings(start):
            try:
                text = codecs.getincrementaldecoder(encoding)().decode(start, final=whole)
            except UnicodeError:
                continue
            if encoding == "gb18030" and _CONTROL.search(text):
                continue  # nearly all bytes are something in it
            self._encoding = encoding
            return text.splitlines()
        raise NotTextError(Message("nothing.text"), Place(self._path.name))

    def width(self, name: str) -> int:
        return 1

    def _stream(self) -> Any:
        return pa.input_stream(str(self._path), compression="detect")

    def batches(self, names: list[str], mapping: Mapping) -> Iterator[dict[str, Floats]]:
        clock = mapping.clock.name if mapping.clock is not None else None
        where = Place(self._path.name)
        row = 0
        with _csv_errors(where, row, self.names):
            reader = pa.csv.open_csv(
                self._stream(),
                read_options=pa.csv.ReadOptions(
                    use_threads=False,
                    block_size=1 << 20,
                    encoding="utf8" if self._encoding == "utf-8-sig" else self._encoding,
                    column_names=self.names,
                    skip_rows=self._skip + 1,
                ),
                parse_options=pa.csv.ParseOptions(delimiter=self._delimiter),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=names,
                    column_types={
                        name: pa.string() if name in self._durations else pa.float64()
                        for name in names
                        if name != clock
                    },
                    timestamp_parsers=_DATES,
                    null_values=_NULLS,
                    strings_can_be_null=True,
                    decimal_point=self._decimal,
                ),
            )
        while True:
            with _csv_errors(where, row, self.names):
                batch = next(iter(reader), None)
            if batch is None:
                return
            yield {
                name: _seconds(batch.column(name), name, where)
                if name in self._durations and name != clock
                else _numbers(batch.column(name), name, where)
                for name in names
            }
            row += batch.num_rows


def _one(given: Any) -> str | None:
    """A mapping's character where it is one; `mapping` says what is wrong where it is not."""
    return given if isinstance(given, str) and len(given) == 1 else None


def _encodings(start: bytes) -> tuple[str, ...]:
    """What a text may be written in, by its first bytes."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    return ("utf-8-sig", "gb18030")


def _seconds(column: Any, name: str, where: Place) -> Floats:
    """Times such as `1:02:03.5`, or `2-01:02:03` with days, as seconds."""
    out = np.full(len(column), np.nan)
    for k, text in enumerate(column.to_pylist()):
        if text is None:
            continue
        found = _DURATION.match(text.strip())
        if found is None:
            raise SamplesError(Message("table.not_a_duration", column=name, found=text), where)
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        out[k] = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    return out


class _csv_errors:  # noqa: N801  (used like a function)
    """Arrow's CSV errors as RecordingError with the line of the file."""

    def __init__(self, where: Place, row: int, columns: list[str]) -> None:
        self._where, self._row, self._columns = where, row, columns

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None or isinstance(error, StopIteration):
            return
        if isinstance(error, pa.ArrowException | OSError | ValueError):
            text = (str(error).strip().splitlines() or ["unreadable"])[0]
            place = re.search(r"column #(\d+): (?:Row #(\d+): )?(.*)", text)
            at = Message("at.after_row", row=self._row)
            if place is not None and place[2] is not None:
                at = Message("at.line", row=int(place[2]))  # Arrow counts the skipped lines too
            message = _arrow_said(place[3] if place is not None else text)
            if place is not None and "straddling" not in text:
                column = self._columns[int(place[1])]
                message = Message("csv.column", column=column, reason=message)
            raise SamplesError(message, self._where.at(at)) from None


def _arrow_said(text: str) -> Message:
    """What Arrow says of a line of text, cut to a bound."""
    if "straddling" in text:
        return Message("csv.long_line")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    value = re.fullmatch(r"CSV conversion error to (\S+): invalid value (.*)", text)
    if value is not None and value[1] == "double":
        return Message("csv.not_a_number", found=value[2])
    if value is not None:
        return Message("csv.not_a_value", expected=value[1], found=value[2])
    count = re.fullmatch(
        r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+): (.*)", text
    )
    if count is not None and count[1] is not None:
        return Message(
            "csv.row_width", line=count[1], expected=count[2], found=count[3], text=count[4]
        )
    return Message("passed_on", reason=text)


class _Hdf5:
    """HDF5: a column is a dataset's path, or a field of a compound dataset (`table/field`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self.names = self._walk(file)
            refuse_columns(Place(path.name), self.names)
            self.rows = max((self._rows(file, name) for name in self.names), default=0)
            self._widths = {name: self._width(file, name) for name in self.names}
        refuse_rows(Place(path.name), self.rows)

    def _open(self) -> Any:
        where = Place(self._path.name)
        try:
            import h5py  # heavy, and needed for this format only
        except ImportError:
            raise MissingPackageError(Message("hdf5.no_h5py"), where) from None
        try:
            return h5py.File(self._path, "r", rdcc_nbytes=_MAX_CHUNK_BYTES)
        except Exception as error:  # h5py raises many kinds on damaged bytes
            message = Message("hdf5.not_readable", reason=reason_of(error))
            raise FormatError(message, where) from None

    def _walk(self, file: Any) -> list[str]:
        import h5py

        names: list[str] = []
        outside: list[str] = []

        def visit(name: str, item: Any) -> None:
            if len(names) > MAX_COLUMNS:
                return
            if (
                not isinstance(name, str)
                or not isinstance(item, h5py.Dataset)
                or len(item.shape or ()) not in (1, 2)
            ):
                return
            if item.external or item.is_virtual:  # its values lie in another file of this machine
                outside.append(name)
                return
            if item.dtype.names:
                names.extend(f"{name}/{part}" for part in item.dtype.names)
            else:
                names.append(name)

        where = Place(self._path.name)
        try:
            file.visititems(visit)
        except Exception as error:
            message = Message("hdf5.damaged", reason=reason_of(error))
            raise FormatError(message, where) from None
        if outside:
            raise FormatError(Message("hdf5.outside", dataset=outside[0]), where)
        return names

    def batches(self, names: list[str], mapping: Mapping) -> Iterator[dict[str, Floats]]:
        with self._open() as file:
            rows = {name: self._rows(file, name) for name in names}
            if len(set(rows.values())) > 1:
                shown = dict(list(rows.items())[:8])
                message = Message("hdf5.lengths", found=shown)
                raise SamplesError(message, Place(self._path.name))
            columns = {name: self._found(file, name) for name in names}  # each keeps its chunks
            for name in names:
                self._refuse_claims(*columns[name], name)
            step = batch_rows(sum(self._widths[name] for name in names))
            for first in range(0, rows[names[0]], step):
                yield {name: self._slice(*columns[name], name, first, step) for name in names}

    def width(self, name: str) -> int:
        return self._widths[name]

    def _width(self, file: Any, name: str) -> int:
        table, part = self._found(file, name)
        kind = table.dtype if part is None else table.dtype[part]
        return math.prod((*table.shape[1:], *kind.shape))

    def _found(self, file: Any, name: str) -> tuple[Any, str | None]:
        """The dataset that a column is in, and the field of it that the column is."""
        if name in file:
            return file[name], None
        table, _, part = name.rpartition("/")
        return file[table], part

    def _rows(self, file: Any, name: str) -> int:
        return int(self._found(file, name)[0].shape[0])

    def _at(self, name: str, *further: Words) -> Place:
        return Place(self._path.name).at(Message("at.dataset", dataset=name), *further)

    def _refuse_claims(self, table: Any, part: str | None, name: str) -> None:
        """A dataset's head says how much there is to come, and few bytes can say very much."""
        where = self._at(name)
        kind = (table.dtype if part is None else table.dtype[part]).base
        if kind.kind not in "iufb":
            raise SamplesError(Message("hdf5.not_numbers", found=str(kind)), where)
        row_bytes = math.prod(table.shape[1:]) * table.dtype.itemsize
        if row_bytes > MAX_CELLS * 64:
            raise TooLargeError(Message("hdf5.row_bytes", found=row_bytes), where)
        chunk_bytes = math.prod(table.chunks or ()) * table.dtype.itemsize
        if chunk_bytes > _MAX_CHUNK_BYTES:
            message = Message("hdf5.chunk", found=chunk_bytes, most=_MAX_CHUNK_BYTES)
            raise TooLargeError(message, where)
        stored = table.id.get_storage_size()
        if table.shape[0] > _FEW_ROWS and table.shape[0] * row_bytes > _MOST_DENSE * stored:
            message = Message("hdf5.not_there", rows=table.shape[0], stored=stored)
            raise FormatError(message, where)

    def _slice(self, table: Any, part: str | None, name: str, first: int, rows: int) -> Floats:
        try:
            values = table[first : first + rows]
            if part is not None:
                values = values[part]
            found = np.asarray(values, dtype=np.float64)
            width = self._widths[name]
            return found.reshape(len(found), width) if width != 1 else found.reshape(-1)
        except Exception as error:
            where = self._at(name, Message("at.after_row", row=first))
            raise FormatError(Message("passed_on", reason=reason_of(error)), where) from None


def _numbers(column: Any, name: str, where: Place) -> Floats:
    """An Arrow column as float64, a list column as (n, k), a date as milliseconds since 1970."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    try:
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            values = floats(column.flatten()).reshape(len(column), -1)
            return values[:, 0] if values.shape[1] == 1 else values
        if pa.types.is_timestamp(kind):
            plain = column.cast(pa.timestamp("ms", tz=kind.tz), safe=False).cast(pa.int64())
            return floats(plain)
        if pa.types.is_null(kind):
            return np.full(len(column), np.nan)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return _numbers(column.cast(pa.timestamp("ms")), name, where)
        return floats(column)
    except (pa.ArrowException, ValueError) as error:
        message = Message("table.not_numbers", column=name, reason=reason_of(error))
        raise SamplesError(message, where) from None
