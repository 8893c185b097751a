"""Pictures of every page of the running demo: both languages, both themes, desktop and phone.

`python -m benchmarks.screenshots [FOLDER]` starts `cellpulse demo` on a free port, waits for its
alarm, and writes `page-<name>-<language>-<theme>[-phone].png`; the page that analyses a file is
given the demo's own recording. It needs Chromium and Playwright.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright

from simulator.demo_file import demo_recording

CHROMIUM_ARGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = {"fleet": "/", "asset": "/asset/twin-shorting", "alarms": "/alarms", "analyse": "/analyse"}
LONG = ("asset", "analyse")  # shown whole, however far they scroll
SOH_KNOWN = """() => [...document.querySelectorAll('[id^="tile-"][id$="-soh"]')]
  .filter((one) => one.textContent.includes('%')).length >= 4"""
READY = {
    "fleet": SOH_KNOWN,
    "asset": "() => document.querySelector('#traces .scatterlayer path') !== null",
    "alarms": "() => document.querySelector('#alarm-grid .ag-row') !== null",
    "analyse": "() => document.querySelector('#n-traces .scatterlayer path') !== null",
}
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
START_WITHIN_S = 240.0
ALARM_WITHIN_MS = 180_000


async def slow_down(browser: Browser, url: str) -> None:
    """Once the alarm is there and SOH is known, let the replay go slowly, so that it lasts."""
    tab = await browser.new_page(locale="en-GB")
    tab.set_default_timeout(ALARM_WITHIN_MS)
    await tab.goto(url)
    await tab.wait_for_function("() => window.cellpulse && cellpulse.head?.alarms > 0")
    await tab.wait_for_function(SOH_KNOWN)
    await tab.goto(url + PAGES["asset"])
    await tab.locator("#replay-speed").click()
    await tab.get_by_role("option", name="× 10", exact=True).click()
    await tab.get_by_role("button", name="Set", exact=True).click()
    await tab.wait_for_function(
        "() => document.getElementById('replay-state').textContent.includes('× 10 ')"
    )
    await tab.close()


async def take(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Photograph every page of the demo at `url`; the files written."""
    written = []
    await slow_down(browser, url)
    for (language, locale), theme in itertools.product(LOCALES.items(), THEMES):
        for size, phone in ((DESKTOP, False), (PHONE, True)):
            context = await browser.new_context(
                viewport=size,  # type: ignore[arg-type]
                has_touch=phone,
                is_mobile=phone,
                locale=locale,
                color_scheme=theme,
                timezone_id="UTC",
                reduced_motion="reduce",
            )
            context.set_default_timeout(ALARM_WITHIN_MS)
            tab = await context.new_page()
            for name, path in PAGES.items():
                await tab.goto(url + path)
                await tab.wait_for_function(
                    "() => window.cellpulse && cellpulse.head && cellpulse.head.alarms > 0"
                )
                if name == "analyse":
                    await tab.set_input_files("#drop-input", demo_recording())
                await tab.wait_for_function(READY[name])
                await asyncio.sleep(2)  # let the traces run and the last font settle
                target = folder / f"page-{name}-{language}-{theme}{'-phone' if phone else ''}.png"
                if name in LONG:  # a table lays no rows beyond the window
                    height = await tab.evaluate("document.documentElement.scrollHeight")
                    await tab.set_viewport_size({"width": size["width"], "height": height})
                    await asyncio.sleep(1)
                await tab.screenshot(path=target)
                await tab.set_viewport_size(size)  # type: ignore[arg-type]
                written.append(target)
            await context.close()
    return written


async def main(folder: Path) -> None:
    """Run the demo, take the pictures, stop the demo."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("screenshots need Chromium: install your system's chromium package")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellpulse", "demo", "--port", str(port), "--no-browser", "--loop",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(START_WITHIN_S):
            await _until_said(demo, "Cellpulse is on")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=list(CHROMIUM_ARGS)
            )
            for path in await take(browser, url, folder):
                print(path)
            await browser.close()
    finally:
        if demo.returncode is None:
            demo.send_signal(signal.SIGINT)
            await demo.wait()


async def _until_said(process: asyncio.subprocess.Process, words: str) -> None:
    """Read the process's output up to a line with these words; SystemExit where it ends first."""
    if process.stdout is None:
        raise SystemExit("the demo has no output")
    async for line in process.stdout:
        if words in line.decode():
            return
    raise SystemExit("the demo did not start")


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
