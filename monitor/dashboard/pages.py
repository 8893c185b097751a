"""What stands on each page: Dash components only. Their live values come from the browser's side.

Every element that shows a live value has an id, which `assets/` fills by `dash_clientside`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html

from monitor.dashboard.texts import Language, text

GRID_THEME = {
    "function": (
        "themeQuartz.withParams({"
        "backgroundColor: 'var(--cp-surface)', foregroundColor: 'var(--cp-text)', "
        "headerBackgroundColor: 'var(--cp-surface)', headerTextColor: 'var(--cp-muted)', "
        "borderColor: 'var(--cp-line)', accentColor: 'var(--cp-accent)', "
        "fontFamily: 'inherit', fontSize: '14px', headerFontSize: '13px', "
        "wrapperBorderRadius: '12px', rowHoverColor: 'var(--cp-hover)', "
        "browserColorScheme: 'inherit'"
        "})"
    )
}
COLUMN = {"sortable": True, "resizable": True, "suppressMovable": True}
REPLAY_SPEEDS = ("1", "10", "60", "120", "600", "3600")
RANGES = ("1m", "10m", "1h", "6h", "all")
SHELVE_HOURS = ("0.25", "1", "8", "24")
GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "toImage"],
    "doubleClick": "reset+autosize",
}


def top_bar(language: Language, path: str, *, title: str, analyse: bool) -> Any:
    """The bar above every page: where one can go, what stands, language and theme."""
    links = [("/", "fleet"), ("/alarms", "alarms")]
    if analyse:
        links.append(("/analyse", "analyse"))
    return html.Header(
        [
            dcc.Store(id="zoned"),
            html.A(text("skip", language), href="#page", className="cp-skip"),
            html.Div(
                [
                    dcc.Link(
                        [html.Span("", className="cp-mark"), html.Span(title)],
                        href="/",
                        className="cp-brand",
                    ),
                    html.Nav(
                        [
                            dcc.Link(
                                [
                                    text(key, language),
                                    html.Span("", id="nav-alarms", className="cp-nav-count")
                                    if key == "alarms"
                                    else None,
                                ],
                                href=href,
                                className="cp-nav"
                                + (" cp-nav-here" if _is_here(path, href) else ""),
                            )
                            for href, key in links
                        ],
                        className="cp-navs",
                        **aria(title),
                    ),
                    html.Div(
                        [
                            html.Span("", id="clock", className="cp-clock"),
                            _named(
                                dmc.SegmentedControl(
                                    id="zone-switch",
                                    data=[
                                        {"value": "local", "label": text("local_time", language)},
                                        {"value": "utc", "label": text("utc_time", language)},
                                    ],
                                    value="local",
                                    size="xs",
                                    persistence=True,
                                ),
                                text("time_zone", language),
                            ),
                            _named(
                                dmc.SegmentedControl(
                                    id="language-switch",
                                    data=[
                                        {"value": "en", "label": "EN"},
                                        {"value": "zh", "label": "中文"},
                                    ],
                                    value=language,
                                    size="xs",
                                ),
                                text("language", language),
                            ),
                            dmc.ColorSchemeToggle(
                                lightIcon="☀",
                                darkIcon="☾",
                                variant="subtle",
                                color="gray",
                                size="lg",
                                id="theme-switch",
                                **aria(text("theme", language)),
                            ),
                        ],
                        className="cp-tools",
                    ),
                ],
                className="cp-bar",
            ),
        ],
        className="cp-top",
    )


def fleet_page(language: Language) -> list[Any]:
    """Every asset as a tile or a row."""
    return [
        *look_stores({"look": "fleet"}, "fleet-controlled"),
        html.Div(
            [
                html.H1(text("fleet", language)),
                html.Div(
                    [
                        _count("assets", text("count_assets", language)),
                        _count("stale", text("count_stale", language)),
                        _count("alarms", text("count_alarms", language)),
                        _count("unack", text("count_unack", language)),
                    ],
                    className="cp-counts",
                ),
            ],
            className="cp-head",
        ),
        html.Div(
            [
                dmc.TextInput(
                    id="fleet-search",
                    placeholder=text("search", language),
                    className="cp-search",
                    debounce=False,
                    **aria(text("search", language)),
                ),
                dmc.Select(
                    id="fleet-sort",
                    data=[
                        {"value": key, "label": text(f"by_{key}", language)}
                        for key in ("name", "risk", "soh", "temperature")
                    ],
                    value="name",
                    allowDeselect=False,
                    persistence=True,
                    className="cp-sort",
                    **aria(text("sort", language)),
                ),
                _named(
                    dmc.SegmentedControl(
                        id="fleet-view",
                        data=[
                            {"value": "tiles", "label": text("tiles", language)},
                            {"value": "table", "label": text("table", language)},
                        ],
                        value="tiles",
                        persistence=True,
                    ),
                    text("view", language),
                ),
            ],
            className="cp-controls",
        ),
        html.Div(text("connecting", language), id="fleet-empty", className="cp-empty"),
        html.Div(id="tiles", className="cp-tiles"),
        html.Div("", id="tiles-more", className="cp-more"),
        html.Div(
            dag.AgGrid(
                id="fleet-grid",
                columnDefs=_fleet_columns(language),
                rowData=[],
                getRowId="params.data.id",
                defaultColDef=COLUMN,
                dashGridOptions={
                    "theme": GRID_THEME,
                    "animateRows": False,
                    "rowHeight": 46,
                    "asyncTransactionWaitMillis": 50,
                    "suppressCellFocus": False,
                    "enableCellTextSelection": True,
                },
                style={"height": "100%", "width": "100%"},
            ),
            id="fleet-table",
            className="cp-table cp-hidden",
        ),
    ]


def asset_page(
    language: Language, asset: str, cell: int, *, faults: Sequence[str] | None
) -> list[Any]:
    """One asset: what it is now, its traces, its life, its alarms.

    `faults` are those that a replay can be asked to show; None leaves the replay controls out.
    """
    look = {"look": "asset", "asset": asset, "cell": cell}
    return [
        *look_stores(
            look, "history", "history-drawn", "pack-chosen", "ica", "ica-ask", "ica-drawn"
        ),
        html.Div(
            [
                html.Div(
                    [
                        dcc.Link(
                            "‹ " + text("back_to_fleet", language), href="/", className="cp-back"
                        ),
                        html.H1(asset),
                    ]
                ),
                html.Div(
                    [
                        html.Span("", id="a-lamp", className="cp-lamp"),
                        html.Span("", id="a-fresh", className="cp-fresh"),
                    ],
                    className="cp-status",
                ),
            ],
            className="cp-head",
        ),
        html.Div("", id="a-note", className="cp-note cp-hidden"),
        None if faults is None else _replay_bar(language, faults),
        html.Div(
            [
                figure_box("a-v", text("voltage", language)),
                figure_box("a-i", text("current", language)),
                figure_box("a-t", text("temperature", language)),
                figure_box("a-score", text("score", language)),
                figure_box("a-soc", text("soc", language)),
                figure_box("a-soh", text("soh", language)),
                figure_box("a-r", text("resistance", language)),
                figure_box("a-phase", text("phase", language)),
            ],
            className="cp-figures",
            id="a-figures",
        ),
        html.Div(
            [
                html.H2(text("pack", language)),
                dmc.Select(
                    id="pack-of",
                    data=[
                        {"value": "v", "label": text("voltage", language)},
                        {"value": "t", "label": text("temperature", language)},
                        {"value": "soc", "label": text("soc", language)},
                        {"value": "soh", "label": text("soh", language)},
                        {"value": "score", "label": text("score", language)},
                    ],
                    value="v",
                    allowDeselect=False,
                    size="xs",
                    **aria(text("heat_of", language)),
                ),
                html.Div(id="pack-map", className="cp-pack"),
            ],
            id="a-pack",
            className="cp-card cp-hidden",
        ),
        html.Section(
            [
                html.Div(
                    [
                        html.H2(text("traces", language)),
                        html.Div(
                            [
                                _named(
                                    dmc.SegmentedControl(
                                        id="range",
                                        data=[
                                            {"value": key, "label": text(f"range_{key}", language)}
                                            for key in RANGES
                                        ],
                                        value="10m",
                                        size="xs",
                                        persistence=True,
                                    ),
                                    text("range", language),
                                ),
                                dmc.Button(
                                    text("pause", language),
                                    id="pause",
                                    size="xs",
                                    variant="default",
                                    n_clicks=0,
                                ),
                            ],
                            className="cp-controls",
                        ),
                    ],
                    className="cp-card-head",
                ),
                html.Div("", id="trace-note", className="cp-muted"),
                graph("traces", "cp-traces"),
            ],
            className="cp-card",
        ),
        html.Div(
            [
                html.Section(
                    [
                        html.H2(text("soh_history", language)),
                        graph("soh-graph", "cp-graph"),
                    ],
                    className="cp-card",
                ),
                html.Section(
                    [
                        html.H2(text("ica", language)),
                        graph("ica-graph", "cp-graph"),
                    ],
                    className="cp-card",
                ),
            ],
            className="cp-two",
        ),
        html.Section(
            [
                html.H2(text("asset_alarms", language)),
                html.Div(text("no_alarms", language), id="a-alarms"),
            ],
            className="cp-card",
        ),
        html.Section(
            [
                html.H2(text("cycles", language)),
                cycle_grid("cycle-grid", language),
            ],
            className="cp-card",
        ),
        html.Section(
            [html.H2(text("config", language)), html.Div("", id="a-config", className="cp-facts")],
            className="cp-card",
        ),
    ]


def alarms_page(language: Language, *, can_act: bool) -> list[Any]:
    """What stands, what can be done about it, and what has happened."""
    return [
        *look_stores({"look": "alarms"}, "sound-chosen", "events", "events-ask", "events-drawn"),
        html.Div(
            [
                html.H1(text("alarms", language)),
                dmc.Switch(
                    id="sound", label=text("sound", language), checked=False, persistence=True
                ),
            ],
            className="cp-head",
        ),
        html.Section(
            [
                _operator_bar(language) if can_act else None,
                html.Div("", id="act-result", className="cp-muted", role="status"),
                html.Div(
                    dag.AgGrid(
                        id="alarm-grid",
                        columnDefs=_alarm_columns(language),
                        rowData=[],
                        getRowId="params.data.key",
                        defaultColDef={
                            "sortable": True,
                            "resizable": True,
                            "suppressMovable": True,
                            "wrapText": True,
                            "autoHeight": True,
                        },
                        dashGridOptions={
                            "theme": GRID_THEME,
                            "animateRows": False,
                            "localeText": {"noRowsToShow": text("no_alarms", language)},
                            "rowSelection": {
                                "mode": "multiRow",
                                "enableClickSelection": True,
                                "checkboxes": can_act,
                                "headerCheckbox": can_act,
                            },
                            "enableCellTextSelection": True,
                        },
                        style={"height": "100%", "width": "100%"},
                    ),
                    className="cp-alarm-table",
                ),
            ],
            className="cp-card",
        ),
        html.Section(
            [
                html.H2(text("journal", language)),
                html.Div(text("no_events", language), id="journal", className="cp-journal"),
            ],
            className="cp-card",
        ),
    ]


def not_found_page(language: Language) -> list[Any]:
    """Any other address."""
    return [
        *look_stores({"look": "none"}),
        html.H1(text("not_found", language)),
        dcc.Link(text("back_to_fleet", language), href="/"),
    ]


def look_stores(look: dict[str, Any], *stores: str) -> list[Any]:
    """What the page looks at, and a store for each clientside callback to answer into.

    A callback without an output would not be called when the page is put in place.
    """
    return [dcc.Store(id="look", data=look), *(dcc.Store(id=name) for name in ("looked", *stores))]


def _replay_bar(language: Language, faults: Sequence[str]) -> Any:
    """Controls of a replay; shown by the browser's side where the asset is one."""

    def button(action: str) -> Any:
        return dmc.Button(
            text(f"replay_{action}", language),
            id={"replay": action},
            size="xs",
            variant="default",
            n_clicks=0,
        )

    return html.Section(
        [
            html.H2(text("replay_controls", language)),
            button("pause"),
            button("resume"),
            button("step"),
            dmc.Select(
                id="replay-speed",
                data=[{"value": speed, "label": f"× {speed}"} for speed in REPLAY_SPEEDS],
                value="120",
                allowDeselect=False,
                size="xs",
                w=100,
                **aria(text("replay_speed", language)),
            ),
            button("speed"),
            dmc.NumberInput(
                id="replay-cycle",
                value=1,
                min=1,
                size="xs",
                w=90,
                **aria(text("cycles", language)),
            ),
            button("seek"),
            html.Div(
                [
                    dmc.Select(
                        id="replay-fault",
                        data=list(faults),
                        value=faults[0] if faults else None,
                        size="xs",
                        w=170,
                        **aria(text("replay_fault", language)),
                    ),
                    button("inject"),
                ],
                className="cp-replay-fault" if faults else "cp-hidden",
            ),
            html.Span("", id="replay-result", className="cp-muted", role="status"),
        ],
        id="replay",
        className="cp-card cp-replay cp-hidden",
    )


def _operator_bar(language: Language) -> Any:
    actions = ("acknowledge", "shelve", "unshelve", "out_of_service", "in_service")
    return html.Div(
        [
            dmc.TextInput(
                id="user",
                placeholder=text("your_name", language),
                persistence=True,
                size="sm",
                **aria(text("your_name", language)),
            ),
            dmc.TextInput(
                id="comment",
                placeholder=text("comment", language),
                size="sm",
                **aria(text("comment", language)),
            ),
            dmc.Select(
                id="shelve-hours",
                data=[{"value": hours, "label": _hours(hours, language)} for hours in SHELVE_HOURS],
                value="1",
                allowDeselect=False,
                size="sm",
                **aria(text("for_how_long", language)),
            ),
            *(
                dmc.Button(
                    text(action, language),
                    id={"act": action},
                    size="sm",
                    variant="filled" if action == "acknowledge" else "default",
                    n_clicks=0,
                )
                for action in actions
            ),
        ],
        className="cp-operator",
    )


def _hours(hours: str, language: Language) -> str:
    value = float(hours)
    if value < 1:
        return text("minutes", language, n=round(value * 60))
    return text("hours", language, n=round(value))


def _nav_link(key: str, href: str, language: Language, *, here: bool) -> Any:
    words: list[Any] = [text(key, language)]
    if key == "alarms":
        words.append(html.Span("", id="nav-alarms", className="cp-nav-count"))
    return dcc.Link(words, href=href, className="cp-nav cp-nav-here" if here else "cp-nav")


def _is_here(path: str, href: str) -> bool:
    return path == href or (href == "/" and path.startswith("/asset/"))


def _named(control: Any, name: str) -> Any:
    """A group of controls under a name that a screen reader says."""
    return html.Div(control, role="group", **aria(name))


def aria(name: str) -> dict[str, Any]:
    """The name of a control for who cannot see it."""
    return {"aria-label": name}


def graph(name: str, class_name: str) -> Any:
    """A graph that fills a box of fixed height; a responsive one sets its own height to 100 %."""
    graph = dcc.Graph(id=name, config=GRAPH_CONFIG, style={"height": "100%"})
    return html.Div(graph, className=class_name)


def cycle_grid(name: str, language: Language) -> Any:
    """The table of finished charges and discharges."""
    grid = dag.AgGrid(
        id=name,
        columnDefs=_cycle_columns(language),
        rowData=[],
        getRowId="params.data.key",
        defaultColDef=COLUMN,
        dashGridOptions={
            "theme": GRID_THEME,
            "animateRows": False,
            "localeText": {"noRowsToShow": text("no_cycles", language)},
            "enableCellTextSelection": True,
        },
        style={"height": "100%", "width": "100%"},
    )
    return html.Div(grid, className="cp-cycles")


def _count(key: str, label: str) -> Any:
    return html.Div(
        [html.Span("–", id=f"count-{key}", className="cp-count-n"), html.Span(label)],
        className="cp-count",
        id=f"count-box-{key}",
    )


def figure_box(name: str, label: str) -> Any:
    """One number with its label, and room for what qualifies it."""
    return html.Div(
        [
            html.Div(label, className="cp-label"),
            html.Div("–", id=name, className="cp-big"),
            html.Div("", id=f"{name}-sub", className="cp-sub"),
        ],
        className="cp-figure",
    )


def _column(field: str, name: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "headerName": name, **more}


def _number(field: str, name: str, unit: str, digits: int, **more: Any) -> dict[str, Any]:
    return _column(
        field,
        name,
        type="rightAligned",
        valueFormatter={"function": f"cpNumber(params.value, {digits}, {unit!r})"},
        width=more.pop("width", 118),
        **more,
    )


def _fleet_columns(language: Language) -> list[dict[str, Any]]:
    return [
        _column(
            "id",
            text("asset", language),
            cellRenderer="CpAssetLink",
            comparator={"function": "cpCompareNames"},
            sort="asc",
            pinned="left",
            width=130,
        ),
        _column(
            "risk",
            text("risk", language),
            cellRenderer="CpLamp",
            comparator={"function": "cpCompareRisk"},
            width=132,
        ),
        _number("v", text("voltage", language), "V", 3, width=104),
        _number("i", text("current", language), "A", 2, width=96),
        _number("t", text("temperature", language), "°C", 1, width=116),
        _number("score", text("score", language), "", 2, width=118),
        _number("soc", text("soc_short", language), "%", 0, width=80),
        _column("soh", text("soh_short", language), cellRenderer="CpSoh", width=190),
        _column("alarms", text("alarms", language), cellRenderer="CpAlarmCount", width=86),
        _column("stale", text("freshness", language), cellRenderer="CpFresh", width=138),
        _column(
            "phase",
            text("phase", language),
            valueFormatter={"function": "cpPhase(params.value)"},
            width=108,
        ),
        _number("r", text("resistance", language), "mΩ", 1, width=104),
    ]


def _cycle_columns(language: Language) -> list[dict[str, Any]]:
    time = {"function": "cpTime(params.value)"}
    return [
        _column("number", text("number", language), width=80, type="rightAligned"),
        _column(
            "kind",
            text("kind", language),
            valueFormatter={"function": "cpText('kind_' + params.value)"},
            width=115,
        ),
        _column("start_ms", text("start", language), valueFormatter=time, width=185, sort="desc"),
        _number("duration_h", text("duration", language), "h", 2),
        _number("capacity_ah", text("capacity", language), "Ah", 3, width=125),
        _number("energy_wh", text("energy", language), "Wh", 2),
        _number("temperature_max_c", text("t_max", language), "°C", 1, width=170),
        _number("resistance_ohm", text("resistance", language), "mΩ", 1),
        _column("soh", text("soh_short", language), cellRenderer="CpSoh", width=230),
        _column("done", text("complete", language), width=110),
    ]


def _alarm_columns(language: Language) -> list[dict[str, Any]]:
    """The severity and the sentence come first: on a phone they are what fits."""
    return [
        _column("severity", text("severity", language), cellRenderer="CpSeverity", width=124),
        _column("text", text("alarm", language), flex=2, minWidth=190),
        _column("reading", text("value", language), cellRenderer="CpReading", width=130),
        _column("state", text("state", language), cellRenderer="CpAlarmState", width=155),
        _column(
            "since_ms",
            text("since_column", language),
            valueFormatter={"function": "cpTime(params.value)"},
            width=190,
        ),
        _column("asset", text("asset", language), cellRenderer="CpAlarmSource", width=150),
        _column("count", text("count", language), width=84, type="rightAligned"),
        _column("todo", text("what_to_do", language), flex=2, minWidth=220),
    ]
