"""One asset: its numbers, traces, life and alarms, and the controls of its replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from monitor.dashboard.pages.parts import (
    aria,
    cycle_grid,
    figure_box,
    graph,
    look_stores,
    named,
    report_link,
)
from monitor.dashboard.texts import TEXTS, Language, text

RANGES = ("10s", "1m", "10m", "1h", "6h", "1d", "30d", "all")


REPLAY_SPEEDS = ("1", "10", "60", "120", "600", "3600")


def asset_page(
    language: Language,
    asset: str,
    cell: int,
    *,
    faults: Sequence[str] | None,
    can_act: bool,
    can_report: bool = False,
    user: str | None = None,
) -> list[Any]:
    """One asset: what it is now, its traces, its life, its alarms.

    `faults` are those that a replay can be asked to show; None leaves the replay controls out.
    `can_act` says whether the asset may be taken out of service here, `can_report` whether its
    health report can be had. `user` is who is signed in, None where no login is demanded.
    """
    look = {"look": "asset", "asset": asset, "cell": cell}
    return [
        *look_stores(
            look,
            "history",
            "history-drawn",
            "pack-chosen",
            "ica",
            "ica-ask",
            "ica-drawn",
            "outlook",
            "outlook-ask",
            "outlook-drawn",
        ),
        html.Div(
            [
                html.Div(
                    [
                        dcc.Link(
                            "‹ " + text("back_to_fleet", language), href="/", className="cp-back"
                        ),
                        html.Div(
                            [
                                html.H1(asset),
                                html.Span("", id="a-lamp", className="cp-lamp"),
                                html.Span("", id="a-fresh", className="cp-fresh"),
                            ],
                            className="cp-status",
                        ),
                        html.Div("", id="a-why", className="cp-why"),
                        html.Div("", id="a-advice", className="cp-muted"),
                    ],
                    className="cp-title",
                ),
                report_link("a-report", f"/report/asset/{asset}?lang={language}", language)
                if can_report
                else None,
            ],
            className="cp-head cp-asset-head",
        ),
        html.Div("", id="a-note", className="cp-note cp-hidden"),
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
                html.Span("", id="pack-scale", className="cp-muted cp-pack-scale"),
                html.Div(id="pack-map", className="cp-pack"),
            ],
            id="a-pack",
            className="cp-card cp-hidden",
        ),
        None if faults is None else _replay_bar(language, faults),
        html.Section(
            [
                html.Div(
                    [
                        html.H2(text("traces", language)),
                        html.Div(
                            [
                                named(
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
                graph("traces", "cp-traces", language),
            ],
            className="cp-card",
        ),
        html.Div(
            [
                html.Section(
                    [
                        html.H2(text("soh_history", language)),
                        graph("soh-graph", "cp-graph", language),
                        html.Div("", id="soh-outlook", className="cp-muted"),
                    ],
                    className="cp-card",
                ),
                html.Section(
                    [
                        html.H2(text("ica", language)),
                        graph("ica-graph", "cp-graph", language),
                        html.Div(text("ica_cc_only", language), className="cp-muted cp-small"),
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
                _service_bar(language, user) if can_act else None,
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


def _service_bar(language: Language, user: str | None) -> Any:
    """Take the whole asset out of service and back, with who and why."""
    return html.Div(
        [
            dmc.TextInput(
                id="asset-user",
                placeholder=text("your_name", language),
                **({"persistence": True} if user is None else {"value": user, "disabled": True}),
                size="xs",
                **aria(text("your_name", language)),
            ),
            dmc.TextInput(
                id="asset-comment",
                placeholder=text("comment", language),
                size="xs",
                **aria(text("comment", language)),
            ),
            *(
                dmc.Button(
                    text(f"asset_{action}", language),
                    id={"asset-act": action},
                    size="xs",
                    variant="default",
                    n_clicks=0,
                )
                for action in ("out_of_service", "in_service")
            ),
            html.Span("", id="asset-result", className="cp-muted", role="status"),
        ],
        className="cp-operator cp-service",
    )


def _fault_words(fault: str, language: Language) -> str:
    """A fault such as `frozen:channel=voltage` in words, or as it is where there are none."""
    kind, _, channel = fault.partition(":channel=")
    key = f"fault_{kind}"
    words = text(key, language) if key in TEXTS else kind
    return f"{words} · {text(channel, language)}" if channel else words


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

    def group(label: str, *parts: Any, name: str = "", shown: bool = True) -> Any:
        return html.Div(
            [html.Div(text(label, language), className="cp-label"), html.Div(list(parts))],
            className="cp-replay-group" if shown else "cp-hidden",
            role="group",
            **aria(text(label, language)) | ({"id": name} if name else {}),
        )

    return html.Section(
        [
            html.Div(
                [
                    html.H2(text("replay_controls", language)),
                    html.Span("", id="replay-state", className="cp-muted"),
                    html.Span("", id="replay-result", className="cp-muted", role="status"),
                ],
                className="cp-replay-head",
            ),
            group(
                "replay_recording",
                dmc.Select(
                    id="replay-choice",
                    data=[],
                    allowDeselect=False,
                    searchable=True,
                    size="xs",
                    w=150,
                    **aria(text("replay_recording", language)),
                ),
                button("play"),
                name="replay-choose",
            ),
            group("replay_run", button("pause"), button("resume"), button("step")),
            group(
                "replay_pace",
                dmc.Select(
                    id="replay-speed",
                    data=[{"value": speed, "label": f"× {speed}"} for speed in REPLAY_SPEEDS],
                    value="120",
                    allowDeselect=False,
                    size="xs",
                    w=90,
                    **aria(text("replay_pace", language)),
                ),
                button("speed"),
            ),
            group(
                "replay_cycle",
                dmc.NumberInput(
                    id="replay-cycle",
                    value=1,
                    min=1,
                    size="xs",
                    w=80,
                    **aria(text("replay_cycle", language)),
                ),
                button("seek"),
            ),
            group(
                "replay_fault_size",
                dmc.Select(
                    id="replay-fault",
                    data=[
                        {"value": fault, "label": _fault_words(fault, language)} for fault in faults
                    ],
                    value=faults[0] if faults else None,
                    allowDeselect=False,
                    searchable=True,
                    size="xs",
                    w=170,
                    **aria(text("replay_fault", language)),
                ),
                dmc.NumberInput(
                    id="replay-severity",
                    value=0.5,
                    min=0,
                    max=1,
                    step=0.1,
                    size="xs",
                    w=70,
                    **aria(text("replay_severity", language)),
                ),
                button("inject"),
                shown=bool(faults),  # the callback asks for its values in any case
            ),
        ],
        id="replay",
        className="cp-card cp-replay cp-hidden",
    )
