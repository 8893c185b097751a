"""A store as a monitor leaves it after days of 100 cells at 1 Hz, for `bench storage`.

Every second that is lived through goes through decoding, engine, commit, checkpoints, roll-up and
retention, with the settings that we ship; only the broker and the waiting are left out, and the
clock is the frames' own. Of days before that, the minutes are written row by row as the roll-up
writes them: what stays when the raw frames have gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stream import LAST_S, START_MS, FleetStream, encoded
from cellpulse.paths import models_folder
from monitor.config import Config
from monitor.contract import decode_telemetry
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.service import load_models
from monitor.store.checkpoint import Checkpoint, write
from monitor.store.journal import Journal, MinuteRow
from monitor.store.minutes import FIGURES, PROGRESS
from monitor.store.upkeep import Upkeep

CELLS = 100
DAY_S = 86_400
UPKEEP_S = 900  # of event time; the monitor's own is 20 s of its wall clock


@dataclass(frozen=True, slots=True)
class Shape:
    """How the cells stand together."""

    name: str
    cells: int  # of an asset
    batch: int  # frames a transaction

    @property
    def stream(self) -> FleetStream:
        """Its telemetry."""
        return FleetStream(CELLS, self.cells)


PACK = Shape("one pack of 100 cells", 100, 100)
SINGLES = Shape("100 assets of one cell", 1, 1_000)


def build(path: Path, shape: Shape, days: float, lived_days: float) -> None:
    """A store of so many days with the settings that we ship, the newest of them lived through."""
    seconds = round(lived_days * DAY_S)
    journal = Journal(path)
    try:
        _fill_minutes(journal, shape, round(days * DAY_S) - seconds)
        _live(journal, shape, seconds, Config())
    finally:
        journal.close()


def _live(journal: Journal, shape: Shape, seconds: int, config: Config) -> None:
    """Live through so many seconds of the stream."""
    now_s = 0
    upkeep = Upkeep(journal, config, None, lambda: START_MS + 1_000 * now_s)
    engine = Engine(*load_models(models_folder()))
    stream = shape.stream
    configs: list[Any] = [ConfigIn(asset, stream.config, START_MS) for asset in stream.assets]
    journal.commit(configs, engine.process(configs))
    frames = _frames(stream, seconds)
    while inputs := list(islice(frames, shape.batch)):
        journal.commit(inputs, engine.process(inputs))
        at_s = (inputs[-1].arrival_ms - START_MS) // 1_000
        if at_s - now_s >= UPKEEP_S:
            now_s = at_s
            _look_after(journal, engine, upkeep)
    now_s = seconds
    for _ in range(2):  # both generations of the checkpoint
        _look_after(journal, engine, upkeep)


def _frames(stream: FleetStream, seconds: int) -> Iterator[FrameIn]:
    """Every frame, one charge after the other."""
    for second in range(seconds):
        instant = stream.instant(second % LAST_S)
        for message in encoded(stream.assets, second, instant, second):
            (frame,) = decode_telemetry(message.payload)
            yield FrameIn(message.asset, frame, message.arrival_ms, message.payload)


def _look_after(journal: Journal, engine: Engine, upkeep: Upkeep) -> None:
    states = [engine.asset_state(name) for name in engine.fleet.assets]
    write(journal.path, Checkpoint(journal.last_id, states, engine.group_state()))

    async def at_once(work: Callable[[], None]) -> None:
        work()

    asyncio.run(upkeep.once(at_once))


def _fill_minutes(journal: Journal, shape: Shape, seconds: int) -> None:
    """The minutes of every cell up to where the stream begins, an hour a transaction."""
    rng = np.random.default_rng(1)
    blobs = [rng.normal(3.7, 0.3, FIGURES).astype(np.float32).tobytes() for _ in range(997)]
    last = START_MS // 60_000
    for begin in range(last - seconds // 60, last, 60):
        rows = [
            MinuteRow(asset, cell, minute, minute * 60_000, minute * 60_000 + 59_000, 60,
                      blobs[(minute + asset + cell) % len(blobs)])
            for minute in range(begin, min(begin + 60, last))
            for asset in range(1, CELLS // shape.cells + 1)
            for cell in range(shape.cells)
        ]  # fmt: skip
        journal.put_minutes(PROGRESS, rows, 0)
