"""What the pages are put together from: Dash components with a name for who cannot see.

Every element that shows a live value has an id, which `assets/` fills by `dash_clientside`.
"""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
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


GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "toImage"],
    "doubleClick": "reset+autosize",
    # Plotly offers to upload what is drawn to its maker's servers: not from here.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "locales": {
        "zh": {
            "dictionary": {
                "Zoom": "框选缩放",
                "Pan": "平移",
                "Zoom in": "放大",
                "Zoom out": "缩小",
                "Autoscale": "自动缩放",
                "Reset axes": "恢复初始范围",
                "Double-click to zoom back out": "双击恢复",
            }
        }
    },
}


def look_stores(look: dict[str, Any], *stores: str) -> list[Any]:
    """What the page looks at, and a store for each clientside callback to answer into.

    A callback without an output would not be called when the page is put in place.
    """
    return [dcc.Store(id="look", data=look), *(dcc.Store(id=name) for name in ("looked", *stores))]


def aria(name: str) -> dict[str, Any]:
    """The name of a control for who cannot see it."""
    return {"aria-label": name}


def named(control: Any, name: str) -> Any:
    """A group of controls under a name that a screen reader says."""
    return html.Div(control, role="group", **aria(name))


def graph(name: str, class_name: str, language: Language) -> Any:
    """A graph that fills a box of fixed height; a responsive one sets its own height to 100 %."""
    config: Any = {**GRAPH_CONFIG, "locale": language}
    graph = dcc.Graph(id=name, config=config, style={"height": "100%"})
    return html.Div(graph, className=class_name)


def report_link(name: str, href: str, language: Language, *, shown: bool = True) -> Any:
    """A link that downloads a health report; `assets/7-report.js` says how it goes beside it."""
    return html.Span(
        [
            html.A(text("report_download", language), id=name, href=href, className="cp-report"),
            html.Span("", className="cp-muted cp-report-state", role="status"),
        ],
        id=f"{name}-box",
        className="" if shown else "cp-hidden",
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


def column(field: str, name: str, **more: Any) -> dict[str, Any]:
    """A column of a table."""
    return {"field": field, "headerName": name, **more}


def number_column(field: str, name: str, unit: str, digits: int, **more: Any) -> dict[str, Any]:
    """A column of numbers with their unit, rounded to `digits`."""
    return column(
        field,
        name,
        type="rightAligned",
        valueFormatter={"function": f"cpNumber(params.value, {digits}, {unit!r})"},
        width=more.pop("width", 118),
        **more,
    )


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
    return html.Div(grid, id=f"{name}-box", className="cp-cycles")


def _cycle_columns(language: Language) -> list[dict[str, Any]]:
    time = {"function": "cpTime(params.value)"}
    return [
        column("number", text("number", language), width=80, type="rightAligned"),
        column(
            "kind",
            text("kind", language),
            valueFormatter={"function": "cpText('kind_' + params.value)"},
            width=115,
        ),
        column("start_ms", text("start", language), valueFormatter=time, width=185, sort="desc"),
        number_column("duration_h", text("duration", language), "h", 2),
        number_column("capacity_ah", text("capacity", language), "Ah", 3, width=140),
        number_column("energy_wh", text("energy", language), "Wh", 2),
        number_column("temperature_max_c", text("t_max", language), "°C", 1, width=170),
        number_column("resistance_ohm", text("resistance", language), "mΩ", 1),
        column("soh", text("soh_short", language), cellRenderer="CpSoh", width=230),
        column("done", text("complete", language), width=110),
        # On a phone all of a row in one column; `cp.cycleGrid` shows one or the others.
        column("card", text("cycles", language), cellRenderer="CpCycle", flex=1, hide=True),
    ]
