"""The report by one click: the endpoints, and the pages in a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_FILE_PATH
from fastapi import FastAPI
from playwright.async_api import Page as Tab
from playwright.async_api import async_playwright, expect

from analysis.process import analyse
from analysis.report.process import ReportMaker
from monitor.dashboard.app import Actions, make_app, serve
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.reports import KEPT_S, MAX_KEPT, KeptReports, mount_reports
from monitor.dashboard.texts import Language
from monitor.errors import CellpulseError
from recordings.bundle import write_bundle
from tests.conftest import free_ports, need
from tests.monitor.dashboard.test_page import CHROMIUM_ARGS
from tests.report_world import shorting, write_store

expect.set_options(timeout=60_000)


@dataclass
class FakeReports:
    """Remembers what it was asked; makes a report that says so."""

    asked: list[tuple[str, Language]] = field(default_factory=list)
    error: str | None = None

    async def of_asset(self, asset: str, language: Language) -> bytes:
        self.asked.append((asset, language))
        if self.error is not None:
            raise CellpulseError(self.error)
        return f"%PDF {asset} {language}".encode()

    async def of_saved(self, report: str, language: Language) -> bytes:
        return await self.of_asset(report, language)


async def get(server: FastAPI, path: str) -> tuple[int, dict[str, str], bytes]:
    """One GET through the ASGI app itself: status, headers, body."""
    path, _, query = path.partition("?")
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "root_path": "",
    }  # fmt: skip
    await server(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:])


async def test_the_endpoints_answer_with_a_pdf_to_keep_or_with_words() -> None:
    reports, now = FakeReports(), [0.0]
    kept = KeptReports(lambda: now[0])
    server = FastAPI()
    mount_reports(server, reports, kept)
    status, headers, body = await get(server, "/report/asset/B0005?lang=zh")
    assert (status, body) == (200, b"%PDF B0005 zh")
    assert headers["content-type"] == "application/pdf"
    assert 'filename="battery_health_report-B0005.pdf"' in headers["content-disposition"]
    token = kept.keep("my-cell", "{}")
    assert (await get(server, f"/report/file/{token}"))[2] == b"%PDF {} en"
    assert (await get(server, "/report/file/guessed"))[0] == 404
    assert (await get(server, "/report/asset/--store"))[0] == 404
    assert reports.asked == [("B0005", "zh"), ("{}", "en")]
    now[0] = KEPT_S + 1
    status, _, body = await get(server, f"/report/file/{token}?lang=zh")
    assert (status, body.decode()) == (404, "报告已不存在，请重新分析文件。")
    reports.error = "WeasyPrint finds a system library missing. Debian: apt install ..."
    status, headers, body = await get(server, "/report/asset/B0005")
    assert (status, body.decode()) == (500, reports.error)
    assert headers["content-type"].startswith("text/plain")


async def test_more_than_two_at_once_are_asked_to_come_back() -> None:
    go, begun = asyncio.Event(), asyncio.Semaphore(0)

    class Slow(FakeReports):
        async def of_asset(self, asset: str, language: Language) -> bytes:
            begun.release()
            await go.wait()
            return await super().of_asset(asset, language)

    server = FastAPI()
    mount_reports(server, Slow(), KeptReports(lambda: 0.0))
    first = [asyncio.create_task(get(server, "/report/asset/a")) for _ in range(2)]
    for _ in first:
        await begun.acquire()
    status, _, body = await get(server, "/report/asset/b")
    assert status == 503
    assert "try again" in body.decode()
    go.set()
    assert [answer[0] for answer in await asyncio.gather(*first)] == [200, 200]


def test_only_the_newest_reports_are_kept() -> None:
    kept = KeptReports(lambda: 0.0)
    tokens = [kept.keep("a", str(k)) for k in range(MAX_KEPT + 1)]
    assert len(set(tokens)) == MAX_KEPT + 1
    assert kept.find(tokens[0]) is None
    assert kept.find(tokens[-1]) == ("a", str(MAX_KEPT))


@pytest_asyncio.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    """A browser on a page whose store holds one asset."""
    binary = shutil.which("chromium")
    need(binary is not None, "chromium")
    need(shutil.which("pdftotext") is not None, "pdftotext (poppler-utils)")
    store = tmp_path / "store.sqlite"
    await asyncio.to_thread(write_store, store, shorting())
    actions = Actions(analyse=analyse, reports=ReportMaker(store))
    port, started = free_ports(1)[0], asyncio.Event()
    app = make_app(Hub(), None, actions=actions)
    task = asyncio.create_task(serve(app, "127.0.0.1", port, started=started))
    await started.wait()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=list(CHROMIUM_ARGS))
        context = await browser.new_context(base_url=f"http://127.0.0.1:{port}")
        yield await context.new_page()
        await browser.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def downloaded(tab: Tab, link: str) -> tuple[str, str]:
    """The name and the text of what a click on `link` downloads."""
    async with tab.expect_download(timeout=90_000) as waiting:
        await tab.locator(link).click()
    download = await waiting.value
    path = await download.path()
    assert (await asyncio.to_thread(path.read_bytes)).startswith(b"%PDF-1.7")
    done = await asyncio.to_thread(
        lambda: subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True)
    )
    return download.suggested_filename, done.stdout.decode()


@pytest.mark.timeout(300)  # three processes and a browser, also on a busy machine
async def test_one_click_on_either_page_gives_the_report(tab: Tab, tmp_path: Path) -> None:
    await tab.goto("/asset/twin-shorting?lang=zh")
    name, text = await downloaded(tab, "#a-report")
    assert name == "battery_health_report-twin-shorting.pdf"
    assert "电池健康报告" in text
    assert "twin-shorting" in text
    assert "危险" in text
    await tab.evaluate(await asyncio.to_thread(Path(AXE_FILE_PATH).read_text, encoding="utf-8"))
    found = await tab.evaluate("axe.run(document.querySelector('#a-report-box'))")
    assert [fault["id"] for fault in found["violations"]] == []

    recording = tmp_path / "mine.parquet"
    await asyncio.to_thread(write_bundle, recording, [shorting()])
    await tab.goto("/analyse?lang=en")
    await expect(tab.locator("#n-report")).to_be_hidden()
    await tab.set_input_files("#drop-input", recording)
    await expect(tab.locator("#n-report")).to_be_visible()
    name, text = await downloaded(tab, "#n-report")
    assert name == "battery_health_report-twin-shorting.pdf"
    assert "Battery health report" in text
    assert "file mine.parquet" in text
    assert "Danger" in text

    await tab.goto("/asset/nobody?lang=en")  # the store lacks it: said beside the link
    await tab.locator("#a-report").click()
    await expect(tab.locator(".cp-report-state")).to_contain_text("has no such asset")
    await expect(tab.locator("h1")).to_contain_text("nobody")
