"""The clock as a seam: real for the bridge, recorded time for a replay, set by hand in tests."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the loops need of time."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 in UTC: what a frame is stamped with."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never jump: what waits are measured with."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def wall_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)
