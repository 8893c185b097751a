"""The Grafana dashboards: current, provisioned, and every query answered by a real InfluxDB.

The database holds a replay of the bundled recording, fed through journal and sink. The server is
influxd 1.6.7; the queries use what InfluxDB 2.x and 3 Core answer as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from monitor.config import Config
from monitor.contract import Frame, MonitorMetrics, encode
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.models.folder import load_models, models_folder
from monitor.store.influx import InfluxWriter, Target
from monitor.store.influx_sink import Sink
from monitor.store.journal import Journal
from recordings.open import open_recording
from simulator.demo_file import demo_recording
from simulator.replay import ReplayOptions, asset_config, merged
from tests.conftest import ROOT, free_ports
from tests.influx_world import BUCKET, ORG, TOKEN, InfluxWorld, influx_world
from tests.monitor.test_contract import SAMPLES

FOLDER = ROOT / "grafana"
NAMES = ("fleet", "cell", "alarms", "monitor")
# InfluxQL that one of the three lacks: Flux's own, and what 3 Core leaves out.
NOT_EVERYWHERE = ("INTO", "DELETE", "DROP", "HOLT_WINTERS", "SHOW STATS", "SLIMIT", "::")


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboards" / f"{name}.json").read_text())
    return found


def targets(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Every panel's title with each of its targets."""
    panels = []
    for panel in dashboard(name)["panels"]:
        panels += [panel, *panel.get("panels", [])]
    return [(panel["title"], t) for panel in panels for t in panel.get("targets", [])]


QUERIES = [(name, title, t) for name in NAMES for title, t in targets(name)]


@dataclass
class Replayed:
    """A database that holds a replay, from its first to its last millisecond."""

    world: InfluxWorld
    start_ms: int
    end_ms: int

    def variables(self, name: str) -> dict[str, str]:
        """A value for each variable of a dashboard, the first that its own query finds."""
        values: dict[str, str] = {}
        for variable in dashboard(name)["templating"]["list"]:
            if variable["type"] == "datasource":
                assert variable["query"] == "influxdb"
                continue
            text = filled(variable["query"], values)
            (series, *_) = self.world.query(text)
            found = [row[1] for row in series["values"]]
            assert found, text
            values[variable["name"]] = ".*" if variable.get("includeAll") else min(found)
        return values

    def ask(self, query: str, variables: dict[str, str]) -> list[dict[str, Any]]:
        """What Grafana would get: its macros replaced as it does, InfluxQL over HTTP."""
        span = f"time >= {self.start_ms}ms and time <= {self.end_ms}ms"
        text = filled(query, variables).replace("$timeFilter", span).replace("$__interval", "10m")
        assert "$" not in re.sub(r"/[^/]*/", "", text), text
        return self.world.query(text)


def filled(query: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        query = re.sub(rf"\${name}\b", lambda _, value=value: value, query)  # type: ignore[misc]  # a default binds the loop's value
    return query


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    folder = tmp_path_factory.mktemp("grafana")
    (folder / "influxd").mkdir()
    wanted = ("twin-old", "twin-shorting")
    recordings = [r for r in open_recording(demo_recording()) if r.info.asset in wanted]
    options = ReplayOptions(speed=None, longest_gap_s=600.0)
    engine = Engine(*load_models(models_folder()))
    inputs: list[Input] = [
        ConfigIn(r.info.asset, asset_config(r.info, options, "simulator"), 0) for r in recordings
    ]
    for timed in merged(recordings, options):
        if isinstance(timed.message, Frame):
            name = recordings[timed.track].info.asset
            now = timed.message.timestamp_ms
            inputs.append(FrameIn(name, timed.message, now, encode(timed.message)))
    times = [item.frame.timestamp_ms for item in inputs if isinstance(item, FrameIn)]
    journal = Journal(folder / "j.sqlite")
    journal.commit(engine.process(inputs))
    first, second = free_ports(2)
    with influx_world(folder / "influxd", (first, second)) as world:
        target = Target(world.url, ORG, BUCKET, TOKEN)
        sink = Sink(journal.path, target.key, lambda: InfluxWriter(target), "m1")
        (metrics,) = SAMPLES["metrics"]
        assert isinstance(metrics, MonitorMetrics)
        times_of = dict.fromkeys(("soh", "thermal"), metrics.inference["soh"])
        for k in range(3):  # three messages of the monitor's own, 20 minutes apart
            at_ms = times[0] + 1_200_000 * k
            sink.tell(replace(metrics, timestamp_ms=at_ms, inference=times_of))
            sink.step()
        while sink.state.inputs:
            sink.step()
        yield Replayed(world, times[0], times[-1] + 1)
    journal.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_what_the_script_builds(name: str) -> None:
    from grafana.build import text_of

    assert (FOLDER / "dashboards" / f"{name}.json").read_text() == text_of(name), (
        "old: run `python -m grafana.build`"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_whole(name: str) -> None:
    board = dashboard(name)
    assert board["uid"] == f"cellpulse-{name}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(targets(name)) >= 5
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "stat", "table", "state-timeline", "row")
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "influxdb", "uid": "${source}"}
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"


@pytest.mark.parametrize(
    ("name", "title", "target"), QUERIES, ids=[f"{n}-{t}-{q['refId']}" for n, t, q in QUERIES]
)
def test_a_query_is_answered(
    replayed: Replayed, name: str, title: str, target: dict[str, Any]
) -> None:
    query = target["query"]
    assert (target["rawQuery"], target["datasource"]["type"]) == (True, "influxdb")
    assert target["resultFormat"] in ("time_series", "table")
    assert not [word for word in NOT_EVERYWHERE if word in query]
    assert "$timeFilter" in query  # never the whole database
    found = replayed.ask(query, replayed.variables(name))
    assert found, query
    values = [value for series in found for row in series["values"] for value in row[1:]]
    assert any(value is not None for value in values), query


def test_the_fault_is_on_the_dashboards(replayed: Replayed) -> None:
    """What the numbers say is what happened: one asset, whose short raised alarms."""
    asked = {
        title: target["query"] for name, title, target in QUERIES if name in ("fleet", "alarms")
    }

    def number(title: str) -> float:
        (series,) = replayed.ask(asked[title], {"asset": ".*"})
        return float(series["values"][0][1])

    assert number("Assets heard") == 2
    assert number("Cells heard") == 2
    assert number("Cells in danger") == 1
    assert number("Raised") >= 1
    assert number("Alarms raised") == number("Raised")
    assert number("Hottest sensor") > 25


def test_provisioning_fits_the_dashboards_and_the_stack() -> None:
    folder = FOLDER / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/cellpulse.yaml").read_text())["datasources"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    environment = compose["monitor"]["environment"]
    assert source["type"] == "influxdb"
    assert source["jsonData"]["version"] == "InfluxQL"
    assert source["jsonData"]["dbName"] == environment["CELLPULSE_INFLUX_BUCKET"]
    assert source["url"] == environment["CELLPULSE_INFLUX_URL"]
    token = source["secureJsonData"]["httpHeaderValue1"]
    assert token == "Token $__file{/run/secrets/influx_token}"
    assert "influx_token" in compose["grafana"]["secrets"]
    (provider,) = yaml.safe_load((folder / "dashboards/cellpulse.yaml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER / "dashboards" / Path(home).name).is_file()
    # The SDK's schema is that of the Grafana that the stack runs.
    pinned = re.search(
        r"grafana-foundation-sdk==\d+!([\d.]+)", (ROOT / "pyproject.toml").read_text()
    )
    assert pinned is not None
    assert compose["grafana"]["image"] == f"grafana/grafana:{pinned[1]}"
    assert Config().influx_bucket == environment["CELLPULSE_INFLUX_BUCKET"]
