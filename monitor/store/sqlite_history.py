"""`History` over a journal file, read-only, so that a page may read while the monitor writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.contract import AssetConfig, CycleSummary, Event, Frame, as_list, cell_name
from monitor.errors import StoreError
from monitor.kernels.columns import stored_rows
from monitor.store.history import (
    QUANTITIES,
    StoredAsset,
    Trace,
    empty_trace,
    sensor_of,
    stretches,
    trace_of,
)
from monitor.store.journal import FRAME_TIME, Kind, connect
from monitor.store.minutes import MAX, MIN, MINUTE_MS, PROGRESS, RESULT_COLUMNS, decode_figures
from monitor.store.thinning import keep_extremes, with_gaps

RAW_PER_POINT = 4  # so many frames for a point of the answer are still read one by one
FEW_INPUTS = 200_000  # what comes between two roll-ups, at 10,000 messages a second
PEAKS = [QUANTITIES.index(q) for q in ("voltage_v", "current_a", "temperature_c", "thermal_score")]
_PROGRESS = f"SELECT value FROM progress WHERE name = '{PROGRESS}'"
_BEHIND = f"(SELECT ifnull(max(value), 0) FROM progress WHERE name = '{FRAME_TIME}')"
_frame = msgspec.json.Decoder(Frame)
Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


class SqliteHistory:
    """Answers from one journal file; safe to use from several threads, a connection each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def assets(self) -> Sequence[StoredAsset]:
        """As `History.assets` says."""
        raw = "FROM frame_time WHERE asset_id = asset.id"
        minute = "FROM minute WHERE asset_id = asset.id AND cell = 0 ORDER BY minute"
        columns = f"""(SELECT min(timestamp_ms) {raw}), (SELECT max(timestamp_ms) {raw}),
            newest.first_ms, newest.last_ms,
            (SELECT first_ms {minute} LIMIT 1), (SELECT last_ms {minute} DESC LIMIT 1)"""
        found: list[StoredAsset] = []
        for number, name, *times in self._query(
            f"""SELECT asset.id, name, {columns} FROM asset LEFT JOIN (
                  SELECT asset_id, min(timestamp_ms) AS first_ms, max(timestamp_ms) AS last_ms
                  FROM input WHERE kind = 0 AND id > {_BEHIND} GROUP BY asset_id
                ) AS newest ON newest.asset_id = asset.id ORDER BY name""",
            (),
        ):
            known = [time for time in times if time is not None]
            if known:
                found.append(
                    StoredAsset(name, _config(self._query, number), min(known), max(known))
                )
        return found

    def frames(self) -> int:
        """How many frames the store holds."""
        return int(self._query("SELECT count(*) FROM input WHERE kind = 0", ())[0][0])

    def trace(
        self, asset: str, cell: int, start_ms: int, end_ms: int, points: int = 2_000
    ) -> Trace:
        """As `History.trace` says."""
        with self._snapshot() as ask:
            rows = ask("SELECT id FROM asset WHERE name = ?", (asset,))
            if not rows:
                return empty_trace()
            this = rows[0][0], start_ms, end_ms
            minutes = _minutes(ask, *this, cell, points)
            after = 0
            parts: list[Trace] = []
            if minutes is not None:
                after, summed_up = minutes
                parts.append(summed_up)
            parts.append(_raw(ask, *this, cell, after))
        times = np.concatenate([part.timestamp_ms for part in parts])
        table = np.concatenate([part.table() for part in parts])
        order = np.argsort(times, kind="stable")
        times, table = with_gaps(times[order], table[order], points // 6)
        keep = keep_extremes([table[:, k] for k in PEAKS], points)
        return trace_of(times[keep], table[keep])

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
        """As `History.cycles` says."""
        rows = self._query(
            """SELECT summary FROM cycle
               WHERE asset_id = (SELECT id FROM asset WHERE name = ?) AND cell = ?
               ORDER BY start_ms DESC LIMIT ?""",
            (asset, cell_name(cell), limit),
        )
        return [msgspec.json.decode(row[0], type=CycleSummary) for row in reversed(rows)]

    def events(
        self, asset: str | None = None, limit: int = 200, *, members: bool = True
    ) -> Sequence[Event]:
        """As `History.events` says."""
        where = "WHERE 1" if members else "WHERE json_extract(record, '$.group') IS NULL"
        if asset is not None:
            where += " AND asset_id = (SELECT id FROM asset WHERE name = ?)"
        rows = self._query(
            f"SELECT record FROM event {where} ORDER BY timestamp_ms DESC, id DESC LIMIT ?",
            (limit,) if asset is None else (asset, limit),
        )
        return [msgspec.json.decode(row[0], type=Event) for row in rows]

    def histograms(
        self, asset: str, cell: int, limit: int = 1_000
    ) -> Sequence[tuple[int, str, NDArray[np.float32]]]:
        """As `History.histograms` says."""
        rows = self._query(
            """SELECT start_ms, kind, histogram FROM cycle
               WHERE asset_id = (SELECT id FROM asset WHERE name = ?) AND cell = ?
               ORDER BY start_ms DESC LIMIT ?""",
            (asset, cell_name(cell), limit),
        )
        return [(row[0], row[1], np.frombuffer(row[2], np.float32)) for row in reversed(rows)]

    def samples(
        self, asset: str, batch: int = 4_000
    ) -> Iterator[tuple[list[bytes], list[Frame], list[NDArray[np.float32]]]]:
        """Every accepted frame of an asset in event time, some thousands at once.

        Payloads as they came, the frames in them, and their result matrices (cells, RESULTS).
        """
        known = self._query("SELECT id FROM asset WHERE name = ?", (asset,))
        if not known:
            return
        config = _config(self._query, known[0][0])
        try:
            db = connect(self._path, read_only=True)
            try:
                db.execute("BEGIN")  # nothing is let go between the numbers and what they name
                numbers = [
                    row[0]
                    for row in db.execute(
                        """SELECT input_id FROM frame WHERE asset_id = ?
                           ORDER BY timestamp_ms, input_id""",
                        known[0],
                    )
                ]
                for first in range(0, len(numbers), batch):
                    asked = numbers[first : first + batch]
                    found = {
                        number: (payload, result)
                        for number, payload, result in db.execute(
                            """SELECT id, payload, result FROM input
                               WHERE id IN (SELECT value FROM json_each(?))""",
                            (msgspec.json.encode(asked).decode(),),
                        )
                    }
                    part = [found[number] for number in asked]
                    payloads = [payload.encode() for payload, _ in part]
                    frames = [_frame.decode(payload) for payload in payloads]
                    cells = [
                        config.cells if config is not None else max(1, len(as_list(f.voltage_v)))
                        for f in frames
                    ]
                    results = [stored_rows(row[1], n) for row, n in zip(part, cells, strict=True)]
                    yield payloads, frames, results
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error

    def late_frames(self, asset: str) -> int:
        """How many frames of an asset came too late to be used."""
        found = self._query(
            """SELECT count(*) FROM input
               WHERE kind = ? AND asset_id = (SELECT id FROM asset WHERE name = ?)""",
            (int(Kind.LATE), asset),
        )
        return int(found[0][0])

    def _query(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._snapshot() as ask:
            return ask(sql, values)

    @contextmanager
    def _snapshot(self) -> Iterator[Ask]:
        """What asks the journal as it is now, whatever is written or trimmed meanwhile."""
        try:
            with closing(connect(self._path, read_only=True)) as db:
                db.execute("BEGIN")
                yield lambda sql, values: db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error


def _raw(ask: Ask, asset_id: int, start_ms: int, end_ms: int, cell: int, after: int) -> Trace:
    """The frames themselves, those behind input number `after`."""
    rows = ask(_way(ask, after), (asset_id, start_ms, end_ms, after))
    config = _config(ask, asset_id) if rows else None
    table = np.full((len(rows), len(QUANTITIES)), np.nan)
    sensor: dict[int, int] = {}
    for k, (_, payload, result) in enumerate(rows):
        frame = _frame.decode(payload)
        volts, temperatures = as_list(frame.voltage_v), as_list(frame.temperature_c)
        if len(temperatures) not in sensor:
            sensor[len(temperatures)] = sensor_of(config, len(temperatures), cell, len(volts))
        table[k, :4] = (
            _at(volts, cell), _none(frame.current_a),
            _at(temperatures, sensor[len(temperatures)]), _none(frame.ambient_c),
        )  # fmt: skip
        matrix = stored_rows(result, config.cells if config is not None else max(1, len(volts)))
        if cell < len(matrix):
            table[k, 4:] = matrix[cell, RESULT_COLUMNS]
    return trace_of(np.array([row[0] for row in rows], np.int64), table)


def _way(ask: Ask, after: int) -> str:
    """How frames behind an input are to be found: by number, where few inputs are.

    By time every frame of the time that is asked for is looked at, and a day has 86,400 of them.
    """
    newest = ask("SELECT ifnull(max(id), 0) FROM input", ())[0][0]
    if after and newest - after <= FEW_INPUTS:
        return """SELECT timestamp_ms, payload, result FROM input
            WHERE kind = 0 AND asset_id = ? AND timestamp_ms BETWEEN ? AND ? AND id > ?
            ORDER BY timestamp_ms, id"""
    return """SELECT frame.timestamp_ms, payload, result
        FROM frame JOIN input ON input.id = frame.input_id
        WHERE frame.asset_id = ? AND frame.timestamp_ms BETWEEN ? AND ? AND input_id > ?
        ORDER BY frame.timestamp_ms, input_id"""


def _minutes(
    ask: Ask, asset_id: int, start_ms: int, end_ms: int, cell: int, points: int
) -> tuple[int, Trace] | None:
    """What the minutes know, and the last input in them; None where the frames say it better.

    They do where all of them are still there and reading them is quick.
    """
    after = int(ask(f"SELECT ifnull(({_PROGRESS}), 0)", ())[0][0])
    if after == 0:
        return None
    most = RAW_PER_POINT * points
    ends = start_ms // MINUTE_MS, end_ms // MINUTE_MS
    frames = ask(
        """SELECT count(*) FROM (SELECT 1 FROM frame WHERE asset_id = ?
             AND timestamp_ms BETWEEN ? AND ? LIMIT ?)""",
        (asset_id, start_ms, end_ms, most + 1),
    )[0][0]
    if frames <= most:
        whole = ask(
            """SELECT ifnull(sum(samples), 0) FROM minute WHERE asset_id = ? AND cell = ?
                 AND minute BETWEEN ? AND ? AND first_ms >= ? AND last_ms <= ?""",
            (asset_id, cell, *ends, start_ms, end_ms),
        )[0][0]
        if frames >= max(1, whole):
            return None
    rows = ask(
        """SELECT first_ms, last_ms, figures FROM minute WHERE asset_id = ? AND cell = ?
             AND minute BETWEEN ? AND ? AND first_ms <= ? AND last_ms >= ? ORDER BY minute""",
        (asset_id, cell, *ends, end_ms, start_ms),
    )
    figures = decode_figures([row[2] for row in rows]).astype(np.float64)
    first, last = (
        np.clip(np.array([row[k] for row in rows], np.int64), start_ms, end_ms) for k in (0, 1)
    )
    return after, stretches(first, last, figures[..., MIN], figures[..., MAX])


def _config(ask: Ask, asset_id: int) -> AssetConfig | None:
    rows = ask(
        "SELECT payload FROM input WHERE kind = ? AND asset_id = ? ORDER BY id DESC LIMIT 1",
        (int(Kind.CONFIG), asset_id),
    )
    return msgspec.json.decode(rows[0][0], type=AssetConfig) if rows else None


def _none(value: float | None) -> float:
    return np.nan if value is None else value


def _at(values: list[float | None], index: int) -> float:
    return _none(values[index]) if 0 <= index < len(values) else np.nan
