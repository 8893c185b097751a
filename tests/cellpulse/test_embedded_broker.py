"""The embedded broker answers again, whatever happened to it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from cellpulse import embedded
from cellpulse.embedded import answers, embedded_broker
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BrokerAddress]:
    monkeypatch.setattr(embedded, "ASK_EVERY_S", 0.2)
    monkeypatch.setattr(embedded, "ANSWER_WITHIN_S", 1.0)
    async with embedded_broker() as address:
        yield address


def process_of(port: int) -> int:
    """The broker's process."""
    (found,) = (
        child.pid
        for child in psutil.Process().children()
        if f'"port": {port}' in child.cmdline()[-1]
    )
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_ends_or_answers_nobody_is_started_anew(
    broker: BrokerAddress, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    """A stopped process listens and answers nobody, just as one whose router has failed."""
    before = process_of(broker.port)
    os.kill(before, number)
    assert not await answers(broker.port)
    async with asyncio.timeout(30):
        while not await answers(broker.port):  # noqa: ASYNC110 - nothing tells of another process
            await asyncio.sleep(0.05)
    assert process_of(broker.port) != before
    assert "started anew" in caplog.text
    async with Client(broker.host, broker.port) as client:
        await client.publish("some/topic", b"x", 1)


async def test_one_that_was_stopped_and_goes_on_is_left_alone(broker: BrokerAddress) -> None:
    """One question without an answer is not yet a broker that has failed: it has slept."""
    process = process_of(broker.port)
    os.kill(process, signal.SIGSTOP)
    assert not await answers(broker.port)
    os.kill(process, signal.SIGCONT)
    assert await answers(broker.port)
    await asyncio.sleep(1.0)
    assert process_of(broker.port) == process
