"""A client that is told to stop stops, whatever the broker says at the same moment."""

from __future__ import annotations

import asyncio
import time

import aiomqtt
import pytest

from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client


async def listen(address: BrokerAddress, subscribed: asyncio.Event) -> None:
    async with Client(
        address.host, address.port, username=address.user, password=address.password
    ) as client:
        await client.subscribe("some/topic", 1)
        subscribed.set()
        async for _message in client.messages:
            pass


async def test_a_cancellation_that_comes_with_the_answer_counts() -> None:
    client = Client("127.0.0.1", 1)
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        await client._wait_for(answer, None)
        await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    answer.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 60, 200])
async def test_cancelled_while_connecting_or_subscribing_it_leaves(
    mosquitto: BrokerAddress, turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    task = asyncio.create_task(listen(mosquitto, asyncio.Event()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await task
    assert not caplog.records


async def test_cancelled_while_it_listens_it_leaves(mosquitto: BrokerAddress) -> None:
    subscribed = asyncio.Event()
    task = asyncio.create_task(listen(mosquitto, subscribed))
    await subscribed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await task


CONNACK = b"\x20\x02\x00\x00"


@pytest.mark.parametrize("answer", [b"", CONNACK])
async def test_a_broker_that_ends_the_connection_is_not_waited_for(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """mosquitto does so with who may not have the will, or not publish, that they ask for."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        if answer:
            await reader.read(100)
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    began = time.monotonic()
    async with server:
        with pytest.raises(aiomqtt.MqttError, match="may they do this"):
            async with Client("127.0.0.1", port, timeout=60) as client:
                await client.publish("some/topic", b"x", 1)
    assert time.monotonic() - began < 30
    assert not caplog.records


SUBACK, UNSUBACK = b"\x90\x03\x00\x01\x00", b"\xb0\x02\x00\x02"


async def test_it_leaves_with_nothing_subscribed_to() -> None:
    """rumqttd 0.20 fails on a goodbye while messages wait for the client, a few in a thousand."""
    heard = []
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while packet := await reader.read(1_000):
            heard.append(packet[0])
            writer.write({0x10: CONNACK, 0x82: SUBACK, 0xA2: UNSUBACK}.get(packet[0], b""))
        writer.close()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with Client("127.0.0.1", port) as client:
            await client.subscribe("some/topic", 0)
        await ended.wait()
    assert heard == [0x10, 0x82, 0xA2, 0xE0]


async def test_an_answer_that_was_there_while_the_process_slept_counts(
    mosquitto: BrokerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over when the process goes on, the answer lies in the socket unread."""
    loop = asyncio.get_running_loop()
    real = loop.time
    async with Client(
        mosquitto.host, mosquitto.port, username=mosquitto.user, password=mosquitto.password
    ) as client:
        sending = asyncio.gather(*(client.publish(f"some/{k}", b"x", 1) for k in range(5)))
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: real() + 60.0)
        await sending
        monkeypatch.undo()
