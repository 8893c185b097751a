"""The embedded broker: MQTT on loopback without anything installed, and watched.

iotcore (rumqttd in a wheel) runs as a process beside ours. rumqttd 0.20 can fail in a way that
leaves its process and its port up while nobody is answered any more: its router ends on the word of
a client that has already said goodbye, which takes a busy stream and bad luck. So somebody asks
every second whether it still answers, and starts it anew where it does not. All our clients come
back by themselves and say again what is retained; what it still held for others is gone with it,
which the monitor counts (a gap in `seq` is an alarm).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress

log = logging.getLogger(__name__)

DEFAULT_MQTT_PORT = 1883
MOST_BYTES = 1024 * 1024  # in a message; past its limit the broker drops the publisher
ASK_EVERY_S = 1.0
ANSWER_WITHIN_S = 2.0
START_WITHIN_S = 30.0  # on a machine that has much to do
END_WITHIN_S = 1.0  # before it is killed
PATIENCE = 2  # questions in a row without an answer; one may just have slept with the laptop
# MQTT 3.1.1, section 3.1: a clean session, 60 s of keep-alive. The name is always the same, since
# the broker keeps a few words on every name that it has heard.
_CONNECT = b"\x10\x1b\x00\x04MQTT\x04\x02\x00\x3c\x00\x0fcellpulse-watch"
_CONNACK = b"\x20\x02\x00\x00"


@contextlib.asynccontextmanager
async def embedded_broker() -> AsyncIterator[BrokerAddress]:
    """A broker of our own on loopback, gone when the block ends: port 1883, else a free one."""
    from iotcore.broker import Broker

    port = DEFAULT_MQTT_PORT if is_free(DEFAULT_MQTT_PORT) else free_port()
    broker = Broker(port=port, listen="127.0.0.1", max_payload_size=MOST_BYTES)
    try:
        await _start(broker)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"the embedded broker does not start: {error}") from error
    watch = asyncio.create_task(keep_answering(broker, port), name="broker watch")
    try:
        yield BrokerAddress("127.0.0.1", port)
    finally:
        watch.cancel()
        await asyncio.wait({watch})
        await asyncio.shield(asyncio.to_thread(broker.stop))


async def keep_answering(broker: Any, port: int) -> None:
    """Start an iotcore `broker` anew whenever it has ended or answers nobody; until cancelled."""
    silent = 0
    while True:
        await asyncio.sleep(ASK_EVERY_S if silent == 0 else 0.0)
        if broker.is_running and await answers(port):
            silent = 0
            continue
        silent += 1
        if broker.is_running and silent < PATIENCE:
            continue
        log.error("the embedded broker answers nobody; it is started anew")
        try:
            await asyncio.to_thread(broker.stop, END_WITHIN_S)
            await _start(broker)
        except (OSError, RuntimeError) as error:
            log.error("the embedded broker does not start: %s", error)
            await asyncio.sleep(ASK_EVERY_S)
        else:
            silent = 0


async def _start(broker: Any) -> None:
    """Start it; cancelled meanwhile, go on until it runs, so that whoever ends it finds it."""
    with deaf_to_ctrl_c():
        starting = asyncio.ensure_future(asyncio.to_thread(broker.start, START_WITHIN_S))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            raise


async def answers(port: int) -> bool:
    """Whether an MQTT broker on loopback takes a client."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(_CONNECT)
            return await reader.readexactly(len(_CONNACK)) == _CONNACK
    except (OSError, EOFError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()


@contextlib.contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C, so that the broker outlives its clients.

    An ignored signal is inherited. Only the main thread may set it; elsewhere nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_free(port: int) -> bool:
    """Whether a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
