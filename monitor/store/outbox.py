"""What InfluxDB has not confirmed yet: the journal behind a cursor, and what was set aside.

The cursor is three positions, one in each of the journal's growing orders: `event.id`, `cycle.seq`
and `input.id`. Alarm transitions go first, then cycles, then telemetry, each in its own order, so
that after an outage an alarm does not wait behind a day of frames. The cursor is moved only after
the server has confirmed; a kill between the two writes some points again, which changes nothing.

It lives in a file of its own beside the journal (`<journal>.influx`), so that keeping it never
makes the journal's one writer wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from monitor.errors import StoreError
from monitor.store.journal import connect
from monitor.store.lines import cycle_lines, event_lines, input_lines

BATCH_LINES = 10_000
BATCH_BYTES = 10_000_000
SET_ASIDE_KEPT = 100_000  # lines; the oldest go first

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cursor (
    target TEXT PRIMARY KEY, event INTEGER NOT NULL, cycle INTEGER NOT NULL, input INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, at_ms INTEGER NOT NULL,
    reason TEXT NOT NULL, line TEXT NOT NULL
);
"""


class Position(NamedTuple):
    """Everything up to these rows has been confirmed."""

    event: int = 0
    cycle: int = 0
    input: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines to write, and where the cursor stands once they are confirmed.

    `broken` are rows that could not be turned into lines, with the reason. `more` says that the
    batch ended because it was full.
    """

    lines: list[str]
    after: Position
    broken: list[tuple[str, str]]
    more: bool


# Its stream, its number there, its text, and what makes its lines of which values.
_Waiting = tuple[int, int, str, Callable[..., list[str]] | None, tuple[Any, ...]]


class Outbox:
    """The journal as the outbox of one target (a server's address, organisation and bucket).

    For one thread at a time. Methods raise StoreError where a file cannot be read or written.
    """

    def __init__(self, journal: Path, target: str, max_assets: int) -> None:
        self._path = journal.with_name(f"{journal.name}.influx")
        self._target = target
        self._max_assets = max_assets
        self._names: dict[int, str] = {}
        try:
            self._own = connect(self._path)
            self._own.execute("PRAGMA journal_mode = WAL")
            self._own.execute("PRAGMA synchronous = NORMAL")
            self._own.executescript(_SCHEMA)
            row = self._own.execute(
                "SELECT event, cycle, input FROM cursor WHERE target = ?", (target,)
            ).fetchone()
            self.set_aside = self._last_set_aside()
            self._db = connect(journal, read_only=True)
            # A power loss may take the journal's last commits and leave the cursor beyond its end:
            # what then comes with these numbers has not been sent.
            self.position = Position() if row is None else Position(*map(min, row, self._ends()))
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"outbox {self._path}: {error}") from error

    def next_batch(self, lines: int = BATCH_LINES, size: int = BATCH_BYTES) -> Batch:
        """The oldest lines that wait, at most so many of them and so many bytes.

        An input is never cut in two, so a single one may exceed bounds set lower than the usual.
        """
        try:
            return self._next_batch(lines, size)
        except sqlite3.Error as error:
            raise StoreError(f"outbox: the journal cannot be read: {error}") from error

    def confirm(self, after: Position, refused: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Move the cursor, and keep the refused lines (line, reason); in one transaction."""
        try:
            self._own.execute("BEGIN")
            self._own.executemany(
                "INSERT INTO set_aside (target, at_ms, reason, line) VALUES (?, ?, ?, ?)",
                [(self._target, now_ms, reason, line) for line, reason in refused],
            )
            if refused:
                self._own.execute(
                    "DELETE FROM set_aside WHERE id <= (SELECT max(id) FROM set_aside) - ?",
                    (SET_ASIDE_KEPT,),
                )
            self._own.execute(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)",
                (self._target, after.event, after.cycle, after.input),
            )
            self._own.execute("COMMIT")
        except sqlite3.Error as error:
            if self._own.in_transaction:
                self._own.execute("ROLLBACK")
            raise StoreError(f"outbox {self._path}: {error}") from error
        self.position = after
        self.set_aside += len(refused)

    def waiting(self) -> tuple[int, int | None]:
        """How many inputs wait, and the arrival (ms) of the oldest; None where none does."""
        try:
            newest = self._db.execute("SELECT ifnull(max(id), 0) FROM input").fetchone()[0]
            oldest = self._db.execute(
                "SELECT id, arrival_ms FROM input WHERE id > ? ORDER BY id LIMIT 1",
                (self.position.input,),
            ).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"outbox: the journal cannot be read: {error}") from error
        return (0, None) if oldest is None else (newest - oldest[0] + 1, oldest[1])

    def close(self) -> None:
        """Close both files."""
        self._db.close()
        self._own.close()

    def _next_batch(self, most: int, size: int) -> Batch:
        lines: list[str] = []
        broken: list[tuple[str, str]] = []
        held = 0
        after = list(self.position)
        with closing(self._rows()) as rows:  # one by one: no more than a batch is ever in memory
            for stream, number, text, make, row in rows:
                made: list[str] = []
                if make is not None:
                    try:
                        made = make(*row)
                    except Exception as error:  # one row is never in the way of the others
                        broken.append((text, f"not what InfluxDB can hold: {error}"))
                length = sum(map(len, made)) + len(made)
                if lines and (len(lines) + len(made) > most or held + length > size):
                    return Batch(lines, Position(*after), broken, True)
                lines += made
                held += length
                after[stream] = number
        return Batch(lines, Position(*after), broken, False)

    def _rows(self) -> Generator[_Waiting]:
        """Every waiting row, in the order of `Position`'s streams."""
        at = self.position
        for number, asset, record in self._db.execute(
            "SELECT id, asset_id, record FROM event WHERE id > ? ORDER BY id", (at.event,)
        ):
            yield 0, number, record, event_lines if self._ours(asset) else None, (number, record)
        for number, asset, summary, histogram in self._db.execute(
            "SELECT seq, asset_id, summary, histogram FROM cycle WHERE seq > ? ORDER BY seq",
            (at.cycle,),
        ):
            make = cycle_lines if self._ours(asset) else None
            yield 1, number, summary, make, (summary, histogram)
        for number, kind, asset, arrival_ms, payload, result in self._db.execute(
            "SELECT id, kind, asset_id, arrival_ms, payload, result FROM input "
            "WHERE id > ? ORDER BY id",
            (at.input,),
        ):
            if asset is None or not self._ours(asset):
                yield 2, number, "", None, ()
            else:
                name = self._names.get(asset) or self._name(asset)
                yield 2, number, payload, input_lines, (kind, name, arrival_ms, payload, result)

    def _ours(self, asset_id: int) -> bool:
        return asset_id <= self._max_assets

    def _name(self, asset_id: int) -> str:
        self._names.update(self._db.execute("SELECT id, name FROM asset").fetchall())
        return self._names[asset_id]

    def _ends(self) -> Position:
        """The newest row of each order."""
        return Position(
            *self._db.execute(
                "SELECT (SELECT ifnull(max(id), 0) FROM event), "
                "(SELECT ifnull(max(seq), 0) FROM cycle), (SELECT ifnull(max(id), 0) FROM input)"
            ).fetchone()
        )

    def _last_set_aside(self) -> int:
        row = self._own.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'set_aside'"
        ).fetchone()
        return 0 if row is None else int(row[0])
