"""The demo as its viewer sees it, in a real browser: numbers move and the alarm appears."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.conftest import ROOT, need

pytestmark = pytest.mark.alone

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ASSETS = ("twin-fresh", "twin-used", "twin-aged", "twin-old", "twin-hot-but-healthy")
FAULTY = "twin-shorting"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real headless Chromium."""
    binary = shutil.which("chromium")
    need(binary is not None, "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def demo(free_port: int) -> AsyncIterator[tuple[str, float]]:
    """A running demo: the page's address and when the command was given."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "run_dashboard.py", "--no-browser", "--port", str(free_port),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    assert "Cellpulse is on" in said, said + (await process.stdout.read()).decode()
    yield f"http://127.0.0.1:{free_port}", started
    os.killpg(process.pid, signal.SIGINT)
    rest = (await asyncio.wait_for(process.stdout.read(), 10)).decode()
    assert await process.wait() == 0
    assert "Traceback" not in rest


async def inject_and_watch(page: Page, url: str) -> None:
    """A healthy cell is given a fault from its page, which then shows it being caught."""
    await page.goto(f"{url}/asset/twin-fresh")
    await page.get_by_role("textbox", name="Fault", exact=True).fill("heated")
    await page.get_by_role("option", name="Heated from outside").click()
    await page.get_by_label("Severity, 0 to 1").fill("1")
    await page.get_by_role("button", name="Inject fault").click()
    await expect(page.locator("#replay-result")).to_contain_text("sent")
    await expect(page.locator("#a-note")).to_contain_text(
        "Injected: Heated from outside", timeout=30_000
    )
    caught = re.compile("temperature rises fast|current does not explain|above its maximum")
    await expect(page.locator("#a-alarms")).to_contain_text(caught, timeout=60_000)
    await expect(page.locator("#a-lamp")).to_contain_text(re.compile("Danger|Warning"))


@pytest.mark.timeout(180)
async def test_the_page_shows_every_cell_moving_and_the_fault_alarming(
    browser: Browser, demo: tuple[str, float]
) -> None:
    url, _ = demo
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(url)
    for asset in (*ASSETS, FAULTY):
        tile = page.get_by_role("link", name=re.compile(asset)).first
        await expect(tile).to_contain_text(re.compile(r"\d\.\d+ V"), timeout=15_000)
        await expect(tile).to_contain_text(re.compile(r"°C"))
        await expect(tile).to_contain_text(
            re.compile(r"(\d %|not enough seen|unlike the training)", re.I)
        )
    fresh = page.get_by_role("link", name=re.compile("twin-fresh")).first
    before = await fresh.inner_text()
    await expect(fresh).not_to_have_text(before, timeout=5_000)
    faulty = page.get_by_role("link", name=re.compile(FAULTY)).first
    await expect(faulty).to_contain_text(re.compile("Danger|Warning"), timeout=60_000)
    await page.get_by_role("link", name=re.compile("Alarms")).first.click()
    await expect(
        page.get_by_text(re.compile("over_temperature|above its maximum")).first
    ).to_be_visible(timeout=60_000)
    for asset in ASSETS:
        assert await page.get_by_text(f"{asset} t01").count() == 0
    # After a reload the store's history is there before new frames could have drawn it.
    await page.goto(f"{url}/asset/{FAULTY}")
    await page.get_by_text("All", exact=True).click()
    await expect(page.locator(".js-plotly-plot").first).to_be_visible()
    await page.wait_for_function(
        """() => {
            const plot = document.querySelector('.js-plotly-plot');
            const x = plot && plot.data && plot.data[0] && plot.data[0].x;
            return x && x.length > 100;
        }""",
        timeout=20_000,
    )
    await inject_and_watch(page, url)
    assert errors == []
