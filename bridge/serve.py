"""Run readers of boards beside the publisher, and end well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from bridge.clock import SystemClock
from bridge.publisher import Publisher
from bridge.quarantine import Quarantine

_log = logging.getLogger("cellpulse.bridge")
_DRAIN_S = 3.0

Reader = Callable[[], Awaitable[None]]


async def serve(
    publisher: Publisher,
    readers: Iterable[Reader],
    assets: Iterable[str] = (),
    stop: asyncio.Event | None = None,
    quarantine: Quarantine | None = None,
) -> None:
    """Run readers and publisher until every reader has ended, one fails, `stop` is set, or the
    task is cancelled.

    Then the readers are cancelled, each asset is told offline, the quarantine's alarms end, and
    what waits is sent to the broker within a few seconds. A reader's error is raised after that.
    """
    aside = quarantine or Quarantine()
    publisher.count(aside.counters)
    clearing = asyncio.create_task(aside.run(SystemClock()), name="quarantine")
    sending = asyncio.create_task(publisher.run(), name="publisher")
    stopping = asyncio.create_task((stop or asyncio.Event()).wait(), name="stop")
    reading = asyncio.create_task(_together(readers), name="readers")
    try:
        await asyncio.wait({sending, stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stopping, reading, clearing):
            task.cancel()
        await asyncio.gather(stopping, reading, clearing, return_exceptions=True)
        aside.clear()
        for asset in assets:
            publisher.status(asset, False)
        publisher.finish()
        try:
            async with asyncio.timeout(_DRAIN_S):
                await asyncio.shield(sending)
        except TimeoutError:
            _log.warning("the broker took no more: %d messages are lost", publisher.depth)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    if not reading.cancelled():
        reading.result()


async def _together(readers: Iterable[Reader]) -> None:
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(_run(reader))


async def _run(reader: Reader) -> None:
    await reader()
