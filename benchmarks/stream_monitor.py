"""The monitor, or the obvious way, as `cellpulse bench stream` runs it: with clocks in it.

    python -m benchmarks.stream_monitor monitor|baseline BROKER_URL STORE REPORT

Prints "ready". At SIGTERM it writes REPORT: milliseconds from each frame's due time to the moment
after its commit, the processor time of each stage, and when frames of assets whose names begin with
`trigger` arrived.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np

from benchmarks.load import STAMP
from cellpulse.process import run
from cellpulse.wiring import connector
from monitor.config import Config, load
from monitor.models.folder import load_models, models_folder
from monitor.mqtt.link import Message
from monitor.mqtt.receive import BlockClient, Received
from monitor.service import Monitor

TRIGGER = "bms/trigger"
SEQ_AT = slice(35, 60)  # a numbered frame says "seq" here; those of the warm-up are not numbered


class Stopwatch:
    """Milliseconds from due to durable, and processor time by stage."""

    def __init__(self) -> None:
        self.late_ms: list[int] = []
        self.newest_s = 0.0
        self.stages: Counter[str] = Counter()
        self.arrived_ns: dict[str, int] = {}
        self._began_cpu_s = 0.0

    def arrived(self, batch: Sequence[Received]) -> None:
        """These have just come."""
        now = time.monotonic_ns()
        for one in batch:
            if one.topic.startswith(TRIGGER) and one.topic.endswith("/telemetry"):
                asset = one.topic.split("/")[1]
                self.arrived_ns[f"{asset} {int(one.payload[STAMP])}"] = now

    def committed(self, payloads: Sequence[bytes]) -> None:
        """These are in the store now."""
        self.newest_s = time.time()
        now_ms = int(self.newest_s * 1000.0)
        self.late_ms += [now_ms - int(p[STAMP]) for p in payloads if b'"seq"' in p[SEQ_AT]]

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its thread's processor time counted."""

        def measured(*args: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*args, **more)
            finally:
                self.stages[stage] += time.thread_time() - began  # type: ignore[assignment]

        return measured

    def begin(self) -> None:
        """Count from here."""
        self.stages.clear()
        self._began_cpu_s = time.process_time()

    def write(self, path: Path, stages: dict[str, float]) -> None:
        """The report."""
        late = np.array(self.late_ms or [0])
        report = {
            "frames": len(self.late_ms),
            "p50_ms": float(np.percentile(late, 50)),
            "p99_ms": float(np.percentile(late, 99)),
            "max_ms": float(late.max()),
            "newest_s": self.newest_s,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "processor_s": time.process_time() - self._began_cpu_s,
            "stages": stages,
            "arrived_ns": self.arrived_ns,
        }
        path.write_text(json.dumps(report), encoding="utf-8")


async def monitor(config: Config, report: Path) -> None:
    """The monitor, until it is told to end."""
    soh, thermal = load_models(models_folder())
    monitor = Monitor(config, soh, thermal)
    watch = Stopwatch()
    acknowledge = watch.timed("acknowledge", monitor.link.acknowledge)

    def committed(messages: Sequence[Message]) -> None:
        watch.committed([m.payload for m in messages if m.topic.endswith("/telemetry")])
        acknowledge(messages)

    def close() -> None:
        watch.stages["network"] = _network_s()  # type: ignore[assignment]
        link_close()

    def arrived(client: BlockClient, batch: list[Received]) -> None:
        watch.arrived(batch)
        on_batch(client, batch)

    link_close, on_batch = monitor.link.close, monitor.link._on_batch  # noqa: SLF001 - a seam
    # The seams between the stages; what is inside them is as always.
    for owner, name, work in (
        (monitor.link, "acknowledge", committed),
        (monitor.link, "close", close),
        (monitor.link, "_on_batch", arrived),
        (monitor.engine, "process", watch.timed("engine", monitor.engine.process)),
        (monitor.journal, "commit", watch.timed("commit", monitor.journal.commit)),
        (monitor.pipeline, "take", watch.timed("take", monitor.pipeline.take)),
        (monitor.pipeline, "flush", watch.timed("flush", monitor.pipeline.flush)),
        (monitor.pipeline, "publish_estimates",
         watch.timed("estimates", monitor.pipeline.publish_estimates)),
        (monitor.pipeline, "snapshot", watch.timed("checkpoint", monitor.pipeline.snapshot)),
    ):  # fmt: skip
        setattr(owner, name, work)
    task = asyncio.create_task(monitor.run())
    try:
        await monitor.ready.wait()
        watch.begin()
        print("ready", flush=True)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        watch.write(report, _stages(watch.stages))


def _stages(seen: Counter[str]) -> dict[str, float]:
    """Stages that do not contain each other; what is left of the network's thread is receiving."""
    spent = {name: float(seconds) for name, seconds in seen.items()}
    shown = {
        "decode and announce": spent["take"] - spent["engine"],
        **{name: spent[name] for name in ("engine", "commit", "acknowledge", "estimates")},
        "checkpoint": spent["checkpoint"],
    }
    inside = spent["take"] + spent["flush"] + spent["estimates"]
    return {**shown, "receive and send": max(0.0, spent["network"] - inside)}


def _network_s() -> float:
    """Processor time of paho's thread."""
    for thread in threading.enumerate():
        if thread.name.startswith("paho") and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


async def baseline(config: Config, report: Path) -> None:
    """The obvious way: aiomqtt, `json.loads`, one INSERT and one commit a message; no features."""
    watch = Stopwatch()
    database = sqlite3.connect(config.store)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(
        "CREATE TABLE telemetry (asset TEXT, timestamp_ms INTEGER, seq INTEGER, current_a REAL,"
        " voltage_v TEXT, temperature_c TEXT)"
    )
    watch.begin()
    with suppress(asyncio.CancelledError):
        async with connector(config, "baseline")(aiomqtt.Will("unused/will", b"")) as client:
            await client.subscribe("bms/+/telemetry", 1)
            print("ready", flush=True)
            async for message in client.messages:
                payload: Any = message.payload
                frame = json.loads(payload)
                database.execute(
                    "INSERT INTO telemetry VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        str(message.topic).split("/")[1], frame["timestamp_ms"],
                        frame.get("seq"), frame["current_a"], json.dumps(frame["voltage_v"]),
                        json.dumps(frame["temperature_c"]),
                    ),
                )  # fmt: skip
                database.commit()
                watch.committed([payload])
    watch.write(report, {})


if __name__ == "__main__":
    kind, url, store, out = sys.argv[1:]
    work = monitor if kind == "monitor" else baseline
    run(work(load(broker=url, store=store), Path(out)))
