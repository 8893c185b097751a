"""Our own recording file: Parquet, one or more assets, every operation reachable by itself.

Samples are rows: `asset`, `operation`, `time_s` (float64), and as float32 `current_a`,
`voltage_v` (a list, one value a cell), `temperature_c` (a list, one a sensor), `ambient_c`, with
`fault_active`. float32 keeps 0.25 uV at 4 V. What is said once of an asset or an operation is JSON
in the file's metadata under `cellpulse.recording`, with the row group and row where each operation
begins, so that playing can start anywhere. Pages are zstd-compressed and carry checksums.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recordings.checking import OnBad, checked, raise_or_report
from recordings.errors import (
    FormatError,
    MappingError,
    RecordingError,
    UnplacedError,
    reason_of,
)
from recordings.messages import KINDS, Message, Place, known_again
from recordings.parquet import arrow_errors, floats, opened
from recordings.types import (
    MAX_OPERATION_ROWS,
    MAX_TEXT,
    MAX_VALUES,
    Floats,
    Operation,
    OperationKind,
    Recording,
    RecordingInfo,
)

METADATA_KEY = b"cellpulse.recording"
VERSION = 1
_GROUP_ROWS = 1 << 16
_GROUP_VALUES = MAX_VALUES >> 3  # of many cells
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_SCHEMA = pa.schema(
    [
        pa.field("asset", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("operation", pa.int32(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        pa.field("current_a", pa.float32(), nullable=False),
        pa.field("voltage_v", pa.list_(pa.float32()), nullable=False),
        pa.field("temperature_c", pa.list_(pa.float32()), nullable=False),
        pa.field("ambient_c", pa.float32()),
        pa.field("fault_active", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one operation is, and what is said once of it."""

    index: _Count
    cycle: _Count
    kind: OperationKind
    start_ms: int
    rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_OPERATION_ROWS)]
    row_group: _Count
    row: _Count
    capacity_ah: float | None
    fault: _Text | None
    notes: list[_Text]


@dataclass(frozen=True, slots=True)
class _Asset:
    """One asset as the metadata describe it."""

    info: dict[str, Any]
    operations: list[_Entry]


@dataclass(frozen=True, slots=True)
class _Content:
    """The metadata."""

    version: int
    assets: list[_Asset]


def write_bundle(path: Path, recordings: Iterable[Recording]) -> None:
    """Write recordings to one file, whole or not at all; the same recordings give the same bytes.

    Raises RecordingError if two recordings have one asset name, and what reading them raises.
    """
    part = path.with_name(path.name + ".part")
    try:
        with pq.ParquetWriter(
            part,
            _SCHEMA,
            compression="zstd",
            compression_level=9,
            use_dictionary=["asset", "operation"],
            use_byte_stream_split=["time_s"],
            write_page_checksum=True,
        ) as writer:
            assets: list[dict[str, Any]] = []
            groups = _Groups()
            seen: set[str] = set()
            for recording in recordings:
                if recording.info.asset in seen:
                    message = Message("bundle.two_of_name", asset=recording.info.asset)
                    raise MappingError(message, Place(path.name))
                seen.add(recording.info.asset)
                assets.append(_write_asset(writer, groups, recording))
            meta = json.dumps({"version": VERSION, "assets": assets}, sort_keys=True)
            writer.add_key_value_metadata({METADATA_KEY: meta.encode()})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(slots=True)
class _Groups:
    """How many row groups are written."""

    written: int = 0


def _write_asset(writer: pq.ParquetWriter, groups: _Groups, recording: Recording) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    pending: list[pa.Table] = []
    rows = 0
    for operation in recording.operations():
        entry = _Entry(
            operation.index,
            operation.cycle,
            operation.kind,
            operation.start_ms,
            len(operation),
            groups.written,
            rows,
            operation.capacity_ah,
            operation.fault,
            [str(note) for note in operation.notes],
        )
        entries.append(asdict(entry))
        pending.append(_table(recording.info.asset, operation))
        rows += len(operation)
        values = rows * (recording.info.cells + recording.info.sensors)
        if rows >= _GROUP_ROWS or values >= _GROUP_VALUES:
            _write_group(writer, groups, pending)
            rows = 0
    _write_group(writer, groups, pending)
    info = replace(recording.info, problems=tuple(map(str, recording.info.problems)))
    return {"info": asdict(info), "operations": entries}


def _write_group(writer: pq.ParquetWriter, groups: _Groups, pending: list[pa.Table]) -> None:
    if not pending:
        return
    table = pa.concat_tables(pending).combine_chunks().unify_dictionaries()
    writer.write_table(table, row_group_size=max(1, table.num_rows))
    groups.written += 1
    pending.clear()


def _table(asset: str, operation: Operation) -> pa.Table:
    n = len(operation)
    ambient = operation.ambient_c
    active = operation.fault_active
    return pa.Table.from_arrays(
        [
            pa.array([asset] * n, _SCHEMA.field("asset").type),
            pa.array(np.full(n, operation.index, np.int32)),
            pa.array(operation.time_s, pa.float64()),
            pa.array(operation.current_a.astype(np.float32)),
            _lists(operation.voltage_v),
            _lists(operation.temperature_c),
            pa.nulls(n, pa.float32()) if ambient is None else pa.array(ambient.astype(np.float32)),
            pa.nulls(n, pa.bool_()) if active is None else pa.array(active, pa.bool_()),
        ],
        schema=_SCHEMA,
    )


def _lists(values: Floats) -> pa.Array:
    n, width = values.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values.astype(np.float32).ravel()))


class BundleRecording:
    """One asset of a bundle."""

    def __init__(
        self, path: Path, info: RecordingInfo, entries: list[_Entry], on_bad: OnBad | None
    ) -> None:
        self._path = path
        self._info = info
        self._entries = entries
        self._on_bad = on_bad
        self.share = 0.0

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Operations from number `start` on, one row group in memory at a time; see `Recording`."""
        with opened(self._path) as file:
            at: int | None = None
            group: pa.Table | None = None
            for place, entry in enumerate(self._entries):
                self.share = place / len(self._entries)
                if entry.index < start:
                    continue
                kind = KINDS[entry.kind]
                part = Message("at.operation_kind", operation=entry.index, kind=kind)
                where = Place(self._path.name).at(self._info.asset, part)
                try:
                    if at != entry.row_group or group is None:
                        group = None
                        with arrow_errors(where):
                            _refuse_huge(file, entry.row_group)
                            group = file.read_row_group(
                                entry.row_group, columns=_SCHEMA.names, use_threads=False
                            )
                            _refuse_other_types(group.schema)
                        at = entry.row_group
                    operation = self._operation(group, entry, where)
                except RecordingError as error:
                    raise_or_report(error, self._on_bad)
                    continue
                yield operation

    def _operation(self, group: pa.Table, entry: _Entry, where: Place) -> Operation:
        with arrow_errors(where):
            rows = group.slice(entry.row, entry.rows)
            if rows.num_rows != entry.rows or entry.rows == 0:
                raise UnplacedError(Message("bundle.fewer_rows"))
            ambient = rows.column("ambient_c")
            active = rows.column("fault_active")
            operation = Operation(
                index=entry.index,
                cycle=entry.cycle,
                kind=entry.kind,
                start_ms=entry.start_ms,
                time_s=floats(rows.column("time_s")),
                current_a=floats(rows.column("current_a")),
                voltage_v=_matrix(rows.column("voltage_v"), entry.rows, self._info.cells),
                temperature_c=_matrix(rows.column("temperature_c"), entry.rows, self._info.sensors),
                ambient_c=None if ambient.null_count == entry.rows else floats(ambient),
                capacity_ah=entry.capacity_ah,
                fault=entry.fault,
                fault_active=(
                    None if active.null_count == entry.rows else np.nan_to_num(floats(active)) != 0
                ),
                notes=tuple(map(known_again, entry.notes)),
            )
        return checked(operation, where)


def open_bundle(path: Path, *, on_bad: OnBad | None = None) -> list[BundleRecording]:
    """The assets of a bundle, in the order they were written. Raises RecordingError."""
    where = Place(path.name)
    with opened(path) as file:
        meta = (file.metadata.metadata or {}).get(METADATA_KEY)
    if meta is None:
        raise FormatError(Message("bundle.none", key=METADATA_KEY.decode()), where)
    try:
        version = msgspec.json.decode(meta, type=_Version).version
        if version != VERSION:
            raise FormatError(Message("bundle.version", found=version, expected=VERSION), where)
        content = msgspec.json.decode(meta, type=_Content)
        return [
            BundleRecording(path, _info(asset.info, path), asset.operations, on_bad)
            for asset in content.assets
        ]
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise FormatError(Message("bundle.metadata", reason=reason_of(error)), where) from None


class _Version(msgspec.Struct):
    version: int


def _info(fields: dict[str, Any], path: Path) -> RecordingInfo:
    problems = msgspec.convert(fields.get("problems", []), list[str])
    info = msgspec.convert({**fields, "problems": [], "source": str(path)}, RecordingInfo)
    return replace(info, problems=tuple(map(known_again, problems)))


def _refuse_huge(file: pq.ParquetFile, number: int) -> None:
    """A row group is read whole, and its head may claim anything."""
    if number >= file.metadata.num_row_groups:
        raise UnplacedError(Message("bundle.no_row_group", number=number))
    group = file.metadata.row_group(number)
    values = sum(group.column(place).num_values for place in range(group.num_columns))
    if values > MAX_VALUES:
        raise UnplacedError(
            Message("bundle.row_group", number=number, found=values, most=MAX_VALUES)
        )


def _refuse_other_types(found: pa.Schema) -> None:
    for field in _SCHEMA:
        there = found.field(field.name).type
        nested = pa.types.is_list(field.type)
        numbers = there.value_type if nested and pa.types.is_list(there) else there
        if field.name != "asset" and (
            pa.types.is_list(there) != nested
            or not (
                pa.types.is_floating(numbers)
                or pa.types.is_integer(numbers)
                or pa.types.is_boolean(numbers)
            )
        ):
            raise UnplacedError(
                Message(
                    "bundle.type", column=field.name, found=str(there), expected=str(field.type)
                )
            )


def _matrix(column: pa.ChunkedArray, n: int, width: int) -> Floats:
    flat = cast("pa.Array", column.combine_chunks()).flatten()
    if len(flat) != n * width:
        raise UnplacedError(Message("bundle.values", found=len(flat), rows=n, width=width))
    return floats(flat).reshape(n, width)
