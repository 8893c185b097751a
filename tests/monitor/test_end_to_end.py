"""The whole way on real data: a NASA file through a broker into the store, and offline."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import pytest

from cellpulse.embedded import embedded_broker
from cellpulse.wiring import Show, connector, run_monitor, run_player
from monitor.config import Config
from monitor.contract import Estimate, Frame, decode, encode
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.kernels.columns import RESULTS, Verdict
from monitor.models.folder import load_models, models_folder
from monitor.mqtt.address import BrokerAddress
from monitor.store.sqlite_history import SqliteHistory
from recordings.open import open_recording
from recordings.types import Recording
from simulator.replay import ReplayOptions, asset_config, merged

OPTIONS = ReplayOptions(speed=None, longest_gap_s=600.0, batch=100)


def offline(recordings: Sequence[Recording]) -> tuple[list[bytes], np.ndarray, Engine, list[Any]]:
    """The same recordings straight through an engine: payloads, results, and the engine itself."""
    engine = Engine(*load_models(models_folder()))
    inputs: list[Input] = [
        ConfigIn(r.info.asset, asset_config(r.info, OPTIONS, "simulator"), 0) for r in recordings
    ]
    for timed in merged(recordings, OPTIONS):
        if isinstance(timed.message, Frame):
            name = recordings[timed.track].info.asset
            inputs.append(FrameIn(name, timed.message, 0, encode(timed.message)))
    results = engine.process(inputs)
    taken = [
        (one.input.payload, one.row)
        for one in results.handled
        if isinstance(one.input, FrameIn) and one.verdict <= Verdict.NEW_SEGMENT
    ]
    return (
        [payload for payload, _ in taken],
        np.stack([row for _, row in taken if row is not None]),
        engine,
        [cycle.summary for cycle in results.cycles],
    )


async def replay_through(config: Config, recordings: Sequence[Recording]) -> None:
    """Run monitor and replay until the monitor has estimated the last sample of every asset."""
    last = {
        recordings[timed.track].info.asset: timed.message.timestamp_ms
        for timed in merged(recordings, OPTIONS)
        if isinstance(timed.message, Frame)
    }
    ready = asyncio.Event()
    monitor = asyncio.create_task(run_monitor(config, ready))
    await ready.wait()
    if monitor.done():
        await monitor  # raises what ended it
    assert not monitor.done()
    async with connector(config)(aiomqtt.Will("unused/will", b"")) as listener:
        await listener.subscribe("bms/+/estimate")
        player = asyncio.create_task(run_player(config, Show(recordings, OPTIONS)))
        async for message in listener.messages:
            asset = str(message.topic).split("/")[1]
            assert isinstance(message.payload, bytes)
            if decode(Estimate, message.payload).timestamp_ms == last[asset]:
                del last[asset]
            if not last:
                break
        await player
    monitor.cancel()
    with pytest.raises(asyncio.CancelledError):
        await monitor


def stored(path: Path) -> tuple[list[bytes], np.ndarray]:
    """What the journal holds of the frames, in order."""
    rows = sqlite3.connect(path).execute(
        "SELECT payload, result FROM input WHERE kind = 0 ORDER BY id"
    )
    pairs = [(payload.encode(), np.frombuffer(result, np.float32)) for payload, result in rows]
    return [p for p, _ in pairs], np.stack([r for _, r in pairs]).reshape(-1, 1, RESULTS)


async def compare(address: BrokerAddress, tmp_path: Path, recordings: list[Recording]) -> None:
    """Everything stored equals the offline run."""
    store = tmp_path / "store.sqlite"
    async with asyncio.timeout(100):
        await replay_through(Config(broker=address, store=store), recordings)
    payloads, results, engine, cycles = await asyncio.to_thread(offline, recordings)
    got_payloads, got = stored(store)
    assert got_payloads == payloads
    np.testing.assert_allclose(got, results, rtol=0, atol=1e-5)
    assert len(payloads) > 1_000
    history = SqliteHistory(store)
    name = recordings[0].info.asset
    kept = history.cycles(name, 0)
    assert [(c.kind, c.start_ms, c.capacity_ah) for c in kept] == [
        (c.kind, c.start_ms, c.capacity_ah) for c in cycles
    ]
    assert len(kept) > 10
    active = {(a.code, a.source) for a in engine.alarm_records()}
    newest: dict[tuple[str, str], str] = {}
    for event in reversed(history.events(name, 10_000)):
        if event.alarm.code not in ("offline", "stale"):  # these depend on the wall clock
            newest[event.alarm.code, event.alarm.source] = event.alarm.state
    assert {key for key, state in newest.items() if state != "normal"} == active


@pytest.fixture(scope="module")
def nasa(shared_data: Path) -> list[Recording]:
    """One NASA cell as its publisher ships it."""
    return open_recording(shared_data / "nasa" / "mat" / "B0025.mat")


async def test_nasa_through_the_embedded_broker(nasa: list[Recording], tmp_path: Path) -> None:
    async with embedded_broker() as address:
        await compare(address, tmp_path, nasa)


async def test_nasa_through_mosquitto(
    mosquitto: BrokerAddress, nasa: list[Recording], tmp_path: Path
) -> None:
    await compare(mosquitto, tmp_path, nasa)
