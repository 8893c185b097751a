"""`History` over InfluxDB, in InfluxQL; docs/storage.md lists what is where."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.config import Config
from monitor.contract import AssetConfig, CycleSummary, Event, cell_name, is_asset_name, sensor_name
from monitor.errors import ConfigurationError
from monitor.store.history import (
    QUANTITIES,
    Floats,
    History,
    StoredAsset,
    Trace,
    empty_trace,
    sensor_of,
    stretches,
    trace_of,
)
from monitor.store.influx import Target, make_target
from monitor.store.influx_query import InfluxQuery, Series, fields, text
from monitor.store.lines import LAST_MS
from monitor.store.sqlite_history import SqliteHistory
from monitor.store.thinning import with_gaps

MOST_ROWS = 9_000  # influxd 1.x cuts an answer off at 10,000
_WHERE = {
    "voltage_v": "cell",
    "current_a": "telemetry",
    "temperature_c": "sensor",
    "ambient_c": "telemetry",
    "soc": "cell",
    "soh": "cell",
    "soh_low": "cell",
    "soh_high": "cell",
    "resistance_ohm": "cell",
    "thermal_score": "cell",
    "excess_heat_w": "cell",
}


class InfluxHistory:
    """Answers from one server; safe to use from several threads."""

    def __init__(self, target: Target) -> None:
        self._query = InfluxQuery(target)

    def assets(self) -> Sequence[StoredAsset]:
        """As `History.assets` says."""
        first, last, configs = self._query.ask(
            'SELECT first("arrival_ms") FROM "telemetry" GROUP BY "asset"',
            'SELECT last("arrival_ms") FROM "telemetry" GROUP BY "asset"',
            'SELECT last("record") FROM "config" GROUP BY "asset"',
        )
        ends = {series.tags["asset"]: series.rows[0][0] for series in last}
        known = {series.tags["asset"]: series.rows[0][1] for series in configs}
        return [
            StoredAsset(name, _config(known.get(name)), series.rows[0][0], ends[name])
            for name, series in sorted((series.tags["asset"], series) for series in first)
        ]

    def trace(
        self, asset: str, cell: int, start_ms: int, end_ms: int, points: int = 2_000
    ) -> Trace:
        """As `History.trace` says."""
        if not is_asset_name(asset):
            return empty_trace()
        this = f'"asset" = {text(asset)}'
        begin, end = max(0, start_ms), min(end_ms, LAST_MS)
        when = f"{this} AND time >= {begin}ms AND time <= {end}ms"
        frames, first, last, cells, sensors, configs = self._query.ask(
            f'SELECT count("arrival_ms") FROM "telemetry" WHERE {when}',
            f'SELECT first("arrival_ms") FROM "telemetry" WHERE {when}',
            f'SELECT last("arrival_ms") FROM "telemetry" WHERE {when}',
            f'SHOW TAG VALUES FROM "cell" WITH KEY = "cell" WHERE {this}',
            f'SHOW TAG VALUES FROM "sensor" WITH KEY = "sensor" WHERE {this}',
            f'SELECT last("record") FROM "config" WHERE {this}',
        )
        if not first:
            return empty_trace()
        config = _config(configs[0].rows[0][1] if configs else None)
        sensor = sensor_of(config, _highest(sensors), cell, _highest(cells))
        conditions = {
            "cell": f'{when} AND "cell" = {text(cell_name(cell))}',
            "telemetry": when,
            "sensor": f'{when} AND "sensor" = {text(sensor_name(max(0, sensor)))}',
        }
        names = {place: [q for q in QUANTITIES if _WHERE[q] == place] for place in conditions}
        names["telemetry"].append("arrival_ms")  # every frame has it
        points = min(points, MOST_ROWS)
        if frames[0].rows[0][1] <= points:
            return self._raw(conditions, names, sensor)
        ends = first[0].rows[0][0], last[0].rows[0][0]
        return self._stretches(conditions, names, sensor, *ends, points)

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
        """As `History.cycles` says."""
        rows = self._of_cell(["record"], asset, cell, limit)
        return [msgspec.json.decode(record, type=CycleSummary) for _, record in rows]

    def histograms(
        self, asset: str, cell: int, limit: int = 1_000
    ) -> Sequence[tuple[int, str, NDArray[np.float32]]]:
        """As `History.histograms` says."""
        return [
            (start_ms, kind, np.frombuffer(base64.b64decode(histogram), np.float32))
            for start_ms, kind, histogram in self._of_cell(
                ["kind", "histogram"], asset, cell, limit
            )
        ]

    def events(
        self, asset: str | None = None, limit: int = 200, *, members: bool = True
    ) -> Sequence[Event]:
        """As `History.events` says."""
        if asset is not None and not is_asset_name(asset):
            return []
        conditions = [] if members else ['"grouped" = 0']
        if asset is not None:
            conditions.append(f'"asset" = {text(asset)}')
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        (series,) = self._query.ask(
            f'SELECT "record", "row" FROM "event" {where} ORDER BY time DESC '
            f"LIMIT {min(int(limit), MOST_ROWS)}"
        )
        rows = sorted((row for entry in series for row in entry.rows), key=_newest_first)
        return [msgspec.json.decode(row[1], type=Event) for row in rows]

    def _of_cell(self, columns: list[str], asset: str, cell: int, limit: int) -> list[list[Any]]:
        """Rows of the newest cycles, oldest first, the start's time before the columns."""
        if not is_asset_name(asset):
            return []
        (series,) = self._query.ask(
            f'SELECT {fields(columns)} FROM "cycle" WHERE "asset" = {text(asset)} '
            f'AND "cell" = {text(cell_name(cell))} ORDER BY time DESC '
            f"LIMIT {min(int(limit), MOST_ROWS)}"
        )
        return [row for entry in series for row in reversed(entry.rows)]

    def _raw(self, conditions: dict[str, str], names: dict[str, list[str]], sensor: int) -> Trace:
        answers = self._query.ask(
            *(
                f'SELECT {fields(names[place])} FROM "{place}" WHERE {condition}'
                for place, condition in conditions.items()
            )
        )
        found = dict(zip(conditions, answers, strict=True))
        if sensor < 0:
            found["sensor"] = []
        times = np.unique(_column(found["telemetry"], "time", np.int64))
        table = np.full((len(times), len(QUANTITIES)), np.nan)
        for k, name in enumerate(QUANTITIES):
            _fill(table[:, k], times, found[_WHERE[name]], name)
        return trace_of(*with_gaps(times, table, len(times)))

    def _stretches(
        self, conditions: dict[str, str], names: dict[str, list[str]], sensor: int,
        first_ms: int, last_ms: int, points: int,
    ) -> Trace:  # fmt: skip
        """The smallest and the largest of each quantity in about half as many stretches."""
        width_ms = -(-2 * (last_ms - first_ms + 1) // max(2, points))
        asked = {
            place: ", ".join(
                f'{function}("{name}") AS "{function}_{name}"'
                for name in names[place]
                for function in ("min", "max")
            )
            for place in conditions
        }
        answers = self._query.ask(
            *(
                f'SELECT {asked[place]} FROM "{place}" WHERE {condition} '
                f"GROUP BY time({width_ms}ms) fill(none)"
                for place, condition in conditions.items()
            )
        )
        found = dict(zip(conditions, answers, strict=True))
        if sensor < 0:
            found["sensor"] = []
        times = np.unique(_column(found["telemetry"], "time", np.int64))
        low = np.full((len(times), len(QUANTITIES)), np.nan)
        high = low.copy()
        for k, name in enumerate(QUANTITIES):
            _fill(low[:, k], times, found[_WHERE[name]], f"min_{name}")
            _fill(high[:, k], times, found[_WHERE[name]], f"max_{name}")
        first = np.clip(times, first_ms, last_ms)
        last = np.clip(times + width_ms // 2, first_ms, last_ms)
        found_rows = stretches(first, last, low, high)
        return trace_of(
            *with_gaps(found_rows.timestamp_ms, found_rows.table(), points // 6, width_ms)
        )


def _fill(out: Floats, times: NDArray[np.int64], series: list[Series], column: str) -> None:
    """Put a column's values where their times stand; what has no row of the cell is left out."""
    when = _column(series, "time", np.int64)
    known = np.isin(when, times)
    out[np.searchsorted(times, when[known])] = _column(series, column, np.float64)[known]


def _column(series: list[Series], name: str, kind: type) -> NDArray[Any]:
    return np.array([value for entry in series for value in entry.column(name)], kind)


def _highest(series: list[Series]) -> int:
    """The highest number among the values of a tag, such as c001."""
    return max((int(value[1:]) for entry in series for value in entry.column("value")), default=0)


def _newest_first(row: list[Any]) -> tuple[int, int]:
    return -row[0], -row[2]


def _config(record: str | None) -> AssetConfig | None:
    return None if record is None else msgspec.json.decode(record, type=AssetConfig)


def make_history(config: Config) -> History:
    """What a configuration wants asked: the journal, or InfluxDB; raises ConfigurationError."""
    if not config.influx_history:
        return SqliteHistory(config.store)
    target = make_target(config)
    if target is None:
        raise ConfigurationError("influx_history = true: needs influx_url as well")
    return InfluxHistory(target)
