"""The alarms: what stands, what can be done about it, what has happened."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import html

from monitor.dashboard.pages.parts import GRID_THEME, aria, column, look_stores
from monitor.dashboard.texts import Language, text

SHELVE_HOURS = ("0.25", "1", "8", "24")


def alarms_page(language: Language, *, can_act: bool, user: str | None = None) -> list[Any]:
    """What stands, what can be done about it, and what has happened."""
    return [
        *look_stores(
            {"look": "alarms"},
            "sound-chosen",
            "alarms-sought",
            "events",
            "events-ask",
            "events-drawn",
        ),
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
                _operator_bar(language, user) if can_act else None,
                html.Div("", id="act-result", className="cp-muted", role="status"),
                dmc.TextInput(
                    id="alarm-search",
                    placeholder=text("search_alarms", language),
                    className="cp-search cp-alarm-search",
                    debounce=False,
                    **aria(text("search_alarms", language)),
                ),
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
                            "localeText": {
                                "noRowsToShow": text("no_alarms", language),
                                "noMatchingRows": text("no_alarm_matches", language),
                            },
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


def _operator_bar(language: Language, user: str | None) -> Any:
    actions = (
        ("acknowledge", "acknowledge"), ("comment", "say_comment"), ("shelve", "shelve"),
        ("unshelve", "unshelve"), ("out_of_service", "out_of_service"),
        ("in_service", "in_service"),
    )  # fmt: skip
    return html.Div(
        [
            dmc.TextInput(
                id="user",
                placeholder=text("your_name", language),
                # Who is signed in acts under that name; else it is remembered by the browser.
                **({"persistence": True} if user is None else {"value": user, "disabled": True}),
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
                    text(words, language),
                    id={"act": action},
                    size="sm",
                    variant="filled" if action == "acknowledge" else "default",
                    n_clicks=0,
                )
                for action, words in actions
            ),
        ],
        className="cp-operator",
    )


def _hours(hours: str, language: Language) -> str:
    value = float(hours)
    if value < 1:
        return text("minutes", language, n=round(value * 60))
    return text("hours", language, n=round(value))


def _alarm_columns(language: Language) -> list[dict[str, Any]]:
    """On a phone the sentence's column holds all of the alarm, and the others are away."""
    return [
        column("severity", text("severity", language), cellRenderer="CpSeverity", width=124),
        column("text", text("alarm", language), cellRenderer="CpAlarmText", flex=300, minWidth=190),
        column("reading", text("value", language), cellRenderer="CpReading", width=140),
        column("state", text("state", language), cellRenderer="CpAlarmState", width=155),
        column(
            "since_ms",
            text("since_column", language),
            valueFormatter={"function": "cpTime(params.value)"},
            width=190,
        ),
        column("asset", text("asset", language), cellRenderer="CpAlarmSource", width=150),
        column("count", text("count", language), width=84, type="rightAligned"),
        column("todo", text("what_to_do", language), flex=300, minWidth=220),
    ]
