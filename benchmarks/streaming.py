"""`cellpulse bench stream`: from a publish to the durable row, through a real mosquitto.

Publisher, broker and monitor are processes of their own on this machine and share its processors.
The time of a frame runs from when it was due to be published to the moment after the commit that
holds it (`synchronous=NORMAL`: it survives any kill; a power loss needs `durable`). The baseline is
the obvious way: aiomqtt, `json.loads`, one INSERT and one commit a message, and no features at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.broker import Mosquitto
from benchmarks.load import Load
from benchmarks.results import Page, below_headline, figure, hand_out
from monitor.store.journal import connect
from monitor.warm import compile_kernels
from training.figures import Figure

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600.0
FRAMES_SECONDS = 60.0
BASELINE_SECONDS = 15.0
SMALLEST_S = 3.0
MESSAGES = (96, 1, 100.0)  # assets, cells a frame, frames a second of each
FRAMES = (16, 96, 100.0)
TARGET_P99_MS = 50.0
TARGET_SAMPLES = 100_000.0
START_S = 60.0
DRAIN_S = 120.0
PAGE = Page("From a publish to the durable row", "bench stream", below_headline(__doc__))
Side = Literal["monitor", "baseline"]


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of one load on one side."""

    load: Load
    sent: dict[str, float]
    report: dict[str, Any]
    stored: int

    @property
    def lost(self) -> float:
        """Messages that were sent and are not in the store."""
        return self.sent["messages"] - self.stored

    @property
    def samples_per_s(self) -> float:
        """Cell-samples stored a second, from the first publish to the last durable row."""
        lasted = self.report["newest_s"] - self.sent["began_s"]
        return self.stored * self.load.cells / max(1e-9, float(lasted))

    @property
    def cores(self) -> float:
        """Processors that the side's process kept busy."""
        lasted = self.report["newest_s"] - self.sent["began_s"]
        return float(self.report["processor_s"]) / max(1e-9, float(lasted))


async def pass_through(side: Side, load: Load, folder: Path) -> Passed:
    """Publish a load to one side and wait until it has stored all of it, or no more comes."""
    broker = Mosquitto(folder / "broker")
    await asyncio.to_thread(broker.start)
    store, report = folder / "store.sqlite", folder / "report.json"
    try:
        url = broker.address("monitor").url()
        reader = await start_process(
            "benchmarks.stream_monitor", side, url, str(store), str(report)
        )
        await line_of(reader)
        sender = await start_process(
            "benchmarks.load", broker.address("simulator").url(),
            str(load.assets), str(load.cells), str(load.hz), str(load.seconds),
        )  # fmt: skip
        await line_of(sender)
        sent = json.loads(await line_of(sender, load.seconds + DRAIN_S))
        await sender.wait()
        await _rest(side, store, int(sent["messages"]))
        reader.terminate()
        await asyncio.wait_for(reader.wait(), DRAIN_S)
    finally:
        broker.kill()
    return Passed(load, sent, _report(report), _stored(side, store))


async def start_process(
    module: str, *arguments: str, **settings: str
) -> asyncio.subprocess.Process:
    """A Python module as a process of this checkout, with environment variables of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
             **settings},
    )  # fmt: skip


async def line_of(process: asyncio.subprocess.Process, timeout_s: float = START_S) -> bytes:
    """The next line that it prints; raises RuntimeError where it ended instead."""
    if process.stdout is None:
        return b""
    async with asyncio.timeout(timeout_s):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the benchmark ended: {await process.wait()}")
    return line


def _report(file: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


async def _rest(side: Side, store: Path, messages: int) -> None:
    """Return once all are stored, or no more come for five seconds."""
    newest, still = -1, 0
    while still < 50:
        count = await asyncio.to_thread(_stored, side, store)
        if count >= messages:
            return
        still = 0 if count > newest else still + 1
        newest = count
        await asyncio.sleep(0.1)


def _stored(side: Side, store: Path) -> int:
    """How many numbered frames the store holds; those of the warm-up, not numbered, come first."""
    sql = (
        "SELECT (SELECT count(*) FROM input WHERE kind <= 1) - (SELECT count(*) FROM input "
        "WHERE id < 100000 AND kind <= 1 AND json_extract(payload, '$.seq') IS NULL)"
        if side == "monitor"
        else "SELECT count(*) FROM telemetry WHERE seq IS NOT NULL"
    )
    with closing(connect(store, read_only=True)) as db:
        return int(db.execute(sql).fetchone()[0])


async def measure(budget_s: float | None, folder: Path) -> tuple[Passed, Passed, Passed]:
    """One message a sample; frames of 96; and the baseline with the first load."""
    await asyncio.to_thread(compile_kernels)
    share = 1.0 if budget_s is None else budget_s / (SECONDS + FRAMES_SECONDS + BASELINE_SECONDS)
    messages, frames, baseline = (
        max(SMALLEST_S, seconds * min(1.0, share))
        for seconds in (SECONDS, FRAMES_SECONDS, BASELINE_SECONDS)
    )
    if budget_s is not None:  # a shorter run is a run of all three, not of the first alone
        messages, frames, baseline = (
            max(SMALLEST_S, min(most, budget_s * part))
            for most, part in ((SECONDS, 0.4), (FRAMES_SECONDS, 0.2), (BASELINE_SECONDS, 0.1))
        )
    return (
        await pass_through("monitor", Load(*MESSAGES, messages), folder / "messages"),
        await pass_through("monitor", Load(*FRAMES, frames), folder / "frames"),
        await pass_through("baseline", Load(*MESSAGES, baseline), folder / "baseline"),
    )


def figures(messages: Passed, frames: Passed, baseline: Passed) -> list[Figure]:
    """What is to be shown."""

    def says(one: Passed) -> str:
        return (
            f"{one.load.assets} assets, frames of {one.load.cells}, {one.load.hz:g} a second each: "
            f"{one.load.messages_per_s:,.0f} messages/s at QoS 1 for {one.load.seconds:g} s; the "
            f"publisher itself at most {one.sent['behind_ms']:.0f} ms behind"
        )

    found = []
    for name, one in (("messages", messages), ("frames of 96", frames), ("baseline", baseline)):
        words = says(one)
        p99 = TARGET_P99_MS if one is messages else None
        found += [
            figure(f"{name}: publish to durable row, p99", one.report["p99_ms"], "ms", p99,
                   "lower", words),
            figure(f"{name}: publish to durable row, median", one.report["p50_ms"], "ms", None,
                   "lower", words),
            figure(f"{name}: messages lost", one.lost, "", None if one is baseline else 0.0,
                   "lower", words),
            figure(f"{name}: cell-samples stored", one.samples_per_s, "1/s",
                   TARGET_SAMPLES if one is frames else None, "higher", words),
            figure(f"{name}: processors kept busy", one.cores, "cores", None, "lower", words),
            figure(f"{name}: largest memory", one.report["peak_bytes"] / 2**20, "MiB", None,
                   "lower", words),
        ]  # fmt: skip
    for name, one in (("messages", messages), ("frames of 96", frames)):
        total = one.report["processor_s"]
        stages = dict(one.report["stages"])
        stages["the rest"] = total - sum(stages.values())
        found += [
            figure(f"{name}: share of {stage}", 100.0 * spent / total, "%", None, "lower",
                   f"of {total:.1f} s of the monitor's processor time")
            for stage, spent in stages.items()
        ]  # fmt: skip
    return found


def main(json_out: bool, budget_s: float | None, page: Path | None = None) -> None:
    """Run it; a table, or with `json_out` one object, on standard output."""
    with tempfile.TemporaryDirectory(prefix="cellpulse-stream-") as name:
        Path(name).chmod(0o755)
        found = figures(*asyncio.run(measure(budget_s, Path(name))))
    hand_out(PAGE, found, json_out=json_out, file=page)
