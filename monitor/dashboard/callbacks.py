"""What Dash calls when the user does something: pages, history, commands to the monitor."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from monitor.alarms.rules import ASSET
from monitor.contract import (
    AssetConfig,
    Command,
    CycleSummary,
    Limits,
    Reply,
    SimulatorCommand,
    cell_name,
    is_asset_name,
)
from monitor.dashboard.analysis import Analyse
from monitor.dashboard.history import curve_columns, read_history
from monitor.dashboard.live.feed import FeedError
from monitor.dashboard.live.hub import Hub
from monitor.dashboard.pages.alarms import alarms_page
from monitor.dashboard.pages.analyse import analyse_page
from monitor.dashboard.pages.asset import asset_page
from monitor.dashboard.pages.fleet import fleet_page
from monitor.dashboard.pages.ica import read_curves
from monitor.dashboard.pages.outlook import Outlook
from monitor.dashboard.pages.shell import not_found_page, top_bar
from monitor.dashboard.refusals import refusal
from monitor.dashboard.reports import Reports
from monitor.dashboard.texts import Language, as_language, text
from monitor.errors import StoreError
from monitor.store.history import History
from monitor.web.login_guard import signed_in


@dataclass(frozen=True, slots=True)
class Actions:
    """What the page may do besides showing; None leaves the control out.

    `command(asset, command, user)` sends an operator's wish to the monitor and gives its reply;
    it raises FeedError where there was none. `simulator(name, command)` controls a replay, which
    knows the named `faults`. `analyse(path, progress)` reads a file that a user sent. `reports`
    makes health reports. `outlook(asset, config, cycles)` forecasts a cell.
    """

    command: Callable[[str, Command, str], Awaitable[Reply]] | None = None
    simulator: Callable[[str, SimulatorCommand], Awaitable[None]] | None = None
    faults: Sequence[str] = ()
    analyse: Analyse | None = None
    reports: Reports | None = None
    outlook: Callable[[str, AssetConfig, Sequence[CycleSummary]], Awaitable[Outlook]] | None = None


def add_shell_callbacks(app: Dash, title: str, actions: Actions) -> None:
    """The bar and the page, by language and address."""

    @app.callback(Output("top", "children"), Input("language", "data"), Input("url", "pathname"))
    def show_top(language: str | None, path: str | None) -> Any:
        if language is None:
            raise PreventUpdate
        return top_bar(
            as_language(language), path or "/", title=title,
            analyse=actions.analyse is not None, user=signed_in.get(),
        )  # fmt: skip

    @app.callback(Output("page", "children"), Input("language", "data"), Input("url", "pathname"))
    def show_page(language: str | None, path: str | None) -> Any:
        if language is None:
            raise PreventUpdate
        return _page(as_language(language), path or "/", actions)


def _page(language: Language, path: str, actions: Actions) -> list[Any]:
    if path == "/":
        return fleet_page(language)
    if path.rstrip("/") == "/alarms":
        return alarms_page(language, can_act=actions.command is not None, user=signed_in.get())
    if path.rstrip("/") == "/analyse" and actions.analyse is not None:
        return analyse_page(language)
    match = _ASSET_PATH.match(path)
    if match is not None and is_asset_name(unquote(match[1])):
        return asset_page(
            language,
            unquote(match[1]),
            max(0, int(match[2] or 1) - 1),
            faults=actions.faults if actions.simulator is not None else None,
            can_act=actions.command is not None,
            can_report=actions.reports is not None,
            user=signed_in.get(),
        )
    return not_found_page(language)


_ASSET_PATH = re.compile(r"\A/asset/([^/]+)(?:/(\d{1,4}))?/?\Z")


def add_client_callbacks(app: Dash) -> None:
    """What the browser's side does by itself when a control is used."""

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
    client("outlook", Output("outlook-drawn", "data"), Input("outlook", "data"))
    client("events", Output("events-drawn", "data"), Input("events", "data"))
    client("analysisChosen", Output("analysis-chosen", "data"), Input("analysis-which", "value"))
    client("packOf", Output("pack-chosen", "data"), Input("pack-of", "value"))
    client("alarmSearch", Output("alarms-sought", "data"), Input("alarm-search", "value"))
    client("sound", Output("sound-chosen", "data"), Input("sound", "checked"))


def add_history_callbacks(app: Dash, hub: Hub, history: History | None) -> None:
    """What the store is asked when a page opens."""

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
        asset = str(look["asset"])
        config = hub.config_of(asset)
        limits = Limits() if config is None else config.limits
        try:
            curves = await asyncio.to_thread(
                read_curves, history, asset, int(look["cell"]), hub.newest_ms(asset),
                charge_voltage_v=limits.charge_voltage_v,
            )  # fmt: skip
        except StoreError:
            return []  # the trace, which asks the same store, says why
        return [curve_columns(curve) for curve in curves]

    @app.callback(Output("events", "data"), Input("events-ask", "data"))
    async def load_events(asked: object) -> list[Any]:
        if history is None:
            return []
        try:
            events = await asyncio.to_thread(history.events, None, 200, members=False)
        except StoreError:
            return []
        return [msgspec.to_builtins(event) for event in events]


def add_outlook_callback(
    app: Dash,
    hub: Hub,
    history: History,
    forecast: Callable[[str, AssetConfig, Sequence[CycleSummary]], Awaitable[Outlook]],
) -> None:
    """The forecast of the cell that is looked at, once a finished discharge."""

    @app.callback(Output("outlook", "data"), Input("outlook-ask", "data"), State("look", "data"))
    async def load_outlook(asked: object, look: dict[str, Any]) -> Any:
        asset, cell = str(look["asset"]), int(look["cell"])
        config = hub.config_of(asset)
        if asked is None or config is None:
            raise PreventUpdate
        try:
            found = await asyncio.to_thread(history.cycles, asset, cell, 10_000)
        except StoreError:
            return None  # the trace, which asks the same store, says why
        told = await forecast(asset, config, [c for c in found if c.cell == cell_name(cell)])
        return {"asset": asset, "cell": cell, **msgspec.to_builtins(told)}


def add_replay_callback(
    app: Dash, hub: Hub, send: Callable[[str, SimulatorCommand], Awaitable[None]]
) -> None:
    """The controls of a replay."""

    @app.callback(
        Output("replay-result", "children"),
        Output("url", "pathname"),
        Input({"replay": ALL}, "n_clicks"),
        State("replay-choice", "value"),
        State("replay-speed", "value"),
        State("replay-cycle", "value"),
        State("replay-fault", "value"),
        State("replay-severity", "value"),
        State("look", "data"),
        State("language", "data"),
        prevent_initial_call=True,
    )
    async def control(
        clicks: list[int | None],
        choice: str | None,
        speed: str | None,
        cycle: int | None,
        fault: str | None,
        severity: float | str | None,
        look: dict[str, Any],
        language_value: str | None,
    ) -> tuple[str, Any]:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        action = ctx.triggered_id["replay"]
        asset = str(look["asset"])
        chosen = choice if action == "play" and choice else asset
        config = hub.config_of(asset)
        if config is None or config.gateway is None:
            raise PreventUpdate
        command = SimulatorCommand(
            v=1,
            action=action,
            asset=chosen if action in ("seek", "inject", "play") else None,
            cycle=max(1, int(cycle or 1)) if action == "seek" else None,
            speed=float(speed or 1) if action == "speed" else None,
            fault=_fault(fault, severity, int(look["cell"])) if action == "inject" else None,
        )
        language = as_language(language_value)
        try:
            await send(config.gateway, command)
        except FeedError as error:
            return text(error.key, language), no_update
        said = f"{text(f'replay_{action}', language)}: {text('sent', language)}"
        return said, no_update if chosen == asset else f"/asset/{quote(chosen)}"


def _fault(fault: str | None, severity: float | str | None, cell: int) -> str | None:
    """A chosen fault as `kind:key=value,...`, for the cell that is looked at."""
    if not fault:
        return None
    size = severity if isinstance(severity, int | float) else 0.5
    kind, _, rest = fault.partition(":")
    pairs = [rest] if rest else []
    return f"{kind}:" + ",".join([*pairs, f"severity={size:g}", f"cell={cell + 1}"])


def add_action_callback(app: Dash, send: Callable[[str, Command, str], Awaitable[Reply]]) -> None:
    """What an operator does about alarms."""

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
        user = signed_in.get() or user  # who is signed in acts under the own name only
        if not user or not is_asset_name(user):
            return text("name_first", language), no_update
        answers = await asyncio.gather(
            *(
                _act_on(send, row, action, user, comment, float(hours or 1), language)
                for row in rows[:100]
            )
        )
        return [html.Div(answer) for answer in answers], True


def add_service_callback(app: Dash, send: Callable[[str, Command, str], Awaitable[Reply]]) -> None:
    """A whole asset out of service and back, from its own page."""

    @app.callback(
        Output("asset-result", "children"),
        Input({"asset-act": ALL}, "n_clicks"),
        State("asset-user", "value"),
        State("asset-comment", "value"),
        State("look", "data"),
        State("language", "data"),
        prevent_initial_call=True,
    )
    async def serve(
        clicks: list[int | None],
        user: str | None,
        comment: str | None,
        look: dict[str, Any],
        language_value: str | None,
    ) -> str:
        language = as_language(language_value)
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        user = signed_in.get() or user
        if not user or not is_asset_name(user):
            return text("name_first", language)
        row = {"asset": look["asset"], "code": ASSET.code, "source": "pack"}
        action = ctx.triggered_id["asset-act"]
        return await _act_on(send, row, action, user, comment, 1.0, language)


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
        return name + text(error.key, language)
    if reply.result == "done":
        return name + text("reply_done", language)
    reason = refusal(reply.reason or "", language)
    return name + text("reply_refused", language, reason=reason)
