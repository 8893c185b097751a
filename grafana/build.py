"""Writes the dashboards: `python -m grafana.build`. What they ask stands in docs/storage.md.

The data source is a variable, so a dashboard works on any Grafana whose InfluxDB source is set to
InfluxQL; the provisioned one is the default.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.influxql import SOURCE, Query
from grafana.panels import BLUE, GREEN, ORANGE, RED, YELLOW, number, rows, series, states

FOLDER = Path(__file__).parent / "dashboards"
NOW = "$timeFilter"
EACH = "GROUP BY time($__interval)"
ASSETS = '"asset" =~ /^$asset$/'
CELL = "\"asset\" = '$asset' AND \"cell\" = '$cell'"
GREY = "text"
PHASES = (("unknown", GREY), ("rest", BLUE), ("charge, CC", GREEN), ("charge, CV", "dark-green"),
          ("discharge", ORANGE))  # fmt: skip
RISKS = (("normal", GREEN), ("watch", YELLOW), ("warning", ORANGE), ("danger", RED))
SOH_STATES = (("ok", GREEN), ("not enough seen", BLUE), ("unlike training", ORANGE),
              ("no model", GREY))  # fmt: skip


def begin(name: str, title: str, text: str, *, since: str = "now-6h") -> Dashboard:
    """A dashboard with what all of ours have."""
    link = DashboardLink("Cellpulse").type(DashboardLinkType.DASHBOARDS).tags(["cellpulse"])
    return (
        Dashboard(title)
        .uid(f"cellpulse-{name}")
        .description(text)
        .tags(["cellpulse"])
        .readonly()
        .timezone("browser")
        .time(since, "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(link.keep_time(True).icon("dashboard"))
        .with_variable(DatasourceVariable("source").label("Data source").type("influxdb"))
    )


def variable(name: str, query: str, *, many: bool = False) -> QueryVariable:
    """A variable whose values the database knows."""
    made = QueryVariable(name).label(name.capitalize()).datasource(SOURCE).query(query)
    made = made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    if many:
        every = VariableOption(selected=True, text=["All"], value=["$__all"])
        made = made.multi(True).include_all(True).all_value(".*").current(every)
    return made


def one(measurement: str, function: str, field: str, where: str, *, by: str = "") -> Query:
    """One field over time: `SELECT mean("x") ... GROUP BY time(...), tags`."""
    tags = "".join(f', "{tag}"' for tag in by.split())
    query = f'SELECT {function}("{field}") FROM "{measurement}" WHERE {where}'
    return Query(f"{query} AND {NOW} {EACH}{tags} fill(none)")


def worst_of_each_cell(least: int) -> Query:
    """How many cells' risk was at least so high in the time shown."""
    inner = f'SELECT max("risk") AS "risk" FROM "cell" WHERE {ASSETS} AND {NOW}'
    return Query(
        f'SELECT count("risk") AS "cells" FROM ({inner} GROUP BY "asset", "cell") '
        f'WHERE "risk" >= {least}'
    )


def fleet() -> Dashboard:
    """Every asset beside the others."""
    heard = (
        f'SELECT count("n") AS "assets" FROM (SELECT count("arrival_ms") AS "n" FROM "telemetry" '
        f'WHERE {ASSETS} AND {NOW} GROUP BY "asset")'
    )
    newest = ", ".join(
        f'last("{field}") AS "{name}"'
        for field, name in (
            ("voltage_v", "Voltage"), ("soc", "SOC"), ("soh", "SOH"), ("soh_low", "SOH from"),
            ("soh_high", "to"), ("resistance_ohm", "Resistance"),
            ("thermal_score", "Thermal score"), ("risk", "Risk"),
        )
    )  # fmt: skip
    raised = (
        'SELECT count("row") AS "alarms" FROM "event" '
        f"WHERE {ASSETS} AND \"previous\" = 'normal' AND {NOW}"
    )
    return (
        begin("fleet", "Cellpulse: fleet", "Every asset beside the others.")
        .with_variable(
            variable("asset", 'SHOW TAG VALUES FROM "telemetry" WITH KEY = "asset"', many=True)
        )
        .with_panel(number("Assets heard", Query(heard)))
        .with_panel(number("Cells heard", worst_of_each_cell(0)))
        .with_panel(
            number("Cells in warning or worse", worst_of_each_cell(2),
                   limits=((None, GREEN), (1, ORANGE)))
        )
        .with_panel(
            number("Cells in danger", worst_of_each_cell(3), limits=((None, GREEN), (1, RED)))
        )
        .with_panel(
            number("Alarms raised", Query(raised), text="In the time shown.",
                   limits=((None, GREEN), (1, ORANGE)))
        )
        .with_panel(
            number(
                "Hottest sensor",
                Query(f'SELECT max("temperature_c") FROM "sensor" WHERE {ASSETS} AND {NOW}'),
                unit="celsius", limits=((None, GREEN), (45, YELLOW), (60, RED)),
            )
        )
        .with_panel(
            rows(
                "Newest of every cell",
                Query(
                    f'SELECT {newest} FROM "cell" WHERE {ASSETS} AND {NOW} '
                    'GROUP BY "asset", "cell"',
                    "table",
                ),
                units={
                    "Voltage": "volt", "SOC": "percentunit", "SOH": "percentunit",
                    "SOH from": "percentunit", "to": "percentunit", "Resistance": "ohm",
                },
            )
        )
        .with_panel(
            series("State of health",
                   one("cell", "last", "soh", ASSETS, by="asset cell")
                   .alias("$tag_asset $tag_cell"),
                   unit="percentunit", limits=((None, "transparent"), (0.7, RED)),
                   text="The dashed line is 70 %, the usual end of life.")
        )
        .with_panel(
            series("Thermal score, highest of the asset",
                   one("cell", "max", "thermal_score", ASSETS, by="asset").alias("$tag_asset"),
                   unit="short", low=0, limits=((None, "transparent"), (1, RED)),
                   text="1 is where the alarm begins.")
        )
        .with_panel(
            series("Temperature, highest of the asset",
                   one("sensor", "max", "temperature_c", ASSETS, by="asset").alias("$tag_asset"),
                   unit="celsius")
        )
        .with_panel(
            series("Current (positive charges)",
                   one("telemetry", "mean", "current_a", ASSETS, by="asset").alias("$tag_asset"),
                   unit="amp")
        )
        .with_panel(
            series("Cell voltage, lowest of the asset",
                   one("cell", "min", "voltage_v", ASSETS, by="asset").alias("$tag_asset"),
                   unit="volt")
        )
        .with_panel(
            series("State of charge, lowest of the asset",
                   one("cell", "min", "soc", ASSETS, by="asset").alias("$tag_asset"),
                   unit="percentunit", low=0, high=1)
        )
    )  # fmt: skip


def cell() -> Dashboard:
    """One cell, from the last minutes to its life."""
    of_asset = "\"asset\" = '$asset'"
    discharges = f"{CELL} AND \"kind\" = 'discharge'"

    def life(field: str) -> Query:
        query = f'SELECT "{field}" FROM "cycle" WHERE {discharges} AND {NOW}'
        return Query(query).alias(field)

    return (
        begin("cell", "Cellpulse: cell", "One cell, from the last minutes to its life.")
        .with_variable(variable("asset", 'SHOW TAG VALUES FROM "telemetry" WITH KEY = "asset"'))
        .with_variable(
            variable("cell", f'SHOW TAG VALUES FROM "cell" WITH KEY = "cell" WHERE {of_asset}')
        )
        .with_panel(
            series("Voltage", one("cell", "mean", "voltage_v", CELL).alias("mean"),
                   one("cell", "min", "voltage_v", CELL).alias("lowest"),
                   one("cell", "max", "voltage_v", CELL).alias("highest"), unit="volt")
        )
        .with_panel(
            series("Current (positive charges)",
                   one("telemetry", "mean", "current_a", of_asset).alias("current"), unit="amp")
        )
        .with_panel(
            series("Temperature of the asset's sensors",
                   one("sensor", "max", "temperature_c", of_asset, by="sensor")
                   .alias("$tag_sensor"),
                   one("telemetry", "mean", "ambient_c", of_asset).alias("ambient"),
                   unit="celsius")
        )
        .with_panel(
            series("Thermal score", one("cell", "max", "thermal_score", CELL).alias("score"),
                   unit="short", low=0, limits=((None, "transparent"), (1, RED)),
                   text="1 is where the alarm begins.")
        )
        .with_panel(
            series("Heat that the current does not explain",
                   one("cell", "mean", "excess_heat_w", CELL).alias("excess heat"), unit="watt")
        )
        .with_panel(
            series("State of charge", one("cell", "last", "soc", CELL).alias("SOC"),
                   unit="percentunit", low=0, high=1)
        )
        .with_panel(states("Phase", one("cell", "last", "phase", CELL).alias("phase"), PHASES))
        .with_panel(states("Risk", one("cell", "max", "risk", CELL).alias("risk"), RISKS))
        .with_row(Row("Life"))
        .with_panel(
            series("State of health and its 90 % interval",
                   one("cell", "last", "soh", CELL).alias("SOH"),
                   one("cell", "last", "soh_low", CELL).alias("from"),
                   one("cell", "last", "soh_high", CELL).alias("to"), unit="percentunit",
                   limits=((None, "transparent"), (0.7, RED)))
        )
        .with_panel(
            states("What the SOH model says",
                   one("cell", "last", "soh_state", CELL).alias("state"), SOH_STATES)
        )
        .with_panel(series("Capacity of each discharge", life("capacity_ah"), unit="amphour"))
        .with_panel(series("Energy of each discharge", life("energy_wh"), unit="watth"))
        .with_panel(
            series("Resistance", one("cell", "last", "resistance_ohm", CELL).alias("resistance"),
                   unit="ohm")
        )
        .with_panel(
            series("Highest temperature of each discharge", life("temperature_max_c"),
                   unit="celsius")
        )
    )  # fmt: skip


def alarms() -> Dashboard:
    """What was raised, by whom, how often."""
    where = f"{ASSETS} AND {NOW}"
    raised = f"{ASSETS} AND \"previous\" = 'normal'"
    columns = (
        '"asset", "source", "alarm_code", "severity", "previous", "state", "cause", "value", '
        '"limit", "unit", "message"'
    )
    return (
        begin("alarms", "Cellpulse: alarms", "Alarm transitions, newest first.", since="now-7d")
        .with_variable(
            variable("asset", 'SHOW TAG VALUES FROM "event" WITH KEY = "asset"', many=True)
        )
        .with_panel(
            number("Raised", Query(f'SELECT count("row") FROM "event" WHERE {raised} AND {NOW}'))
        )
        .with_panel(
            number("Of them severity 4 or 5",
                   Query(f'SELECT count("row") FROM "event" WHERE {raised} AND "severity" >= 4 '
                         f"AND {NOW}"), limits=((None, GREEN), (1, RED)))
        )
        .with_panel(
            number("Returned to normal",
                   Query(f'SELECT count("row") FROM "event" WHERE {ASSETS} AND ("state" = '
                         f"'normal' OR \"state\" = 'returned-unacknowledged') AND {NOW}"))
        )
        .with_panel(
            rows("Raised, by code and source",
                 Query(f'SELECT count("row") AS "Raised" FROM "event" WHERE {raised} AND {NOW} '
                       'GROUP BY "asset", "code", "source"', "table"), width=12, height=8)
        )
        .with_panel(
            series("Raised over time",
                   Query(f'SELECT count("row") FROM "event" WHERE {raised} AND {NOW} '
                         f'{EACH}, "code" fill(none)').alias("$tag_code"), unit="short", low=0,
                   width=24)
        )
        .with_panel(
            rows("Transitions",
                 Query(f'SELECT {columns} FROM "event" WHERE {where} ORDER BY time DESC LIMIT 500',
                       "table"), height=14, hidden=())
        )
    )  # fmt: skip


def monitor() -> Dashboard:
    """The monitor's own health."""
    which = "\"monitor\" = '$monitor'"

    def now(field: str, alias: str, function: str = "max") -> Query:
        return one("monitor", function, field, which).alias(alias)

    def grown(field: str, alias: str) -> Query:
        query = f'SELECT non_negative_difference(max("{field}")) FROM "monitor" WHERE {which}'
        return Query(f"{query} AND {NOW} {EACH} fill(none)").alias(alias)

    return (
        begin("monitor", "Cellpulse: the monitor itself", "Rates, queues, latency, what was lost.")
        .with_variable(
            variable("monitor", 'SHOW TAG VALUES FROM "monitor" WITH KEY = "monitor"')
        )
        .with_panel(
            number("Frames a second",
                   Query(f'SELECT last("frames_per_s") FROM "monitor" WHERE {which} AND {NOW}'),
                   width=6)
        )
        .with_panel(
            number("Waits in memory, messages",
                   Query(f'SELECT last("queue_messages") FROM "monitor" WHERE {which} AND {NOW}'),
                   width=6)
        )
        .with_panel(
            number("Not yet in InfluxDB, inputs",
                   Query(f'SELECT last("outbox_inputs") FROM "monitor" WHERE {which} AND {NOW}'),
                   width=6)
        )
        .with_panel(
            number("Lines set aside",
                   Query(f'SELECT last("set_aside") FROM "monitor" WHERE {which} AND {NOW}'),
                   width=6, limits=((None, GREEN), (1, ORANGE)))
        )
        .with_panel(
            series("Rates", now("frames_per_s", "frames", "mean"),
                   now("samples_per_s", "samples of cells", "mean"), unit="cps", low=0)
        )
        .with_panel(
            series("From arrival to commit", now("latency_ms_p50", "half of all below"),
                   now("latency_ms_p99", "99 % below"), now("lag_ms", "oldest that waits"),
                   unit="ms", low=0)
        )
        .with_panel(
            series("Time of one run of a model, 99 % below", now("soh_ms_p99", "SOH"),
                   now("thermal_ms_p99", "thermal"), unit="ms", low=0)
        )
        .with_panel(
            series("Waiting", now("queue_messages", "messages in memory"),
                   now("outbox_inputs", "inputs not yet in InfluxDB"), unit="short", low=0)
        )
        .with_panel(
            series("Lost or refused", grown("rejected", "refused"), grown("gaps", "never came"),
                   grown("dropped", "dropped"), grown("late", "late"),
                   grown("duplicates", "doubled"), grown("outbox_dropped", "given up unsent"),
                   unit="short", low=0)
        )
        .with_panel(
            series("Size of the journal", now("store_bytes", "journal"),
                   now("queue_bytes", "queue in memory"), unit="bytes", low=0)
        )
    )  # fmt: skip


DASHBOARDS = {"fleet": fleet, "cell": cell, "alarms": alarms, "monitor": monitor}


def text_of(name: str) -> str:
    """The JSON of one dashboard."""
    made = DASHBOARDS[name]().build()
    for count, panel in enumerate(made.panels or [], 1):
        panel.id_val = count
    return json.dumps(made, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
