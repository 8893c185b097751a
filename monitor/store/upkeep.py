"""What keeps a journal in shape beside the stream: minutes are made, old raw telemetry goes.

Summing up happens in a process of its own, reading in a thread with a connection of its own; only
short transactions go to the journal's one writer, between micro-batches.

What may go: raw inputs older than `keep_raw_days` by their arrival, once they are in the minutes,
behind the older checkpoint, and confirmed by InfluxDB where there is one. Where the journal is
larger than `store_max_mb` the oldest raw inputs go sooner, whether InfluxDB has them or not; when
no more of them can go, the oldest minutes. Cycles and alarm transitions stay always, and of each
asset's config the newest.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from monitor.config import Config
from monitor.errors import StoreError
from monitor.store.checkpoint import oldest_input
from monitor.store.influx_sink import Sink, SinkState
from monitor.store.journal import Journal, Kind, connect, used_bytes
from monitor.store.minutes import PROGRESS, Rolled, progress, roll_up
from monitor.store.minutes_process import MinutesProcess
from monitor.supervisor import Report

log = logging.getLogger(__name__)

EVERY_S = 20.0
CHUNK = 500  # inputs a transaction
DAY_MS = 86_400_000
DAY_MINUTES = 1_440
Write = Callable[[Callable[[], None]], Awaitable[object]]
SumUp = Callable[[], Awaitable[Rolled]]


@dataclass(frozen=True, slots=True)
class Trim:
    """Inputs up to `upto` may go; `unsent` of their frames are not in InfluxDB."""

    upto: int
    unsent: int


class Upkeep:
    """The store and its outbox, looked after."""

    def __init__(
        self, journal: Journal, config: Config, sink: Sink | None, now_ms: Callable[[], int]
    ) -> None:
        self.dropped = 0  # frames given up unsent
        self._journal = journal
        self._config = config
        self._sink = sink
        self._now_ms = now_ms
        self._bytes = used_bytes(journal.path)

    def figures(self) -> dict[str, Any]:
        """The fields of MonitorMetrics about the store and the outbox, by name."""
        state = SinkState() if self._sink is None else self._sink.state
        lag_ms = 0 if state.oldest_ms is None else max(0, self._now_ms() - state.oldest_ms)
        return {
            "store_bytes": self._bytes,
            "outbox_inputs": state.inputs,
            "outbox_lag_s": lag_ms / 1000.0,
            "outbox_dropped": self.dropped,
            "set_aside": state.set_aside,
        }

    async def run(self, write: Write, report: Report) -> None:
        """Look after the store for ever; `write` runs what writes, on the writer's turn.

        Raises what `once` does.
        """
        minutes = MinutesProcess(self._journal.path)
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.once(write, minutes.roll_up)
                report.well()
        finally:
            await minutes.close()

    async def once(self, write: Write, sum_up: SumUp | None = None) -> None:
        """Bring the minutes up to date, then let go what may go. Raises StoreError, OSError.

        `sum_up` gives the next minutes; without it they are made in a thread.
        """
        sum_up = sum_up or partial(asyncio.to_thread, roll_up, self._journal.path)
        more = True
        while more:
            began = time.monotonic()
            rolled = await sum_up()
            if rolled.upto == rolled.after:
                break
            rest_s = time.monotonic() - began  # as long as it kept a processor busy
            await write(partial(self._journal.put_minutes, PROGRESS, rolled.rows, rolled.upto))
            more = rolled.more
            await asyncio.sleep(rest_s if more else 0.0)
        while (trim := await asyncio.to_thread(self._next_trim)) is not None:
            await write(partial(self._journal.trim, trim.upto))
            if trim.unsent and not self.dropped:
                log.warning(
                    "the store is at its bound of %g MB: raw telemetry goes before InfluxDB has it",
                    self._config.store_max_mb,
                )
            self.dropped += trim.unsent
            await asyncio.sleep(0)
        before = await asyncio.to_thread(self._old_minutes)
        if before:
            await write(partial(self._journal.trim_minutes, before))
        self._bytes = await asyncio.to_thread(used_bytes, self._journal.path)

    def _next_trim(self) -> Trim | None:
        """The oldest inputs that may go now, at most a chunk of them."""
        self._bytes = used_bytes(self._journal.path)
        sent = self._sink.state.position if self._sink is not None else None
        days = self._config.keep_raw_days
        cutoff_ms = self._now_ms() - days * DAY_MS if days else -1
        try:
            db = connect(self._journal.path, read_only=True)
            try:
                floor = min(oldest_input(self._journal.path), progress(db))
                rows = db.execute(
                    "SELECT id, kind, arrival_ms FROM input WHERE kind != ? AND id <= ? "
                    "AND id < (SELECT max(id) FROM input) ORDER BY id LIMIT ?",
                    (int(Kind.CONFIG), floor, CHUNK),
                ).fetchall()
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(f"store {self._journal.path}: {error}") from error
        upto = unsent = 0
        for number, kind, arrival_ms in rows:
            waits = sent is not None and number > sent
            if not self._is_over and (arrival_ms >= cutoff_ms or waits):
                break
            upto = number
            unsent += waits and kind == Kind.FRAME
        return Trim(upto, unsent) if upto else None

    @property
    def _is_over(self) -> bool:
        most = self._config.store_max_mb
        return bool(most) and self._bytes > most * 1e6

    def _old_minutes(self) -> list[tuple[int, int, int]]:
        """(asset_id, cell, minute): the minutes before which may go, for the cells that have any.

        Old is what is older than a cell's own newest by `keep_minutes_days`, by event time; past
        the bound, with no raw inputs left to go, the oldest day of all.
        """
        days = self._config.keep_minutes_days
        if not days and not self._is_over:
            return []
        spans = self._minute_spans()
        if self._is_over and spans and oldest_input(self._journal.path):
            first = min(oldest for _, _, oldest, _ in spans) + DAY_MINUTES
            return [(asset, cell, first) for asset, cell, oldest, _ in spans if oldest < first]
        kept = int(days * DAY_MINUTES)
        return [
            (asset, cell, newest - kept)
            for asset, cell, oldest, newest in spans
            if oldest < newest - kept
        ]

    def _minute_spans(self) -> list[tuple[int, int, int, int]]:
        """(asset_id, cell, oldest minute, newest minute), one seek each."""
        spans: list[tuple[int, int, int, int]] = []
        try:
            db = connect(self._journal.path, read_only=True)
            try:
                for (asset,) in db.execute("SELECT id FROM asset").fetchall():
                    cell: int | None = -1
                    while True:
                        (cell,) = db.execute(
                            "SELECT min(cell) FROM minute WHERE asset_id = ? AND cell > ?",
                            (asset, cell),
                        ).fetchone()
                        if cell is None:
                            break
                        oldest, newest = (
                            db.execute(
                                f"SELECT {which}(minute) FROM minute "
                                "WHERE asset_id = ? AND cell = ?",
                                (asset, cell),
                            ).fetchone()[0]
                            for which in ("min", "max")
                        )
                        spans.append((asset, cell, oldest, newest))
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StoreError(f"store {self._journal.path}: {error}") from error
        return spans
