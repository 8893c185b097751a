"""`cellpulse bench storage`: how quickly a month of a fleet answers, and how fast a sink drains.

Two stores of 100 cells at 1 Hz over 30 days are made (`benchmarks/storage_month.py`), one of a pack
and one of 100 assets; the telemetry is synthetic. The minutes of the whole month are there for
every cell. The newest days go second by second through the journal's commit, checkpoints, roll-up
and retention with the settings that we ship; the results stored with them are what the engine gave
for one charge of every cell, over and over. Of the days before, the minutes are written row by row
as the roll-up writes them, and the frames are left out: it would take an hour to write them and let
them go again. How many days the shipped bound keeps frame by frame follows from what a day takes.

Then traces of one cell are asked for, each by a new connection, with the file dropped from the page
cache and with it there. The sink's encoding and writing are timed on the frames into a real
VictoriaMetrics, which takes anything and so says nothing of correctness.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from benchmarks.broker import free_port
from benchmarks.results import Page, below_headline, figure, hand_out
from benchmarks.storage_month import PACK, SINGLES, Built, Shape, build
from monitor.config import Config
from monitor.errors import ConfigurationError
from monitor.store.history import History
from monitor.store.influx import InfluxWriter, Target, deliver
from monitor.store.journal import Kind, connect, used_bytes
from monitor.store.outbox import Outbox
from monitor.store.sqlite_history import SqliteHistory
from training.figures import Figure

DAYS = 30.0
LIVED_DAYS = {PACK: 2.0, SINGLES: 0.25}
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
ASKED = 20
DRAIN_S = 20.0
TARGET_MS = 100.0
FULL_S = 3_600.0  # what a full run may take on two busy cores
PAGE = Page("The store's speed", "bench storage", below_headline(__doc__))


def main(
    json_out: bool = False,
    budget_s: float | None = None,
    page: Path | None = None,
    keep: Path | None = None,
) -> None:
    """Build the stores, ask them, drain one; print a table or one JSON object.

    `keep` is a folder for the stores; those that are there already are asked again, not built.
    """
    share = 1.0 if budget_s is None else min(1.0, budget_s / FULL_S)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="cellpulse-bench-") as scratch:
        folder = Path(scratch) if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        for shape, lived in LIVED_DAYS.items():
            plan = Plan(shape, max(1.0, DAYS * share), max(1 / 24, lived * share))
            store = folder / plan.file
            built = _built(store, plan)
            figures += ask(store, plan, built)
            if plan.shape is PACK:
                figures += drain(store, Path(scratch), DRAIN_S * share)
    hand_out(PAGE, figures, json_out=json_out, file=page)


@dataclass(frozen=True, slots=True)
class Plan:
    """A store that is to be built."""

    shape: Shape
    days: float
    lived_days: float  # of these, the newest

    @property
    def file(self) -> str:
        """Its name, another one for another plan."""
        return f"{self.shape.cells}-cells-{self.days:.3f}-{self.lived_days:.3f}-days.sqlite"

    @property
    def words(self) -> str:
        """What it is, for people."""
        minutes = "" if self.lived_days == self.days else ", before them minutes alone"
        return (
            f"{self.shape.name} at 1 Hz, {self.days:.3g} days, {self.lived_days:.3g} of them "
            f"through the journal{minutes}"
        )


def _built(path: Path, plan: Plan) -> Built:
    """Build a store where it is not there."""
    note = path.with_name(f"{path.name}.built")
    if not note.exists():
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink()
        note.write_bytes(msgspec.json.encode(build(path, plan.shape, plan.days, plan.lived_days)))
    return msgspec.json.decode(note.read_bytes(), type=Built)


def ask(path: Path, plan: Plan, built: Built) -> list[Figure]:
    """How long traces take, in milliseconds, and what the store holds."""
    history = SqliteHistory(path)
    assets = history.assets()
    begin, end = min(one.first_ms for one in assets), max(one.last_ms for one in assets)
    held = holdings(path)
    day = min(DAY_MS, end - begin)
    hour = min(HOUR_MS, end - held.raw_from_ms)
    rng = np.random.default_rng(2)

    def times(spans: Callable[[], tuple[int, int]], *, cached: bool = False) -> list[float]:
        found: list[float] = []
        for _ in range(ASKED):
            asset = assets[int(rng.integers(len(assets)))].name
            cell = int(rng.integers(plan.shape.cells))
            start, stop = spans()
            if cached:
                _trace(history, asset, cell, start, stop)
            else:
                _forget(path)
            found.append(_trace(history, asset, cell, start, stop))
        return found

    def some(length: int, since: int) -> tuple[int, int]:
        start = int(rng.integers(since, end - length + 1))
        return start, start + length

    cold = times(lambda: some(day, begin))
    warm = times(lambda: some(day, begin), cached=True)
    newest = times(lambda: (end - day, end))
    whole = times(lambda: (begin, end))
    close = times(lambda: some(hour, held.raw_from_ms))
    protocol = (
        f"{plan.words}; a new connection each, {ASKED} cells and times at random, 2,000 points; "
        f"file dropped from the page cache before each, but where it is cached"
    )
    store = (
        f"{plan.words}; store_max_mb = {Config().store_max_mb:,.0f}, "
        f"keep_raw_days = {Config().keep_raw_days:g}"
    )

    room = 1e6 * Config().store_max_mb - DAYS * built.minutes_bytes
    kept = min(Config().keep_raw_days, room / built.frames_bytes)

    def traced(name: str, value: float, target: float | None) -> Figure:
        return figure(f"{plan.shape.name}: {name}", value, "ms", target, "lower", protocol)

    def found(name: str, value: float, unit: str) -> Figure:
        return figure(f"{plan.shape.name}: {name}", value, unit, None, "higher", store)

    return [
        traced("one day of one cell, slowest", max(cold), TARGET_MS),
        traced("one day of one cell, median", median(cold), TARGET_MS),
        traced("one day of one cell, cached, slowest", max(warm), TARGET_MS),
        traced("the newest day, slowest", max(newest), TARGET_MS),
        traced(f"all {plan.days:.3g} days, slowest", max(whole), None),
        traced("an hour frame by frame, slowest", max(close), None),
        found("size of the store", used_bytes(path) / 1e6, "MB"),
        found("frames in the store", float(held.frames), ""),
        found("minutes of a cell in the store", float(held.minutes), ""),
        found("a day by the minute", built.minutes_bytes / 1e6, "MB"),
        found("a day frame by frame", built.frames_bytes / 1e6, "MB"),
        found("days frame by frame within store_max_mb, beside 30 by the minute", kept, "days"),
        found("processor time to build it", built.processor_s, "s"),
    ]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a store holds."""

    frames: int
    minutes: int
    raw_from_ms: int  # the oldest raw frame's time


def holdings(path: Path) -> Holdings:
    """Count it; the frames' numbers have no holes."""
    with contextlib.closing(connect(path, read_only=True)) as db:
        first, newest = db.execute(
            "SELECT min(id), max(id) FROM input WHERE kind = ?", (int(Kind.FRAME),)
        ).fetchone()
        (raw_from,) = db.execute("SELECT timestamp_ms FROM input WHERE id = ?", (first,)).fetchone()
        (minutes,) = db.execute("SELECT count(*) FROM minute").fetchone()
    return Holdings(newest - first + 1, minutes, raw_from)


def _trace(history: History, asset: str, cell: int, start_ms: int, end_ms: int) -> float:
    began = time.perf_counter()
    trace = history.trace(asset, cell, start_ms, end_ms)
    spent = (time.perf_counter() - began) * 1_000.0
    if len(trace) < 100:
        raise ConfigurationError(f"bench storage: a trace of only {len(trace)} rows")
    return spent


def _forget(path: Path) -> None:
    """Drop a file from the page cache, where the system lets us."""
    if not hasattr(os, "posix_fadvise"):
        return
    for part in path.parent.glob(f"{path.name}*"):
        handle = os.open(part, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def drain(path: Path, folder: Path, seconds: float) -> list[Figure]:
    """Cell-samples and lines a second from the journal into VictoriaMetrics, one thread."""
    binary = shutil.which("victoria-metrics")
    if binary is None:
        return []
    with _victoria_metrics(binary, folder / "victoria") as url:
        target = Target(url, "cellpulse", "cellpulse", "none")
        writer = InfluxWriter(target)
        outbox = Outbox(path, target.key, 10_000)
        lines = samples = 0
        encoding_s = writing_s = 0.0
        more = True
        while more and encoding_s + writing_s < seconds:
            began = time.perf_counter()
            batch = outbox.next_batch()
            encoded_at = time.perf_counter()
            refused = deliver(writer, batch.lines)
            outbox.confirm(batch.after, refused, 0)
            encoding_s += encoded_at - began
            writing_s += time.perf_counter() - encoded_at
            lines += len(batch.lines)
            samples += sum(line.startswith("cell,") for line in batch.lines)
            more = batch.more
        outbox.close()
        writer.close()
    spent = encoding_s + writing_s
    protocol = (
        f"{lines:,} lines from the journal into a VictoriaMetrics on the same machine, "
        f"{spent:.0f} s, one thread, batches of at most 10,000 lines, gzip; throughput only"
    )
    return [
        figure("sink", samples / spent, "cell-samples/s", None, "higher", protocol),
        figure("sink", lines / spent, "lines/s", None, "higher", protocol),
        figure("sink, share of time in encoding", encoding_s / spent, "", None, "lower", protocol),
    ]


@contextlib.contextmanager
def _victoria_metrics(binary: str, folder: Path) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [
            binary, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y", "-loggerLevel=ERROR",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ConfigurationError("victoria-metrics does not start") from None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
