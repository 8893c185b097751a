"""The page in a real browser, fed over a real broker by a small world of its own.

The module is long because one world and one browser, slow to start, serve every flow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_FILE_PATH
from iotcore import Broker
from playwright.async_api import Browser, async_playwright, expect
from playwright.async_api import Page as Tab

from monitor.contract import Provenance, encode
from simulator.demo_file import demo_recording
from tests.conftest import free_ports, need
from tests.dashboard_world import FakeHistory, Page, World, background, make_alarm, make_config
from tests.recording_files import csv, life

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
expect.set_options(timeout=30_000)  # a bound, not an expectation: the machine may be busy
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Stage:
    """One world, one server and one browser for all tests of this module."""

    world: World
    page: Page
    history: FakeHistory
    browser: Browser

    @contextlib.asynccontextmanager
    async def tab(self, path: str = "/", **options: Any) -> AsyncIterator[Tab]:
        """A fresh browser context; an error in the page's scripts fails the test."""
        settings: dict[str, Any] = {
            "viewport": {"width": 1280, "height": 800},
            "locale": "en-GB",
            **options,
        }
        context = await self.browser.new_context(**settings)
        tab = await context.new_page()
        tab.set_default_timeout(30_000)
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        foreign: list[str] = []
        tab.on(
            "request",
            lambda r: None if r.url.startswith((self.page.url, "data:")) else foreign.append(r.url),
        )
        await tab.goto(self.page.url + path)
        try:
            yield tab
        finally:
            await context.close()
        expected = ("WebSocket", "ERR_CONNECTION_REFUSED")  # a server that was stopped on purpose
        assert [e for e in errors if not any(word in e for word in expected)] == []
        assert foreign == []


@pytest.fixture(scope="module", autouse=True)
def chromium() -> str:
    found = shutil.which("chromium")
    need(found is not None, "chromium")
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(chromium: str) -> AsyncIterator[Stage]:
    broker = Broker(port=free_ports(1)[0], listen="127.0.0.1")
    await asyncio.to_thread(broker.start)
    history = FakeHistory(cycle_count=130)
    world = World(broker.port, {"B0005": 1, "B0006": 1, "pack-A.1": 8}, history)
    page = Page(broker.port, free_ports(1)[0], history)
    ready = asyncio.Event()
    async with background(world.run(ready)), async_playwright() as playwright:
        await ready.wait()
        await page.start()
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=list(CHROMIUM_ARGS)
        )
        yield Stage(world, page, history, browser)
        await browser.close()
        await page.stop()
    await asyncio.to_thread(broker.stop)


async def until(tab: Tab, condition: str) -> None:
    """Wait for a condition in the page; a function, since the page's policy forbids eval."""
    await tab.wait_for_function(f"() => {condition}")


async def see_it_move(tab: Tab, selector: str) -> None:
    """Wait until the text of an element has changed twice."""
    element = tab.locator(selector)
    await expect(element).to_contain_text("V")
    for _ in range(2):
        before = await element.inner_text()
        await expect(element).not_to_have_text(before)


async def test_the_fleet_moves_an_alarm_appears_and_a_lost_server_is_said_loudly(
    stage: Stage,
) -> None:
    async with stage.tab() as tab:
        await see_it_move(tab, "#tile-0-v")
        await expect(tab.locator("#tile-0-box")).to_contain_text("B0005")
        await expect(tab.locator("#tile-0-i")).to_contain_text("A")
        await expect(tab.locator("#tile-0-t")).to_contain_text("°C")
        await expect(tab.locator("#tile-0-soh")).to_have_text("95.1 %")
        await expect(tab.locator("#tile-0-soh-sub")).to_have_text("93.3–96.9 %")
        await expect(tab.locator("#tile-0-fresh")).to_have_text("live")
        await expect(tab.locator("#banner")).to_be_hidden()

        alarm = make_alarm("B0005", severity=5)
        await stage.world.raise_alarm(alarm)
        await expect(tab.locator("#tile-0-alarms")).to_contain_text("1")
        await expect(tab.locator("#tile-0-lamp")).to_contain_text("Danger")
        await expect(tab.locator("#count-unack")).to_have_text("1")
        await stage.world.clear_alarm(alarm)
        await expect(tab.locator("#tile-0-lamp")).to_contain_text("Normal")

        await stage.page.stop()
        await expect(tab.locator("#banner")).to_contain_text("connection to the server is lost")
        await expect(tab.locator("#tile-0-fresh")).to_contain_text("stale")
        await stage.page.start()
        await expect(tab.locator("#banner")).to_be_hidden()
        await see_it_move(tab, "#tile-0-v")


async def test_a_silent_asset_is_shown_as_stale_with_its_age(stage: Stage) -> None:
    async with stage.tab() as tab:
        await expect(tab.locator("#tile-1-fresh")).to_have_text("live")
        stage.world.silent.add("B0006")
        await expect(tab.locator("#tile-1-fresh")).to_contain_text("stale")
        await expect(tab.locator("#tile-1-lamp")).to_contain_text("Unknown")
        await expect(tab.locator("#tile-0-fresh")).to_have_text("live")
        stage.world.silent.discard("B0006")
        await expect(tab.locator("#tile-1-fresh")).to_have_text("live")


TRACE_X = "document.querySelector('#traces .js-plotly-plot')?.data?.[0]?.x"
AXIS = "document.querySelector('#traces .js-plotly-plot').layout.xaxis"


async def test_traces_move_keep_their_zoom_pause_and_survive_a_reload(stage: Stage) -> None:
    async with stage.tab("/asset/B0005") as tab:
        await see_it_move(tab, "#a-v")
        await until(tab, f"{TRACE_X}?.length > 20")
        await expect(tab.locator("#a-soh-sub")).to_contain_text("Recorded 95.0 %")
        await expect(tab.locator("#cycle-grid")).to_contain_text("Discharge")
        buttons = await tab.locator("#traces .modebar-btn").evaluate_all(
            "all => all.map(one => one.dataset.title)"
        )
        assert buttons == ["Zoom", "Pan", "Zoom in", "Zoom out", "Autoscale", "Reset axes"]

        box = await tab.locator("#traces .nsewdrag").first.bounding_box()
        assert box is not None
        await tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 30)
        await tab.mouse.down()
        await tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 30, steps=4)
        await tab.mouse.up()
        await until(tab, f"{AXIS}.autorange === false")
        zoomed = await tab.evaluate(f"JSON.stringify({AXIS}.range)")
        count = await tab.evaluate(f"{TRACE_X}?.at(-1)")
        await until(tab, f"{TRACE_X}?.at(-1) > {json.dumps(count)}")
        assert await tab.evaluate(f"JSON.stringify({AXIS}.range)") == zoomed

        await tab.get_by_role("button", name="Pause", exact=True).click()
        await expect(tab.locator("#trace-note")).to_contain_text("Paused")
        still = await tab.evaluate(f"{TRACE_X}?.at(-1)")
        await see_it_move(tab, "#a-v")
        assert await tab.evaluate(f"{TRACE_X}?.at(-1)") == still
        await tab.get_by_role("button", name="Resume").click()
        await until(tab, f"{TRACE_X}?.at(-1) > {json.dumps(still)}")

        await tab.get_by_text("All", exact=True).click()
        oldest = stage.history.frames["B0005"][0].timestamp_ms
        await until(tab, f"{TRACE_X}?.[0] === cellpulse.axisTime({oldest})")
        await tab.reload()
        await until(tab, f"{TRACE_X}?.[0] === cellpulse.axisTime({oldest})")
        times = await tab.evaluate(TRACE_X)
        assert times == sorted(set(times))


async def test_every_column_of_the_fleet_has_a_filter(stage: Stage) -> None:
    async with stage.tab("/") as tab:
        await tab.get_by_text("Table", exact=True).click()
        rows = tab.locator("#fleet-grid .ag-pinned-left-cols-container .ag-row")
        await expect(rows).to_have_count(3)
        await tab.get_by_label("Asset Filter Input").fill("pack")
        await expect(rows).to_have_count(1)
        await tab.get_by_label("Asset Filter Input").fill("")
        await expect(rows).to_have_count(3)
        for words, count in ((">7", 0), (">", 3), ("<=7", 3), ("1..9", 0), ("0", 3)):
            await tab.get_by_label("Alarms Filter Input").fill(words)
            await expect(rows).to_have_count(count)
        await tab.get_by_label("Alarms Filter Input").fill("")
        await tab.get_by_label("Freshness Filter Input").fill("live")
        await expect(rows).to_have_count(3)


async def test_a_packs_cell_can_be_chosen_and_its_replay_controlled(stage: Stage) -> None:
    async with stage.tab("/asset/pack-A.1") as tab:
        cells = tab.locator("#pack-map .cp-cell")
        await expect(cells).to_have_count(8)
        await cells.nth(4).press("Enter")
        await expect(tab.locator("#a-v-sub")).to_contain_text("Cell 5")
        assert tab.url.endswith("/asset/pack-A.1/5")

        await tab.get_by_role("button", name="Pause replay").click()
        await expect(tab.locator("#replay-result")).to_contain_text("sent")
        await tab.get_by_role("button", name="Go to cycle").click()
        await expect(tab.locator("#replay-result")).to_contain_text("Go to cycle")
    assert [command.action for command in stage.world.replay_commands] == ["pause", "seek"]
    assert stage.world.replay_commands[1].asset == "pack-A.1"


async def test_the_cells_of_a_pack_are_mapped_at_one_instant(stage: Stage) -> None:
    async with stage.tab("/asset/pack-A.1") as tab:
        await expect(tab.locator("#pack-scale")).to_contain_text("bright is high")
        texts = "[...document.querySelectorAll('#pack-map .cp-cell')].map((e) => e.innerText)"
        await until(tab, f"{texts}.every((text) => text.includes('V'))")
        for _ in range(3):
            shown = await tab.evaluate(texts)
            volts = [float(text.split()[-2]) for text in shown]
            assert max(volts) - min(volts) < 0.009, shown  # the world's cells are 8 mV apart
            await see_it_move(tab, "#a-v")


async def test_another_recording_is_chosen_from_the_page(stage: Stage) -> None:
    async with stage.tab("/asset/B0005") as tab:
        await expect(tab.locator("#replay-state")).to_contain_text("playing · × 60")
        await tab.locator("#replay-choice").click()
        await tab.get_by_role("option", name="B0018").click()
        await tab.get_by_role("button", name="Play it alone").click()
        await tab.wait_for_url("**/asset/B0018")
        await expect(tab.locator("#a-note")).to_contain_text("Nothing has been heard of B0018")
    command = stage.world.replay_commands[-1]
    assert (command.action, command.asset) == ("play", "B0018")


async def test_the_traces_show_the_time_zone_that_is_chosen(stage: Stage) -> None:
    async with stage.tab("/asset/B0005", timezone_id="Asia/Kolkata") as tab:
        await until(tab, f"{TRACE_X}?.length > 5")
        await tab.get_by_role("button", name="Pause", exact=True).click()
        axis = "document.querySelector('#traces .js-plotly-plot')._fullLayout.xaxis"
        for zone, name in (("Asia/Kolkata", "Local"), ("UTC", "UTC")):
            await tab.get_by_text(name, exact=True).click()
            frames = stage.history.frames["B0005"]
            shown = f"{axis}.range[1].slice(0, 16)"
            times = [datetime.fromtimestamp(f.timestamp_ms / 1_000, ZoneInfo(zone)) for f in frames]
            expected = sorted({time.strftime("%Y-%m-%d %H:%M") for time in times})
            await until(tab, f"{json.dumps(expected)}.includes({shown})")


async def test_the_counts_above_the_fleet_choose_and_small_tiles_hold_what_matters(
    stage: Stage,
) -> None:
    alarm = make_alarm("B0006", severity=4)
    await stage.world.raise_alarm(alarm)
    try:
        async with stage.tab() as tab:
            await expect(tab.locator(".cp-tile")).to_have_count(3)
            await tab.get_by_role("button", name="unacknowledged").click()
            await expect(tab.locator(".cp-tile")).to_have_count(1)
            await expect(tab.locator("#tile-0-box")).to_contain_text("B0006")
            await tab.get_by_text("Compact", exact=True).click()
            tile = tab.locator("#tile-0-box")
            for words in ("B0006", "84.2 %", "82.4–86.0 %", "°C", "1", "live", "Warning"):
                await expect(tile).to_contain_text(words)
            box = await tile.bounding_box()
            assert box is not None
            assert box["height"] < 120
            await tab.get_by_text("Table", exact=True).click()
            rows = tab.locator("#fleet-grid .ag-pinned-left-cols-container .ag-row")
            await expect(rows).to_have_count(1)
            await tab.get_by_role("button", name="unacknowledged").click()
            await expect(rows).to_have_count(3)
            await tab.get_by_text("Tiles", exact=True).click()
            await tab.get_by_label("Search assets").fill("nobody")
            await expect(tab.locator("#fleet-empty")).to_contain_text("No asset matches")
    finally:
        await stage.world.clear_alarm(alarm)


async def test_an_alarm_is_whole_on_a_phone(stage: Stage) -> None:
    alarm = make_alarm("B0006", severity=5)
    await stage.world.raise_alarm(alarm)
    try:
        async with stage.tab("/alarms", viewport={"width": 390, "height": 844}) as tab:
            row = tab.locator("#alarm-grid .ag-center-cols-container .ag-row").first
            for words in ("Critical", "unacknowledged", "B0006", "threshold", "1.62", "Limit 1.00",
                          "Stop charging"):  # fmt: skip
                await expect(row).to_contain_text(words)
            hidden = "document.querySelector('#alarm-grid .ag-center-cols-viewport')"
            await until(tab, f"{hidden}.scrollWidth <= {hidden}.clientWidth")
    finally:
        await stage.world.clear_alarm(alarm)


async def test_a_charge_is_whole_on_a_phone(stage: Stage) -> None:
    async with stage.tab("/asset/B0005", viewport={"width": 390, "height": 844}) as tab:
        row = tab.locator("#cycle-grid .ag-center-cols-container .ag-row").first
        for words in ("Charge 130", "Ah", "Wh", "°C", "SOH"):
            await expect(row).to_contain_text(words)
        hidden = "document.querySelector('#cycle-grid .ag-center-cols-viewport')"
        await until(tab, f"{hidden}.scrollWidth <= {hidden}.clientWidth")


async def test_acknowledge_reaches_the_broker_with_the_operators_name(stage: Stage) -> None:
    alarm = make_alarm("B0006", "overtemperature", 5)
    await stage.world.raise_alarm(alarm)
    async with stage.tab("/alarms") as tab:
        row = tab.locator("#alarm-grid .ag-center-cols-container .ag-row")
        await expect(row).to_contain_text("Heat that the load does not explain")
        await expect(tab.locator("#journal")).to_contain_text("raised → unacknowledged")
        await tab.get_by_label("Search alarms").fill("elsewhere")
        await expect(row).to_have_count(0)
        await tab.get_by_label("Search alarms").fill("b0006")
        await expect(row).to_have_count(1)
        await tab.get_by_role("button", name="Acknowledge", exact=True).click()
        await expect(tab.locator("#act-result")).to_contain_text("Choose an alarm")
        await row.click()
        await tab.get_by_label("Your name").fill("mei")
        await tab.get_by_label("Comment").fill("looked at it")
        await tab.get_by_role("button", name="Acknowledge", exact=True).click()
        await expect(tab.locator("#act-result")).to_contain_text("done")
    asset, user, command = stage.world.commands[-1]
    assert (asset, user) == ("B0006", "mei")
    assert (command.action, command.code, command.source) == (
        "acknowledge",
        "overtemperature",
        "c001",
    )
    assert command.comment == "looked at it"
    await stage.world.clear_alarm(alarm)


async def test_language_theme_search_and_phone_width(stage: Stage) -> None:
    phone = {"width": 390, "height": 844}
    async with stage.tab(locale="zh-CN", color_scheme="dark", viewport=phone) as tab:
        await expect(tab.get_by_role("heading", name="电池总览")).to_be_visible()
        await expect(tab.locator("#tile-0-fresh")).to_have_text("实时")
        dark = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        await tab.emulate_media(color_scheme="light")
        await until(tab, f"getComputedStyle(document.body).backgroundColor !== '{dark}'")
        width = await tab.evaluate("document.documentElement.scrollWidth")
        assert width <= phone["width"]
        await tab.get_by_text("EN", exact=True).click()
        await expect(tab.get_by_role("heading", name="Fleet")).to_be_visible()
        await tab.get_by_label("Search assets").fill("pack")
        await expect(tab.locator(".cp-tile")).to_have_count(1)
        await tab.get_by_text("Table", exact=True).click()
        await expect(
            tab.locator("#fleet-grid .ag-pinned-left-cols-container .ag-row")
        ).to_have_count(1)
        await tab.reload()
        await expect(tab.get_by_role("heading", name="Fleet")).to_be_visible()


async def test_a_cells_future_is_drawn_and_said_in_both_languages(stage: Stage) -> None:
    async with stage.tab("/asset/B0005") as tab:
        said = tab.locator("#soh-outlook")
        await expect(said).to_contain_text(re.compile(r"In 10 cycles: \d\d\.\d % \(\d\d\.\d to"))
        await expect(said).to_contain_text(re.compile(r"End of life \(70 %\) in \d+ cycles"))
        graph = tab.locator("#soh-graph")
        await expect(graph).to_contain_text("forecast, 90 % interval")
        await expect(graph).to_contain_text("end of life, 70 %")
        await tab.get_by_text("中文", exact=True).click()
        await expect(said).to_contain_text("10 个循环后")
        await expect(graph).to_contain_text("寿命终点 70%")


@pytest.mark.parametrize("path", ["/", "/asset/pack-A.1", "/alarms", "/analyse"])
async def test_axe_finds_no_serious_fault(stage: Stage, path: str) -> None:
    still = {"reduced_motion": "reduce", "bypass_csp": True}
    async with stage.tab(path, color_scheme="light", **still) as tab:
        await until(tab, "cellpulse.frames > 3")
        await tab.add_script_tag(path=AXE_FILE_PATH)
        for scheme in ("light", "dark"):
            await tab.emulate_media(color_scheme=scheme)
            attribute = "document.documentElement.dataset.mantineColorScheme"
            await until(tab, f"{attribute} === '{scheme}'")
            result = await tab.evaluate("axe.run({resultTypes: ['violations']})")
            serious = [
                (violation["id"], [node["html"][:160] for node in violation["nodes"][:3]])
                for violation in result["violations"]
                if violation["impact"] in ("serious", "critical")
            ]
            assert serious == []


async def test_a_plain_table_is_analysed_once_its_capacity_is_said(
    stage: Stage, tmp_path: Path
) -> None:
    table = life()
    columns = {name: table[name].tolist() for name in ("time_s", "voltage_v", "current_a")}
    path = csv(tmp_path / "bench.csv", columns)
    async with stage.tab("/analyse") as tab:
        await tab.set_input_files("#drop-input", path)
        await expect(tab.locator("#analysis-state")).to_contain_text("nominal capacity")
        await tab.locator("#analysis-nominal").fill("2")
        await tab.set_input_files("#drop-input", [])
        await tab.set_input_files("#drop-input", path)
        await expect(tab.locator("#analysis-name")).to_contain_text("bench")
        await expect(tab.locator("#n-nominal")).to_contain_text("2")


async def test_a_file_is_analysed_on_the_page(stage: Stage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mat"
    broken.write_bytes(b"not a recording")
    async with stage.tab("/analyse") as tab:
        await tab.set_input_files("#drop-input", broken)
        await expect(tab.locator("#analysis-state")).to_contain_text("broken.mat")
        await expect(tab.locator(".cp-analysis-bad")).to_be_visible()
        await tab.set_input_files("#drop-input", demo_recording())
        await expect(tab.locator("#analysis-name")).to_contain_text("twin", timeout=100_000)
        said = [await tab.locator(where).inner_text() for where in ("#n-soh", "#n-soh-sub")]
        told, truth = (float(re.findall(r"[\d.]+(?= %)", words)[-1]) for words in said)
        assert abs(told - truth) < 2.5  # of the demo's cell, in %SOH, against its recorded truth
        await expect(tab.locator("#n-soh-sub")).to_contain_text("–")  # its interval
        await expect(tab.locator("#n-soh-outlook")).to_contain_text("needs 50 complete discharges")
        await until(tab, "document.querySelector('#n-traces .scatterlayer path') !== null")
        await expect(tab.locator("#n-cycle-grid")).to_contain_text("Discharge")
        await tab.locator("#analysis-which").click()
        await tab.get_by_role("option", name="twin-hot-but-healthy").click()
        await expect(tab.locator("#n-soh-sub")).to_contain_text("unlike the training data")
        await tab.locator("#analysis-which").click()
        await tab.get_by_role("option", name="twin-shorting").click()
        await expect(tab.locator("#analysis-lamp")).to_contain_text("Danger")
        await expect(tab.locator("#analysis-why")).not_to_be_empty()
        await expect(tab.locator("#n-soh-outlook-box .cp-label")).to_have_text("Forecast")
        await expect(tab.locator("#n-advice-box .cp-label")).to_have_text("Charging advice")
        await expect(tab.locator("#n-advice")).to_have_text(re.compile(r"^[A-Z]"))
        first = tab.locator("#analysis-segments .cp-segment").first
        await expect(first).to_contain_text("Thermal score")
        await expect(first).to_contain_text(re.compile("Warning|Danger"))
        shape = "document.querySelector('#n-traces .js-plotly-plot').layout.shapes[1]"
        axis = "document.querySelector('#n-traces .js-plotly-plot').layout.xaxis"
        await first.press("Enter")
        await until(tab, f"{axis}.autorange === false")
        assert await tab.evaluate(f"{axis}.range[0] < {shape}.x0 && {shape}.x1 < {axis}.range[1]")
        span = "(range) => Date.parse(range[1]) - Date.parse(range[0])"
        wide = await tab.evaluate(f"({span})([{shape}.x0, {shape}.x1])")
        assert await tab.evaluate(f"({span})({axis}.range)") <= 2 * wide + 240_000
        await tab.get_by_role("button", name="Show all of it").click()
        await until(tab, f"{axis}.autorange !== false")


async def test_an_analysis_can_be_cancelled_and_survives_a_switch_of_language(
    stage: Stage, tmp_path: Path
) -> None:
    columns = {name: column.tolist() * 400 for name, column in life().items() if name != "cycle"}
    columns["time_s"] = [10.0 * k for k in range(len(columns["time_s"]))]
    path = csv(tmp_path / "long.csv", columns)
    async with stage.tab("/analyse") as tab:
        await tab.locator("#analysis-nominal").fill("2")
        await tab.locator("#analysis-nominal").press("Tab")
        await tab.set_input_files("#drop-input", path)
        await expect(tab.locator("#analysis-state")).to_contain_text("Analysing long.csv")
        await tab.get_by_text("中文", exact=True).click()
        await expect(tab.locator("#analysis-state")).to_contain_text("正在分析 long.csv")
        await tab.get_by_role("button", name="取消").click()
        await expect(tab.locator("#analysis-state")).to_have_text("已取消：未分析 long.csv。")
        await expect(tab.locator("#analysis-bar")).to_be_hidden()
        empty = tmp_path / "empty.csv"
        empty.write_bytes(b"")
        await tab.set_input_files("#drop-input", empty)
        await expect(tab.locator("#analysis-state")).to_have_text("无法分析 empty.csv。 文件为空")
        await tab.get_by_text("EN", exact=True).click()
        await expect(tab.locator("#analysis-state")).to_contain_text(
            "the file is empty", ignore_case=True
        )


async def test_what_a_device_writes_is_text_on_the_page(stage: Stage) -> None:
    evil = '<img src=x onerror="window.caught=1"><script>window.caught=1</script>{{7*7}}'
    config = msgspec.structs.replace(
        make_config(), chemistry=evil[:500], cell_type=evil, provenance=Provenance(source=evil)
    )
    await stage.world.publish("bms/hostile/config", encode(config), retain=True)
    alarm = msgspec.structs.replace(
        make_alarm("hostile", severity=5), message=evil, message_zh=evil, action=evil, unit=evil
    )
    await stage.world.raise_alarm(alarm)
    try:
        for path in ("/asset/hostile", "/alarms", "/"):
            async with stage.tab(path) as tab:
                await expect(tab.get_by_text("hostile").first).to_be_visible()
                if path != "/":
                    await expect(tab.get_by_text("onerror").first).to_be_attached()
                assert await tab.evaluate("window.caught") is None
                assert await tab.locator("img[src=x]").count() == 0
    finally:
        await stage.world.clear_alarm(alarm)
        await stage.world.publish("bms/hostile/config", b"", retain=True)
