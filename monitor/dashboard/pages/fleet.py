"""The fleet: every asset as a tile or a row."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import html

from monitor.dashboard.pages.parts import (
    COLUMN,
    GRID_THEME,
    aria,
    column,
    look_stores,
    named,
    number_column,
)
from monitor.dashboard.texts import Language, text

# A button that stays down; the browser's side says when it is.
PRESSED: dict[str, Any] = {"aria-pressed": "false"}


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
                html.Div(
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
                    id="fleet-sort-box",
                ),
                named(
                    dmc.SegmentedControl(
                        id="fleet-view",
                        data=[
                            {"value": "tiles", "label": text("tiles", language)},
                            {"value": "dense", "label": text("dense", language)},
                            {"value": "table", "label": text("table", language)},
                        ],
                        value=None,  # by the size of the fleet, until the user chooses
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
                defaultColDef={
                    **COLUMN,
                    "filter": "agTextColumnFilter",
                    "floatingFilter": True,
                    "suppressHeaderMenuButton": True,
                    "suppressFloatingFilterButton": True,
                    "suppressHeaderFilterButton": True,
                    "wrapHeaderText": True,
                },
                dashGridOptions={
                    "theme": GRID_THEME,
                    "animateRows": False,
                    "rowHeight": 46,
                    "suppressCellFocus": False,
                    "enableCellTextSelection": True,
                    "localeText": {
                        "noRowsToShow": text("no_assets", language),
                        "noMatchingRows": text("no_match", language),
                    },
                    "tooltipShowDelay": 300,
                    "isExternalFilterPresent": {"function": "cpOnlySome()"},
                    "doesExternalFilterPass": {"function": "cpPasses(params.data)"},
                },
                style={"height": "100%", "width": "100%"},
            ),
            id="fleet-table",
            className="cp-table cp-hidden",
        ),
    ]


def _count(key: str, label: str) -> Any:
    """A count that shows only those assets when it is pressed."""
    return html.Button(
        [html.Span("–", id=f"count-{key}", className="cp-count-n"), html.Span(label)],
        type="button",
        className="cp-count",
        id=f"count-box-{key}",
        **PRESSED,
    )


def _by_number(field: str, unit: str, language: Language) -> dict[str, Any]:
    """A filter for numbers as they are shown, percent or milliohm: `45`, `>45`, `40..50`."""
    return {
        "filterValueGetter": {"function": f"cpShown(params.data.{field}, {unit!r})"},
        "filterParams": {
            "textMatcher": {"function": "cpNumberMatches(params)"},
            "filterOptions": ["contains"],
        },
        "headerTooltip": text("filter_hint", language),
    }


def _fleet_columns(language: Language) -> list[dict[str, Any]]:
    return [
        column(
            "id",
            text("asset", language),
            cellRenderer="CpAssetLink",
            comparator={"function": "cpCompareNames"},
            sort="asc",
            pinned="left",
            width=150,
        ),
        column(
            "risk",
            text("risk", language),
            cellRenderer="CpLamp",
            comparator={"function": "cpCompareRisk"},
            filterValueGetter={"function": "cpRiskWords(params.data)"},
            width=120,
        ),
        number_column(
            "v",
            text("voltage", language),
            "V",
            3,
            width=104,
            **_by_number("v", "V", language),
        ),
        number_column(
            "i",
            text("current", language),
            "A",
            2,
            width=96,
            **_by_number("i", "A", language),
        ),
        number_column(
            "t",
            text("temperature", language),
            "°C",
            1,
            width=116,
            **_by_number("t", "°C", language),
        ),
        number_column(
            "score",
            text("score", language),
            "",
            2,
            width=124,
            **_by_number("score", "", language),
        ),
        number_column(
            "soc",
            text("soc_short", language),
            "%",
            0,
            width=80,
            **_by_number("soc", "%", language),
        ),
        column(
            "soh",
            text("soh_short", language),
            cellRenderer="CpSoh",
            width=180,
            **_by_number("soh", "%", language),
        ),
        column(
            "alarms",
            text("alarms", language),
            cellRenderer="CpAlarmCount",
            width=86,
            **_by_number("alarms || 0", "", language),  # none is left out of the row
        ),
        column(
            "stale",
            text("freshness", language),
            cellRenderer="CpFresh",
            cellDataType=False,  # of a truth value the grid would offer no text filter
            filterValueGetter={"function": "cpFreshWords(params.data)"},
            width=122,
        ),
        column(
            "phase",
            text("phase", language),
            valueFormatter={"function": "cpPhase(params.value)"},
            filterValueGetter={"function": "cpPhase(params.data.phase)"},
            width=108,
        ),
        number_column(
            "r",
            text("resistance", language),
            "mΩ",
            1,
            width=104,
            **_by_number("r", "mΩ", language),
        ),
    ]
