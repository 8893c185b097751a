"""Kill the monitor without warning, again and again: the record is whole and nothing is doubled."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import aiomqtt
import numpy as np
import pytest

from cellpulse.wiring import Show, connector, run_player
from monitor.config import Config
from monitor.mqtt.address import BrokerAddress
from monitor.store.sqlite_history import SqliteHistory
from recordings.open import open_recording
from tests.conftest import ROOT
from tests.monitor.test_end_to_end import OPTIONS, offline, stored

pytestmark = pytest.mark.alone

KILLS = 4


async def start_monitor(config: Config) -> asyncio.subprocess.Process:
    """The monitor as a process of its own, with checkpoints often."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellpulse", "monitor", "--broker", config.broker.url(),
        "--store", str(config.store), cwd=ROOT,
        env={"CELLPULSE_CHECKPOINT_S": "0.3", "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def subscribed(config: Config) -> None:
    """Return once the monitor says that it is online: from then on the broker queues for it."""
    async with connector(config)(aiomqtt.Will("unused/will", b"")) as client:
        await client.subscribe("bms/_monitor/monitor/status", 1)
        async for message in client.messages:
            if message.payload == b"online":
                return


def wait_for_frames(store: Path, at_least: int) -> None:
    """Return once the journal holds so many frames."""
    history = SqliteHistory(store)
    deadline = time.monotonic() + 100
    while history.frames() < at_least:
        assert time.monotonic() < deadline, f"{history.frames()} of {at_least} frames came"
        time.sleep(0.03)


@pytest.mark.timeout(240)
async def test_a_killed_monitor_loses_and_doubles_nothing(
    mosquitto: BrokerAddress, shared_data: Path, tmp_path: Path
) -> None:
    recordings = open_recording(shared_data / "nasa" / "mat" / "B0025.mat")
    payloads, results, engine, cycles = await asyncio.to_thread(offline, recordings)
    config = Config(broker=mosquitto, store=tmp_path / "store.sqlite")
    dice = random.Random(7)
    async with asyncio.timeout(200):
        monitor = await start_monitor(config)
        await subscribed(config)
        slowly = replace(OPTIONS, batch=6)  # so that kills come in the middle
        player = asyncio.create_task(run_player(config, Show(recordings, slowly)))
        cut = 0
        for k in range(KILLS):
            share = (k + 1) * len(payloads) // (KILLS + 2)
            await asyncio.to_thread(wait_for_frames, config.store, share)
            await asyncio.sleep(dice.uniform(0.0, 0.05))
            monitor.kill()
            await monitor.wait()
            cut += SqliteHistory(config.store).frames() < len(payloads)
            monitor = await start_monitor(config)
        assert cut == KILLS  # every kill left something to be done
        await player
        await asyncio.to_thread(wait_for_frames, config.store, len(payloads))
        await subscribed(config)
        monitor.terminate()
        assert await monitor.wait() == 0
    got_payloads, got = stored(config.store)
    assert got_payloads == payloads
    np.testing.assert_allclose(got, results, rtol=0, atol=1e-5)
    name = recordings[0].info.asset
    history = SqliteHistory(config.store)
    kept = history.cycles(name, 0)
    assert [(c.kind, c.start_ms, c.capacity_ah) for c in kept] == [
        (c.kind, c.start_ms, c.capacity_ah) for c in cycles
    ]
    active = {(a.code, a.source) for a in engine.alarm_records()}
    newest: dict[tuple[str, str], str] = {}
    for event in reversed(history.events(name, 10_000)):
        if event.alarm.code not in ("offline", "stale"):  # these depend on the wall clock
            newest[event.alarm.code, event.alarm.source] = event.alarm.state
    assert {key for key, state in newest.items() if state != "normal"} == active
