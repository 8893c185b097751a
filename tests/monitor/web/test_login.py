"""The login: who is not signed in sees nothing, over HTTP, the live socket and uploads alike."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import json
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from dash import Dash
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from monitor.contract import Command, Reply
from monitor.dashboard.analysis import Analysis
from monitor.dashboard.app import Actions, make_app, serve
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.pages.shell import top_bar
from monitor.errors import ConfigurationError
from monitor.web.login import (
    MAX_WAITING,
    BusyError,
    Logins,
    PasswordHash,
    read_logins,
    set_password,
)
from monitor.web.login_guard import COOKIE, BasicGuard, LoginGuard
from tests.conftest import ROOT

PASSWORD = "correct horse: 电池"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("login") / "logins"
    set_password(path, "ann", PASSWORD)
    return path


class Page:
    """The page behind a login, served by the real server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sent: list[tuple[str, str]] = []
        actions = Actions(command=self._command, analyse=self._analyse)
        self.app: Dash = make_app(Hub(), None, actions=actions)

    async def _command(self, asset: str, command: Command, user: str) -> Reply:
        self.sent.append((asset, user))
        return Reply(v=1, id=command.id, result="done")

    async def _analyse(self, *_: object) -> list[Analysis]:
        raise AssertionError("nobody who is not signed in may come here")

    async def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        given = {key.replace("_", "-"): value for key, value in headers.items()}

        def fetch() -> tuple[int, str, dict[str, str]]:
            line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            with contextlib.closing(line):
                line.request(method, path, body, given)
                answer = line.getresponse()
                found = {key.lower(): value for key, value in answer.getheaders()}
                return answer.status, answer.read().decode(), found

        return await asyncio.to_thread(fetch)

    async def sign_in(
        self, name: str = "ann", password: str = PASSWORD, target: str = "/"
    ) -> tuple[int, dict[str, str]]:
        form = urlencode({"name": name, "password": password, "next": target})
        status, _, headers = await self.ask("POST", "/login", form)
        return status, headers

    def live(self, cookie: str = "") -> connect:
        return connect(
            f"ws://127.0.0.1:{self.port}/live", origin=f"http://127.0.0.1:{self.port}",  # type: ignore[arg-type]  # Origin is a NewType of str
            additional_headers={"Cookie": cookie} if cookie else {},
        )  # fmt: skip


@pytest.fixture
async def page(file: Path, free_port: int) -> AsyncIterator[Page]:
    one = Page(free_port)
    started = asyncio.Event()
    task = asyncio.create_task(
        serve(one.app, "127.0.0.1", free_port, started=started, logins=Logins(file))
    )
    await started.wait()
    yield one
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/asset/B0005"), ("GET", "/_dash-layout"), ("GET", "/assets/1-core.js"),
     ("POST", "/_dash-update-component"), ("POST", "/analyse/upload?name=x.csv"),
     ("GET", "/login/../alarms"), ("GET", "//alarms"), ("POST", "/healthz/")],
)  # fmt: skip
async def test_nothing_without_a_session(page: Page, method: str, path: str) -> None:
    for cookie in ("", f"{COOKIE}=", f"{COOKIE}=guess", 'a="; b'):
        status, body, _ = await page.ask(
            method, path, "{}" if method == "POST" else None, Cookie=cookie
        )
        assert status == 401, body


async def test_a_browser_is_led_to_the_sign_in_and_back(page: Page) -> None:
    status, _, headers = await page.ask("GET", "/asset/B0005", Accept="text/html")
    assert (status, headers["location"]) == (303, "/login?next=%2Fasset%2FB0005")
    status, body, headers = await page.ask("GET", headers["location"])
    assert (status, 'value="/asset/B0005"' in body) == (200, True)
    assert headers["content-security-policy"]
    status, headers = await page.sign_in(target="/asset/B0005")
    assert (status, headers["location"]) == (303, "/asset/B0005")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    mine = cookie.split(";")[0]
    status, body, _ = await page.ask("GET", "/asset/B0005", Cookie=mine)
    assert (status, "cp-texts" in body) == (200, True)
    status, _, headers = await page.ask("POST", "/logout", Cookie=mine)
    assert (status, headers["location"]) == (303, "/login")
    assert (await page.ask("GET", "/", Cookie=mine))[0] == 401


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "wrong password"), ("bob", PASSWORD), ("", ""), ("ann", "x" * 5_000)],
)
async def test_a_wrong_name_or_password(page: Page, name: str, password: str) -> None:
    status, headers = await page.sign_in(name, password)
    assert status == 403
    assert "set-cookie" not in headers


async def test_a_long_form_is_refused(page: Page) -> None:
    assert (await page.ask("POST", "/login", "name=" + "x" * 20_000))[0] == 413


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)",
               "/\r\nset-cookie: a=b"],
)  # fmt: skip
async def test_the_way_back_stays_here(page: Page, target: str) -> None:
    status, headers = await page.sign_in(target=target)
    assert (status, headers["location"]) == (303, "/")


async def hear_to_the_end(socket: ClientConnection) -> None:
    while True:
        await socket.send('{"got": 1}')
        await socket.recv()


async def test_the_live_socket_needs_a_session_and_ends_with_it(page: Page) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with page.live():
            pass
    assert refused.value.response.status_code == 403
    mine = (await page.sign_in())[1]["set-cookie"].split(";")[0]
    async with page.live(mine) as socket:
        await socket.send('{"look": "fleet"}')
        assert json.loads(await socket.recv())["k"]
        await page.ask("POST", "/logout", Cookie=mine)
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed):
                await hear_to_the_end(socket)


async def test_who_is_signed_in_acts_under_the_own_name(page: Page) -> None:
    """On the page of alarms and on an asset's own, whatever name the browser sends."""
    mine = (await page.sign_in())[1]["set-cookie"].split(";")[0]
    row = {"asset": "p", "source": "t01", "code": "over_temperature"}

    async def press(outputs: list[str], button: dict[str, str], states: dict[str, object]) -> None:
        several = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in outputs]
        state = [
            {**dict(zip(("id", "property"), name.split("."), strict=True)), "value": value}
            for name, value in states.items()
        ]
        body = {
            "output": f"..{'...'.join(outputs)}.." if len(outputs) > 1 else outputs[0],
            "outputs": several if len(several) > 1 else several[0],
            "inputs": [[{"id": button, "property": "n_clicks", "value": 1}]],
            "changedPropIds": [json.dumps(button, separators=(",", ":")) + ".n_clicks"],
            "state": state,
        }
        status, text, _ = await page.ask(
            "POST", "/_dash-update-component", json.dumps(body), Cookie=mine,
            Content_Type="application/json",
        )  # fmt: skip
        assert status == 200, text

    await press(
        ["act-result.children", "alarm-grid.deselectAll"], {"act": "acknowledge"},
        {"alarm-grid.selectedRows": [row], "user.value": "mallory", "comment.value": None,
         "shelve-hours.value": "1", "language.data": "en"},
    )  # fmt: skip
    await press(
        ["asset-result.children"], {"asset-act": "out_of_service"},
        {"asset-user.value": "mallory", "asset-comment.value": None, "look.data": {"asset": "q"},
         "language.data": "en"},
    )  # fmt: skip
    assert page.sent == [("p", "ann"), ("q", "ann")]


def test_the_bar_says_who_is_signed_in() -> None:
    bar = str(top_bar("en", "/", title="Cellpulse", analyse=False, user="ann"))
    assert "Sign ann out" in bar
    assert "action='/logout', method='POST'" in bar
    assert "/logout" not in str(top_bar("en", "/", title="Cellpulse", analyse=False))


async def test_healthz_is_open_and_says_nothing(page: Page) -> None:
    status, body, _ = await page.ask("GET", "/healthz")
    told = json.loads(body)
    assert (status, told["status"], told["checks"]) == (200, "ok", {"ticker": True})
    assert {name: set(task) for name, task in told["tasks"].items()} == {
        "ticker": {"state", "since_ms", "reason"}
    }


async def test_a_session_ends_by_time_and_with_its_user(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    set_password(path, "ann", PASSWORD)
    set_password(path, "bob", PASSWORD)
    now = 0.0
    guard = LoginGuard(nothing, Logins(path), lambda: now)
    ann, bob = guard._begin("ann"), guard._begin("bob")
    keys = [hashlib.sha256(token.encode()).digest() for token in (ann, bob)]
    assert [guard._user(key) for key in keys] == ["ann", "bob"]
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "bob" in line))
    assert [guard._user(key) for key in keys] == [None, "bob"]
    now = 13 * 3_600.0
    assert guard._user(keys[1]) is None


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers 200 with nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("header", "status"),
    [("", 401), ("Basic", 401), ("Basic !!!", 401), ("Bearer x", 401), ("ann:x", 401),
     ("bob:" + PASSWORD, 401), ("ann:" + PASSWORD, 200)],
)  # fmt: skip
async def test_metrics_can_demand_basic(file: Path, header: str, status: int) -> None:
    if ":" in header:
        header = "Basic " + base64.b64encode(header.encode()).decode()
    guard = BasicGuard(nothing, Logins(file))
    for path, expected in (("/metrics", status), ("/healthz", 200)):
        answers: list[Any] = []

        async def send(message: object, into: list[Any] = answers) -> None:
            into.append(message)

        scope = {"type": "http", "path": path, "headers": [(b"authorization", header.encode())]}
        await guard(scope, None, send)  # type: ignore[arg-type]  # it receives nothing
        assert answers[0]["status"] == expected


async def test_a_flood_of_tries_is_bounded(file: Path) -> None:
    logins = Logins(file)
    tries = [logins.check("ann", str(k)) for k in range(MAX_WAITING + 5)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(answer, BusyError) for answer in answers) == 5
    assert answers.count(False) == MAX_WAITING
    assert await logins.check("ann", PASSWORD)


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "logins"
    command = [sys.executable, "-m", "cellpulse", "password", "eve", "--file", str(path)]
    done = subprocess.run(
        command, input=PASSWORD + "\n", capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_logins(path)["eve"]
    assert found.fits(PASSWORD)
    assert not found.fits(PASSWORD + " ")
    short = subprocess.run(
        command, input="short\n", capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (short.returncode, short.stderr.count("\n")) == (1, 1)
    assert "10 to 1000 characters" in short.stderr
    with pytest.raises(ConfigurationError, match="expected letters"):
        set_password(path, "a/b", PASSWORD)


@pytest.mark.parametrize(
    "line", ["ann", "ann:plain:secret", "a/b:scrypt:15:8:1:00112233445566aa:" + "00" * 32,
             "ann:scrypt:99:8:1:00112233445566aa:" + "00" * 32, "ann:scrypt:15:8:1:zz:00"],
)  # fmt: skip
def test_a_bad_line_is_named_and_not_repeated(tmp_path: Path, line: str) -> None:
    path = tmp_path / "logins"
    path.write_text(f"# users\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2: expected what") as error:
        Logins(path)
    assert "secret" not in str(error.value)
    path.write_text("")
    with pytest.raises(ConfigurationError, match="names nobody"):
        Logins(path)


def test_equal_passwords_have_unequal_hashes() -> None:
    assert str(PasswordHash.make(PASSWORD)) != str(PasswordHash.make(PASSWORD))
