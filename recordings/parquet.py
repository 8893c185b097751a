"""Parquet read in pieces: what the tidy, bundle and generic readers share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recordings.errors import FormatError, TooLargeError, UnplacedError, reason_of
from recordings.messages import Message, Place, at_row
from recordings.types import MAX_CELLS, MAX_COLUMNS, MAX_NAME, MAX_OPERATION_ROWS, MAX_ROWS

_BATCH_ROWS = 1 << 15
_PICKLE = re.compile(rb"\x80[\x02-\x05].*\.\Z", re.DOTALL)  # protocols 2 to 5

Columns = dict[str, NDArray[np.generic]]


@contextmanager
def arrow_errors(
    where: Place, what: Literal["Parquet file", "text"] = "Parquet file"
) -> Iterator[None]:
    """Whatever Arrow raises inside becomes a FormatError that begins with `where`."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        message = Message(
            "text.damaged" if what == "text" else "parquet.damaged", reason=reason_of(error)
        )
        raise FormatError(message, where) from None


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, its page checksums verified where it has them; raises RecordingError."""
    where = Place(path.name)
    with arrow_errors(where):
        file = pq.ParquetFile(
            path, pre_buffer=False, buffer_size=1 << 18, page_checksum_verification=True
        )
    try:
        with arrow_errors(where):
            _refuse_claims(where, file)
        _refuse_pickles(where, file.schema_arrow)
        yield file
    finally:
        file.close()


def _refuse_claims(where: Place, file: pq.ParquetFile) -> None:
    """Its head says how much there is to come, and a few bytes can say very much."""
    about = file.metadata
    refuse_columns(where, file.schema_arrow.names)
    if about.num_columns > MAX_COLUMNS:
        raise TooLargeError(Message("limit.columns", most=MAX_COLUMNS), where)
    refuse_rows(where, about.num_rows)
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        most = max(1, group.num_rows) * MAX_CELLS
        for place in range(group.num_columns):
            column = group.column(place)
            if column.num_values > most:
                raise TooLargeError(
                    Message(
                        "limit.row_values", column=column.path_in_schema, found=column.num_values,
                        rows=group.num_rows, most=MAX_CELLS,
                    ),
                    where,
                )  # fmt: skip


def refuse_columns(where: Place, names: Sequence[str]) -> None:
    """Raise TooLargeError if a table has more columns, or longer names, than are read."""
    if len(names) > MAX_COLUMNS:
        raise TooLargeError(Message("limit.columns", most=MAX_COLUMNS), where)
    longest = max(names, key=len, default="")
    if len(longest) > MAX_NAME:
        raise TooLargeError(Message("limit.name", found=len(longest), most=MAX_NAME), where)


def refuse_rows(where: Place, rows: int) -> None:
    """Raise TooLargeError if a table claims more rows than are read."""
    if rows > MAX_ROWS:
        raise TooLargeError(Message("limit.rows", found=rows, most=MAX_ROWS), where)


def _refuse_pickles(where: Place, schema: pa.Schema) -> None:
    """Nothing here would load a pickle; a file that brings one has no honest reason to."""
    for about in (schema.metadata, *(field.metadata for field in schema)):
        for value in (about or {}).values():
            if _PICKLE.match(value):
                raise FormatError(Message("parquet.pickle"), where)


def numpy_column(column: pa.ChunkedArray | pa.Array) -> NDArray[np.generic]:
    """A column as NumPy: numbers with NaN for null, dates as datetime64[ms], text as objects."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        if column.null_count or not len(column):
            return np.array(column.to_pylist(), dtype=object)
        names = np.array(column.dictionary.to_pylist(), dtype=object)
        return np.asarray(names[np.from_dlpack(column.indices)])
    if pa.types.is_timestamp(kind):
        whole_ms = column.cast(pa.timestamp("ms", tz=kind.tz), safe=False).cast(pa.int64())
        if whole_ms.null_count:
            raise UnplacedError(Message("parquet.no_date"))
        return np.from_dlpack(whole_ms).view("datetime64[ms]")
    if pa.types.is_integer(kind) and not column.null_count:
        return np.from_dlpack(column)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return floats(column)
    return np.array(column.to_pylist(), dtype=object)


def floats(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    """A column of numbers or flags as float64, NaN for null.

    Through DLPack: Arrow's own `to_numpy` imports pandas wherever that is installed, which costs
    half a second before the first sample is played.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    numbers = column.cast(pa.float64(), safe=False)
    if not len(numbers):
        return np.empty(0)
    if not numbers.null_count:
        return np.array(np.from_dlpack(numbers))
    missing = np.from_dlpack(numbers.is_null().cast(pa.uint8())) != 0
    whole = pa.Array.from_buffers(
        pa.float64(), len(numbers), [None, numbers.buffers()[1]], offset=numbers.offset
    )
    return np.where(missing, np.nan, np.from_dlpack(whole))


def runs(path: Path, names: list[str], key: str) -> Iterator[Columns]:
    """The rows of each run of equal `key`, in the order of the file, as columns `names`.

    Not more than a batch and one run are in memory. Raises RecordingError.
    """
    where = Place(path.name)
    with opened(path) as file:
        batches = file.iter_batches(_BATCH_ROWS, columns=names, use_threads=False)
        held: Columns | None = None
        row = 0
        while True:
            with arrow_errors(where.at(Message("at.after_row", row=row))):
                batch = next(batches, None)
                if batch is None:
                    if row != file.metadata.num_rows:
                        announced = file.metadata.num_rows
                        raise UnplacedError(Message("parquet.rows", expected=announced, found=row))
                    break
                table = {name: numpy_column(batch.column(name)) for name in names}
            row += batch.num_rows
            if held is not None:
                table = {name: np.concatenate([held[name], table[name]]) for name in names}
            values = table[key]
            edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()]
            for first, last in itertools.pairwise(edges):
                yield {name: column[first:last] for name, column in table.items()}
            held = {name: column[edges[-1] :] for name, column in table.items()}
            if len(held[key]) > MAX_OPERATION_ROWS:
                message = Message("limit.run", most=MAX_OPERATION_ROWS, column=key)
                raise TooLargeError(message, where.at(at_row(row)))
        if held is not None and len(held[key]):
            yield held
