"""A small world for the page's tests: batteries that publish over a real broker, and a store.

The numbers are made up (smooth curves); what they are is not what is tested, how they are shown is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.forecast import ForecastProcess
from analysis.process import analyse
from monitor.contract import (
    AlarmRecord,
    AssetConfig,
    Command,
    CycleSummary,
    Estimate,
    Event,
    Frame,
    Limits,
    Provenance,
    Reading,
    Reply,
    SimulatorCommand,
    SimulatorState,
    SohReading,
    Topics,
    Truth,
    cell_name,
    decode,
    encode,
)
from monitor.dashboard.app import Actions, make_app, serve
from monitor.dashboard.live.feed import Feed, wall_clock_ms
from monitor.dashboard.live.hub import Hub
from monitor.kernels.columns import BINS
from monitor.models.folder import models_folder
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client
from monitor.store.history import History, StoredAsset, Trace

TOPICS = Topics()
START_MS = 1_700_000_000_000


def make_config(cells: int = 1, **more: Any) -> AssetConfig:
    """A config as a simulated NASA cell or pack would publish it."""
    return AssetConfig(
        v=1,
        nominal_capacity_ah=2.0,
        chemistry="NCA",
        cell_type="nasa-18650",
        cells=cells,
        limits=Limits(temperature_max_c=60.0),
        gateway="world",
        provenance=Provenance(source="test world", replay=True, synthetic=True, speed=60.0),
        **more,
    )


def make_frame(step: int, timestamp_ms: int, cells: int = 1, shift: float = 0.0) -> Frame:
    """A reading on a slow charge and discharge curve."""
    phase = step / 40 + shift
    voltages: list[float | None] = [
        round(3.75 + 0.35 * math.sin(phase) + 0.004 * math.sin(cell * 1.7 + step / 50), 4)
        for cell in range(cells)
    ]
    return Frame(
        v=1,
        session="w",
        seq=step,
        timestamp_ms=timestamp_ms,
        current_a=round(2.0 * math.cos(phase), 3),
        voltage_v=voltages if cells > 1 else voltages[0],
        temperature_c=round(27 + 3 * math.sin(phase / 2 + shift) + shift, 2),
        ambient_c=24.0,
    )


def make_estimate(
    step: int, timestamp_ms: int, cells: int = 1, *, soh: float | None = 0.871, score: float = 0.1
) -> Estimate:
    """An estimate; without `soh` not enough has been seen."""
    times: list[int | None] = [timestamp_ms] * cells

    def reading(value: float | None) -> Reading:
        return Reading(timestamp_ms=times, value=[value] * cells)

    def spread(value: float | None) -> list[float | None]:
        return [None if value is None else round(value - 0.002 * n, 4) for n in range(cells)]

    return Estimate(
        v=1,
        timestamp_ms=timestamp_ms,
        phase=["cc_charge" if math.cos(step / 40) > 0 else "discharge"] * cells,
        soc=reading(round(0.5 + 0.45 * math.sin(step / 40), 3)),
        soh=SohReading(
            timestamp_ms=times,
            value=spread(soh),
            low=spread(None if soh is None else soh - 0.018),
            high=spread(None if soh is None else soh + 0.018),
            state=["not_enough_seen" if soh is None else "ok"] * cells,
        ),
        resistance_ohm=reading(0.0712),
        thermal_score=reading(score),
        excess_heat_w=reading(round(score * 0.6, 3)),
        quality=[[] for _ in range(cells)],
    )


def make_alarm(asset: str, code: str = "thermal_anomaly", severity: int = 4) -> AlarmRecord:
    """An alarm as the monitor publishes it."""
    now = wall_clock_ms()
    return AlarmRecord(
        v=1,
        asset=asset,
        source="c001",
        code=code,
        severity=severity,
        state="unacknowledged",
        value=1.62,
        limit=1.0,
        unit="1",
        since_ms=now,
        timestamp_ms=now,
        count=1,
        message="Heat that the load does not explain: 1.6 times the threshold.",
        message_zh="存在负载无法解释的发热：达到阈值的 1.6 倍。",
        action="Stop charging, move people away, and look at the cell.",
        action_zh="停止充电，人员撤离，检查该电池。",
    )


def make_cycle(asset: str, number: int, *, cell: int = 0, nominal_ah: float = 2.0) -> CycleSummary:
    """The summary of discharge `number` of a cell that fades by 0.1 % a cycle."""
    soh = 0.98 - 0.001 * number
    start_ms = START_MS + number * 14_400_000
    return CycleSummary(
        v=1,
        asset=asset,
        cell=cell_name(cell),
        number=number,
        kind="discharge" if number % 2 else "charge",
        start_ms=start_ms,
        end_ms=start_ms + 3_600_000,
        complete=True,
        capacity_ah=round(soh * nominal_ah + 0.004 * math.sin(number), 4),
        energy_wh=round(soh * nominal_ah * 3.6, 3),
        duration_s=3_600.0,
        voltage_start_v=4.19,
        voltage_end_v=2.7,
        current_mean_a=-2.0,
        temperature_mean_c=31.0,
        temperature_max_c=36.4,
        resistance_ohm=0.07,
        soh=round(soh, 4),
        soh_low=round(soh - 0.02, 4),
        soh_high=round(soh + 0.02, 4),
        soh_state="ok",
    )


@dataclass
class FakeHistory:
    """A store in memory: the frames it was given, and as many cycles as asked for."""

    frames: dict[str, list[Frame]] = field(default_factory=dict)
    cycle_count: int = 0
    events_seen: list[Event] = field(default_factory=list)

    def assets(self) -> Sequence[StoredAsset]:
        return [
            StoredAsset(name, make_config(), frames[0].timestamp_ms, frames[-1].timestamp_ms)
            for name, frames in sorted(self.frames.items())
            if frames
        ]

    def trace(
        self, asset: str, cell: int, start_ms: int, end_ms: int, points: int = 2_000
    ) -> Trace:
        chosen = [f for f in self.frames.get(asset, []) if start_ms <= f.timestamp_ms <= end_ms]
        chosen = chosen[:: max(1, len(chosen) // points)]

        def column(name: str) -> np.ndarray:
            values = [getattr(frame, name) for frame in chosen]
            values = [v[cell] if isinstance(v, list) else v for v in values]
            return np.array([np.nan if v is None else v for v in values], dtype=float)

        flat = np.full(len(chosen), np.nan)
        return Trace(
            timestamp_ms=np.array([f.timestamp_ms for f in chosen], dtype=np.int64),
            voltage_v=column("voltage_v"),
            current_a=column("current_a"),
            temperature_c=column("temperature_c"),
            ambient_c=column("ambient_c"),
            soc=flat,
            soh=flat,
            soh_low=flat,
            soh_high=flat,
            resistance_ohm=flat,
            thermal_score=np.full(len(chosen), 0.08),
            excess_heat_w=flat,
        )

    def cycles(self, asset: str, cell: int, limit: int = 1_000) -> Sequence[CycleSummary]:
        return [make_cycle(asset, n, cell=cell) for n in range(1, self.cycle_count + 1)][-limit:]

    def histograms(
        self, asset: str, cell: int, limit: int = 1_000
    ) -> Sequence[tuple[int, str, NDArray[np.float32]]]:
        return [
            (cycle.start_ms, cycle.kind, np.zeros(BINS, np.float32))
            for cycle in self.cycles(asset, cell, limit)
        ]

    def events(
        self, asset: str | None = None, limit: int = 200, *, members: bool = True
    ) -> Sequence[Event]:
        return self.events_seen[:limit]


class World:
    """Assets that publish every 100 ms until told otherwise, and an answering monitor."""

    def __init__(self, port: int, assets: dict[str, int], history: FakeHistory | None) -> None:
        self.port = port
        self.assets = assets
        self.history = history
        self.commands: list[tuple[str, str, Command]] = []
        self.replay_commands: list[SimulatorCommand] = []
        self.scores: dict[str, float] = {}
        self.silent: set[str] = set()
        self.period_s = 0.1
        self.step_ms = 6_000
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    async def run(self, ready: asyncio.Event) -> None:
        async with Client("127.0.0.1", self.port, identifier="world") as client:
            self._client = client
            await client.subscribe("bms/+/command/+", 1)
            await client.subscribe("bms/_simulator/world/command", 1)
            await self.publish("bms/_monitor/m1/status", b"online", retain=True)
            for asset, cells in self.assets.items():
                await self.publish(TOPICS.of(asset, "status"), b"online", retain=True)
                await self.publish(
                    TOPICS.of(asset, "config"), encode(make_config(cells)), retain=True
                )
            names = list(self.assets)
            state = SimulatorState(v=1, recordings=[*names, "B0018"], playing=names, speed=60.0)
            await self.publish("bms/_simulator/world/state", encode(state), retain=True)
            ready.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish_all())
                group.create_task(self._answer())

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await self.client.publish(topic, payload, qos=1, retain=retain)

    async def raise_alarm(self, alarm: AlarmRecord) -> None:
        topic = TOPICS.of(alarm.asset, "alarm", alarm.code, alarm.source)
        await self.publish(topic, encode(alarm), retain=True)
        event = Event(v=1, event_id="e1", previous="normal", cause="raise", alarm=alarm)
        await self.publish(TOPICS.of(alarm.asset, "event"), encode(event))

    async def clear_alarm(self, alarm: AlarmRecord) -> None:
        topic = TOPICS.of(alarm.asset, "alarm", alarm.code, alarm.source)
        await self.publish(topic, b"", retain=True)

    async def _publish_all(self) -> None:
        for step in itertools.count():
            now_ms = START_MS + 1_000 * 14_400_000 + step * self.step_ms
            for index, (asset, cells) in enumerate(self.assets.items()):
                if asset in self.silent:
                    continue
                frame = make_frame(step, now_ms, cells, shift=index * 0.9)
                if self.history is not None:
                    self.history.frames.setdefault(asset, []).append(frame)
                await self.publish(TOPICS.of(asset, "telemetry"), encode(frame))
                if step % 3 == 0:
                    soh = (None if step < 30 else 0.842) if index == 1 else 0.951 - 0.04 * index
                    score = self.scores.get(asset, 0.08 + 0.05 * math.sin(step / 9 + index))
                    estimate = make_estimate(
                        step, now_ms, cells, soh=soh, score=round(max(0.0, score), 3)
                    )
                    await self.publish(TOPICS.of(asset, "estimate"), encode(estimate), retain=True)
                    truth = Truth(v=1, timestamp_ms=now_ms, soh=0.95 - 0.04 * index)
                    await self.publish(TOPICS.of(asset, "truth"), encode(truth))
            await asyncio.sleep(self.period_s)

    async def _answer(self) -> None:
        async for message in self.client.messages:
            asset, rest = TOPICS.split(message.topic.value)
            if asset == "_simulator":
                control = decode(SimulatorCommand, bytes(message.payload))
                self.replay_commands.append(control)
                continue
            command = decode(Command, bytes(message.payload))
            self.commands.append((asset, rest[1], command))
            reply = Reply(v=1, id=command.id, result="done", user=rest[1])
            await self.publish(TOPICS.of(asset, "reply"), encode(reply))


@contextlib.asynccontextmanager
async def background(
    *coroutines: Coroutine[Any, Any, None],
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks that run while the block does."""
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Page:
    """The page's server with its feed, which can be stopped and started again."""

    def __init__(self, broker_port: int, port: int, history: History | None) -> None:
        self.broker_port = broker_port
        self.port = port
        self.history = history
        self.hub = Hub()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.hub = Hub()
        self._forecasts = ForecastProcess(models_folder())
        feed = Feed(self.hub, BrokerAddress.parse(f"mqtt://127.0.0.1:{self.broker_port}"))
        app = make_app(
            self.hub,
            self.history,
            actions=Actions(
                feed.request,
                feed.send_to_simulator,
                analyse=analyse,
                outlook=self._forecasts.outlook,
            ),
        )
        started = asyncio.Event()
        self._tasks = [
            asyncio.create_task(feed.run()),
            asyncio.create_task(serve(app, "127.0.0.1", self.port, started=started)),
        ]
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            for task in self._tasks:
                if task.done():
                    task.result()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._forecasts.aclose()
