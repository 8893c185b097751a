"""Raw telemetry summed up by the minute: what stays when the raw frames go, and what makes a long
trace quick.

A row of `minute` is one cell in one minute of event time: its first and last sample's time, how
many samples, and `figures`, float32[quantities, 4] with the smallest, mean and largest value and
the count of known ones, for each of `history.QUANTITIES`. Inputs are summed up in the journal's
order, each once: the rows and the last input's number (`progress`, "minutes") are one transaction.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.contract import AssetConfig, Frame, as_list
from monitor.errors import StoreError
from monitor.kernels.columns import Result, stored_rows
from monitor.store.history import QUANTITIES, sensor_of
from monitor.store.journal import Kind, MinuteRow, connect

log = logging.getLogger(__name__)

MINUTE_MS = 60_000
PROGRESS = "minutes"
FIGURES = (len(QUANTITIES), 4)
MIN, MEAN, MAX, COUNT = range(4)
RESULT_COLUMNS = [
    Result.SOC, Result.SOH, Result.SOH_LOW, Result.SOH_HIGH, Result.RESISTANCE_OHM,
    Result.THERMAL_SCORE, Result.EXCESS_HEAT_W,
]  # fmt: skip
MOST_INPUTS = 10_000
MOST_ROWS = 1_000  # about; what one transaction may write beside the stream
MOST_BYTES = 8_000_000  # of payloads and results in memory at once
Floats32 = NDArray[np.float32]
_frame = msgspec.json.Decoder(Frame)


class _Shape(NamedTuple):
    """Frames of one asset that fit into one table."""

    asset_id: int
    cells: int
    sensors: int
    result: int


@dataclass(slots=True)
class _Frames:
    times: list[int]
    volts: list[list[float | None]]
    currents: list[float | None]
    temperatures: list[list[float | None]]
    ambients: list[float | None]
    results: list[bytes]


@dataclass(frozen=True, slots=True)
class Rolled:
    """Rows to write; they sum up the inputs behind `after` up to `upto`, and `more` wait."""

    rows: list[MinuteRow]
    after: int
    upto: int
    more: bool


def roll_up(journal: Path, most: int = MOST_INPUTS) -> Rolled:
    """Sum up the next inputs of a journal; reads only. Raises StoreError."""
    try:
        db = connect(journal, read_only=True)
        try:
            return _roll_up(db, most)
        finally:
            db.close()
    except (sqlite3.Error, msgspec.DecodeError, ValueError) as error:
        raise StoreError(f"store {journal}: minutes cannot be made: {error}") from error


def progress(db: sqlite3.Connection) -> int:
    """The last input that is in the minutes."""
    row = db.execute("SELECT value FROM progress WHERE name = ?", (PROGRESS,)).fetchone()
    return 0 if row is None else int(row[0])


def decode_figures(blobs: list[bytes]) -> Floats32:
    """The figures of rows as (rows, quantities, 4)."""
    return np.frombuffer(b"".join(blobs), np.float32).reshape(-1, *FIGURES)


def _roll_up(db: sqlite3.Connection, most: int) -> Rolled:
    after = upto = progress(db)
    groups: dict[tuple[int, int, int, int], _Frames] = defaultdict(
        lambda: _Frames([], [], [], [], [], [])
    )
    held = count = width = 0
    more = False
    for number, kind, asset_id, payload, result in db.execute(
        "SELECT id, kind, asset_id, payload, result FROM input WHERE id > ? ORDER BY id", (after,)
    ):
        if count == most or held > MOST_BYTES or width > MOST_ROWS:
            more = True
            break
        upto, count = number, count + 1
        if kind != Kind.FRAME:
            continue
        held += len(payload) + len(result)
        try:
            frame = _frame.decode(payload)
        except msgspec.DecodeError as error:
            log.warning(
                "input %d is not what a journal holds, and is in no minute: %s", number, error
            )
            continue
        volts, temperatures = as_list(frame.voltage_v), as_list(frame.temperature_c)
        form = asset_id, len(volts), len(temperatures), len(result)
        if form not in groups:
            width += max(1, len(volts))
        group = groups[form]
        group.times.append(frame.timestamp_ms)
        group.volts.append(volts)
        group.currents.append(frame.current_a)
        group.temperatures.append(temperatures)
        group.ambients.append(frame.ambient_c)
        group.results.append(result)
    found: dict[tuple[int, int, int], MinuteRow] = {}
    configs: dict[int, AssetConfig | None] = {}
    for key, frames in groups.items():
        shape = _Shape(*key)
        if shape.asset_id not in configs:
            configs[shape.asset_id] = _config(db, shape.asset_id)
        try:
            rows = _sum_up(shape, frames, configs[shape.asset_id])
        except ValueError as error:  # results of a width that no version wrote
            log.warning("%d frames are in no minute: %s", len(frames.times), error)
            continue
        for row in rows:
            known = found.get(row[:3])
            if known is None:
                known = _stored(db, row[:3])
            found[row[:3]] = row if known is None else merge(known, row)
    return Rolled(list(found.values()), after, upto, more)


def merge(one: MinuteRow, other: MinuteRow) -> MinuteRow:
    """Two parts of one minute as one; means are weighted by the known values."""
    a, b = decode_figures([one.figures, other.figures])
    figures = np.empty(FIGURES, np.float32)
    figures[:, MIN] = np.fmin(a[:, MIN], b[:, MIN])
    figures[:, MAX] = np.fmax(a[:, MAX], b[:, MAX])
    figures[:, COUNT] = a[:, COUNT] + b[:, COUNT]
    weighed = np.nan_to_num(a[:, MEAN]) * a[:, COUNT] + np.nan_to_num(b[:, MEAN]) * b[:, COUNT]
    with np.errstate(invalid="ignore"):
        figures[:, MEAN] = weighed / figures[:, COUNT]
    return one._replace(
        first_ms=min(one.first_ms, other.first_ms),
        last_ms=max(one.last_ms, other.last_ms),
        samples=one.samples + other.samples,
        figures=figures.tobytes(),
    )


def _sum_up(shape: _Shape, frames: _Frames, config: AssetConfig | None) -> list[MinuteRow]:
    times = np.array(frames.times, np.int64)
    order = np.argsort(times, kind="stable")
    times, table = times[order], _table(shape, frames, config)[order]
    minutes = times // MINUTE_MS
    starts = np.flatnonzero(np.concatenate([[True], minutes[1:] != minutes[:-1]]))
    ends = np.append(starts[1:], len(times)) - 1
    known = np.isfinite(table)
    figures = np.empty((len(starts), table.shape[1], *FIGURES), np.float32)
    figures[..., MIN] = np.fmin.reduceat(table, starts, axis=0)
    figures[..., MAX] = np.fmax.reduceat(table, starts, axis=0)
    count = np.add.reduceat(known, starts, axis=0, dtype=np.float64)
    total = np.add.reduceat(np.where(known, table, 0.0), starts, axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        figures[..., MEAN] = total / count
    figures[..., COUNT] = count
    return [
        MinuteRow(
            shape.asset_id, cell, int(minutes[start]), int(times[start]), int(times[end]),
            int(end - start + 1), figures[k, cell].tobytes(),
        )
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
        for cell in range(table.shape[1])
    ]  # fmt: skip


def _table(shape: _Shape, frames: _Frames, config: AssetConfig | None) -> Floats32:
    """Frames as (frames, cells, quantities); NaN where a value is missing or not finite."""
    n = len(frames.times)
    results = stored_rows(b"".join(frames.results), max(1, shape.cells) * n)
    results = results.reshape(n, -1, results.shape[1])
    cells = max(shape.cells, results.shape[1])
    table = np.full((n, cells, len(QUANTITIES)), np.nan, np.float32)
    if shape.cells:
        table[:, : shape.cells, 0] = np.array(frames.volts, np.float64)
    table[:, :, 1] = np.array(frames.currents, np.float64)[:, None]
    if shape.sensors:
        temperatures = np.array(frames.temperatures, np.float64)
        for cell in range(cells):
            sensor = sensor_of(config, shape.sensors, cell, cells)
            if sensor >= 0:
                table[:, cell, 2] = temperatures[:, sensor]
    table[:, :, 3] = np.array(frames.ambients, np.float64)[:, None]
    table[:, : results.shape[1], 4:] = results[:, :, RESULT_COLUMNS]
    table[~np.isfinite(table)] = np.nan
    return table


def _stored(db: sqlite3.Connection, key: Any) -> MinuteRow | None:
    row = db.execute(
        "SELECT * FROM minute WHERE asset_id = ? AND cell = ? AND minute = ?", key
    ).fetchone()
    return None if row is None else MinuteRow(*row)


def _config(db: sqlite3.Connection, asset_id: int) -> AssetConfig | None:
    row = db.execute(
        "SELECT payload FROM input WHERE kind = ? AND asset_id = ? ORDER BY id DESC LIMIT 1",
        (int(Kind.CONFIG), asset_id),
    ).fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=AssetConfig)
