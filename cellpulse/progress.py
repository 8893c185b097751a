"""How a replay tells how far it is: a line for people, JSON lines for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import msgspec

from simulator.player import Progress


def reporter(json_lines: bool) -> Callable[[Progress], None]:
    """A callback that writes progress at most five times a second to standard error or output."""
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 0.2 and not progress.finished:
            return
        last = now
        if json_lines:
            print(msgspec.json.encode(progress).decode(), flush=True)
        elif sys.stderr.isatty():
            hours = progress.offset_ms / 3.6e6
            end = "\n" if progress.finished else ""
            print(f"\r{progress.frames:>12,} frames  {hours:>10.2f} h", end=end, file=sys.stderr)

    return report
