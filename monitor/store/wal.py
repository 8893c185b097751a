"""The journal's write-ahead log, written back into the file beside the stream.

SQLite folds it in by itself, in the commit that makes it longer than 1,000 pages, and waits for the
disk twice while doing so: at 9,600 messages a second one commit in sixty took 30 ms. Here another
connection does it every second, which no commit waits for. It cannot begin the log anew while
commits go on; where the log has grown long, the rest is written back between two micro-batches,
which is little then.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from monitor.errors import StoreError
from monitor.store.journal import connect
from monitor.supervisor import Report

EVERY_S = 1.0
LONG_PAGES = 8_192  # of 4 KiB
Between = Callable[[Callable[[], object]], Awaitable[object]]


def checkpoint_log(path: Path) -> int:
    """Fold in what no commit or reader minds; the length of the log in pages. Raises StoreError."""
    try:
        with closing(connect(path)) as db:
            _busy, pages, _folded = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"store {path}: {error}") from error
    return int(pages)


async def keep_short(path: Path, between: Between, report: Report) -> None:
    """Fold for ever; `between` runs work between two micro-batches. Raises StoreError."""
    while True:
        await asyncio.sleep(EVERY_S)
        if await asyncio.to_thread(checkpoint_log, path) >= LONG_PAGES:
            await between(partial(checkpoint_log, path))
        report.well()
