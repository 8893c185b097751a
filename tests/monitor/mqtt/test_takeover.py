"""Another client with our id: told by the broker, or inferred where the broker says nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from cellpulse.embedded import embedded_broker
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.link import MqttLink
from monitor.mqtt.takeover import LONGEST_INFERRED_S, STEADY_S, TAKEN_OVER, WAIT_S, Takeovers

KEEP_ALIVE_TIMEOUT = 0x8D
ID = "the-same-id"


def test_what_the_broker_says_counts_at_once_and_waits_grow() -> None:
    seen = Takeovers()
    assert seen.wait_s(0.0) is None
    waits, now_s = [], 100.0
    for k in range(8):
        assert seen.closed(TAKEN_OVER, now_s) == "said"
        assert seen.first is (k == 0)  # so that it is warned of once
        wait_s = seen.wait_s(now_s)
        assert wait_s is not None
        waits.append(wait_s)
        now_s += wait_s
        assert seen.opened(True, now_s) is None
    assert waits[:3] == [WAIT_S[0], 2 * WAIT_S[0], 4 * WAIT_S[0]]
    assert waits[-1] == WAIT_S[1]
    assert seen.count == 8
    assert seen.wait_s(now_s + STEADY_S + WAIT_S[1]) is None
    assert seen.closed(TAKEN_OVER, now_s + 1_000.0) == "said"
    assert seen.first
    assert seen.wait_s(now_s + 1_000.0) == WAIT_S[0]


def test_a_session_that_is_gone_tells_where_the_broker_is_silent() -> None:
    seen = Takeovers()
    assert seen.opened(False, 0.0) is None  # our own first connection
    assert seen.closed(None, 5.0) is None
    assert seen.opened(False, 5.3) == "session gone"
    assert seen.count == 1


def test_three_losses_within_a_minute_tell() -> None:
    seen = Takeovers()
    signs = []
    for now_s in (0.0, 50.0, 100.0, 105.0, 109.0):
        seen.closed(None, now_s)
        signs.append(seen.opened(True, now_s + 0.3))
    assert signs == [None, None, None, "again and again", None]


def test_a_network_that_breaks_is_none() -> None:
    """Unless the session is gone after it, which no network does."""
    seen = Takeovers()
    for k in range(10):
        seen.closed(None, float(k), orderly=False)
        assert seen.opened(True, k + 0.5) is None
    seen.closed(None, 20.0, orderly=False)
    assert seen.opened(False, 20.5) == "session gone"


def test_what_is_inferred_waits_less() -> None:
    seen = Takeovers()
    for k in range(10):
        seen.closed(None, float(k))
        assert seen.opened(False, k + 0.5) == "session gone"
    assert seen.wait_s(10.0) == LONGEST_INFERRED_S


@pytest.mark.parametrize("reason", [None, KEEP_ALIVE_TIMEOUT])
def test_a_broker_that_was_away_or_had_a_reason_is_none(reason: int | None) -> None:
    seen = Takeovers()
    for k in range(10):
        seen.closed(reason, float(k))
        if reason is None:
            seen.away()
        assert seen.opened(False, k + 0.5) is None
    assert seen.count == 0


def fake_broker(server: socket.socket, farewell: bytes, opened: threading.Event) -> None:
    """Take one MQTT 5 client, hang up with a DISCONNECT once it is in, and take it again."""
    for k in range(2):
        client, _ = server.accept()
        with client:
            client.recv(1_000)
            client.sendall(b"\x20\x03\x01\x00\x00")  # CONNACK, the session is there
            client.recv(1_000)
            client.sendall(b"\x90\x04\x00\x01\x00\x01")
            if k == 0 and opened.wait(20):
                client.sendall(farewell)
            else:
                client.recv(1_000)


@pytest.mark.parametrize("farewell", [b"\xe0\x01\x8e", b"\xe0\x02\x8e\x00"])
def test_the_broker_s_word_is_read_before_the_end(
    farewell: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As mosquitto says it from 2.0.15 on; Debian's, which the other tests run, is older."""
    told, opened = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = threading.Thread(target=fake_broker, args=(server, farewell, opened), daemon=True)
        broker.start()
        address = BrokerAddress("127.0.0.1", server.getsockname()[1])
        link = MqttLink(address, ID, subscriptions=[("a/b", 1)], on_taken_over=told.set)
        with caplog.at_level(logging.WARNING):
            link.open()
            opened.set()
            assert told.wait(20)
        link.close()
        assert link.taken_over == 1
        (line,) = [record.getMessage() for record in caplog.records]
        assert "another client took our client id" in line
        assert ID not in line  # whoever reads the log could use it


def restarted_broker(server: socket.socket, over: threading.Event) -> None:
    """Behind a proxy: it goes, the next connection gets no answer, then it is there again."""
    for k in range(9):
        client, _ = server.accept()
        with client:
            client.recv(1_000)
            if k % 2 == 0:
                client.sendall(b"\x20\x03\x00\x00\x00\x90\x04\x00\x01\x00\x01")
                client.recv(1_000)
    over.set()


def test_a_broker_that_restarts_behind_a_proxy_is_none() -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = threading.Thread(target=restarted_broker, args=(server, over), daemon=True)
        broker.start()
        address = BrokerAddress("127.0.0.1", server.getsockname()[1])
        link = MqttLink(address, ID, subscriptions=[("a/b", 1)])
        link.open()
        assert over.wait(60)
        link.close()
    assert link.taken_over == 0


@pytest.fixture(params=["mosquitto", "embedded"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[BrokerAddress]:
    """mosquitto 2.0.11 says nothing as it hangs up, and MQTT 3.1.1 has no word for it."""
    if request.param == "mosquitto":
        yield request.getfixturevalue("mosquitto")
    else:
        async with embedded_broker() as address:
            yield address


async def test_a_wiped_session_is_noticed_at_once(
    broker: BrokerAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()
    link = MqttLink(broker, ID, subscriptions=[("a/b", 1)], on_taken_over=told.set)
    await asyncio.to_thread(link.open)
    try:
        async with aiomqtt.Client(
            broker.host, broker.port, username=broker.user, password=broker.password,
            identifier=ID, clean_session=True,
        ):  # fmt: skip
            pass
        assert await asyncio.to_thread(told.wait, 20)
    finally:
        await asyncio.to_thread(link.close)
    assert link.taken_over == 1
    assert "what it kept for us is gone" in caplog.text


async def test_two_monitors_with_one_id_are_told_and_keep_apart(
    broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()
    links = [
        MqttLink(broker, ID, subscriptions=[("a/b", 1)], on_taken_over=told.set) for _ in range(2)
    ]
    for link in links:
        await asyncio.to_thread(link.open)
    try:
        assert await asyncio.to_thread(told.wait, 30)
    finally:
        for link in links:
            await asyncio.to_thread(link.close)
    assert "another client seems to use our client id" in caplog.text
    assert sum(link.taken_over for link in links) >= 1
