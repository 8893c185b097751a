"""`cellpulse chaos`: everything around the monitor breaks, and the record is the one of a calm run.

The same messages go twice through a real mosquitto with the configuration that we ship, into a
monitor of its own process with a SQLite store and, where influxd is on PATH, an InfluxDB: once
undisturbed; once while the monitor is killed with SIGKILL at random instants (while it starts and
recovers too) and the disk, the network, the processes, the clock, the senders and the database fail
around it. Then the event-time rows of both stores are compared (`chaos_rows`). At the end the
broker itself is killed, and what it lost must be counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import chaos_influx, chaos_rows
from benchmarks.chaos_broker import BrokerLoss, lose_the_broker
from benchmarks.chaos_influx import Database
from benchmarks.chaos_monitor import set_clock
from benchmarks.chaos_stream import Packet, Sender, Stream, garbage, hostile, make_stream
from benchmarks.chaos_world import World, damage_checkpoint, damage_wal
from benchmarks.results import Page, below_headline, figure, hand_out
from monitor.errors import ConfigurationError
from monitor.warm import compile_kernels
from recordings.open import open_recording
from recordings.types import Recording
from simulator.demo_file import demo_recording
from training.figures import Figure

KILLS = 50
FRAMES = 60_000
SECONDS_A_KILL = 6.0  # what a kill and its share of the rest take, for `--budget`
DISTURBANCES = (
    "checkpoint damaged", "log damaged", "disk full", "disk full, killed", "network cut",
    "network silent", "monitor frozen", "broker frozen", "garbage", "hostile frames", "sent twice",
    "clock jumps",
)  # fmt: skip
OF_DATABASE = ("database stopped", "database frozen", "database full", "database killed")
CLOCK_JUMPS_MS = (-864_000_000, -3_600_000, -5_000, 5_000, 3_600_000, 864_000_000)
GARBAGE = 150
PAGE = Page("Everything breaks", "chaos", below_headline(__doc__))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, seconds: a part of the stream, and what is broken for a while."""

    part_s: float = 1.0
    briefly_s: tuple[float, float] = (0.2, 2.0)


USUAL = Pace()


@dataclass(slots=True)
class Tally:
    """What was done."""

    done: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    busy: int = 0  # kills while frames were on their way
    starting: int = 0  # kills before the monitor was ready


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    stream: Stream
    tally: Tally
    difference: chaos_rows.Difference
    complete: bool
    ended: list[int]
    starts_s: list[float]
    peak_bytes: int
    broker: BrokerLoss
    points: int = 0  # of the uninterrupted run in InfluxDB
    wrong_points: int | None = None  # None: there was no InfluxDB
    frames_without_point: int = 0


class Disturber:
    """Disturbs a world while its stream is sent, part by part."""

    def __init__(
        self, world: World, sender: Sender, stream: Stream, dice: random.Random, pace: Pace,
        database: Database | None,
    ) -> None:  # fmt: skip
        self.tally = Tally()
        self._world = world
        self._monitor = world.monitor
        self._sender = sender
        self._dice = dice
        self._pace = pace
        self._database = database
        self._assets = stream.assets
        self._sent: list[Packet] = []

    async def part(self, packets: Sequence[Packet], kind: str) -> None:
        """Send a part of the stream and do one thing somewhere in it."""
        sending = asyncio.create_task(
            asyncio.to_thread(self._sender.send, packets, self._pace.part_s)
        )
        await asyncio.sleep(self._dice.uniform(0.0, self._pace.part_s))
        await self._disturb(kind)
        await sending
        self._sent = [replace(packet, frames=0) for packet in packets][-200:] or self._sent
        self.tally.done[kind] += 1

    async def _disturb(self, kind: str) -> None:
        dice, monitor, proxy = self._dice, self._monitor, self._world.proxy
        briefly = dice.uniform(*self._pace.briefly_s)
        if kind == "kill":
            await self._kill()
        elif kind in ("checkpoint damaged", "log damaged"):
            await self._kill(damage=kind)
        elif kind == "disk full":
            monitor.fill_disk(True)
            await asyncio.sleep(briefly)
            monitor.fill_disk(False)
        elif kind == "disk full, killed":
            monitor.fill_disk(True)
            await asyncio.sleep(briefly)
            await self._kill()
        elif kind in ("network cut", "network silent"):
            (proxy.cut if kind == "network cut" else proxy.silence)()
            await asyncio.sleep(briefly)
            proxy.mend()
        elif kind == "monitor frozen":
            monitor.freeze(True)
            await asyncio.sleep(briefly)
            monitor.freeze(False)
        elif kind == "broker frozen":
            self._world.broker.freeze(True)
            await asyncio.sleep(briefly)
            self._world.broker.freeze(False)
        elif kind == "garbage":
            await asyncio.to_thread(self._sender.send, garbage(self._assets, GARBAGE, dice))
        elif kind == "hostile frames":
            await asyncio.to_thread(self._sender.send, hostile(self._sent, dice))
        elif kind == "sent twice":
            await asyncio.to_thread(self._sender.send, self._sent)
        elif kind in OF_DATABASE and self._database is not None:
            await self._break_database(self._database, kind, briefly)
        elif kind == "clock jumps":
            set_clock(monitor.clock, dice.choice(CLOCK_JUMPS_MS))

    async def _break_database(self, database: Database, kind: str, briefly: float) -> None:
        if kind == "database frozen":
            database.freeze(True)
        elif kind == "database full":
            database.fill_disk(True)
        else:
            await asyncio.to_thread(database.stop)
        await asyncio.sleep(briefly)
        if kind == "database killed":
            await self._kill()  # the monitor as well, while its database is away
        database.freeze(False)
        database.fill_disk(False)
        await asyncio.to_thread(database.start)

    async def _kill(self, damage: str | None = None) -> None:
        """Kill it, spoil what is asked for while it is down, and start it again."""
        before = self._monitor.frames()
        if await self._monitor.kill():
            self.tally.kills += 1
            self.tally.busy += self._sender.frames_sent > before
        if damage is not None:
            spoil = damage_checkpoint if damage == "checkpoint damaged" else damage_wal
            if not spoil(self._monitor.store, self._dice):
                self.tally.done[f"{damage}: nothing there"] += 1
        if self._dice.random() < 0.25:  # while it starts, or recovers
            await self._monitor.spawn()
            await asyncio.sleep(self._dice.uniform(0.0, 2.5))
            if await self._monitor.kill():
                self.tally.kills += 1
                self.tally.starting += 1
        await self._monitor.start()


async def calm_run(
    folder: Path, stream: Stream, database: Database | None = None
) -> chaos_rows.Rows:
    """The rows of an uninterrupted run; raises TimeoutError where they do not all come."""
    async with World(folder, None if database is None else database.settings) as world:
        await world.monitor.start()
        sender = Sender(world.broker.address("simulator"))
        try:
            await asyncio.to_thread(sender.send, [*stream.configs, *stream.telemetry])
            if not await world.monitor.stored(stream.accepted):
                raise TimeoutError("the uninterrupted run does not store everything")
            await _delivered(database, world)
        finally:
            sender.close()
        await world.monitor.stop()
        return await asyncio.to_thread(chaos_rows.read, world.monitor.store)


async def disturbed_run(
    folder: Path,
    stream: Stream,
    kills: int,
    dice: random.Random,
    pace: Pace,
    database: Database | None = None,
) -> tuple[chaos_rows.Rows, bool, Tally, World]:
    """The rows of a run in which everything breaks, and whether all frames came."""
    async with World(folder, None if database is None else database.settings) as world:
        await world.monitor.start()
        sender = Sender(world.broker.address("simulator"))
        try:
            await asyncio.to_thread(sender.send, stream.configs)
            disturber = Disturber(world, sender, stream, dice, pace, database)
            plan = make_plan(kills, dice, OF_DATABASE if database is not None else ())
            for packets, kind in zip(stream.parts(len(plan)), plan, strict=True):
                await disturber.part(packets, kind)
            while disturber.tally.kills < kills:
                await disturber.part([], "kill")
            await asyncio.to_thread(sender.settle)
            complete = await world.monitor.stored(stream.accepted)
            await asyncio.sleep(1.0)  # what would be doubled or unexpected may still be on its way
            await _delivered(database, world)
        finally:
            sender.close()
        status = await world.monitor.stop()
        if status != 0:
            world.monitor.ended.append(status)
        rows = await asyncio.to_thread(chaos_rows.read, world.monitor.store)
        return rows, complete, disturber.tally, world


async def _delivered(database: Database | None, world: World) -> None:
    """Return once the database has confirmed all that the journal holds; raises TimeoutError."""
    if database is None or await asyncio.to_thread(database.settled, world.monitor.store):
        return
    raise TimeoutError(
        f"InfluxDB is not given everything; the monitor's log ends so:\n{world.monitor.log_end()}"
    )


def make_plan(kills: int, dice: random.Random, more: Sequence[str] = ()) -> list[str]:
    """What happens, in a random order; some disturbances kill as well."""
    each = max(1, kills // 25)
    plan = [*DISTURBANCES, *more] * each
    killing = sum(kind.endswith(("damaged", "killed")) for kind in plan)
    plan += ["kill"] * max(0, kills - killing)
    dice.shuffle(plan)
    return plan


async def measure(
    recordings: Sequence[Recording],
    frames: int,
    kills: int,
    seed: int,
    folder: Path,
    pace: Pace = USUAL,
    make_database: Callable[[str], Database] | None = None,
) -> Outcome:
    """Both runs and the broker's loss; with InfluxDB where there is a maker of databases."""
    dice = random.Random(seed)
    await asyncio.to_thread(compile_kernels)  # else the first start waits minutes for it
    stream = await asyncio.to_thread(make_stream, recordings, frames, dice)
    calm_db = None if make_database is None else await asyncio.to_thread(make_database, "calm-db")
    _say(f"{stream.frames} frames in {len(stream.telemetry)} messages; the uninterrupted run")
    wanted = await calm_run(folder / "calm", stream, calm_db)
    points = {} if calm_db is None else await asyncio.to_thread(calm_db.points)
    database = None if make_database is None else await asyncio.to_thread(make_database, "db")
    _say("the disturbed run")
    got, complete, tally, world = await disturbed_run(
        folder / "disturbed", stream, kills, dice, pace, database
    )
    found = {} if database is None else await asyncio.to_thread(database.points)
    if world.monitor.ended:
        _say(f"a monitor ended by itself; its log ends so:\n{world.monitor.log_end()}")
    _say("the broker is killed")
    broker = await lose_the_broker(folder / "broker", stream)
    monitor = world.monitor
    return Outcome(
        stream, tally, chaos_rows.compare(wanted, got), complete, monitor.ended, monitor.starts_s,
        monitor.peak_bytes, broker, len(points),
        None if database is None else chaos_rows.count_differing(points, found),
        0 if database is None else chaos_influx.without_point(found, got),
    )  # fmt: skip


def figures(outcome: Outcome, seed: int) -> list[Figure]:
    """The results; everything that must not be is aimed at zero."""
    tally, found, broker = outcome.tally, outcome.difference, outcome.broker
    others = ", ".join(f"{kind} {n}" for kind, n in sorted(tally.done.items()) if kind != "kill")
    run = (
        f"seed {seed}; {outcome.stream.frames:,} frames of {', '.join(outcome.stream.assets)} in "
        f"{len(outcome.stream.telemetry):,} messages; {others}"
    )
    rows = f"of {found.rows:,} frames of the uninterrupted run"
    ready = sorted(outcome.starts_s)
    at_the_broker = (
        f"{broker.published:,} frames, mosquitto killed with {broker.waiting:,} of them not yet "
        f"stored"
    )

    def none_of(name: str, value: float, protocol: str) -> Figure:
        return figure(name, float(value), "", 0.0, "lower", protocol)

    influx = []
    if outcome.wrong_points is not None:
        influx = [
            none_of("InfluxDB points that are missing or differ", outcome.wrong_points,
                    f"of {outcome.points:,} of the undisturbed run; influxd 1.6.7 through a shim"),
            none_of("frames of the journal without a point in InfluxDB",
                    outcome.frames_without_point, "both of the disturbed run"),
        ]  # fmt: skip
    return [
        *influx,
        figure("kills of the monitor", float(tally.kills), "", float(KILLS), "higher", run),
        figure("of these while frames were on their way", float(tally.busy), "", None, "higher",
               "frames sent that the store did not have at the kill"),
        figure("of these before it was ready again", float(tally.starting), "", None, "higher",
               "killed within 2.5 s of its start"),
        none_of("telemetry rows lost", found.lost, rows),
        none_of("telemetry rows doubled", found.doubled, rows),
        none_of("telemetry rows that should not be", found.unexpected, rows),
        none_of("assets with frames in another order", found.disordered, rows),
        none_of("frames with other estimates", found.results,
                f"{rows}; largest difference {found.largest:.1e}, allowed 1e-5"),
        none_of("cycles that differ", found.cycles, f"of {found.of_cycles} half-cycles"),
        none_of("alarm transitions that differ", found.events,
                f"of {found.of_events} transitions: all but stale and offline, by the wall clock"),
        none_of("ends of the monitor that nobody asked for", len(outcome.ended), run),
        figure("start to ready, recovery included, median", ready[len(ready) // 2], "s", None,
               "lower", f"{len(ready)} starts"),
        figure("start to ready, recovery included, longest", ready[-1], "s", None, "lower",
               f"{len(ready)} starts"),
        figure("largest memory of a monitor", outcome.peak_bytes / 2**20, "MiB", None, "lower",
               "resident, at its largest"),
        figure("frames that a killed broker lost", float(broker.lost), "", None, "lower",
               at_the_broker),
        none_of("of these not counted as missing", broker.lost - broker.counted, at_the_broker),
        figure("assets with losses that raised sequence_gap", broker.share_alarmed, "", 1.0,
               "higher", at_the_broker),
        none_of("rows wrong after the broker's end", broker.wrong, at_the_broker),
    ]  # fmt: skip


def main(
    paths: Sequence[Path] = (), *, kills: int | None = None, frames: int | None = None,
    seed: int = 0, budget_s: float | None = None, json_out: bool = False, page: Path | None = None,
) -> None:  # fmt: skip
    """Run it; a table, or with `json_out` one object, on standard output."""
    if not sys.platform.startswith("linux"):
        raise ConfigurationError("chaos needs Linux: it fills the disk of one process alone")
    if kills is None:
        kills = KILLS if budget_s is None else max(3, min(KILLS, int(budget_s / SECONDS_A_KILL)))
    if frames is None:
        frames = FRAMES if budget_s is None else min(FRAMES, int(budget_s * 200))
    files = list(paths) or [demo_recording()]
    recordings = [recording for path in files for recording in open_recording(path)]
    with tempfile.TemporaryDirectory(prefix="cellpulse-chaos-") as name:
        outcome = asyncio.run(_with_influx(recordings, frames, kills, seed, Path(name)))
    found = figures(outcome, seed)
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    hand_out(PAGE, found, json_out=json_out, file=page, data=hashes)


async def _with_influx(
    recordings: Sequence[Recording], frames: int, kills: int, seed: int, folder: Path
) -> Outcome:
    """`measure`, with InfluxDB where there is an influxd."""
    if not chaos_influx.is_here():
        _say("there is no influxd on PATH: InfluxDB is left out")
        return await measure(recordings, frames, kills, seed, folder)
    with chaos_influx.databases(folder) as make:
        return await measure(recordings, frames, kills, seed, folder, USUAL, make)


def _say(words: str) -> None:
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)
