"""aiomqtt's client, safe to cancel: every process of ours that is not the monitor talks by it.

Eight faults of aiomqtt 2.5 on Python 3.11 end here:

- `asyncio.wait_for` forgets a cancellation that comes together with the answer it waits for, so
  that a task goes on which was told to stop.
- A client cancelled while it connects stays connected.
- A subscription cancelled while it waits is logged with a traceback when its answer comes.
- Who waits for an answer waits the whole time where the broker has ended the connection instead.
- A socket that is closed before its turn to be written to is logged with a traceback.
- After a stop of the whole process (a laptop that sleeps) every wait is over its time, though the
  answers lie in the socket and only have not been read.
- A message whose topic is no topic (bytes that are no UTF-8) ends the connection unacknowledged: a
  retained one ends every connection. Here it is told and acknowledged.
- A connection that a broken packet ended stays open, and its socket is watched for ever.

And it leaves so that the embedded broker stands it: rumqttd 0.20, which is in iotcore 0.4, answers
nobody any more once a client has said goodbye while messages waited for it. Its router fails on the
word that this client is ready for more. Subscriptions given back first, and heard to be, no message
waits.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode

from monitor.mqtt.address import BrokerAddress

T = TypeVar("T")
LATE_S = 1.0  # for an answer that came in time but was not read
LEAVE_S = 2.0  # for the broker to hear that nothing is subscribed to
ENDED = (
    "it ended the connection instead of answering; does it know this user, and may they do this?"
)


class Client(aiomqtt.Client):
    """As `aiomqtt.Client`, with the same arguments and errors."""

    _subscribed: frozenset[str] = frozenset()
    on_unreadable: Callable[[Exception, bytes], None] | None = None
    """Told of each message whose topic cannot be read: the error, and the payload."""

    @classmethod
    def to(
        cls, address: BrokerAddress, *, tls: ssl.SSLContext | None = None, **options: Any
    ) -> Self:
        """A client of the broker at an address, with aiomqtt's further options.

        `tls` is `address.tls_context()` where it is at hand; else it is made, which raises
        ConfigurationError.
        """
        return cls(
            address.host, address.port, username=address.user, password=address.password,
            tls_context=tls or address.tls_context(), **options,
        )  # fmt: skip

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
        except aiomqtt.MqttError:
            self._let_go()
            raise

    async def __aexit__(self, *error: Any) -> None:
        """Give back what is subscribed to, then disconnect."""
        try:
            if self._subscribed and not self._disconnected.done():
                # One by one, since rumqttd answers a list as often as it is long; all at once.
                self.pending_calls_threshold += len(self._subscribed)  # it warns past ten
                back = [
                    super(Client, self).unsubscribe(t, timeout=LEAVE_S) for t in self._subscribed
                ]
                await asyncio.gather(*back, return_exceptions=True)
        finally:
            self._subscribed = frozenset()
            try:
                await super().__aexit__(*error)
            finally:
                self._let_go()

    async def subscribe(  # type: ignore[override]
        self, topic: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Subscribe to one topic; cancelled meanwhile, hear the broker's answer first."""

        async def ask() -> Any:
            answer = await super(Client, self).subscribe(topic, *args, **kwargs)
            self._subscribed |= {topic}
            return answer

        return await _to_its_end(ask())

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
            for wait_s in (None if seconds == math.inf else seconds, LATE_S):
                done, _ = await asyncio.wait(
                    either, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
            else:
                raise aiomqtt.MqttError("Operation timed out")
        finally:
            if not answer.done() and isinstance(answer, asyncio.Task):
                answer.cancel()
        if answer.done():
            return answer.result()
        self._disconnected.exception()  # it is said here
        raise aiomqtt.MqttError(ENDED)

    def _let_go(self) -> None:
        if self._client.socket() is not None:
            self._client.disconnect()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        try:
            super()._on_message(client, userdata, message)
        except ValueError as error:  # UnicodeDecodeError is one
            if self.on_unreadable is not None:
                self.on_unreadable(error, bytes(message.payload))

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


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(aiomqtt.MqttError):
            await task
        raise
