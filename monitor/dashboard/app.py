"""The page: a Dash app on FastAPI, and its server.

Dash callbacks serve what the user does. Everything that moves by itself comes over `/live`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dash_mantine_components as dmc
import msgspec
import uvicorn
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate
from fastapi import FastAPI

from monitor.contract import Command, Reply, SimulatorCommand, is_asset_name
from monitor.dashboard import pages
from monitor.dashboard.analyse_page import analyse_page
from monitor.dashboard.analysis import Analyse, mount_upload
from monitor.dashboard.feed import FeedError, wall_clock_ms
from monitor.dashboard.guard import OriginGuard
from monitor.dashboard.history import curve_columns, read_history
from monitor.dashboard.hub import Hub
from monitor.dashboard.ica import read_curves
from monitor.dashboard.live import Live, mount_live
from monitor.dashboard.texts import LANGUAGES, Language, as_language, table, text
from monitor.errors import ConfigurationError, StoreError
from monitor.store.history import History

HERE = Path(__file__).resolve().parent
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
STOP_WITHIN_S = 1
_ASSET_PATH = re.compile(r"\A/asset/([^/]+)(?:/(\d{1,4}))?/?\Z")

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
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


@dataclass(frozen=True, slots=True)
class Actions:
    """What the page may do besides showing; None leaves the control out.

    `command(asset, command, user)` sends an operator's wish to the monitor and gives its reply;
    it raises FeedError where there was none. `simulator(name, command)` controls a replay, which
    knows the named `faults`. `analyse(path, progress)` reads a file that a user sent.
    """

    command: Callable[[str, Command, str], Awaitable[Reply]] | None = None
    simulator: Callable[[str, SimulatorCommand], Awaitable[None]] | None = None
    faults: Sequence[str] = ()
    analyse: Analyse | None = None


def make_app(
    hub: Hub,
    history: History | None,
    *,
    title: str = "Cellpulse",
    actions: Actions | None = None,
) -> Dash:
    """The Dash app of a hub and a store (None: only what is live is shown)."""
    actions = actions or Actions()
    server = FastAPI(openapi_url=None, lifespan=_no_lifespan)
    live = Live(hub, wall_clock_ms)
    mount_live(server, live)
    if actions.analyse is not None:
        mount_upload(server, actions.analyse)
    texts = json.dumps({language: table(language) for language in LANGUAGES}, ensure_ascii=False)
    app = Dash(
        title,
        server=server,  # type: ignore[arg-type]  # Dash's types know Flask alone
        title=title,
        update_title="",
        serve_locally=True,
        assets_folder=str(HERE / "assets"),
        index_string=INDEX.replace("__TEXTS__", texts.replace("<", "\\u003c")),
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
    _add_shell_callbacks(app, title, actions)
    _add_client_callbacks(app)
    _add_history_callbacks(app, hub, history)
    if actions.command is not None:
        _add_action_callback(app, actions.command)
    if actions.simulator is not None:
        _add_replay_callback(app, hub, actions.simulator)
    # Dash finds its callbacks and assets at the first request to `/`; on FastAPI a first request
    # to another page, such as a bookmarked asset, would get a page without scripts.
    app._setup_server()  # type: ignore[no-untyped-call]
    return app


async def serve(
    app: Dash,
    host: str = "127.0.0.1",
    port: int = 8050,
    *,
    hosts: Collection[str] = (),
    started: asyncio.Event | None = None,
) -> None:
    """Serve the app until cancelled, then close every socket within 2 s.

    `hosts` are the further names under which browsers may reach it; a server that listens beyond
    loopback answers to any name. Raises ConfigurationError where the port cannot be had.
    """
    listener = _listen(host, port)
    loopback = host in LOOPBACK_NAMES
    guarded = OriginGuard(app.server, {*LOOPBACK_NAMES, *hosts} if loopback or hosts else ())
    config = uvicorn.Config(
        guarded,
        lifespan="on",
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
        ws_max_size=4_096,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        server_header=False,
    )
    server = _Server(config, started)
    live: Live = app.server.state.live
    ticker = asyncio.create_task(live.run(), name="live ticks")
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="page server")
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn inside a program that handles its own signals."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None:
            self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _no_lifespan(server: FastAPI) -> AsyncIterator[None]:
    yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1_024)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} on {host} is taken by another program; "
                "stop it or choose another with --port"
            ) from error
        raise ConfigurationError(f"the page cannot be served on {host}:{port}: {error}") from error
    listener.setblocking(False)
    return listener


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


def _add_shell_callbacks(app: Dash, title: str, actions: Actions) -> None:
    @app.callback(Output("top", "children"), Input("language", "data"), Input("url", "pathname"))
    def show_top(language: str | None, path: str | None) -> Any:
        if language is None:
            raise PreventUpdate
        return pages.top_bar(
            as_language(language), path or "/", title=title, analyse=actions.analyse is not None
        )

    @app.callback(Output("page", "children"), Input("language", "data"), Input("url", "pathname"))
    def show_page(language: str | None, path: str | None) -> Any:
        if language is None:
            raise PreventUpdate
        return _page(as_language(language), path or "/", actions)


def _page(language: Language, path: str, actions: Actions) -> list[Any]:
    if path == "/":
        return pages.fleet_page(language)
    if path.rstrip("/") == "/alarms":
        return pages.alarms_page(language, can_act=actions.command is not None)
    if path.rstrip("/") == "/analyse" and actions.analyse is not None:
        return analyse_page(language)
    match = _ASSET_PATH.match(path)
    if match is not None and is_asset_name(unquote(match[1])):
        return pages.asset_page(
            language,
            unquote(match[1]),
            max(0, int(match[2] or 1) - 1),
            faults=actions.faults if actions.simulator is not None else None,
        )
    return pages.not_found_page(language)


def _add_client_callbacks(app: Dash) -> None:
    def client(name: str, *dependencies: Any, **options: bool) -> None:
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("cellpulse", name), *dependencies, **options
        )

    client(
        "chooseLanguage",
        Output("language", "data"),
        Input("language", "modified_timestamp"),
        State("language", "data"),
    )
    client(
        "switchLanguage",
        Output("language", "data", allow_duplicate=True),
        Input("language-switch", "value"),
        State("language", "data"),
        prevent_initial_call=True,
    )
    client("look", Output("looked", "data"), Input("look", "data"))
    client("zone", Output("zoned", "data"), Input("zone-switch", "value"))
    client(
        "fleetControls",
        Output("fleet-controlled", "data"),
        Input("fleet-search", "value"),
        Input("fleet-sort", "value"),
        Input("fleet-view", "value"),
    )
    client("pause", Output("pause", "children"), Input("pause", "n_clicks"))
    client("history", Output("history-drawn", "data"), Input("history", "data"))
    client("ica", Output("ica-drawn", "data"), Input("ica", "data"))
    client("events", Output("events-drawn", "data"), Input("events", "data"))
    client("analysisChosen", Output("analysis-chosen", "data"), Input("analysis-which", "value"))
    client("packOf", Output("pack-chosen", "data"), Input("pack-of", "value"))
    client("sound", Output("sound-chosen", "data"), Input("sound", "checked"))


def _add_history_callbacks(app: Dash, hub: Hub, history: History | None) -> None:
    @app.callback(Output("history", "data"), Input("range", "value"), State("look", "data"))
    async def load_history(range_name: str | None, look: dict[str, Any]) -> dict[str, Any]:
        asset, cell = str(look["asset"]), int(look["cell"])
        newest_ms = hub.newest_ms(asset)
        answer: dict[str, Any] = {"range": range_name, "asset": asset, "cell": cell}
        if history is None:
            return {**answer, "none": True}
        try:
            found = await asyncio.to_thread(
                read_history, history, asset, cell, str(range_name), newest_ms
            )
        except StoreError as error:
            return {**answer, "error": str(error)}
        return {**answer, **found}

    @app.callback(Output("ica", "data"), Input("ica-ask", "data"), State("look", "data"))
    async def load_ica(asked: object, look: dict[str, Any]) -> list[dict[str, Any]]:
        if history is None:
            return []
        try:
            curves = await asyncio.to_thread(
                read_curves, history, str(look["asset"]), int(look["cell"])
            )
        except StoreError:
            return []  # the trace, which asks the same store, says why
        return [curve_columns(curve) for curve in curves]

    @app.callback(Output("events", "data"), Input("events-ask", "data"))
    async def load_events(asked: object) -> list[Any]:
        if history is None:
            return []
        try:
            events = await asyncio.to_thread(history.events, None, 200)
        except StoreError:
            return []
        return [msgspec.to_builtins(event) for event in events]


def _add_replay_callback(
    app: Dash, hub: Hub, send: Callable[[str, SimulatorCommand], Awaitable[None]]
) -> None:
    @app.callback(
        Output("replay-result", "children"),
        Input({"replay": ALL}, "n_clicks"),
        State("replay-speed", "value"),
        State("replay-cycle", "value"),
        State("replay-fault", "value"),
        State("look", "data"),
        State("language", "data"),
        prevent_initial_call=True,
    )
    async def control(
        clicks: list[int | None],
        speed: str | None,
        cycle: int | None,
        fault: str | None,
        look: dict[str, Any],
        language_value: str | None,
    ) -> str:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        action = ctx.triggered_id["replay"]
        config = hub.config_of(str(look["asset"]))
        if config is None or config.gateway is None:
            raise PreventUpdate
        command = SimulatorCommand(
            v=1,
            action=action,
            asset=str(look["asset"]) if action in ("seek", "inject") else None,
            cycle=max(1, int(cycle or 1)) if action == "seek" else None,
            speed=float(speed or 1) if action == "speed" else None,
            fault=fault if action == "inject" else None,
        )
        try:
            await send(config.gateway, command)
        except FeedError as error:
            return str(error)
        language = as_language(language_value)
        return f"{text(f'replay_{action}', language)}: {text('sent', language)}"


def _add_action_callback(app: Dash, send: Callable[[str, Command, str], Awaitable[Reply]]) -> None:
    @app.callback(
        Output("act-result", "children"),
        Output("alarm-grid", "deselectAll"),
        Input({"act": ALL}, "n_clicks"),
        State("alarm-grid", "selectedRows"),
        State("user", "value"),
        State("comment", "value"),
        State("shelve-hours", "value"),
        State("language", "data"),
        prevent_initial_call=True,
    )
    async def act(
        clicks: list[int | None],
        rows: list[dict[str, Any]] | None,
        user: str | None,
        comment: str | None,
        hours: str | None,
        language_value: str | None,
    ) -> Any:
        language = as_language(language_value)
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        action = ctx.triggered_id["act"]
        if not rows:
            return text("select_first", language), no_update
        if not user or not is_asset_name(user):
            return text("name_first", language), no_update
        answers = await asyncio.gather(
            *(
                _act_on(send, row, action, user, comment, float(hours or 1), language)
                for row in rows[:100]
            )
        )
        return [html.Div(answer) for answer in answers], True


async def _act_on(
    send: Callable[[str, Command, str], Awaitable[Reply]],
    row: dict[str, Any],
    action: Any,
    user: str,
    comment: str | None,
    hours: float,
    language: Language,
) -> str:
    name = f"{row['asset']} · {row['source']} · {row['code']}: "
    command = Command(
        v=1,
        id=uuid.uuid4().hex,
        action=action,
        code=str(row["code"]),
        source=str(row["source"]),
        duration_s=hours * 3_600 if action == "shelve" else None,
        comment=comment[:500] if comment else None,
    )
    try:
        reply = await send(str(row["asset"]), command, user)
    except FeedError as error:
        return name + str(error)
    if reply.result == "done":
        return name + text("reply_done", language)
    return name + text("reply_refused", language, reason=reply.reason or "")
