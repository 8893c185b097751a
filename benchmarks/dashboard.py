"""`cellpulse bench dashboard`: from an MQTT publish to the painted page, and how many browsers.

Four measurements. mosquitto, `cellpulse monitor` with its store and `cellpulse dashboard` run as
they are shipped, and a real headless Chromium shows a page of batteries that publish at 10 Hz: once
a pack of 96 cells on its own page, every cell of it on the map, and once 96 assets of one cell each
on the fleet's page. The time runs from just before the publish until the browser has painted the
frame with the new text, on one clock of this machine; a value that was never painted, because a
newer one had come, counts among the skipped. Then 100 WebSocket clients read and confirm as
browsers do, and an hour's worth of updates goes through the hub while its memory is watched. Last,
what the page stands on is killed and started again (`benchmarks/recovery.py`).
Publisher, broker, monitor, page and browser are processes that share this machine's processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiomqtt
import numpy as np
import psutil
from playwright.async_api import async_playwright
from websockets.asyncio.client import connect

from benchmarks import recovery
from benchmarks.broker import Mosquitto, free_port
from benchmarks.results import Page, below_headline, figure, hand_out
from benchmarks.screenshots import CHROMIUM_ARGS
from benchmarks.streaming import START_S, start_process
from monitor.contract import AssetConfig, Frame, Topics, encode
from monitor.dashboard.live.hub import Hub, View
from monitor.mqtt.address import BrokerAddress
from training.figures import Figure

CELLS = 96
PAGE_HZ = 10.0
CLIENTS = 100
CLIENT_HZ = 6.0  # published, so that 5 a second can be shown to arrive
SECONDS = 30.0
LOAD_MS = 90_000  # for the page to be there
SETTLE_S = 5.0  # what is measured is a page in use, not one that loads
HOUR_UPDATES = 36_000
STEPS = 390  # of the shown temperature, 0.1 K each: longer than a measurement, so none comes twice
TOPICS = Topics()
PAGE = Page("The speed of the page", "bench dashboard", below_headline(__doc__))
What = Literal["pack", "fleet"]
PLACES = {"pack": ("/asset/pack", "a-t", "pack-value-95"), "fleet": ("/", "tile-0-t", "tile-95-t")}

# Every new text of an element, and when the frame that carried it to the screen was painted.
WATCH = """(id) => {
  window.seen = [];
  const element = document.getElementById(id);
  new MutationObserver(() => {
    const text = element.textContent;
    requestAnimationFrame(() => setTimeout(() => window.seen.push([text, Date.now()]), 0));
  }).observe(element, { childList: true, subtree: true, characterData: true });
}"""


@dataclass(frozen=True, slots=True)
class Painted:
    """What a browser painted of what was published while it was watched."""

    delays_ms: list[float]
    published: int

    @property
    def skipped(self) -> float:
        """The share of the published values that were never on the screen."""
        return max(0.0, 1.0 - len(self.delays_ms) / max(1, self.published))


async def publish(broker: BrokerAddress, what: What, hz: float) -> None:
    """Publish until standard input ends; then print when each shown text was published, ms."""
    names = ["pack"] if what == "pack" else [f"cell-{n + 1:03d}" for n in range(CELLS)]
    cells = CELLS if what == "pack" else 1
    config = AssetConfig(v=1, nominal_capacity_ah=50.0, cells=cells)
    sent: dict[str, float] = {}
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with aiomqtt.Client(
        broker.host, broker.port, username=broker.user, password=broker.password
    ) as client:
        client.pending_calls_threshold = 4 * CELLS
        for name in names:
            await client.publish(TOPICS.of(name, "config"), encode(config), qos=1, retain=True)
        due = time.monotonic()
        for step in itertools.count():
            if ended.done():
                break
            celsius = 10.0 + (step % STEPS) / 10
            sent[f"{celsius:.1f} °C"] = time.time() * 1_000
            await asyncio.gather(
                *(
                    client.publish(
                        TOPICS.of(name, "telemetry"), encode(_frame(step, celsius, cells, k)), qos=1
                    )
                    for k, name in enumerate(names)
                )
            )
            due += 1.0 / hz
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    print(json.dumps(sent))


def _frame(step: int, celsius: float, cells: int, shift: int) -> Frame:
    voltages: list[float | None] = [
        round(3.0 + (step + cell + shift) % 1_200 / 1_000, 4) for cell in range(cells)
    ]
    return Frame(
        v=1,
        session="bench",
        seq=step,
        timestamp_ms=int(time.time() * 1_000),
        current_a=10.0,
        voltage_v=voltages if cells > 1 else voltages[0],
        temperature_c=celsius,
        ambient_c=25.0,
    )


@contextlib.asynccontextmanager
async def publishing(
    broker: BrokerAddress, what: What, hz: float
) -> AsyncIterator[dict[str, float]]:
    """A publisher of its own process; what it sent when is in the dictionary after the block."""
    sent: dict[str, float] = {}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.dashboard", "publish", broker.url(), what, str(hz),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield sent
    finally:
        output, _ = await process.communicate(b"")
        sent.update(json.loads(output))


@dataclass(frozen=True, slots=True)
class Served:
    """What runs: where to publish, the page's port, and the process that serves the page."""

    broker: BrokerAddress
    port: int
    page: psutil.Process


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Served]:
    """Broker, monitor and page of their own, as they are shipped."""
    with tempfile.TemporaryDirectory(prefix="cellpulse-page-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)
        broker = Mosquitto(folder / "broker")
        await asyncio.to_thread(broker.start)
        url, port = broker.address("monitor").url(), free_port()
        common = ("--broker", url, "--store", str(folder / "store.sqlite"))
        processes = [
            await start_process("cellpulse", "monitor", *common),
            await start_process("cellpulse", "dashboard", *common, "--port", str(port)),
        ]
        try:
            async with asyncio.timeout(START_S):
                await recovery.listening(port)
            yield Served(broker.address("simulator"), port, psutil.Process(processes[1].pid))
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.to_thread(broker.kill)


async def painted(what: What, seconds: float) -> Painted:
    """How long each value took from its publish to the screen."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("this benchmark needs Chromium")
    path, watched, last = PLACES[what]
    async with (
        served() as running,
        async_playwright() as playwright,
        publishing(running.broker, what, PAGE_HZ) as sent,
    ):
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=list(CHROMIUM_ARGS)
        )
        tab = await browser.new_page(viewport={"width": 1440, "height": 900})
        await tab.goto(f"http://127.0.0.1:{running.port}{path}")
        await tab.wait_for_function(
            f"() => document.getElementById('{last}') !== null", timeout=LOAD_MS
        )
        await asyncio.sleep(SETTLE_S)
        await tab.evaluate(WATCH, watched)
        begin_ms = time.time() * 1_000
        await asyncio.sleep(seconds)
        end_ms = time.time() * 1_000
        seen: list[tuple[str, float]] = await tab.evaluate("window.seen")
        await browser.close()
    # A text comes again after STEPS, so it is known by the publish that came before its paint.
    delays = [at - sent[text] for text, at in seen if sent.get(text, end_ms) >= begin_ms]
    published = sum(begin_ms <= at <= end_ms for at in sent.values())
    return Painted([delay for delay in delays if delay >= 0], published)


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
    async with served() as running, publishing(running.broker, "pack", CLIENT_HZ):
        used = sum(running.page.cpu_times()[:2])
        begin = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.dashboard", "clients", f"127.0.0.1:{running.port}",
            str(seconds), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        share = (sum(running.page.cpu_times()[:2]) - used) / (time.monotonic() - begin)
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
    seconds = SECONDS if budget_s is None else max(5.0, min(SECONDS, budget_s / 5))
    updates = HOUR_UPDATES if budget_s is None else min(HOUR_UPDATES, int(budget_s * 300))
    growth, whole = hours_memory(updates)
    figures = []
    for what, words in (
        ("pack", f"a pack of {CELLS} cells on its own page"),
        ("fleet", f"{CELLS} assets of one cell on the fleet's page"),
    ):
        found = asyncio.run(painted(what, seconds))  # type: ignore[arg-type]
        protocol = (
            f"{words} at {PAGE_HZ:g} Hz for {seconds:g} s, headless Chromium; "
            f"{len(found.delays_ms)} of {found.published} published values painted"
        )
        name = f"{what}: publish to painted"
        figures += [
            figure(f"{name}, p50", _share(found, 50), "ms", None, "lower", protocol),
            figure(f"{name}, p95", _share(found, 95), "ms", 200.0, "lower", protocol),
            figure(f"{name}, longest", _share(found, 100), "ms", None, "lower", protocol),
            figure(f"{what}: values skipped", 100 * found.skipped, "%", None, "lower", protocol),
        ]
    rate, delay, share = asyncio.run(many_clients(seconds))
    crowd = (
        f"{CLIENTS} clients on one server for {seconds:g} s, a pack of {CELLS} cells, "
        f"{CLIENT_HZ:g} updates published/s"
    )
    recovered = asyncio.run(
        recovery.measure() if budget_s is None else recovery.measure(1, (min(20.0, budget_s / 12),))
    )
    memory = f"{updates} updates of {CELLS} cells, one page looking; {whole:.0f} MiB in all"
    return [
        *figures,
        figure("updates at the slowest of 100 clients", rate, "1/s", 5.0, "higher", crowd),
        figure("publish to receipt, 100 clients, p95", delay, "ms", None, "lower", crowd),
        figure("processor share of the page's server", share, "cores", None, "lower", crowd),
        figure("memory growth in an hour's worth of updates", growth, "MiB", 5.0, "lower", memory),
        *recovered,
    ]


def _share(found: Painted, percent: float) -> float:
    return float(np.percentile(found.delays_ms, percent)) if found.delays_ms else float("inf")


def main(json_out: bool, budget_s: float | None, page: Path | None = None) -> None:
    """Run the benchmark; a table, or with `json_out` one object, on standard output.

    `page` is a Markdown file to write the same to.
    """
    found = measure(budget_s)
    hand_out(PAGE, found, json_out=json_out, file=page)


if __name__ == "__main__":
    if sys.argv[1] == "publish":
        asyncio.run(publish(BrokerAddress.parse(sys.argv[2]), sys.argv[3], float(sys.argv[4])))  # type: ignore[arg-type]
    else:
        asyncio.run(clients(sys.argv[2], CLIENTS, float(sys.argv[3])))
