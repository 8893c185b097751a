"""aiomqtt's client, safe to cancel: every process of ours that is not the monitor talks by it.

Three faults of aiomqtt 2.5 on Python 3.11 end here. `asyncio.wait_for` forgets a cancellation that
comes together with the answer it waits for, so that a task goes on which was told to stop. A client
cancelled while it connects stays connected. A subscription cancelled while it waits is logged as an
error with a traceback when its answer comes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

import aiomqtt

T = TypeVar("T")


class Client(aiomqtt.Client):
    """As `aiomqtt.Client`, with the same arguments and errors."""

    async def __aenter__(self) -> Self:
        """Connect; cancelled meanwhile, disconnect again before the cancellation goes on."""
        entering = asyncio.ensure_future(super().__aenter__())
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            with suppress(aiomqtt.MqttError):
                await entering
                await super().__aexit__(None, None, None)
            raise

    async def subscribe(self, *args: Any, **kwargs: Any) -> Any:
        """Subscribe; cancelled meanwhile, hear the broker's answer first."""
        return await _to_its_end(super().subscribe(*args, **kwargs))

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await task
        raise
