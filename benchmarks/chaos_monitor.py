"""The monitor as `cellpulse chaos` runs it: as always, but with a clock that can be set.

    python -m benchmarks.chaos_monitor BROKER_URL STORE CLOCK_FILE

CLOCK_FILE holds how many milliseconds the clock is ahead, eight bytes. Prints "ready" once it is.
"""

from __future__ import annotations

import asyncio
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

from cellpulse.process import run
from cellpulse.wiring import run_monitor
from monitor.config import Config, load
from monitor.mqtt.link import wall_clock_ms

BYTES = 8


def set_clock(file: Path, ahead_ms: int) -> None:
    """Let a running monitor's clock jump."""
    with file.open("r+b" if file.exists() else "w+b") as opened:
        opened.write(ahead_ms.to_bytes(BYTES, "little", signed=True))


def shifted_clock(file: Path) -> Callable[[], int]:
    """Unix time in ms plus what the file says now."""
    with file.open("r+b") as opened:
        shared = mmap.mmap(opened.fileno(), BYTES)
    return lambda: wall_clock_ms() + int.from_bytes(shared[:BYTES], "little", signed=True)


async def monitor(config: Config, clock: Callable[[], int]) -> None:
    """Run it and say when it is ready."""
    ready = asyncio.Event()
    task = asyncio.create_task(run_monitor(config, ready, clock))
    try:
        await ready.wait()
        if not task.done():
            print("ready", flush=True)
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    url, store, clock_file = sys.argv[1:]
    run(monitor(load(broker=url, store=store), shifted_clock(Path(clock_file))))
