"""`cellpulse bench alarm`: how soon after its frame an alarm is on the wire, with everything on.

A load of 10,000 samples a second goes through a real mosquitto into a monitor with both models, the
journal, Home Assistant discovery and a webhook. Beside it a few assets run hot and cool down again;
their event time is a minute a frame, so that delays are over with the next frame and each second
frame is a transition. A subscriber to `bms/+/alarm/#` notes when the alarm's record comes. The time
runs from the frame's arrival in the monitor's receive thread to that instant, the way back through
the broker included, on one clock of this machine. Publisher, broker, monitor and subscriber share
its processors; in the second run, with frames of a whole pack, the page runs as well.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.broker import Mosquitto, free_port
from benchmarks.load import Load, RawPublisher
from benchmarks.results import Page, below_headline, figure, hand_out
from benchmarks.streaming import DRAIN_S, line_of, start_process
from monitor.contract import VERSION, AssetConfig, Provenance, Topics, encode
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.link import MqttLink
from monitor.warm import compile_kernels
from training.figures import Figure

SECONDS = 60.0
SMALLEST_S = 3.0
MESSAGES = (100, 1, 100.0)
PACK = (1, 100, 100.0)
TRIGGERS = 4  # assets; fewer than make a flood
PAUSE_S = (0.005, 0.045)  # between frames of theirs
FRAME_MS = 60_000
START_MS = 1_700_000_000_000
HOT_C, COOL_C = 75.0, 25.0
LATEST_S = 20.0
TARGET_P99_MS = 10.0
TOPICS = Topics()
PAGE = Page("From a frame to its alarm", "bench alarm", below_headline(__doc__))


@dataclass(frozen=True, slots=True)
class Alarmed:
    """The times of one run, ms."""

    load: Load
    page: bool
    from_arrival: list[float]
    from_publish: list[float]
    missing: int  # transitions whose record never came
    stored_p99_ms: float


class Listener:
    """Notes when alarm records come, by asset and the frame's time."""

    def __init__(self, address: BrokerAddress) -> None:
        self.came_ns: dict[str, int] = {}
        self._link = MqttLink(
            address, "bench-alarm", subscriptions=[("bms/+/alarm/#", 0)], turn=self._take
        )
        self._link.open()

    def _take(self) -> None:
        """Runs in the network thread after every read."""
        now = time.monotonic_ns()
        for message in self._link.drain(10_000):
            if message.payload:
                record = json.loads(message.payload)
                self.came_ns.setdefault(f"{record['asset']} {record['timestamp_ms']}", now)

    def close(self) -> None:
        """End the link to the broker."""
        self._link.close()


def trigger(publisher: RawPublisher, seconds: float, dice: random.Random) -> dict[str, int]:
    """Let the trigger assets run hot and cool; when each frame that makes a transition was sent."""
    config = AssetConfig(
        v=VERSION, nominal_capacity_ah=2.0, max_gap_ms=2 * FRAME_MS,
        provenance=Provenance(source="bench alarm", replay=True),
    )  # fmt: skip
    names = [f"trigger-{k}" for k in range(TRIGGERS)]
    for name in names:
        publisher.send(
            publisher.packet(TOPICS.of(name, "config").encode(), encode(config), retain=True)
        )
    sent: dict[str, int] = {}
    frames = [0] * TRIGGERS
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(dice.uniform(*PAUSE_S))
        k = dice.randrange(TRIGGERS)
        n = frames[k]
        frames[k] += 1
        stamp = START_MS + FRAME_MS * n
        warm = HOT_C if n % 4 >= 2 else COOL_C
        payload = (
            f'{{"v":1,"timestamp_ms":{stamp},"session":"t","seq":{n},"current_a":1.0,'
            f'"voltage_v":{3.7 + 0.001 * (n % 7)},"temperature_c":{warm + 0.01 * (n % 5)}}}'
        ).encode()
        packet = publisher.packet(TOPICS.of(names[k], "telemetry").encode(), payload)
        if n % 2 and n > 2:  # the second hot frame raises, the second cool one clears
            sent[f"{names[k]} {stamp}"] = time.monotonic_ns()
        publisher.send(packet)
    publisher.settle()
    return sent


async def run(load: Load, page: bool, folder: Path, seed: int) -> Alarmed:
    """One load with the trigger assets beside it."""
    broker = Mosquitto(folder / "broker")
    await asyncio.to_thread(broker.start)
    report = folder / "report.json"
    url, address = broker.address("monitor").url(), broker.address("simulator")
    processes = []
    listener = None
    try:
        async with webhook_sink() as hook:
            monitor = await start_process(
                "benchmarks.stream_monitor", "monitor", url, str(folder / "store.sqlite"),
                str(report), CELLPULSE_WEBHOOK=hook, CELLPULSE_HOMEASSISTANT="homeassistant",
            )  # fmt: skip
            processes.append(monitor)
            await line_of(monitor)
            if page:
                processes.append(
                    await start_process(
                        "cellpulse",
                        "dashboard",
                        "--broker",
                        url,
                        "--port",
                        str(free_port()),
                        "--store",
                        str(folder / "store.sqlite"),
                    )
                )
            listener = await asyncio.to_thread(Listener, address)
            sender = await start_process(
                "benchmarks.load", address.url(), str(load.assets), str(load.cells),
                str(load.hz), str(load.seconds),
            )  # fmt: skip
            processes.append(sender)
            await line_of(sender)
            await asyncio.sleep(1.0)  # the load has begun
            with closing(RawPublisher(address, "trigger")) as publisher:
                sent = await asyncio.to_thread(
                    trigger, publisher, max(1.0, load.seconds - 2.0), random.Random(seed)
                )
            await line_of(sender, load.seconds + DRAIN_S)
            await _all_came(listener, sent)
            monitor.terminate()
            await asyncio.wait_for(monitor.wait(), DRAIN_S)
    finally:
        if listener is not None:
            listener.close()
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        broker.kill()
    return _judge(load, page, sent, listener.came_ns, await asyncio.to_thread(_read, report))


async def _all_came(listener: Listener, sent: dict[str, int]) -> None:
    """Return once every transition has come, or a while later."""
    until = time.monotonic() + LATEST_S
    while time.monotonic() < until:
        if sent.keys() <= listener.came_ns.keys():
            return
        await asyncio.sleep(0.1)


def _read(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def _judge(
    load: Load, page: bool, sent: dict[str, int], came: dict[str, int], report: dict[str, Any]
) -> Alarmed:
    arrived: dict[str, int] = report["arrived_ns"]
    both = [key for key in sent if key in came and key in arrived]
    return Alarmed(
        load=load,
        page=page,
        from_arrival=[(came[key] - arrived[key]) / 1e6 for key in both],
        from_publish=[(came[key] - sent[key]) / 1e6 for key in both],
        missing=len(sent) - len(both),
        stored_p99_ms=report["p99_ms"],
    )


@asynccontextmanager
async def webhook_sink() -> AsyncIterator[str]:
    """A web server that takes everything; its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    async with server:
        yield f"http://127.0.0.1:{port}/"


async def measure(budget_s: float | None, seed: int, folder: Path) -> list[Alarmed]:
    """Single-sample messages; then frames of a pack, with the page."""
    await asyncio.to_thread(compile_kernels)
    seconds = SECONDS if budget_s is None else max(SMALLEST_S, min(SECONDS, 0.35 * budget_s))
    return [
        await run(Load(*MESSAGES, seconds), False, folder / "messages", seed),
        await run(Load(*PACK, seconds), True, folder / "pack", seed),
    ]


def figures(found: Sequence[Alarmed]) -> list[Figure]:
    """What is to be shown."""
    out = []
    for one in found:
        name = "one message a sample" if one.load.cells == 1 else "frames of a pack, page on"
        words = (
            f"{one.load.samples_per_s:,.0f} samples/s in {one.load.messages_per_s:,.0f} messages/s "
            f"at QoS 1 for {one.load.seconds:g} s; {len(one.from_arrival)} transitions"
        )
        out += [
            figure(f"{name}: arrival to alarm on the wire, p99", _share(one.from_arrival, 99), "ms",
                   TARGET_P99_MS, "lower", words),
            figure(f"{name}: arrival to alarm on the wire, median", _share(one.from_arrival, 50),
                   "ms", None, "lower", words),
            figure(f"{name}: publish to alarm on the wire, p99", _share(one.from_publish, 99), "ms",
                   None, "lower", words),
            figure(f"{name}: transitions that did not come", float(one.missing), "", 0.0, "lower",
                   words),
        ]  # fmt: skip
    return out


def _share(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("inf")


def main(
    json_out: bool, budget_s: float | None, page: Path | None = None, seed: int = 0
) -> None:  # fmt: skip
    """Run it; a table, or with `json_out` one object, on standard output."""
    with tempfile.TemporaryDirectory(prefix="cellpulse-alarm-") as name:
        Path(name).chmod(0o755)
        found = figures(asyncio.run(measure(budget_s, seed, Path(name))))
    hand_out(PAGE, found, json_out=json_out, file=page)
