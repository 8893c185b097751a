"""The page under messages that no monitor would send, and with parts of it that fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiomqtt
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from cellpulse.embedded import embedded_broker
from monitor.charging.advice import sentence
from monitor.contract import (
    MAX_CELLS,
    MAX_TIMESTAMP_MS,
    Advice,
    Estimate,
    Event,
    FadeReading,
    MonitorMetrics,
    RiskReading,
    SimulatorState,
    decode,
    encode,
)
from monitor.dashboard.app import make_app, serve
from monitor.dashboard.live.checks import check_estimate
from monitor.dashboard.live.feed import Feed, wall_clock_ms
from monitor.dashboard.live.hub import Hub, View
from monitor.dashboard.live.socket import STANDS_S, Live
from monitor.errors import PayloadError
from monitor.mqtt.address import BrokerAddress
from monitor.supervisor import Report, Supervisor
from tests.dashboard_world import (
    START_MS,
    make_alarm,
    make_config,
    make_cycle,
    make_estimate,
    make_frame,
)
from tests.fuzz import page
from tests.monitor.dashboard.test_live import Served, hear, hear_to_the_end, hear_until, say

NOW = 1_800_000_000_000
FLEET = View("fleet")


class Supervised(Served):
    """With what runs beside it."""

    supervisor: Supervisor
    feed: Feed


@contextlib.asynccontextmanager
async def served(port: int, broker_url: str | None = None) -> AsyncIterator[Supervised]:
    """A page, with its feed where there is a broker."""
    one = Supervised(port)
    one.supervisor = Supervisor(wall_clock_ms, first_wait_s=0.05)
    one.app = make_app(one.hub, None, supervisor=one.supervisor)
    one.live = one.app.server.state.live
    started = asyncio.Event()
    tasks = [asyncio.create_task(serve(one.app, "127.0.0.1", port, started=started))]
    if broker_url is not None:
        one.feed = Feed(one.hub, BrokerAddress.parse(broker_url))
        run = one.supervisor.run("feed", one.feed.run)
        tasks.append(asyncio.create_task(run))
    await started.wait()
    try:
        yield one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def health(one: Supervised) -> tuple[int, dict[str, Any]]:
    status, body, _ = await one.get("/healthz")
    return status, json.loads(body)


async def health_until(
    one: Supervised, condition: Callable[[dict[str, Any]], bool], name: str
) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            task: dict[str, Any] = (await health(one))[1]["tasks"].get(name, {"state": "none"})
            if condition(task):
                return task
            await asyncio.sleep(0.02)


def changed(change: Callable[[dict[str, Any]], object], cells: int = 2) -> bytes:
    """An estimate of all parts, changed as JSON."""
    times: list[int | None] = [START_MS] * cells
    whole = msgspec.structs.replace(
        make_estimate(1, START_MS, cells),
        risk=RiskReading(times, ["watch"] * cells, ["hot"] * cells, ["热"] * cells),
        fade=FadeReading(times, [0.0] * cells, [1.0] * cells, [None] * cells),
    )
    tree = json.loads(encode(whole))
    change(tree)
    return json.dumps(tree).encode()


LISTS = [
    "phase", "quality", "soc.value", "soc.timestamp_ms", "soh.value", "soh.low", "soh.high",
    "soh.state", "soh.timestamp_ms", "resistance_ohm.value", "thermal_score.value",
    "excess_heat_w.value", "risk.level", "risk.reason", "risk.reason_zh", "fade.slope_per_cycle",
    "fade.knee_cycle",
]  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("length", [0, 1, 3])
def test_an_estimate_with_lists_of_unequal_length_is_refused(name: str, length: int) -> None:
    def change(tree: dict[str, Any]) -> None:
        outer, _, inner = name.partition(".")
        at, key = (tree[outer], inner) if inner else (tree, outer)
        at[key] = (at[key] * 3)[:length]

    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse("mqtt://127.0.0.1:1"))
    with pytest.raises(PayloadError, match="entries"):
        feed.handle("bms/a/estimate", changed(change), NOW)
    feed.handle("bms/a/estimate", changed(lambda tree: None), NOW)
    hub.tick(NOW)
    assert json.loads(hub.frame(FLEET, 0))["rows"][0]["soh"] > 0


def test_an_estimate_of_no_cell_or_of_too_many() -> None:
    check_estimate(make_estimate(1, START_MS, 0))
    check_estimate(make_estimate(1, START_MS, MAX_CELLS))
    with pytest.raises(PayloadError, match="at most"):
        check_estimate(make_estimate(1, START_MS, MAX_CELLS + 1))


@pytest.mark.parametrize("number", [-1, MAX_TIMESTAMP_MS + 1, 2**63, 2**64, 10**400])
def test_a_time_that_is_none_is_refused_wherever_it_stands(number: int) -> None:
    feed = Feed(Hub(), BrokerAddress.parse("mqtt://127.0.0.1:1"))

    def refused(topic: str, message: object, *path: str) -> None:
        tree = msgspec.to_builtins(message)
        at = tree
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = number
        with pytest.raises(PayloadError):
            feed.handle(topic, json.dumps(tree).encode(), NOW)

    alarm = make_alarm("a")
    event = {"v": 1, "event_id": "e", "previous": "normal", "cause": "raise", "alarm": alarm}
    refused("bms/a/estimate", make_estimate(1, START_MS), "timestamp_ms")
    refused("bms/a/alarm/x/pack", alarm, "since_ms")
    refused("bms/_group/alarm/x/pack", alarm, "timestamp_ms")
    refused("bms/a/event", event, "alarm", "since_ms")
    refused("bms/a/cycle", make_cycle("a", 1), "start_ms")
    refused("bms/a/truth", {"v": 1, "timestamp_ms": 1}, "timestamp_ms")
    if number >= 2**63:
        refused("bms/a/cycle", make_cycle("a", 1), "number")
        refused("bms/a/alarm/x/pack", alarm, "count")
        refused("bms/a/truth", {"v": 1, "timestamp_ms": 1}, "cycle")
        refused("bms/a/config", make_config(), "expected_interval_ms")


@pytest.mark.parametrize("part", ["places", "alarm.places", "failing", "recordings", "playing"])
def test_a_list_of_names_has_a_bound(part: str) -> None:
    alarm = msgspec.structs.replace(make_alarm("a"), places=["p"])
    event = Event(1, "e", "normal", "raise", alarm)
    counts = dict.fromkeys(MonitorMetrics.__struct_fields__, 1)
    topic, message = {
        "places": ("bms/a/alarm/x/pack", alarm),
        "alarm.places": ("bms/a/event", event),
        "failing": ("bms/_monitor/m/metrics", counts | {"inference": {}}),
    }.get(part, ("bms/_simulator/s/state", SimulatorState(1, ["a"], ["a"])))
    feed = Feed(Hub(), BrokerAddress.parse("mqtt://127.0.0.1:1"))
    tree = msgspec.to_builtins(message)
    *outer, key = part.split(".")
    at = tree[outer[0]] if outer else tree
    at[key] = ["a"] * 1_000
    feed.handle(topic, json.dumps(tree).encode(), NOW)
    at[key] = ["a"] * 1_001
    with pytest.raises(PayloadError, match="1000"):
        feed.handle(topic, json.dumps(tree).encode(), NOW)


@pytest.mark.parametrize("part", ["current_a", "current_c", "allowed_a", "minutes", "loss"])
def test_advice_without_one_of_its_parts_is_told_all_the_same(part: str) -> None:
    advice = Advice(2.0, 1.0, 3.0, 30.0, 1e-5, "why", "因", "normal")
    short = msgspec.structs.replace(advice, **{part: None})
    for zh in (False, True):
        assert "None" not in sentence(short, zh=zh)


def test_a_row_that_cannot_be_made_is_unknown_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As if one had come past the checks: the others are shown."""
    hub = Hub()
    hub.on_feed(True, NOW)
    good = make_estimate(1, START_MS)
    bad = decode(Estimate, changed(lambda tree: tree["soh"].update(low=[], state=["ok"])))
    for now_ms in (NOW, NOW + 100):
        for name, estimate in (("a", good), ("b", bad), ("c", good)):
            hub.on_frame(name, make_frame(1, START_MS + now_ms - NOW), now_ms)
            hub.on_estimate(name, estimate)
        hub.tick(now_ms)
        rows = {row["id"]: row for row in json.loads(hub.frame(FLEET, 0))["rows"]}
        assert rows["a"]["soh"] == rows["c"]["soh"] == 0.871
        assert "soh" not in rows["b"]
        assert rows["b"].get("risk", "unknown") == "unknown"
    assert hub.failed == 2
    assert len(caplog.records) == 1
    hub.on_estimate("b", good)
    hub.tick(NOW + 200)
    rows = {row["id"]: row for row in json.loads(hub.frame(FLEET, 0))["rows"]}
    assert rows["b"]["soh"] == 0.871


def test_a_view_that_cannot_be_made_gets_the_head_and_later_all_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = Hub()
    hub.on_frame("a", make_frame(1, START_MS), NOW)
    hub.on_estimate("a", msgspec.structs.replace(make_estimate(1, START_MS), timestamp_ms=2**70))
    hub.tick(NOW)
    live = Live(hub, lambda: NOW)
    view = View("asset", "a")
    for _ in range(3):
        frame, since = live.payload(view, 1)
        assert json.loads(frame)["k"] == "none"
        assert json.loads(frame)["head"]["assets"] == 1
        assert since == 0
    assert len(caplog.records) == 1
    frame, since = live.payload(FLEET, 0)
    assert (json.loads(frame)["k"], since) == ("fleet", hub.version)


async def test_a_malformed_retained_estimate_stops_no_page(free_port: int) -> None:
    bad = changed(lambda tree: tree["soh"].update(low=[]))
    async with embedded_broker() as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish("bms/bad/estimate", bad, 1, True)
            async with served(free_port, url) as one, one.connect() as socket:
                await say(socket, look="fleet")
                seen = 0
                while seen < 3 or one.feed.rejected == 0:
                    await client.publish("bms/good/telemetry", encode(make_frame(seen, START_MS)))
                    await client.publish("bms/good/estimate", encode(make_estimate(1, START_MS)))
                    frame = await hear_until(socket, "fleet")
                    await say(socket, got=1)
                    seen += any("soh" in row for row in frame["rows"])
                status, told = await health(one)
                assert (status, told["status"]) == (200, "ok")
                assert {name: task["state"] for name, task in told["tasks"].items()} == {
                    "ticker": "ok", "feed": "ok",
                }  # fmt: skip


async def test_a_broker_that_is_away_is_shown_and_so_is_its_return(
    free_port: int, unused_tcp_port: int
) -> None:
    async with served(free_port, f"mqtt://127.0.0.1:{unused_tcp_port}") as one:
        task = await health_until(one, lambda task: task["state"] == "failing", "feed")
        assert task["reason"].startswith("the broker is away")
        assert (await health(one))[0] == 200


async def test_a_ticker_that_fails_begins_again_and_is_said_once(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(free_port) as one, one.connect() as socket:
        await say(socket, look="fleet")
        await hear_until(socket, "fleet")
        await say(socket, got=1)
        tick = one.hub.tick

        def mistaken(now_ms: int) -> bool:
            raise ZeroDivisionError

        one.hub.tick = mistaken  # type: ignore[method-assign]  # a fault put in
        task = await health_until(one, lambda task: task["state"] == "failing", "ticker")
        assert task["reason"] == "ZeroDivisionError, see the log"
        one.hub.tick = tick  # type: ignore[method-assign]  # the fault taken out
        one.publish()
        while not (await hear(socket)).get("rows"):
            await say(socket, got=1)
        await health_until(one, lambda task: task["state"] == "ok", "ticker")
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 1


async def test_a_ticker_that_stands_makes_healthz_503(free_port: int) -> None:
    now_s = 0.0
    live = Live(Hub(), lambda: NOW, now_s=lambda: now_s)

    def ticks() -> bool:  # read anew: the type checker takes a property for a constant
        return live.ticks

    assert ticks()
    now_s = STANDS_S
    assert not ticks()
    ticking = asyncio.create_task(live.run(Report("ticker", lambda: NOW)))
    await live.next_tick()
    assert ticks()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    async with served(free_port) as one:
        one.live._now_s = lambda: one.live._ticked_s + STANDS_S
        status, told = await health(one)
        assert (status, told["checks"]) == (503, {"ticker": False})


async def test_bytes_and_large_numbers_from_a_browser_harm_nobody(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(free_port) as one:
        one.publish()
        async with one.connect() as socket:
            await socket.send(b"\x00\x01")
            with pytest.raises(ConnectionClosed):
                await hear_to_the_end(socket)
        async with one.connect() as socket:
            await say(socket, look="asset", asset="a", cell=10**18)
            frame = await hear_until(socket, "asset")
            assert frame["cell"] == MAX_CELLS
        for headers in ({"Host": "["}, {"Origin": "http://["}):
            assert (await one.get("/healthz", **headers))[0] == 403
    assert caplog.records == []


def test_no_message_at_all_stops_the_feed() -> None:
    assert "messages taken" in page.run(4.0, 20_261_129)
