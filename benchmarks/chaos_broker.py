"""The broker itself is killed: whatever it lost is counted by the monitor and raises an alarm."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from benchmarks.chaos_stream import Packet, Sender, Stream
from benchmarks.chaos_world import World
from cellpulse.wiring import connector
from monitor.config import Config
from monitor.contract import decode_telemetry
from monitor.engine import Engine
from monitor.store.checkpoint import newest
from monitor.store.journal import connect

SETTLE_S = 300.0
GAP = "sequence_gap"


@dataclass(frozen=True, slots=True)
class BrokerLoss:
    """What a killed broker lost, and what the monitor made of it."""

    published: int
    waiting: int  # frames that the store did not have when it was killed
    lost: int
    counted: int
    share_alarmed: float  # of the assets with losses, how many raised `sequence_gap`
    wrong: int  # rows that are not what was published, doubled, or out of order


async def lose_the_broker(folder: Path, stream: Stream) -> BrokerLoss:
    """Freeze the monitor, let the broker's queue fill, kill the broker, and let all go on.

    A third of the stream before, a third into the queue that dies, a third after.
    """
    first, second, third = stream.parts(3)
    async with World(folder) as world:
        monitor = world.monitor
        await monitor.start()
        address = world.broker.address("simulator")
        sender = Sender(address)
        try:
            await asyncio.to_thread(sender.send, [*stream.configs, *first])
            await asyncio.to_thread(sender.settle)
            await monitor.stored(sum(p.frames for p in first))
            world.proxy.silence()  # what is under way stays at the broker's side
            monitor.freeze(True)
            await asyncio.to_thread(sender.send, second)
            await asyncio.to_thread(sender.settle)  # the broker has confirmed all of it
            waiting = sum(p.frames for p in (*first, *second))
            waiting -= monitor.frames()
            world.broker.kill()
            world.proxy.cut()  # the kernel of a machine that dies closes nothing in good order
            monitor.freeze(False)
            await asyncio.to_thread(world.broker.start)
            world.proxy.mend()
            await _online(world)
            await asyncio.to_thread(sender.send, third)
            await asyncio.to_thread(sender.settle)
            await _all_of(world, stream)
        finally:
            sender.close()
        await monitor.stop()
        return _judge(monitor.store, stream, waiting)


async def _online(world: World) -> None:
    """Return once the monitor is back: from then on the broker keeps a queue for it."""
    config = Config(broker=world.broker.address("simulator"))
    async with (
        asyncio.timeout(SETTLE_S),
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("bms/_monitor/+/status", 1)
        async for message in client.messages:
            if message.payload == b"online":
                return


async def _all_of(world: World, stream: Stream) -> None:
    """Return once the last frame of every asset is in the store."""
    last = {packet.topic.split("/")[1]: _numbers(packet)[-1] for packet in stream.telemetry}
    async with asyncio.timeout(SETTLE_S):
        while True:
            if await asyncio.to_thread(_newest, world.monitor.store) == last:
                return
            await asyncio.sleep(0.1)


def _newest(store: Path) -> dict[str, int]:
    with closing(connect(store, read_only=True)) as db:
        return dict(
            db.execute(
                "SELECT name, max(json_extract(payload, '$.seq')) FROM input "
                "JOIN asset ON asset.id = asset_id WHERE kind <= 1 GROUP BY name"
            ).fetchall()
        )


def _counted(store: Path) -> int:
    """How many frames the monitor knows to be missing, by the checkpoint of its end."""
    saved = newest(store)
    engine = Engine(None, None)
    for state in () if saved is None else saved.assets:
        engine.put_asset_state(state)
    return int(engine.fleet.admission["missed"][: len(engine.fleet.by_index)].sum())


def _numbers(packet: Packet) -> list[int]:
    frames = decode_telemetry(packet.payload)
    return [frame.seq for frame in frames if frame.seq is not None]


def _judge(store: Path, stream: Stream, waiting: int) -> BrokerLoss:
    published: dict[str, list[int]] = {}
    for packet in stream.telemetry:
        name = packet.topic.split("/")[1]
        published.setdefault(name, []).extend(_numbers(packet))
    with closing(connect(store, read_only=True)) as db:
        rows = db.execute(
            "SELECT name, json_extract(payload, '$.seq') FROM input "
            "JOIN asset ON asset.id = asset_id WHERE kind <= 1 ORDER BY input.id"
        ).fetchall()
        alarmed = {
            name
            for (name,) in db.execute(
                "SELECT asset FROM alarms WHERE code = ? AND state <> 'normal'", (GAP,)
            )
        }
    stored: dict[str, list[int]] = {name: [] for name in published}
    for name, seq in rows:
        stored[name].append(seq)
    lost = {name: set(all_) - set(stored[name]) for name, all_ in published.items()}
    losers = {name for name, missing in lost.items() if missing}
    wrong = sum(
        len(got) - len(set(got)) + len(set(got) - set(published[name])) + (got != sorted(got))
        for name, got in stored.items()
    )
    return BrokerLoss(
        published=sum(map(len, published.values())),
        waiting=waiting,
        lost=sum(map(len, lost.values())),
        counted=_counted(store),
        share_alarmed=len(losers & alarmed) / len(losers) if losers else 1.0,
        wrong=wrong,
    )
