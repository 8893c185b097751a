"""The page: a Dash app on FastAPI, and its server.

Dash callbacks serve what the user does. Everything that moves by itself comes over `/live`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
import msgspec
from dash import Dash, dcc, html
from fastapi import FastAPI
from msgspec import Struct
from starlette.responses import Response

from monitor.contract import Limits
from monitor.dashboard.analysis import MAX_UPLOAD_BYTES, mount_upload
from monitor.dashboard.callbacks import (
    Actions,
    add_action_callback,
    add_client_callbacks,
    add_history_callbacks,
    add_outlook_callback,
    add_replay_callback,
    add_service_callback,
    add_shell_callbacks,
)
from monitor.dashboard.history import SPANS_MS
from monitor.dashboard.live.feed import wall_clock_ms
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.live.socket import STANDS_S, Live, mount_live
from monitor.dashboard.pages.asset import REPLAY_SPEEDS
from monitor.dashboard.reports import KeptReports, mount_reports
from monitor.dashboard.texts import LANGUAGES, table
from monitor.store.history import History
from monitor.store.thinning import SILENCE_MS, SILENCE_STEPS
from monitor.supervisor import Supervisor
from monitor.web.login import Logins
from monitor.web.login_guard import LoginGuard
from monitor.web.origin_guard import OriginGuard
from monitor.web.server import LOOPBACK_NAMES, Server, listen
from monitor.web.server import serve as serve_on

__all__ = ["Actions", "make_app", "serve"]

log = logging.getLogger(__name__)

TICKS_AGAIN_S = 1.0  # a failed ticker is begun again within that
HERE = Path(__file__).resolve().parent

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
{%css%}
</head>
<body>
<div id="banner" role="alert" class="cp-banner cp-hidden"></div>
{%app_entry%}
<script type="application/json" id="cp-texts">__TEXTS__</script>
<script type="application/json" id="cp-settings">__SETTINGS__</script>
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


class PageSettings(Struct, frozen=True):
    """What the page's scripts are told once, so that no number stands here and there."""

    spans_ms: dict[str, int]  # the named ranges of a trace
    gap_ms: int  # a line is broken after so long without a sample,
    gap_steps: int  # and after so many usual steps
    limits: dict[str, Any]  # the contract's, which a config leaves out
    speeds: list[float]  # of a replay, those that are offered
    upload_bytes: int  # the largest file that is analysed


def page_settings() -> PageSettings:
    """The settings of every page."""
    return PageSettings(
        SPANS_MS,
        SILENCE_MS,
        SILENCE_STEPS,
        msgspec.structs.asdict(Limits()),
        [float(speed) for speed in REPLAY_SPEEDS],
        MAX_UPLOAD_BYTES,
    )


def make_app(
    hub: Hub,
    history: History | None,
    *,
    title: str = "Cellpulse",
    actions: Actions | None = None,
    supervisor: Supervisor | None = None,
) -> Dash:
    """The Dash app of a hub and a store (None: only what is live is shown).

    What the `supervisor` runs is told by the page's `/healthz`; `serve` adds the ticker to it.
    """
    actions = actions or Actions()
    supervisor = supervisor or Supervisor(wall_clock_ms)
    server = FastAPI(openapi_url=None, lifespan=_no_lifespan)
    live = Live(hub, wall_clock_ms)
    mount_live(server, live)
    _mount_health(server, live, supervisor)
    kept = KeptReports(time.monotonic)
    if actions.analyse is not None:
        mount_upload(server, actions.analyse, kept.with_tokens)
    if actions.reports is not None:
        mount_reports(server, actions.reports, kept)
    texts = json.dumps({language: table(language) for language in LANGUAGES}, ensure_ascii=False)
    app = Dash(
        title,
        server=server,  # type: ignore[arg-type]  # Dash's types know Flask alone
        title=title,
        update_title="",
        serve_locally=True,
        assets_folder=str(HERE / "assets"),
        index_string=INDEX.replace("__TEXTS__", texts.replace("<", "\\u003c")).replace(
            "__SETTINGS__", msgspec.json.encode(page_settings()).decode()
        ),
        suppress_callback_exceptions=True,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
    )
    # Without this every browser would keep a second WebSocket open, for callbacks that we lack.
    app.backend.websocket_capability = False
    app.layout = _layout()
    server.state.live = live
    server.state.supervisor = supervisor
    add_shell_callbacks(app, title, actions)
    add_client_callbacks(app)
    add_history_callbacks(app, hub, history)
    if history is not None and actions.outlook is not None:
        add_outlook_callback(app, hub, history, actions.outlook)
    if actions.command is not None:
        add_action_callback(app, actions.command)
        add_service_callback(app, actions.command)
    if actions.simulator is not None:
        add_replay_callback(app, hub, actions.simulator)
    # Dash finds its callbacks and assets at the first request to `/`; on FastAPI a first request
    # to another page, such as a bookmarked asset, would get a page without scripts.
    app._setup_server()  # type: ignore[no-untyped-call]  # noqa: SLF001
    return app


async def serve(
    app: Dash,
    host: str = "127.0.0.1",
    port: int = 8050,
    *,
    hosts: Collection[str] = (),
    started: asyncio.Event | None = None,
    logins: Logins | None = None,
) -> None:
    """Serve the app until cancelled, then close every socket within 2 s.

    `hosts` are the further names under which browsers may reach it; a server that listens beyond
    loopback answers to any name. With `logins` nothing is shown to who is not signed in. Raises
    ConfigurationError where the port cannot be had.
    """
    listener = listen(host, port, option="--port")
    loopback = host in LOOPBACK_NAMES
    if logins is None and not loopback:
        log.warning("the page on %s:%d is open to all who reach it: no login is set", host, port)
    inner = app.server if logins is None else LoginGuard(app.server, logins, time.monotonic)
    guarded = OriginGuard(inner, {*LOOPBACK_NAMES, *hosts} if loopback or hosts else ())
    server = Server(guarded, started, lifespan="on")
    live: Live = app.server.state.live
    supervisor: Supervisor = app.server.state.supervisor
    ticks = supervisor.run("ticker", live.run, within_s=STANDS_S, longest_wait_s=TICKS_AGAIN_S)
    ticker = asyncio.create_task(ticks, name="live ticks")
    try:
        await serve_on(server, listener)
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker


def _mount_health(server: FastAPI, live: Live, supervisor: Supervisor) -> None:
    async def healthz() -> Response:
        """How the page is; how the monitor is, its own /healthz says."""
        tasks = supervisor.states()
        checks = {"ticker": live.ticks}
        good = all(checks.values())
        body = {"status": "ok" if good else "failing", "checks": checks, "tasks": tasks}
        status = 200 if good else 503
        return Response(msgspec.json.encode(body), status, media_type="application/json")

    server.add_api_route("/healthz", healthz, methods=["GET"], include_in_schema=False)


@contextlib.asynccontextmanager
async def _no_lifespan(server: FastAPI) -> AsyncIterator[None]:
    yield


def _layout() -> Any:
    return dmc.MantineProvider(
        [
            dcc.Location(id="url"),
            dcc.Store(id="language", storage_type="local"),
            html.Div(id="top"),
            html.Main(id="page", className="cp-page", tabIndex=-1),
        ],
        defaultColorScheme="auto",
        theme={
            "primaryColor": "cyan",
            "primaryShade": 9,
            "autoContrast": True,
            "defaultRadius": "md",
            "fontFamily": (
                "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', "
                "'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif"
            ),
        },
    )
