"""`History` over a journal file, read-only, so that a page may read while the monitor writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.contract import AssetConfig, CycleSummary, Event, Frame, as_list, cell_name
from monitor.errors import StoreError
from monitor.latest import RESULTS, Result, stored_rows
from monitor.store.history import StoredAsset, Trace, sensor_of
from monitor.store.journal import Kind, connect
from monitor.store.thinning import keep_extremes

Floats = NDArray[np.float64]
_frame = msgspec.json.Decoder(Frame)


class SqliteHistory:
    """Answers from one journal file; safe to use from several threads, a connection each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def assets(self) -> Sequence[StoredAsset]:
        rows = self._query(
            """SELECT asset.id, name,
                 (SELECT timestamp_ms FROM input WHERE kind = 0 AND asset_id = asset.id
                  ORDER BY timestamp_ms LIMIT 1),
                 (SELECT timestamp_ms FROM input WHERE kind = 0 AND asset_id = asset.id
                  ORDER BY timestamp_ms DESC LIMIT 1)
               FROM asset ORDER BY name""",
            (),
        )
        return [
            StoredAsset(name, self._config(number), first, last)
            for number, name, first, last in rows
            if first is not None
        ]

    def frames(self) -> int:
        """How many frames the store holds."""
        return int(self._query("SELECT count(*) FROM input WHERE kind = 0", ())[0][0])

    def trace(
        self, asset: str, cell: int, start_ms: int, end_ms: int, points: int = 2_000
    ) -> Trace:
        rows = self._query(
            """SELECT asset_id, timestamp_ms, payload, result FROM input
               WHERE kind = 0 AND asset_id = (SELECT id FROM asset WHERE name = ?)
                 AND timestamp_ms BETWEEN ? AND ? ORDER BY timestamp_ms, id""",
            (asset, start_ms, end_ms),
        )
        config = self._config(rows[0][0]) if rows else None
        table = np.full((len(rows), 4), np.nan)
        results = np.full((len(rows), RESULTS), np.nan)
        sensor: dict[int, int] = {}
        for k, (_, _, payload, result) in enumerate(rows):
            frame = _frame.decode(payload)
            volts, temperatures = as_list(frame.voltage_v), as_list(frame.temperature_c)
            if len(temperatures) not in sensor:
                sensor[len(temperatures)] = sensor_of(config, len(temperatures), cell, len(volts))
            s = sensor[len(temperatures)]
            table[k] = (
                _at(volts, cell), _none(frame.current_a),
                _at(temperatures, s), _none(frame.ambient_c),
            )  # fmt: skip
            matrix = stored_rows(result, config.cells if config is not None else max(1, len(volts)))
            if cell < len(matrix):
                results[k] = matrix[cell]
        times = np.array([row[1] for row in rows], np.int64)
        keep = keep_extremes(
            [table[:, 0], table[:, 1], table[:, 2], results[:, Result.THERMAL_SCORE]], points
        )
        table, results = table[keep], results[keep]
        return Trace(
            times[keep], table[:, 0], table[:, 1], table[:, 2], table[:, 3],
            results[:, Result.SOC], results[:, Result.SOH], results[:, Result.SOH_LOW],
            results[:, Result.SOH_HIGH], results[:, Result.RESISTANCE_OHM],
            results[:, Result.THERMAL_SCORE], results[:, Result.EXCESS_HEAT_W],
        )  # fmt: skip

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
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
        try:
            db = connect(self._path, read_only=True)
            try:
                rows = db.execute(
                    """SELECT payload, result FROM input WHERE kind = 0
                         AND asset_id = (SELECT id FROM asset WHERE name = ?)
                       ORDER BY timestamp_ms, id""",
                    (asset,),
                )
                while part := rows.fetchmany(batch):
                    payloads = [payload.encode() for payload, _ in part]
                    yield (
                        payloads,
                        [_frame.decode(payload) for payload in payloads],
                        [np.frombuffer(row[1], np.float32).reshape(-1, RESULTS) for row in part],
                    )
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

    def _config(self, asset_id: int) -> AssetConfig | None:
        rows = self._query(
            "SELECT payload FROM input WHERE kind = ? AND asset_id = ? ORDER BY id DESC LIMIT 1",
            (int(Kind.CONFIG), asset_id),
        )
        return msgspec.json.decode(rows[0][0], type=AssetConfig) if rows else None

    def _query(self, sql: str, values: tuple[object, ...]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            db = connect(self._path, read_only=True)
            try:
                return db.execute(sql, values).fetchall()
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error


def _none(value: float | None) -> float:
    return np.nan if value is None else value


def _at(values: list[float | None], index: int) -> float:
    return _none(values[index]) if 0 <= index < len(values) else np.nan
