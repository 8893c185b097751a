"""aiomqtt's client, safe to cancel: every process of ours that is not the monitor talks by it.

Five faults of aiomqtt 2.5 on Python 3.11 end here:

- `asyncio.wait_for` forgets a cancellation that comes together with the answer it waits for, so
  that a task goes on which was told to stop.
- A client cancelled while it connects stays connected.
- A subscription cancelled while it waits is logged with a traceback when its answer comes.
- Who waits for an answer waits the whole time where the broker has ended the connection instead.
- A socket that is closed before its turn to be written to is logged with a traceback.

`SecureSocket` ends one of paho, on which both our clients stand: it leaves the socket of a failed
handshake open.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode

T = TypeVar("T")
ENDED = (
    "it ended the connection instead of answering; does it know this user, and may they do this?"
)


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

    async def publish(self, *args: Any, **kwargs: Any) -> None:
        """Publish; on a connection that has ended, say that it has."""
        try:
            await super().publish(*args, **kwargs)
        except aiomqtt.MqttCodeError as error:
            if error.rc == MQTTErrorCode.MQTT_ERR_NO_CONN:
                raise aiomqtt.MqttError(ENDED) from None
            raise

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109
        seconds = self.timeout if timeout is None else timeout
        answer = asyncio.ensure_future(fut)
        either: set[asyncio.Future[Any]] = {answer, self._disconnected}
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
        finally:
            if not answer.done() and isinstance(answer, asyncio.Task):
                answer.cancel()
        if answer.done():
            return answer.result()
        self._disconnected.exception()  # it is said here
        raise aiomqtt.MqttError(ENDED)

    def _on_disconnect(self, client: Any, userdata: Any, *more: Any) -> None:
        if self._lock.locked() and not self._connected.done():  # somebody waits for the answer
            self._connected.set_exception(aiomqtt.MqttError(ENDED))
        else:
            super()._on_disconnect(client, userdata, *more)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        def watch() -> None:
            if sock.fileno() >= 0:
                self._loop.add_writer(sock.fileno(), write)

        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # whatever it is, the link is gone; as in aiomqtt
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        self._loop.call_soon_threadsafe(watch)


class SecureSocket(ssl.SSLSocket):
    """Closes itself where the handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        """As a TLS socket's; raises what that does."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await task
        raise
