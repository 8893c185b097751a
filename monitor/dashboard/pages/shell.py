"""The bar above every page, and the page that is none."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from monitor.dashboard.pages.parts import aria, look_stores, named
from monitor.dashboard.texts import Language, text


def top_bar(
    language: Language, path: str, *, title: str, analyse: bool, user: str | None = None
) -> Any:
    """The bar above every page: where one can go, what stands, language and theme.

    `user` is who is signed in, None where no login is demanded.
    """
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
                            named(
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
                            named(
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
                            *([] if user is None else [_sign_out(user, language)]),
                        ],
                        className="cp-tools",
                    ),
                ],
                className="cp-bar",
            ),
        ],
        className="cp-top",
    )


def _sign_out(user: str, language: Language) -> Any:
    label = text("sign_out", language, user=user)
    button = html.Button(label, type="submit", className="cp-sign-out")
    return html.Form([button], action="/logout", method="POST")


def _is_here(path: str, href: str) -> bool:
    return path == href or (href == "/" and path.startswith("/asset/"))


def not_found_page(language: Language) -> list[Any]:
    """Any other address."""
    return [
        *look_stores({"look": "none"}),
        html.H1(text("not_found", language)),
        dcc.Link(text("back_to_fleet", language), href="/"),
    ]
