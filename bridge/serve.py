"""Run a reader of boards beside the publisher until a signal asks to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable

from bridge.publisher import Publisher

_log = logging.getLogger("cellpulse.bridge")
_DRAIN_S = 3.0


async def serve(
    publisher: Publisher,
    readers: Iterable[Callable[[], Awaitable[None]]],
    assets: Iterable[str] = (),
    stop: asyncio.Event | None = None,
) -> None:
    """Run the readers and the publisher until a reader ends, `stop` is set, or SIGTERM or SIGINT.

    Then the readers are cancelled, each asset is told offline, and what waits is sent to the
    broker within a few seconds. A reader's error is raised after that.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(name, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt instead
            break
    sending = asyncio.create_task(publisher.run(), name="publisher")
    reading = [asyncio.ensure_future(_run(reader), loop=loop) for reader in readers]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({sending, stopping, *reading}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        for task in reading:
            task.cancel()
        await asyncio.gather(stopping, *reading, return_exceptions=True)
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
        for name in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.remove_signal_handler(name)
            except NotImplementedError:
                break
    for task in reading:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _run(reader: Callable[[], Awaitable[None]]) -> None:
    await reader()
