"""Every call at the monitor's edges may raise: frames are taken, one line says it, one its end."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cellpulse.embedded import embedded_broker
from monitor import service, supervisor
from monitor.config import Config
from monitor.mqtt.address import BrokerAddress
from monitor.service import Monitor
from monitor.store import influx_sink, upkeep, wal
from monitor.store.influx_sink import Sink
from monitor.store.minutes_process import MinutesProcess
from tests.monitor.notify.test_webhook import Receiver, serving
from tests.monitor.test_supervision import World, world

WITHIN_S = 10.0
FAULTS: tuple[Callable[[], Exception], ...] = (
    lambda: OSError(28, "No space left on device"),
    lambda: sqlite3.OperationalError("disk I/O error"),
)


class Taking:
    """A database that takes all."""

    def write(self, lines: Sequence[str]) -> None:
        pass


@pytest.fixture
async def broker() -> AsyncIterator[BrokerAddress]:
    async with embedded_broker() as address:
        yield address


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds every few hundredths of a second, and no waiting between two tries."""
    for module, name in (
        (service, "TICK_S"), (service, "METRICS_S"), (upkeep, "EVERY_S"), (wal, "EVERY_S"),
        (influx_sink, "POLL_S"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr(supervisor, "back_off_s", lambda *_: 0.05)


@pytest.fixture
async def running(
    broker: BrokerAddress, tmp_path: Path, free_port: int, quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:  # fmt: skip
    """A monitor with everything beside its stream."""

    def make_sink(config: Config) -> Sink:
        return Sink(config.store, "taking", Taking, config.monitor_id, poll_s=0.05)

    monkeypatch.setattr(service, "make_sink", make_sink)
    (tmp_path / "rules.toml").write_text("")
    with serving(Receiver(200)) as url:
        config = Config(
            broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, webhook=url,
            homeassistant="homeassistant", rules=tmp_path / "rules.toml", checkpoint_s=0.1,
            keep_minutes_days=1.0,
        )  # fmt: skip
        async with world(config) as w:
            await w.takes_frames()
            yield w


def nothing(monitor: Monitor) -> None:
    pass


def an_event(monitor: Monitor) -> None:
    assert monitor.sender is not None
    monitor.sender._outbox.waiting = lambda *_: [(1, "{}")]  # type: ignore[method-assign]  # it has one


def known_to_nobody(monitor: Monitor) -> None:
    monitor._discovered.clear()


def another_connection(monitor: Monitor) -> None:
    monitor._reconciled = -1


def changed_rules(monitor: Monitor) -> None:
    assert monitor.config.rules is not None
    changed_ns = monitor.config.rules.stat().st_mtime_ns + 1_000_000
    os.utime(monitor.config.rules, ns=(changed_ns, changed_ns))


def minutes_to_write(monitor: Monitor) -> None:
    """As after a power loss that took the minutes."""
    monitor.journal._db.execute("DELETE FROM progress WHERE name = 'minutes'")


# The task, what stands for its call, the call's name, and what makes the task call it.
Owner = Callable[[Any], Any]
EDGES: tuple[tuple[str, Owner, str, Callable[[Monitor], None]], ...] = (
    ("webhook", lambda m: m.sender._outbox, "position", nothing),
    ("webhook", lambda m: m.sender._outbox, "waiting", nothing),
    ("webhook", lambda m: m.sender._outbox, "confirm", an_event),
    ("influx", lambda m: m.sink._outbox, "next_batch", nothing),
    ("influx", lambda m: m.sink._outbox, "confirm", nothing),
    ("influx", lambda m: m.sink, "_writer", nothing),
    ("upkeep", lambda m: MinutesProcess, "roll_up", nothing),
    ("upkeep", lambda m: m.journal, "put_minutes", minutes_to_write),
    ("upkeep", lambda m: upkeep, "oldest_input", nothing),
    ("upkeep", lambda m: upkeep, "connect", nothing),
    ("upkeep", lambda m: upkeep, "used_bytes", nothing),
    ("log", lambda m: wal, "connect", nothing),
    ("homeassistant", lambda m: service, "discovery", known_to_nobody),
    ("reconcile", lambda m: service, "collect_retained", another_connection),
    ("reconcile", lambda m: m.pipeline, "reconcile", another_connection),
    ("metrics", lambda m: m.health, "metrics", nothing),
    ("metrics", lambda m: m.sink, "tell", nothing),
    ("checkpoints", lambda m: service, "write", nothing),
    ("checkpoints", lambda m: m.pipeline, "snapshot", nothing),
    ("rules", lambda m: service, "read_rules", changed_rules),
    ("rules", lambda m: service, "parse_rules", changed_rules),
)


async def until(w: World, name: str, state: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while w.monitor.supervisor.states()[name].state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def raising(make: Callable[[], Exception]) -> Any:
    def call(*_: object, **__: object) -> Any:
        raise make()

    return call


class Refusing:
    def __init__(self, make: Callable[[], Exception]) -> None:
        self.write = raising(make)


@pytest.mark.parametrize("make", FAULTS, ids=["OSError", "sqlite3.Error"])
async def test_whatever_raises_ends_nothing_and_is_said_once(
    running: World, make: Callable[[], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    monitor = running.monitor
    for name, owner_of, call, provoke in EDGES:
        for task in monitor.supervisor.states():
            await until(running, task, "ok")
        caplog.clear()
        with pytest.MonkeyPatch.context() as fault:
            stand_in = Refusing(make) if call == "_writer" else raising(make)
            fault.setattr(owner_of(monitor), call, stand_in)
            provoke(monitor)
            await running.takes_frames()
            await until(running, name, "failing")
            await asyncio.sleep(0.2)  # it is tried again, and says nothing more
            await running.takes_frames()
            assert monitor.supervisor.failing() == [name], (name, call)
            assert monitor.supervisor.failures()[name] > 1, (name, call)
        await until(running, name, "ok")
        said = [one.message for one in caplog.records if one.name == "monitor.supervisor"]
        assert len(said) == 2, (name, call, said)
        assert said[0].startswith(f"{name}: "), (name, call, said)
        assert said[1] == f"{name} works again", (name, call, said)
    assert monitor.checks()["store"]
    assert monitor.checks()["pipeline"]
