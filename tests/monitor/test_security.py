"""Hostile names and texts: through contract, store, line protocol, queries and page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from cellpulse.embedded import embedded_broker
from monitor.config import Config
from monitor.contract import (
    AssetConfig,
    Command,
    DeviceAlarm,
    Frame,
    Provenance,
    Topics,
    encode,
    is_asset_name,
)
from monitor.dashboard.live.feed import Feed
from monitor.dashboard.live.hub import Hub
from monitor.errors import PayloadError
from monitor.mqtt.address import BrokerAddress
from monitor.store.history import History
from monitor.store.influx import InfluxWriter, Target
from monitor.store.influx_history import InfluxHistory
from monitor.store.influx_sink import Sink
from monitor.store.sqlite_history import SqliteHistory
from monitor.web.server import LOOPBACK_NAMES
from tests.engine_world import T0
from tests.influx_world import BUCKET, ORG, TOKEN, InfluxWorld
from tests.monitor.dashboard.test_live import Served
from tests.monitor.test_pipeline import World, hot, message

NAMES = [
    "", ".", "..", "-rf", "../../etc/passwd", "$SYS", "$share", "a$b", "a b", "a,b", "a=b", "a\\",
    "a\nb", "a\r\nx", "a\0b", "a\x1b[2J", "\u202egnp", "电池", "a" * 65, "x" * 10_240,
    "x'; DROP TABLE input;--", 'x" OR "1"="1', "x' OR '1'='1", "x\\' OR 1=1 --",
    "p,asset=q voltage_v=9 1\ncell", "p voltage_v=9\ncell,asset=p", "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>', "{{7*7}}", "%(asset)s", "a%00", "_monitor", "__proto__",
]  # fmt: skip
TEXTS = [
    "x'; DROP TABLE event;--", 'quote " comma , space = backslash \\ end', "line\nend\r\tand\0more",
    "\\", '\\"', "<img src=x onerror=alert(1)>", "电池 \u2028 \U0001f50b", "y" * 64,
]  # fmt: skip


def topics_of(name: str) -> list[tuple[str, bytes]]:
    """What a hostile device or operator may publish, the name at every level that takes one."""
    frame = encode(Frame(v=1, timestamp_ms=T0, voltage_v=3.7))
    command = encode(Command(v=1, id="1", action="acknowledge", code="over_temperature"))
    alarm = encode(DeviceAlarm(v=1, timestamp_ms=T0, name="x", active=True))
    return [
        (f"bms/{name}/telemetry", frame),
        (f"bms/{name}/config", encode(AssetConfig(v=1, nominal_capacity_ah=2.0))),
        (f"bms/{name}/status", b"online"),
        (f"bms/{name}/device_alarm", alarm),
        (f"bms/{name}/command/ann", command),
        (f"bms/p/command/{name}", command),
        (f"bms/_gateway/{name}/status", b"online"),
    ]  # fmt: skip


def everything(path: Path) -> list[tuple[object, ...]]:
    """Every row of every table of a journal."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        assert {"asset", "input", "event", "cycle"} <= set(tables)
        return [row for table in tables for row in db.execute(f'SELECT * FROM "{table}"')]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    assert not is_asset_name(name)
    world = World(tmp_path / "s.sqlite")
    world.configure()
    before = everything(tmp_path / "s.sqlite")
    sent = topics_of(name)
    world.pipeline.step([message(topic, payload) for topic, payload in sent], T0)
    assert world.pipeline.rejected == len(sent)
    assert everything(tmp_path / "s.sqlite") == before
    for _, payload in world.out.published("/rejected"):
        assert len(payload) < 2_000
        assert json.loads(payload)["reason"]
    for topic, _ in world.out.published(""):
        assert topic.split("/")[1] in ("p", "_monitor")
    world.pipeline.step([hot(0)], T0)  # and the stream goes on
    assert world.engine.counters.frames == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "_monitor"])
def test_a_hostile_name_comes_no_further_than_the_pages_ear(name: str) -> None:
    feed = Feed(Hub(), BrokerAddress.parse("mqtt://localhost"))
    for topic, payload in topics_of(name)[:4]:
        with pytest.raises(PayloadError):
            feed.handle(topic, payload, T0)
    with pytest.raises(PayloadError):
        Topics().of(name, "telemetry")


async def test_a_hostile_address_of_the_page(free_port: int) -> None:
    from monitor.dashboard.app import serve

    one = Served(free_port)
    started = asyncio.Event()
    task = asyncio.create_task(serve(one.app, "127.0.0.1", free_port, started=started))
    await started.wait()
    try:
        for name in NAMES:
            status, body, _ = await one.get(f"/asset/{quote(name, safe='')[:4_000]}")
            assert status in (200, 400, 404)
            assert "onerror=" not in body
            assert "<script>alert" not in body
            assert "root:" not in body
        for path in ("/assets/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/pyproject.toml"):
            _, body, _ = await one.get(path)
            assert "root:" not in body
            assert "build-system" not in body
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def ask_everything(history: History, name: str) -> int:
    """How much any question about one asset finds."""
    trace = history.trace(name, 0, 0, 2**41)
    found = len(trace.timestamp_ms) + len(history.cycles(name, 0)) + len(history.events(name))
    return found + len(history.histograms(name, 0))


def test_hostile_texts_are_only_text_and_hostile_questions_find_nothing(
    influx: InfluxWorld, tmp_path: Path
) -> None:
    """Texts that the contract allows, through journal and line protocol into a real influxd."""
    world = World(tmp_path / "s.sqlite")
    for text in TEXTS:
        config = AssetConfig(
            v=1, nominal_capacity_ah=2.0, chemistry=text, cell_type=text,
            provenance=Provenance(source=text),
        )  # fmt: skip
        world.pipeline.step([message("bms/p/config", config)], T0)
    step = 0
    for text in TEXTS:
        for kind in ("session", "flags"):
            step += 1
            frame = Frame(
                v=1, timestamp_ms=T0 + 1_000 * step, voltage_v=3.7, current_a=1.0,
                temperature_c=25.0, session=text if kind == "session" else None,
                device_flags=[text] if kind == "flags" else None,
            )  # fmt: skip
            world.pipeline.step([message("bms/p/telemetry", frame)], frame.timestamp_ms)
    for k, text in enumerate(TEXTS):
        alarm = DeviceAlarm(
            v=1, timestamp_ms=T0 + 60_000 + k, name=f"x{k}", active=True, detail=text
        )
        world.pipeline.step([message("bms/p/device_alarm", alarm)], T0 + 60_000)
        command = Command(
            v=1, id=text, action="acknowledge", code=f"device_x{k}", comment=text
        )  # fmt: skip
        world.pipeline.step([message("bms/p/command/ann", command)], T0 + 61_000)
    assert world.pipeline.rejected == 0
    target = Target(influx.url, ORG, BUCKET, TOKEN)
    sink = Sink(tmp_path / "s.sqlite", target.key, lambda: InfluxWriter(target), "m1")
    while True:
        sink.step()
        if not sink.state.inputs:
            break
    assert sink.state.set_aside == 0
    assert influx.count("telemetry", "current_a") == 2 * len(TEXTS)
    measurements = {row[0] for s in influx.query("SHOW MEASUREMENTS") for row in s["values"]}
    known = {"telemetry", "cell", "sensor", "event", "config", "status", "monitor", "minute"}
    assert measurements <= known
    keys = {row[0] for s in influx.query("SHOW TAG KEYS") for row in s["values"]}
    assert keys <= {"asset", "cell", "sensor", "code", "source", "level", "monitor"}
    journal, database = SqliteHistory(tmp_path / "s.sqlite"), InfluxHistory(target)
    for history in (journal, database):
        assert ask_everything(history, "p") == 4 * len(TEXTS)
        assert [ask_everything(history, name) for name in NAMES] == [0] * len(NAMES)
        comments = {event.comment for event in history.events("p") if event.comment}
        assert comments == set(TEXTS)
        (asset,) = [entry for entry in history.assets() if entry.name == "p"]
        assert asset.config is not None
        assert asset.config.chemistry == TEXTS[-1]


def test_what_listens_is_on_loopback() -> None:
    config = Config()
    assert config.dashboard_host in LOOPBACK_NAMES
    assert config.health_host in LOOPBACK_NAMES
    assert config.health_port is None
    assert config.broker.host in LOOPBACK_NAMES


async def test_the_embedded_broker_is_on_loopback() -> None:
    async with embedded_broker() as address:
        bound = {
            c.laddr.ip
            for c in psutil.net_connections("tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == address.port
        }
    assert bound == {"127.0.0.1"}
