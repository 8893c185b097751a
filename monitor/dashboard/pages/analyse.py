"""The page that analyses a file of the user's."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from monitor.dashboard.pages.parts import (
    aria,
    cycle_grid,
    figure_box,
    graph,
    look_stores,
    report_link,
)
from monitor.dashboard.texts import Language, text


def analyse_page(language: Language) -> list[Any]:
    """A place to drop a file, and what was found in it."""
    return [
        *look_stores({"look": "none", "page": "analyse"}, "analysis-chosen"),
        html.Div(html.H1(text("analyse", language)), className="cp-head"),
        html.Div(
            html.Div(
                [html.Strong(text("drop", language)), html.Div(text("drop_formats", language))],
                id="drop",
                role="button",
                tabIndex=0,
                className="cp-drop",
                **aria(text("drop", language)),
            ),
        ),
        dmc.NumberInput(
            id="analysis-nominal",
            label=text("nominal_if_unsaid", language),
            min=0,
            decimalScale=3,
            size="xs",
            className="cp-narrow",
        ),
        html.Div("", id="analysis-state", className="cp-analysis-state", role="status"),
        html.Div(
            [
                dmc.Progress(
                    id="analysis-bar-value",
                    value=0,
                    size="lg",
                    **aria(text("progress", language)),
                ),
                dmc.Button(
                    text("cancel", language), id="analysis-cancel", size="xs", variant="default"
                ),
            ],
            id="analysis-bar",
            className="cp-analysis-bar cp-hidden",
        ),
        html.Div(_result(language), id="analysis-result", className="cp-hidden"),
    ]


def _result(language: Language) -> list[Any]:
    return [
        html.Div(
            [
                html.H2("", id="analysis-name"),
                html.Div(
                    dmc.Select(
                        id="analysis-which",
                        data=[],
                        size="xs",
                        allowDeselect=False,
                        **aria(text("asset", language)),
                    ),
                    id="analysis-which-box",
                    className="cp-hidden",
                ),
                report_link("n-report", "#", language, shown=False),
                html.Span("", id="analysis-lamp", className="cp-lamp"),
            ],
            className="cp-head cp-analysis-head",
        ),
        html.Div("", id="analysis-why", className="cp-why"),
        html.Div(
            [
                figure_box("n-soh", text("soh", language)),
                figure_box("n-cycles", text("cycles", language)),
                figure_box("n-samples", text("samples", language)),
                figure_box("n-nominal", text("nominal", language)),
                figure_box("n-span", text("time_span", language)),
                figure_box("n-heat", text("hot_segments", language)),
            ],
            className="cp-figures cp-figures-six",
        ),
        html.Div(
            [
                html.Section(
                    [
                        html.H2(text("soh_history", language)),
                        graph("n-soh-graph", "cp-graph", language),
                        _said("n-soh-outlook", text("forecast", language)),
                        _said("n-advice", text("charging_advice", language)),
                    ],
                    className="cp-card",
                ),
                html.Section(
                    [
                        html.H2(text("ica", language)),
                        graph("n-ica-graph", "cp-graph", language),
                        html.Div(text("ica_cc_only", language), className="cp-muted cp-small"),
                    ],
                    className="cp-card",
                ),
            ],
            className="cp-two",
        ),
        html.Section(
            [
                html.H2(text("whole_life", language)),
                html.Ul([], id="analysis-segments", className="cp-segments"),
                dmc.Button(
                    text("whole_span", language), id="analysis-whole", size="xs", variant="default"
                ),
                graph("n-traces", "cp-traces", language),
            ],
            className="cp-card",
        ),
        html.Section(
            [html.H2(text("cycles", language)), cycle_grid("n-cycle-grid", language)],
            className="cp-card",
        ),
        html.Section(
            [html.H2(text("problems", language)), html.Ul([], id="analysis-problems")],
            id="analysis-problems-box",
            className="cp-card",
        ),
    ]


def _said(name: str, label: str) -> Any:
    """What is said in words, on a line of its own under its label."""
    return html.Div(
        [html.Span(label, className="cp-label"), html.Span("", id=name)],
        id=f"{name}-box",
        className="cp-said cp-hidden",
    )
