"""The journal: everything that went into the engine and what came of it, in one SQLite file.

One micro-batch is one transaction: frames with their results, other inputs, finished cycles, alarm
transitions. Only after it commits is a message acknowledged to the broker. The engine's state is
what its inputs make it, so recovery is a checkpoint plus the inputs after it (`inputs_after`).

Tables: `asset`, `input` (every input in order; a frame's `result` is float32[cells, RESULTS], see
`monitor.kernels.columns.Result`), `frame_time` (frames by asset and event time), `cycle`, `event`,
`alarm_number` (how many transitions of each alarm there are), `unusable` (inputs that a recovery
left out, with the reason), `minute` (see `monitor.store.minutes`), `progress`. Views for people:
`telemetry`, `cycles`, `alarms`, `quarantine`; for programs: `frame`, all frames by asset and event
time. `input.id`, `cycle.seq` and `event.id` only grow, so that a cursor over each finds what is new
(`monitor.store.outbox`).

An index over asset and time has a place of its own for every asset's next frame: kept with each
commit, it was two thirds of a commit's time and five sixths of what it wrote. `frame_time` is
written for `RUN` frames at once, in order; `frame` adds those behind `progress`, "frame_time".

The module is long because the schema, with its ways from earlier versions, stands beside its
writer.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from monitor.contract import AssetConfig, Command, DeviceAlarm, Event, Frame, encode
from monitor.errors import StoreError, reason_of
from monitor.inputs import (
    CommandIn,
    ConfigIn,
    DeviceAlarmIn,
    FrameIn,
    Input,
    StatusIn,
    Stored,
    Tick,
    Trouble,
)
from monitor.kernels.columns import Verdict
from monitor.results import Handled, Results

SCHEMA_VERSION = 4
FRAME_TIME = "frame_time"
RUN = 1_024


class Kind(IntEnum):
    """What an `input` row is."""

    FRAME = 0
    LATE = 1  # a frame that came too late for the features; kept, not used
    CONFIG = 2
    STATUS = 3
    DEVICE_ALARM = 4
    COMMAND = 5
    TICK = 6
    TROUBLE = 7


FRAME = int(Kind.FRAME)

_SCHEMA = """
CREATE TABLE asset (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE input (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, asset_id INTEGER, timestamp_ms INTEGER,
    arrival_ms INTEGER NOT NULL, payload TEXT, result BLOB
);
CREATE INDEX input_config ON input (asset_id, id) WHERE kind = 2;
CREATE TABLE cycle (
    asset_id INTEGER NOT NULL, cell TEXT NOT NULL, kind TEXT NOT NULL, start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL, summary TEXT NOT NULL, histogram BLOB NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (asset_id, cell, start_ms, kind)
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, asset_id INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL, record TEXT NOT NULL
);
CREATE VIEW telemetry AS SELECT asset.name AS asset, timestamp_ms, arrival_ms,
    json_extract(payload, '$.current_a') AS current_a,
    json_extract(payload, '$.voltage_v') AS voltage_v,
    json_extract(payload, '$.temperature_c') AS temperature_c,
    json_extract(payload, '$.ambient_c') AS ambient_c
    FROM input JOIN asset ON asset.id = asset_id WHERE kind = 0;
CREATE VIEW cycles AS SELECT asset.name AS asset, cell, cycle.kind AS kind, start_ms, end_ms,
    json_extract(summary, '$.number') AS number,
    json_extract(summary, '$.complete') AS complete,
    json_extract(summary, '$.capacity_ah') AS capacity_ah,
    json_extract(summary, '$.energy_wh') AS energy_wh,
    json_extract(summary, '$.temperature_max_c') AS temperature_max_c,
    json_extract(summary, '$.soh') AS soh,
    json_extract(summary, '$.soh_low') AS soh_low,
    json_extract(summary, '$.soh_high') AS soh_high
    FROM cycle JOIN asset ON asset.id = asset_id;
CREATE VIEW alarms AS SELECT asset.name AS asset, timestamp_ms,
    json_extract(record, '$.alarm.code') AS code,
    json_extract(record, '$.alarm.source') AS source,
    json_extract(record, '$.previous') AS previous,
    json_extract(record, '$.alarm.state') AS state,
    json_extract(record, '$.alarm.severity') AS severity,
    json_extract(record, '$.alarm.message') AS message
    FROM event JOIN asset ON asset.id = asset_id;
"""

_SINCE_2 = """
CREATE UNIQUE INDEX cycle_by_seq ON cycle (seq);
CREATE INDEX event_by_time ON event (timestamp_ms);
CREATE INDEX event_of_asset ON event (asset_id, timestamp_ms);
CREATE TABLE minute (
    asset_id INTEGER NOT NULL, cell INTEGER NOT NULL, minute INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, samples INTEGER NOT NULL,
    figures BLOB NOT NULL, PRIMARY KEY (asset_id, cell, minute)
) WITHOUT ROWID;
CREATE TABLE progress (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

_SINCE_3 = """
CREATE TABLE frame_time (
    asset_id INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, input_id INTEGER NOT NULL,
    PRIMARY KEY (asset_id, timestamp_ms, input_id)
) WITHOUT ROWID;
CREATE VIEW frame AS SELECT asset_id, timestamp_ms, input_id FROM frame_time
    UNION ALL SELECT asset_id, timestamp_ms, id FROM input WHERE kind = 0
    AND id > (SELECT ifnull(max(value), 0) FROM progress WHERE name = 'frame_time');
"""

_SINCE_4 = """
CREATE TABLE alarm_number (
    asset_id INTEGER NOT NULL, code TEXT NOT NULL, source TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (asset_id, code, source)
) WITHOUT ROWID;
CREATE TABLE unusable (input_id INTEGER PRIMARY KEY, reason TEXT NOT NULL);
CREATE VIEW quarantine AS SELECT asset.name AS asset, arrival_ms,
    json_extract(payload, '$.detail.topic') AS topic,
    json_extract(payload, '$.detail.reason') AS reason,
    json_extract(payload, '$.detail.payload') AS payload
    FROM input LEFT JOIN asset ON asset.id = asset_id
    WHERE kind = 7 AND json_extract(payload, '$.code') = 'input_quarantined';
PRAGMA user_version = 4;
"""

_FROM_3_TO_4 = """
INSERT INTO alarm_number SELECT asset_id, json_extract(record, '$.alarm.code') AS code,
    json_extract(record, '$.alarm.source') AS source, count(*) FROM event
    GROUP BY asset_id, code, source;
"""

_FROM_1_TO_2 = """
ALTER TABLE cycle ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
UPDATE cycle SET seq = number FROM (
    SELECT asset_id AS a, cell AS c, start_ms AS s, kind AS k,
           row_number() OVER (ORDER BY end_ms, asset_id, cell, kind) AS number FROM cycle
) WHERE asset_id = a AND cell = c AND start_ms = s AND kind = k;
"""

_FROM_2_TO_3 = """
INSERT INTO frame_time SELECT asset_id, timestamp_ms, id FROM input INDEXED BY input_by_time
    WHERE kind = 0 ORDER BY asset_id, timestamp_ms, id;
INSERT OR REPLACE INTO progress SELECT 'frame_time', ifnull(max(id), 0) FROM input;
DROP INDEX input_by_time;
"""


class MinuteRow(NamedTuple):
    """One row of `minute`, see `monitor.store.minutes`."""

    asset_id: int
    cell: int
    minute: int
    first_ms: int
    last_ms: int
    samples: int
    figures: bytes


class _Status(Struct):
    gateway: bool
    online: bool


class _Command(Struct):
    user: str
    command: Command


class _Trouble(Struct):
    code: str
    source: str
    detail: msgspec.Raw


class Journal:
    """The one writer of a journal file. Not for several threads at once."""

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        """Open or make the file; `durable` also survives a power loss (fsync at every commit).

        Raises StoreError where the file cannot be used.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = connect(path)
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(f"BEGIN;{_SCHEMA}{_SINCE_2}{_SINCE_3}{_SINCE_4}COMMIT;")
            elif version in (1, 2, 3):
                steps = [_FROM_1_TO_2 + _SINCE_2, _SINCE_3 + _FROM_2_TO_3, _SINCE_4 + _FROM_3_TO_4]
                self._db.executescript(f"BEGIN;{''.join(steps[version - 1 :])}COMMIT;")
            elif version != SCHEMA_VERSION:
                raise StoreError(
                    f"store {path}: written by another version ({version}, this is "
                    f"{SCHEMA_VERSION}); name another file or move this one away"
                )
            self._assets = dict(self._db.execute("SELECT name, id FROM asset").fetchall())
            self._cycles = int(
                self._db.execute("SELECT ifnull(max(seq), 0) FROM cycle").fetchone()[0]
            )
            self._last_id = int(
                self._db.execute("SELECT ifnull(max(id), 0) FROM input").fetchone()[0]
            )
            self._run: list[tuple[int, int, int]] = self._db.execute(
                """SELECT asset_id, timestamp_ms, id FROM input WHERE kind = 0 AND id >
                   (SELECT ifnull(max(value), 0) FROM progress WHERE name = ?)""",
                (FRAME_TIME,),
            ).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"store {path}: {error}") from error

    @property
    def last_id(self) -> int:
        """The id of the newest input, 0 for none."""
        return self._last_id

    def commit(self, results: Results) -> None:
        """Write one micro-batch, its inputs with what came of them, in one transaction.

        Raises StoreError where the store cannot take it now, and whatever an input raises that
        cannot be written; nothing is written then.
        """
        known = len(self._assets)
        try:
            self._db.execute("BEGIN")
            last = self._last_id
            rows = []
            run = self._run.copy()
            for one in results.handled:
                row = self._row(one, results)
                if row is not None:
                    last += 1
                    rows.append((last, *row))
                    if row[0] == FRAME:
                        run.append((row[1], row[2], last))
            cycles = [
                (
                    self._asset(c.summary.asset), c.summary.cell, c.summary.kind,
                    c.summary.start_ms, c.summary.end_ms, encode(c.summary).decode(),
                    c.histogram.tobytes(), self._cycles + number,
                )
                for number, c in enumerate(results.cycles, 1)
            ]  # fmt: skip
            self._db.executemany(
                "INSERT INTO input (id, kind, asset_id, timestamp_ms, arrival_ms, payload, result) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            if len(run) >= RUN:
                run.sort()
                self._db.executemany("INSERT INTO frame_time VALUES (?, ?, ?)", run)
                self._db.execute(
                    "INSERT OR REPLACE INTO progress VALUES (?, ?)", (FRAME_TIME, last)
                )
                run = []
            self._db.executemany(
                "INSERT OR REPLACE INTO cycle VALUES (?, ?, ?, ?, ?, ?, ?, ?)", cycles
            )
            for event in results.events:
                self._put_event(event)
            self._db.execute("COMMIT")
            self._cycles += len(cycles)
            self._last_id, self._run = last, run
        except Exception as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for name in list(self._assets)[known:]:
                del self._assets[name]
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.DataError):
                raise StoreError(f"store {self.path}: {error}") from error
            raise

    def _put_event(self, event: Event) -> None:
        alarm = event.alarm
        asset = self._asset(alarm.asset)
        written = self._db.execute(
            "INSERT OR IGNORE INTO event (event_id, asset_id, timestamp_ms, record) "
            "VALUES (?, ?, ?, ?)",
            (event.event_id, asset, alarm.timestamp_ms, encode(event).decode()),
        )
        if written.rowcount == 1:
            self._db.execute(
                "INSERT INTO alarm_number VALUES (?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET number = number + 1",
                (asset, alarm.code, alarm.source),
            )

    def alarm_numbers(self) -> dict[tuple[str, str, str], int]:
        """How many transitions of each alarm (asset, code, source) are written."""
        rows = self._read(
            "SELECT name, code, source, number FROM alarm_number JOIN asset ON id = asset_id", ()
        )
        return {(name, code, source): number for name, code, source, number in rows}

    def leave_out(self, inputs: Sequence[Stored]) -> None:
        """Have every later recovery leave these out; their rows stay. Raises StoreError."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO unusable VALUES (?, ?)",
                [(stored.id, stored.reason) for stored in inputs],
            )

    def put_minutes(self, name: str, rows: Sequence[MinuteRow], upto: int) -> None:
        """Write minutes and that inputs up to `upto` are in them; raises StoreError."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO minute VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?)", (name, upto))

    def trim(self, upto: int) -> None:
        """Delete the inputs up to `upto`, but the newest of all and each asset's newest config.

        Raises StoreError.
        """
        self._run = [frame for frame in self._run if frame[2] > upto]
        with self._transaction():
            self._db.execute(
                """DELETE FROM frame_time WHERE (asset_id, timestamp_ms, input_id) IN (
                     SELECT asset_id, timestamp_ms, id FROM input WHERE id <= ? AND kind = 0
                     AND id < (SELECT max(id) FROM input))""",
                (upto,),
            )
            self._db.execute(
                """DELETE FROM input WHERE id <= ? AND kind != ?
                     AND id < (SELECT max(id) FROM input)""",
                (upto, int(Kind.CONFIG)),
            )
            self._db.execute(
                """DELETE FROM input WHERE id <= ? AND kind = ? AND id < (
                     SELECT max(newer.id) FROM input AS newer
                     WHERE newer.kind = 2 AND newer.asset_id = input.asset_id)""",
                (upto, int(Kind.CONFIG)),
            )
            self._db.execute("DELETE FROM unusable WHERE input_id NOT IN (SELECT id FROM input)")

    def trim_minutes(self, before: Sequence[tuple[int, int, int]]) -> None:
        """Delete minutes before one, for each (asset_id, cell, minute); raises StoreError."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM minute WHERE asset_id = ? AND cell = ? AND minute < ?", before
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"store {self.path}: {error}") from error

    def inputs_after(self, input_id: int) -> Iterator[Stored]:
        """The inputs behind `input_id`, in order, without those that are left out.

        Raises StoreError where the file cannot be read.
        """
        names = {number: name for name, number in self._assets.items()}
        for number, kind, asset_id, arrival, payload in self._read(
            "SELECT id, kind, asset_id, arrival_ms, payload FROM input "
            "WHERE id > ? AND id NOT IN (SELECT input_id FROM unusable) ORDER BY id",
            (input_id,),
        ):
            name = names.get(asset_id, "")
            try:
                if not name and kind != Kind.TICK:
                    raise ValueError("its asset is not in the store")
                item = _input(Kind(kind), name, arrival, payload)
            except MemoryError:
                raise
            except Exception as error:  # whatever stands in a file; the others are read
                text = str(payload).encode("utf-8", "backslashreplace").decode()
                yield Stored(number, name, None, reason_of(error), text)
            else:
                yield Stored(number, name, item)

    def _read(self, sql: str, values: tuple[int, ...]) -> Iterator[Any]:
        try:
            yield from self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise StoreError(f"store {self.path}: {error}") from error

    def leave_log(self) -> None:
        """Commit without ever folding the log into the file: `monitor.store.wal` does it."""
        self._db.execute("PRAGMA wal_autocheckpoint = 0")

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._db.close()

    def _asset(self, name: str) -> int:
        number = self._assets.get(name)
        if number is None:
            cursor = self._db.execute("INSERT INTO asset (name) VALUES (?)", (name,))
            number = self._assets[name] = int(cursor.lastrowid or 0)
        return number

    def _row(self, one: Handled, results: Results) -> Any:
        item = one.input
        if isinstance(item, FrameIn):
            if one.verdict >= Verdict.DUPLICATE:
                if one.verdict != Verdict.LATE:
                    return None
                kind, data = Kind.LATE, None
            else:
                kind, data = Kind.FRAME, one.row.tobytes()  # type: ignore[union-attr]  # it was taken
            return (
                int(kind), self._asset(item.asset), item.frame.timestamp_ms, item.arrival_ms,
                item.payload.decode(), data,
            )  # fmt: skip
        if isinstance(item, Tick):
            if not results.touched:
                return None  # a tick that changed nothing leaves nothing
            return (int(Kind.TICK), None, None, item.now_ms, None, None)
        if isinstance(item, ConfigIn):
            kind, name, payload = Kind.CONFIG, item.asset, encode(item.config)
        elif isinstance(item, StatusIn):
            kind, name = Kind.STATUS, item.name
            payload = encode(_Status(item.gateway, item.online))
        elif isinstance(item, Trouble):
            kind, name = Kind.TROUBLE, item.asset
            detail = msgspec.Raw(item.detail.encode() or b"null")
            payload = encode(_Trouble(item.code, item.source, detail))
        elif isinstance(item, DeviceAlarmIn):
            kind, name, payload = Kind.DEVICE_ALARM, item.asset, encode(item.alarm)
        else:
            kind, name = Kind.COMMAND, item.asset
            payload = encode(_Command(item.user, item.command))
        return (int(kind), self._asset(name), None, item.arrival_ms, payload.decode(), None)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, with a patient lock."""
    if read_only:
        return sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
    return sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)


def _input(kind: Kind, name: str, arrival_ms: int, payload: str | None) -> Input:
    data = (payload or "").encode()
    decode = msgspec.json.decode
    if kind <= Kind.LATE:
        return FrameIn(name, decode(data, type=Frame), arrival_ms, data)
    if kind == Kind.CONFIG:
        return ConfigIn(name, decode(data, type=AssetConfig), arrival_ms)
    if kind == Kind.STATUS:
        status = decode(data, type=_Status)
        return StatusIn(name, status.gateway, status.online, arrival_ms)
    if kind == Kind.DEVICE_ALARM:
        return DeviceAlarmIn(name, decode(data, type=DeviceAlarm), arrival_ms)
    if kind == Kind.TROUBLE:
        trouble = decode(data, type=_Trouble)
        detail = bytes(trouble.detail).decode()
        return Trouble(
            name, trouble.code, trouble.source, arrival_ms, "" if detail == "null" else detail
        )
    if kind == Kind.COMMAND:
        command = decode(data, type=_Command)
        return CommandIn(name, command.user, command.command, arrival_ms)
    return Tick(arrival_ms)


def used_bytes(path: Path) -> int:
    """What a journal holds, without the pages that deletions left free; 0 where none can tell."""
    try:
        db = connect(path, read_only=True)
        try:
            count, free, size = (
                int(db.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        finally:
            db.close()
    except sqlite3.Error:
        return 0
    return (count - free) * size
