"""A store as a monitor leaves it after days of 100 cells at 1 Hz, for `bench storage`.

The engine takes two charges; what it gave for the second is what every charge brings. Each second
that is lived through goes with that through commit, checkpoints, roll-up and retention, with the
settings that we ship, and the clock is the frames' own. Of days before that, the minutes are
written row by row as the roll-up writes them: what stays when the raw frames have gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from benchmarks.stream import LAST_S, START_MS, FleetStream, encoded
from monitor.config import Config
from monitor.contract import Frame, decode_telemetry, encode
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.kernels.columns import Verdict
from monitor.models.folder import load_models, models_folder
from monitor.results import FinishedCycle, Handled, Results
from monitor.store.checkpoint import Checkpoint, write
from monitor.store.journal import Journal, MinuteRow, used_bytes
from monitor.store.minutes import FIGURES, PROGRESS
from monitor.store.upkeep import Upkeep
from monitor.store.wal import fold

Floats32 = NDArray[np.float32]
CELLS = 100
DAY_S = 86_400
UPKEEP_S = 3_600  # of event time; the monitor's own is 20 s of its wall clock


@dataclass(frozen=True, slots=True)
class Shape:
    """How the cells stand together."""

    name: str
    cells: int  # of an asset
    seconds: int  # in a transaction

    @property
    def stream(self) -> FleetStream:
        """Its telemetry."""
        return FleetStream(CELLS, self.cells)


PACK = Shape("one pack of 100 cells", 100, 100)
SINGLES = Shape("100 assets of one cell", 1, 10)


@dataclass(frozen=True, slots=True)
class Built:
    """What making a store took."""

    processor_s: float
    minutes_bytes: float  # of a day
    frames_bytes: float  # of a day


def build(path: Path, shape: Shape, days: float, lived_days: float) -> Built:
    """A store of so many days with the settings that we ship, the newest of them lived through."""
    began = time.process_time()
    seconds = round(lived_days * DAY_S)
    journal = Journal(path)
    journal.leave_log()  # it is folded in an hour at once, not every 4 MB
    try:
        empty = used_bytes(path)
        _fill_minutes(journal, shape, round(days * DAY_S) - seconds)
        filled = used_bytes(path)
        _live(journal, shape, seconds, Config())
        whole = used_bytes(path)
    finally:
        journal.close()
    minutes = (filled - empty) / (days - lived_days)
    return Built(time.process_time() - began, minutes, (whole - filled) / lived_days - minutes)


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge of every cell as the engine took it: what each second brings, over and over."""

    frames: list[list[tuple[str, Frame]]]
    rows: list[list[Floats32 | None]]  # the engine's results, as the frames
    cycles: list[list[FinishedCycle]]  # half-cycles that ended in that second
    engine: Engine

    @classmethod
    def of(cls, stream: FleetStream) -> Charge:
        """The second charge, when the engine has seen the cells before."""
        engine = Engine(*load_models(models_folder()))
        engine.process([ConfigIn(asset, stream.config, START_MS) for asset in stream.assets])
        charge = cls([], [], [], engine)
        for second in range(2 * LAST_S):
            messages = list(encoded(stream.assets, second, stream.instant(second % LAST_S), second))
            inputs = [
                FrameIn(m.asset, decode_telemetry(m.payload)[0], m.arrival_ms, m.payload)
                for m in messages
            ]
            results = engine.process(inputs)
            if second >= LAST_S:
                charge.frames.append([(one.asset, one.frame) for one in inputs])
                charge.rows.append(results.rows)
                charge.cycles.append(results.cycles)
        return charge

    def second(self, number: int) -> Results:
        """What second `number` of the stream puts into the journal."""
        k = number % LAST_S
        t = START_MS + 1_000 * number
        ahead = t - self.frames[k][0][1].timestamp_ms
        inputs = []
        for asset, known in self.frames[k]:
            frame = structs.replace(known, timestamp_ms=t, seq=number)
            inputs.append(FrameIn(asset, frame, t + 20, encode(frame)))
        cycles = [
            replace(
                one,
                summary=structs.replace(
                    one.summary,
                    start_ms=one.summary.start_ms + ahead,
                    end_ms=one.summary.end_ms + ahead,
                ),
            )
            for one in self.cycles[k]
        ]
        handled = list(map(Handled, inputs, repeat(int(Verdict.ACCEPTED)), self.rows[k]))
        return Results(handled, cycles)


def _live(journal: Journal, shape: Shape, seconds: int, config: Config) -> None:
    """Live through so many seconds of the stream."""
    now_s = 0
    upkeep = Upkeep(journal, config, None, lambda: START_MS + 1_000 * now_s)
    stream = shape.stream
    charge = Charge.of(stream)
    configs: list[Any] = [ConfigIn(asset, stream.config, START_MS) for asset in stream.assets]
    journal.commit(Engine(None, None).process(configs))
    for begin in range(0, seconds, shape.seconds):
        results = Results()
        for second in range(begin, min(begin + shape.seconds, seconds)):
            results.add(charge.second(second))
        journal.commit(results)
        if begin - now_s >= UPKEEP_S:
            now_s = begin
            _look_after(journal, charge.engine, upkeep)
    now_s = seconds
    for _ in range(2):  # both generations of the checkpoint
        _look_after(journal, charge.engine, upkeep)


def _look_after(journal: Journal, engine: Engine, upkeep: Upkeep) -> None:
    states = [engine.asset_state(name) for name in engine.fleet.assets]
    write(journal.path, Checkpoint(journal.last_id, states, engine.shared_state()))

    async def at_once(work: Callable[[], None]) -> None:
        work()

    asyncio.run(upkeep.once(at_once))
    fold(journal.path)


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
        if begin % 1_440 < 60:
            fold(journal.path)
