"""How long the page shows nothing new after what it stands on has come back.

A real headless Chromium shows one asset that is fed at 10 Hz. The server of the page (`cellpulse
dashboard`, a process of its own) or the broker (mosquitto) is killed and started again on the same
port after a while, or the server is stopped and goes on, or the page itself is frozen by the
browser, as a tab behind others is, while the server is started anew. The time runs from the moment
at which the port listens again (the process goes on, the page is woken) until the first value that
was published since is painted. Nobody touches the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
from playwright.async_api import Page as Tab
from playwright.async_api import async_playwright

from benchmarks.broker import Mosquitto, free_port
from benchmarks.results import Page, below_headline, figure, hand_out
from benchmarks.screenshots import CHROMIUM_ARGS
from monitor.contract import AssetConfig, Frame, Topics, encode
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client
from training.figures import Figure

TARGET_S = 2.0
HZ = 10.0
STEPS = 390  # of the shown temperature, 0.1 K each: none comes twice while it is looked for
GIVE_UP_S = 90.0
LOAD_MS = 90_000
AWAY_S = (2.0, 20.0, 60.0)
FROZEN_S = 10.0
TIMES = 3
TOPICS = Topics()
PAGE = Page("How the page comes back", "bench dashboard", below_headline(__doc__))

# Every new text of the tile, and when the frame that carried it to the screen was painted.
WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const element = document.getElementById("tile-0-t");
    const text = element ? element.textContent : "";
    requestAnimationFrame(() => setTimeout(() => window.seen.push([text, Date.now()]), 0));
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@dataclass(slots=True)
class Device:
    """An asset that publishes and comes back to its broker at once."""

    broker: BrokerAddress
    sent_ms: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Publish until cancelled."""
        for step in itertools.count():
            try:
                async with Client.to(self.broker, timeout=2) as client:
                    config = encode(AssetConfig(v=1, nominal_capacity_ah=2.0))
                    await client.publish(TOPICS.of("a", "config"), config, 1, True)
                    await self._publish(client, 1_000 * step)
            except aiomqtt.MqttError:
                await asyncio.sleep(0.05)

    async def _publish(self, client: Client, first: int) -> None:
        for step in itertools.count(first):
            celsius = 10.0 + (step % STEPS) / 10
            now_ms = time.time() * 1_000
            frame = Frame(
                v=1, timestamp_ms=int(now_ms), session=f"s{first}", seq=step, current_a=1.0,
                voltage_v=3.7, temperature_c=celsius,
            )  # fmt: skip
            await client.publish(TOPICS.of("a", "telemetry"), encode(frame), 1)
            self.sent_ms[f"{celsius:.1f} °C"] = now_ms
            await asyncio.sleep(1.0 / HZ)


@dataclass(slots=True)
class Server:
    """`cellpulse dashboard` in a process of its own."""

    broker: BrokerAddress
    folder: Path
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return once it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cellpulse", "dashboard", "--port", str(self.port),
            "--broker", self.broker.url(), "--store", str(self.folder / "none.sqlite"),
            "--log-level", "error",
        )  # fmt: skip
        await listening(self.port)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def listening(port: int) -> None:
    """Return as soon as something listens on a loopback port."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        await asyncio.sleep(0.01)


@dataclass(slots=True)
class Stage:
    """All of it, with a tab that is looked at."""

    broker: Mosquitto
    device: Device
    server: Server
    tab: Tab

    async def live_after_s(self, since_ms: float) -> float:
        """Until a value that was published after `since_ms` is painted; inf where none is."""
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            for text, at_ms in await self.tab.evaluate("window.seen"):
                if at_ms >= since_ms and self.device.sent_ms.get(text, 0.0) >= since_ms:
                    return float(at_ms - since_ms) / 1_000
            await asyncio.sleep(0.05)
        return float("inf")

    async def server_away(self, away_s: float) -> float:
        """Kill the page's server and start it again."""
        await self.server.kill()
        await asyncio.sleep(away_s)
        await self.server.start()
        return await self.live_after_s(time.time() * 1_000)

    async def broker_away(self, away_s: float) -> float:
        """Kill the broker and start it again."""
        await asyncio.to_thread(self.broker.kill)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.broker.start)
        return await self.live_after_s(time.time() * 1_000)

    async def server_stopped(self, stopped_s: float) -> float:
        """Stop the server's process, connections half open, and let it go on."""
        self.server.signal(signal.SIGSTOP)
        await asyncio.sleep(stopped_s)
        self.server.signal(signal.SIGCONT)
        return await self.live_after_s(time.time() * 1_000)

    async def page_frozen(self, frozen_s: float) -> float:
        """Let the browser freeze the page, start the server anew meanwhile, and wake the page."""
        control = await self.tab.context.new_cdp_session(self.tab)
        await control.send("Page.setWebLifecycleState", {"state": "frozen"})
        await self.server.kill()
        await asyncio.sleep(frozen_s)
        await self.server.start()
        await asyncio.sleep(2.0)  # the server is long there; it is the page that sleeps
        woken_ms = time.time() * 1_000
        await control.send("Page.setWebLifecycleState", {"state": "active"})
        return await self.live_after_s(woken_ms)


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Everything running, the page live."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("this benchmark needs Chromium")
    with tempfile.TemporaryDirectory(prefix="cellpulse-recovery-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)
        broker = Mosquitto(folder / "broker")
        await asyncio.to_thread(broker.start)
        device = Device(broker.address("simulator"))
        server = Server(broker.address("monitor"), folder)
        publishing = asyncio.create_task(device.run())
        try:
            await server.start()
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=chromium, args=list(CHROMIUM_ARGS)
                )
                tab = await browser.new_page()
                await tab.goto(f"http://127.0.0.1:{server.port}/")
                await tab.wait_for_function(
                    "() => document.getElementById('tile-0-t') !== null", timeout=LOAD_MS
                )
                await tab.evaluate(WATCH)
                one = Stage(broker, device, server, tab)
                await one.live_after_s(time.time() * 1_000)
                yield one
                await browser.close()
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            await server.kill()
            await asyncio.to_thread(broker.kill)


async def _times(
    what: Callable[[float], Awaitable[float]], seconds: float, times: int
) -> list[float]:
    found = []
    for _ in range(times):
        found.append(await what(seconds))
        await asyncio.sleep(1.0)
    return found


async def measure(
    times: int = TIMES, away: tuple[float, ...] = AWAY_S, frozen_s: float = FROZEN_S
) -> list[Figure]:
    """The longest of some times, for every way to be away."""
    figures = []
    async with stage() as one:
        ways = [
            *(("server killed", "server", one.server_away, s) for s in away),
            *(("broker killed", "broker", one.broker_away, s) for s in away),
            ("server stopped, not killed", "server", one.server_stopped, frozen_s),
            ("page asleep, server started anew", "page", one.page_frozen, frozen_s),
        ]
        for name, what, way, seconds in ways:
            found = await _times(way, seconds, times)
            said = ", ".join(f"{value:.2f}" for value in found)
            protocol = f"{name}: {what} away {seconds:g} s, {times} times: {said} s"
            figures.append(
                figure(
                    f"live again, {name} for {seconds:g} s", max(found), "s", TARGET_S, "lower",
                    protocol,
                )
            )  # fmt: skip
    return figures


if __name__ == "__main__":
    TIMES_GIVEN, *AWAY_GIVEN = (float(word) for word in sys.argv[1:])
    FOUND = asyncio.run(measure(int(TIMES_GIVEN), tuple(AWAY_GIVEN)))
    hand_out(PAGE, FOUND, json_out=False, file=None)
