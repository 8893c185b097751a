"""Panels as our dashboards use them: a title, queries, a unit, perhaps limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import common as build_common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard

from grafana.influxql import SOURCE, Query

GREEN, BLUE, YELLOW, ORANGE, RED = "green", "blue", "yellow", "orange", "red"
Steps = Sequence[tuple[float | None, str]]  # from a value on (None: from the beginning), a colour
LETTERS = "ABCDEFGH"
Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, table.Panel, statetimeline.Panel)


def series(
    title: str,
    *queries: Query,
    unit: str,
    text: str = "",
    width: int = 12,
    height: int = 8,
    low: float | None = None,
    high: float | None = None,
    limits: Steps = (),
) -> timeseries.Panel:
    """Lines over time; gaps stay gaps. `limits` are drawn as lines."""
    panel = timeseries.Panel().title(title).datasource(SOURCE).unit(unit).span(width).height(height)
    panel = panel.description(text) if text else panel
    panel = panel.line_width(1).fill_opacity(0).span_nulls(False)
    panel = panel.show_points(common.VisibilityMode.AUTO)
    panel = panel.tooltip(
        build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    ).legend(
        build_common.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if low is not None:
        panel = panel.min(low)
    if high is not None:
        panel = panel.max(high)
    if limits:
        panel = panel.thresholds(steps(limits)).thresholds_style(
            build_common.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    return _asked(panel, queries)


def number(
    title: str, query: Query, *, unit: str = "short", text: str = "", width: int = 4,
    limits: Steps = ((None, BLUE),),
) -> stat.Panel:  # fmt: skip
    """One large number, coloured by `limits`; where the query finds nothing it is 0."""
    panel = stat.Panel().title(title).datasource(SOURCE).unit(unit).span(width).height(4)
    panel = panel.description(text) if text else panel
    panel = panel.no_value("0").graph_mode(common.BigValueGraphMode.NONE)
    panel = panel.color_mode(common.BigValueColorMode.VALUE).thresholds(steps(limits))
    panel = panel.reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _asked(panel, [query])


def rows(
    title: str, query: Query, *, text: str = "", width: int = 24, height: int = 9,
    units: dict[str, str] | None = None, hidden: Sequence[str] = ("Time",),
) -> table.Panel:  # fmt: skip
    """A table; `units` by column, `hidden` columns left out."""
    panel = table.Panel().title(title).datasource(SOURCE).span(width).height(height)
    panel = panel.description(text) if text else panel
    panel = panel.filterable(True)
    for column, unit in (units or {}).items():
        panel = panel.override_by_name(
            column, [dashboard.DynamicConfigValue(id_val="unit", value=unit)]
        )
    if hidden:
        panel = panel.with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize", options={"excludeByName": dict.fromkeys(hidden, True)}
            )
        )
    return _asked(panel, [query])


def states(
    title: str, query: Query, names: Sequence[tuple[str, str]], *, text: str = "", width: int = 12
) -> statetimeline.Panel:
    """What a small whole number was over time; `names` are the words and colours of 0, 1, ..."""
    mapping = dashboard.ValueMap(
        options={
            str(k): dashboard.ValueMappingResult(text=word, color=colour, index=k)
            for k, (word, colour) in enumerate(names)
        }
    )
    panel = statetimeline.Panel().title(title).datasource(SOURCE).span(width).height(6)
    panel = panel.description(text) if text else panel
    panel = panel.mappings([mapping]).show_value(common.VisibilityMode.NEVER).merge_values(True)
    return _asked(panel, [query])


def steps(limits: Steps) -> build.ThresholdsConfig:
    """Thresholds; the first step must begin at None."""
    return build.ThresholdsConfig().steps(
        [dashboard.Threshold(value=value, color=colour) for value, colour in limits]
    )


def _asked(panel: Panel, queries: Sequence[Query]) -> Panel:
    for letter, query in zip(LETTERS, queries, strict=False):
        panel = panel.with_target(query.ref(letter))
    return panel
