"""InfluxDB in `cellpulse chaos`: a real influxd that is killed, frozen and filled, and its points.

`tests.influx_world` has the server and the shim through which 1.x answers as 2.x does.
"""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import chaos_rows
from benchmarks.broker import free_port
from monitor.store.journal import connect
from monitor.store.outbox import Position
from tests.influx_world import BUCKET, ORG, TOKEN, InfluxWorld

EVENT_TIME = ("telemetry", "sensor", "cell", "cycle", "event")
# What a journal's order and its wall clock make of them, and sentences, which follow their figures.
LEFT_OUT = ("arrival_ms", "row", "record", "message")
DRAIN_S = 300.0  # without progress; a sink waits for up to a minute before it asks again


def is_here() -> bool:
    """Whether there is an influxd to be broken."""
    return shutil.which("influxd") is not None


class Database:
    """One influxd with its shim."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._world = InfluxWorld(folder, (free_port(), free_port()))
        self._world.start()
        self.settings = {
            "CELLPULSE_INFLUX_URL": self._world.url,
            "CELLPULSE_INFLUX_TOKEN": TOKEN,
            "CELLPULSE_INFLUX_ORG": ORG,
            "CELLPULSE_INFLUX_BUCKET": BUCKET,
        }

    def stop(self) -> None:
        """End it at once."""
        self._world.stop(kill=True)

    def start(self) -> None:
        """Start it where it has ended."""
        process = self._world.process
        if process is None or process.poll() is not None:
            self._world.start()

    def freeze(self, frozen: bool) -> None:
        """Stop its process, or let it go on."""
        process = self._world.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def fill_disk(self, full: bool) -> None:
        """Let every write of it to a file fail, or work again; it may end of that."""
        process = self._world.process
        with suppress(ProcessLookupError):
            if process is not None and process.poll() is None:
                _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                limits = (0 if full else hard, hard)
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)

    def points(self) -> dict[tuple[object, ...], dict[str, Any]]:
        """The points of event time by measurement, tags and time."""
        found = {}
        for measurement in EVENT_TIME:
            for series in self._world.query(f'SELECT * FROM "{measurement}" GROUP BY *'):
                tags = series.get("tags", {})
                if tags.get("code") in chaos_rows.WALL_CLOCK_ALARMS:
                    continue
                names = series["columns"]
                for values in series["values"]:
                    point = dict(zip(names, values, strict=True))
                    key = (measurement, *sorted(tags.items()), point.pop("time"))
                    # A column stands in every series as soon as one point has it.
                    found[key] = {
                        name: value
                        for name, value in point.items()
                        if name not in LEFT_OUT and value is not None
                    }
        return found

    def settled(self, journal: Path) -> bool:
        """Return once everything in a journal is confirmed; False where no more is for long."""
        newest, since = Position(), time.monotonic()
        while True:
            confirmed, wanted = _cursor(journal), _ends(journal)
            if confirmed == wanted:
                return True
            if confirmed != newest:
                newest, since = confirmed, time.monotonic()
            if time.monotonic() - since > DRAIN_S:
                return False
            time.sleep(0.5)

    def close(self) -> None:
        """End everything."""
        self.freeze(False)
        self._world.close()


def without_point(points: Mapping[tuple[object, ...], object], rows: chaos_rows.Rows) -> int:
    """How many frames of a journal have no point; frames of one millisecond share theirs."""
    there = {key[1:] for key in points if key[0] == "telemetry"}
    frames = {
        (("asset", name), stamp * 1_000_000)
        for name, stamps in rows.order.items()
        for stamp in stamps
    }
    return len(frames - there)


def _cursor(journal: Path) -> Position:
    """Where the outbox of a journal's one target stands."""
    file = journal.with_name(f"{journal.name}.influx")
    with closing(connect(file, read_only=True)) as db:
        row = db.execute("SELECT event, cycle, input FROM cursor").fetchone()
    return Position() if row is None else Position(*row)


def _ends(journal: Path) -> Position:
    """Where it stands once everything is confirmed."""
    with closing(connect(journal, read_only=True)) as db:
        row = db.execute(
            "SELECT (SELECT ifnull(max(id), 0) FROM event), "
            "(SELECT ifnull(max(seq), 0) FROM cycle), (SELECT ifnull(max(id), 0) FROM input)"
        ).fetchone()
    return Position(*row)


@contextmanager
def databases(folder: Path) -> Iterator[Callable[[str], Database]]:
    """A maker of databases by name, all gone at the end."""
    with ExitStack() as stack:

        def make(name: str) -> Database:
            database = Database(folder / name)
            stack.callback(database.close)
            return database

        yield make
