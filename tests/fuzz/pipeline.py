"""Contract to pipeline to checkpoint to recovery, on streams that a hostile sender makes.

Of every stream one monitor is never interrupted. After each of its commits its files are copied as
a kill would leave them, another is recovered from the copy, and must be what the first one was at
that commit; then it gets what the first one got next, and must say and keep the same. Nothing may
be set aside that was not made to raise on purpose, and every alarm transition that was published
must be in the journal.
"""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from monitor.charging.advice import AdviceModel
from monitor.contract import MAX_CELLS, Event, Topics, decode
from monitor.engine import Engine
from monitor.inputs import FrameIn, Input
from monitor.models.folder import load_models, models_folder
from monitor.models.onnx import SohModel, ThermalModel
from monitor.mqtt.link import Message
from monitor.pipeline import Pipeline
from monitor.results import Results
from monitor.service import load_policy
from monitor.store.journal import Journal
from monitor.warm import compile_kernels
from tests.engine_world import FakePublisher
from tests.fuzz.streams import Sender

STEPS = 40
POISON_A = 666.0  # the current that an engine made to raise does so at


@dataclass
class Counts:
    """What a run has done."""

    cases: int = 0
    messages: int = 0
    refused: int = 0
    recoveries: int = 0
    transitions: int = 0
    set_aside: int = 0


class RaisingEngine(Engine):
    """An engine with a mistake: it raises at one current, and has changed its state before."""

    def process(self, inputs: Sequence[Input]) -> Results:
        results = super().process(inputs)
        for item in inputs:
            if isinstance(item, FrameIn) and item.frame.current_a == POISON_A:
                raise ZeroDivisionError("a mistake of ours")
        return results


@dataclass
class Monitor:
    """A pipeline on a store, with all that it says."""

    path: Path
    raising: bool = False
    out: FakePublisher = field(default_factory=FakePublisher)

    def __post_init__(self) -> None:
        soh, thermal, policy = _models()
        self.journal = Journal(self.path)
        self.engine = (RaisingEngine if self.raising else Engine)(soh, thermal)
        self.pipeline = Pipeline(self.engine, self.journal, self.out, Topics(), "m", policy)

    def state(self) -> dict[str, bytes]:
        """All that the engine knows."""
        states = {name: self.engine.asset_state(name) for name in self.engine.fleet.assets}
        return {**states, "": self.engine.shared_state()}

    def step(self, step: Step) -> None:
        """Take one step as the service does."""
        self.pipeline.take(step.messages, step.now_ms)
        self.pipeline.flush()
        if step.tick:
            self.pipeline.tick(step.now_ms)
        self.pipeline.publish_estimates(time.monotonic() + 10.0)

    def events(self) -> list[Event]:
        """The alarm transitions that were published."""
        return [decode(Event, payload) for _, payload in self.out.published("/event")]

    def kept(self) -> tuple[list[object], ...]:
        """The rows of the journal; of what arrived, none of our own clock's."""
        with closing(sqlite3.connect(self.path)) as db:
            return (
                db.execute(
                    "SELECT kind, name, timestamp_ms, payload, result FROM input "
                    "LEFT JOIN asset ON asset.id = asset_id WHERE kind != 7 ORDER BY input.id"
                ).fetchall(),
                db.execute("SELECT summary, histogram FROM cycle ORDER BY seq").fetchall(),
                db.execute("SELECT event_id, record FROM event ORDER BY id").fetchall(),
            )


@dataclass(frozen=True)
class Step:
    """What arrives between two commits."""

    messages: list[Message]
    now_ms: int
    tick: bool
    checkpoint: bool


def run(seconds: float, seed: int, *, recoveries: int | None = None) -> str:
    """Fuzz for so many seconds of CPU time, or until so many recoveries; what was done, one line.

    Raises AssertionError that names the case's seed.
    """
    counts = Counts()
    compile_kernels()
    ends = time.process_time() + seconds
    case = 0
    logging.disable(logging.CRITICAL)  # of what is made to raise
    try:
        while time.process_time() < ends if recoveries is None else counts.recoveries < recoveries:
            try:
                one(seed, case, counts)
            except Exception as error:
                raise AssertionError(f"pipeline, seed {seed}, case {case}: {error!r}") from error
            case += 1
    finally:
        logging.disable(logging.NOTSET)
    return (
        f"{counts.cases} streams of {counts.messages} messages, {counts.refused} refused, "
        f"{counts.set_aside} made to raise and set aside; {counts.recoveries} of "
        f"{counts.recoveries} recoveries equal the uninterrupted run, {counts.transitions} of "
        f"{counts.transitions} published alarm transitions are in the journal"
    )


def one(seed: int, case: int, counts: Counts | None = None) -> Counts:
    """One stream; raises AssertionError at the first difference."""
    counts = Counts() if counts is None else counts
    rng = random.Random(1_000_000 * seed + case)
    raising = rng.random() < 0.15
    steps = list(_steps(rng, raising))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        whole = Monitor(Path(folder) / "whole.sqlite", raising)
        copy = Path(folder) / "copy"
        for step in steps:
            copied(whole.path.parent, copy)
            before, said = whole.state(), len(whole.events())
            whole.step(step)
            with _recovered(copy, raising) as other:
                same(other.state(), before)
                other.out.log.clear()
                other.step(step)
                same(other.state(), whole.state())
                assert [e.event_id for e in other.events()] == [
                    e.event_id for e in whole.events()[said:]
                ], "other transitions are said"
                if not raising:
                    assert other.kept() == whole.kept(), "the journals differ"
            counts.recoveries += 1
            if step.checkpoint:
                whole.pipeline.checkpoint()
        whole.pipeline.checkpoint()
        all_in_journal(whole)
        assert raising or whole.pipeline.quarantined == 0, "something was set aside"
        counts.cases += 1
        counts.messages += whole.pipeline.messages
        counts.refused += whole.pipeline.rejected
        counts.set_aside += whole.pipeline.quarantined
        counts.transitions += len(whole.events())
        whole.journal.close()
    return counts


def _steps(rng: random.Random, raising: bool) -> Iterator[Step]:
    sender = Sender(rng, many=MAX_CELLS if rng.random() < 0.01 else 17)
    for _ in range(rng.randint(5, STEPS)):
        messages = [sender.message() for _ in range(rng.choice((1, 1, 2, 5, 20)))]
        if raising and rng.random() < 0.2:
            messages[0] = messages[0]._replace(
                topic="bms/p/telemetry",
                payload=b'{"v":1,"timestamp_ms":%d,"current_a":666,"temperature_c":[1,2,3,4]}'
                % sender.clock.event_ms,
            )
        if rng.random() < 0.1:
            sender.clock.arrival_ms += rng.choice((10_000, 70_000, 4_000_000))
        now_ms = sender.clock.arrival_ms
        yield Step(messages, now_ms, rng.random() < 0.4, rng.random() < 0.3)


@contextmanager
def _recovered(folder: Path, raising: bool) -> Iterator[Monitor]:
    other = Monitor(folder / "whole.sqlite", raising)
    try:
        other.pipeline.recover()
        other.pipeline.messages = 0
        yield other
    finally:
        other.journal.close()


def copied(folder: Path, copy: Path) -> None:
    """The store's files as a kill now would leave them."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copyfile(path, copy / path.name)


def same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Raise AssertionError that says where two states differ."""
    if found == expected:
        return
    names = [
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    ]
    readable = {
        name: [msgspec.msgpack.decode(side[name]) if name in side else None
               for side in (found, expected)]
        for name in sorted(names)
    }  # fmt: skip
    different = {
        name: sorted(k for k, value in (b or {}).items() if a is None or a.get(k) != value)
        for name, (a, b) in readable.items()
    }
    raise AssertionError(f"the recovered state differs: {different}")


def all_in_journal(monitor: Monitor) -> None:
    """Raise AssertionError where published and journalled transitions are not the same."""
    with closing(sqlite3.connect(monitor.path)) as db:
        kept = dict(db.execute("SELECT event_id, record FROM event").fetchall())
        numbers = db.execute("SELECT sum(number) FROM alarm_number").fetchone()[0] or 0
    published = monitor.out.published("/event")
    said = {decode(Event, payload).event_id: payload.decode() for _, payload in published}
    assert said == kept, "published and journalled transitions differ"
    assert len(said) == numbers, "event ids repeat"


@cache
def _models() -> tuple[SohModel, ThermalModel, AdviceModel | None]:
    folder = models_folder()
    return (*load_models(folder), load_policy(folder))
