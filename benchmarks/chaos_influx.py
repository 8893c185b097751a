"""InfluxDB in `cellpulse chaos`: a real influxd that is killed, frozen and filled, and its points.

`tests.influx_world` has the server and the shim through which 1.x answers as 2.x does.
"""

from __future__ import annotations

import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.broker import free_port
from benchmarks.chaos_rows import WALL_CLOCK_ALARMS
from tests.influx_world import BUCKET, ORG, TOKEN, InfluxWorld

EVENT_TIME = ("telemetry", "sensor", "cell", "cycle", "event")
# What a journal's order and its wall clock make of them, and sentences, which follow their figures.
LEFT_OUT = ("arrival_ms", "row", "record", "message")
DRAIN_S = 240.0
QUIET_S = 8.0


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
        process = self._world._process
        if process is None or process.poll() is not None:
            self._world.start()

    def freeze(self, frozen: bool) -> None:
        """Stop its process, or let it go on."""
        process = self._world._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def fill_disk(self, full: bool) -> None:
        """Let every write of it to a file fail, or work again; it may end of that."""
        process = self._world._process
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
                if tags.get("code") in WALL_CLOCK_ALARMS:
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

    def settled(self, wanted: int | None = None) -> int:
        """Return once it has so many points, or none came for a while; how many it has.

        Without `wanted`, once no more have come for `QUIET_S`: nothing holds them up then.
        """
        until = time.monotonic() + DRAIN_S
        newest, since = -1, time.monotonic()
        while True:
            count = len(self.points())
            if count > newest:
                newest, since = count, time.monotonic()
            quiet = wanted is None and count > 0 and time.monotonic() - since > QUIET_S
            if quiet or (wanted is not None and count >= wanted) or time.monotonic() > until:
                return count
            time.sleep(1.0)

    def close(self) -> None:
        """End everything."""
        self.freeze(False)
        self._world.close()


@contextmanager
def databases(folder: Path) -> Iterator[Callable[[str], Database]]:
    """A maker of databases by name, all gone at the end."""
    with ExitStack() as stack:

        def make(name: str) -> Database:
            database = Database(folder / name)
            stack.callback(database.close)
            return database

        yield make
