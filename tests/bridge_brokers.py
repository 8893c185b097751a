"""Real brokers on loopback for the bridge's tests, and an ear at them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiomqtt
from iotcore import Broker


@contextlib.contextmanager
def embedded(port: int) -> Iterator[Callable[[], None]]:
    """The embedded broker; yields a function that kills it."""
    broker = Broker(port=port, listen="127.0.0.1")
    broker.start()
    try:
        yield broker.stop
    finally:
        broker.stop()


@contextlib.contextmanager
def mosquitto(binary: str, port: int, folder: Path) -> Iterator[Callable[[], None]]:
    """A mosquitto of our own, ready when it accepts a connection."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    process = subprocess.Popen([binary, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None:
                raise RuntimeError(f"mosquitto ended with {process.returncode}")
        yield process.kill
    finally:
        process.kill()
        process.wait()


class Ear:
    """Everything that was published under a root, in order, and a way to wait for it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._news = asyncio.Condition()

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            async with self._news:
                self.heard.append((str(message.topic), message.payload, message.retain))
                self._news.notify_all()

    def on(self, topic: str) -> list[bytes]:
        """The payloads on one topic so far."""
        return [payload for heard, payload, _ in self.heard if heard == topic]

    async def until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until something holds of what was heard."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(holds)


@contextlib.asynccontextmanager
async def ear(port: int, topic: str = "#") -> AsyncIterator[Ear]:
    """Listen to a broker."""
    heard = Ear()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        listening = asyncio.create_task(heard.listen(client))
        try:
            yield heard
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
