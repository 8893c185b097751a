"""How long from an MQTT publish to the painted page, how many browsers at once, and what memory.

`main` runs three measurements: a pack of 96 cells at 10 Hz in a real Chromium; 100 WebSocket
clients on one server; and an hour's worth of updates through the hub. Each side that is timed
runs on this machine, so publisher, broker, server and browser share its processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import numpy as np
import psutil
from iotcore import Broker
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from benchmarks.results import Figure, Page, hand_out
from benchmarks.screenshots import CHROMIUM_ARGS
from monitor.contract import AssetConfig, Frame, Topics, encode
from monitor.dashboard.app import make_app, serve
from monitor.dashboard.feed import Feed
from monitor.dashboard.hub import Hub, View

CELLS = 96
PAGE_HZ = 10.0
CLIENTS = 100
CLIENT_HZ = 6.0  # published, so that 5 a second can be shown to arrive
SECONDS = 30.0
HOUR_UPDATES = 36_000
TOPICS = Topics()
PAGE = Page("The page's speed", "bench dashboard")

# Every new text of the voltage, and when the frame that carried it to the screen was painted.
WATCH = """() => {
  window.seen = [];
  const element = document.getElementById("a-v");
  new MutationObserver(() => {
    const text = element.textContent;
    requestAnimationFrame(() => setTimeout(() => window.seen.push([text, Date.now()]), 0));
  }).observe(element, { childList: true, subtree: true, characterData: true });
}"""


async def publish(port: int, asset: str, hz: float, sent: dict[str, float]) -> None:
    """Publish a 96-cell pack until cancelled; `sent` maps a shown voltage to its wall time, ms."""
    config = AssetConfig(v=1, nominal_capacity_ah=50.0, cells=CELLS)
    async with aiomqtt.Client("127.0.0.1", port, identifier=f"bench-{asset}") as client:
        await client.publish(TOPICS.of(asset, "config"), encode(config), qos=1, retain=True)
        due = time.monotonic()
        for step in itertools.count():
            voltage = 3.0 + (step % 1_200) / 1_000
            now = time.time() * 1_000
            frame = Frame(
                v=1,
                session="bench",
                seq=step,
                timestamp_ms=int(now),
                current_a=10.0,
                voltage_v=[round(voltage + 0.0001 * cell, 4) for cell in range(CELLS)],
                temperature_c=[25.0 + 0.01 * (step % 100)] * 8,
                ambient_c=25.0,
            )
            sent[f"{voltage:.3f} V"] = now
            await client.publish(TOPICS.of(asset, "telemetry"), encode(frame), qos=1)
            due += 1.0 / hz
            await asyncio.sleep(max(0.0, due - time.monotonic()))


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[int, int]]:
    """Broker, feed and page of their own; their broker's and page's ports."""
    broker = Broker(port=_free_port(), listen="127.0.0.1")
    await asyncio.to_thread(broker.start)
    hub = Hub()
    port = _free_port()
    started = asyncio.Event()
    tasks = [
        asyncio.create_task(Feed(hub, f"mqtt://127.0.0.1:{broker.port}").run()),
        asyncio.create_task(serve(make_app(hub, None), "127.0.0.1", port, started=started)),
    ]
    await started.wait()
    try:
        yield broker.port, port
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(broker.stop)


async def painted_ms(seconds: float) -> list[float]:
    """Milliseconds from publish to paint of each value that was painted."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("this benchmark needs Chromium")
    sent: dict[str, float] = {}
    async with served() as (broker, port), async_playwright() as playwright:
        publishing = asyncio.create_task(publish(broker, "pack", PAGE_HZ, sent))
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=list(CHROMIUM_ARGS)
        )
        tab = await browser.new_page(viewport={"width": 1280, "height": 800})
        await tab.goto(f"http://127.0.0.1:{port}/asset/pack")
        await tab.wait_for_function("() => document.getElementById('pack-0') !== null")
        await asyncio.sleep(5.0)  # what follows is a page in use, not one that loads
        await tab.evaluate(WATCH)
        await asyncio.sleep(seconds)
        seen: list[tuple[str, float]] = await tab.evaluate("window.seen")
        await browser.close()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    return [at - sent[text] for text, at in seen if text in sent]


async def one_client(url: str, seconds: float) -> tuple[int, list[float]]:
    """A client that reads and confirms: updates with data, and ms from publish to receipt."""
    got = 0
    delays = []
    async with connect(f"ws://{url}/live", origin=f"http://{url}") as client:  # type: ignore[arg-type]
        await client.send('{"look": "asset", "asset": "pack", "cell": 0}')
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            frame = json.loads(await client.recv())
            await client.send('{"got": 1}')
            if frame["k"] == "asset" and frame.get("s") and not frame["full"]:
                got += 1
                delays.append(time.time() * 1_000 - frame["s"][0][-1])
    return got, delays


async def clients(url: str, count: int, seconds: float) -> None:
    """Run the clients and print their rates and delays as JSON: a process of its own."""
    found = await asyncio.gather(*(one_client(url, seconds) for _ in range(count)))
    delays = [delay for _, some in found for delay in some]
    print(json.dumps({"rates": [got / seconds for got, _ in found], "delays": delays}))


async def many_clients(seconds: float) -> tuple[float, float, float]:
    """Updates a second at the slowest client, p95 delay in ms, and the server's processor share."""
    sent: dict[str, float] = {}
    async with served() as (broker, port):
        publishing = asyncio.create_task(publish(broker, "pack", CLIENT_HZ, sent))
        own = psutil.Process()
        used = sum(own.cpu_times()[:2])
        begin = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.dashboard", f"127.0.0.1:{port}", str(seconds),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        share = (sum(own.cpu_times()[:2]) - used) / (time.monotonic() - begin)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    found = json.loads(output)
    return min(found["rates"]), float(np.percentile(found["delays"], 95)), share


def hours_memory(updates: int) -> tuple[float, float]:
    """Growth in MiB, after the first tenth, of a hub with a reader; and the whole in MiB."""
    hub = Hub()
    hub.on_config("pack", AssetConfig(v=1, nominal_capacity_ah=50.0, cells=CELLS))
    hub.on_feed(True, 0)
    process = psutil.Process()
    since = 0
    early = 0
    for step in range(updates):
        now = 1_000_000 + step * 100
        voltages: list[float | None] = [
            3.0 + (step + cell) % 1_000 / 1_000 for cell in range(CELLS)
        ]
        frame = Frame(
            v=1, timestamp_ms=now, current_a=1.0, voltage_v=voltages, temperature_c=[25.0] * 8
        )
        hub.on_frame("pack", frame, now)
        hub.tick(now)
        hub.frame(View("asset", "pack"), since)
        hub.frame(View("fleet"), since)
        since = hub.version
        if step == updates // 10:
            gc.collect()
            early = process.memory_info().rss
    gc.collect()
    late = process.memory_info().rss
    return max(0.0, (late - early) / 2**20), late / 2**20


def measure(budget_s: float | None) -> list[Figure]:
    """All figures; a budget in seconds shortens each part alike."""
    seconds = SECONDS if budget_s is None else max(5.0, min(SECONDS, budget_s / 4))
    updates = HOUR_UPDATES if budget_s is None else min(HOUR_UPDATES, int(budget_s * 300))
    growth, whole = hours_memory(updates)
    painted = asyncio.run(painted_ms(seconds))
    rate, delay, share = asyncio.run(many_clients(seconds))
    paint = f"96 cells at 10 Hz, {len(painted)} values painted in {seconds:g} s, headless Chromium"
    crowd = f"{CLIENTS} clients on one server for {seconds:g} s, {CLIENT_HZ:g} updates published/s"
    memory = f"{updates} updates of 96 cells, one page looking; {whole:.0f} MiB in all"
    return [
        Figure(
            "publish to painted, p50", float(np.percentile(painted, 50)), "ms", None, "lower", paint
        ),
        Figure(
            "publish to painted, p95",
            float(np.percentile(painted, 95)),
            "ms",
            200.0,
            "lower",
            paint,
        ),
        Figure("updates at the slowest of 100 clients", rate, "1/s", 5.0, "higher", crowd),
        Figure("publish to receipt, 100 clients, p95", delay, "ms", None, "lower", crowd),
        Figure(
            "processor share of server, feed and publisher", share, "cores", None, "lower", crowd
        ),
        Figure("memory growth in an hour's worth of updates", growth, "MiB", 5.0, "lower", memory),
    ]


def main(json_out: bool, budget_s: float | None, page: Path | None = None) -> None:
    """Run the benchmark; a table, or with `json_out` one object, on standard output.

    `page` is a Markdown file to write the same to.
    """
    found = measure(budget_s)
    hand_out(PAGE, found, json_out=json_out, file=page)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    asyncio.run(clients(sys.argv[1], CLIENTS, float(sys.argv[2])))
