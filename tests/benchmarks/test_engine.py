"""The engine's benchmark: both sides give the same, a difference is noticed, targets are judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import agreement
from benchmarks.agreement import OutputsDifferError, compare
from benchmarks.engine import Models, run_baseline, run_engine, start_baseline, start_engine
from benchmarks.results import Page, as_object, below_headline, figure, hand_out, table
from benchmarks.stream import FIRST_S, FleetStream
from monitor.engine import Engine
from monitor.kernels.columns import RESULTS
from monitor.models.folder import models_folder

BASELINE = Path(agreement.__file__).with_name("baseline.py")


@pytest.fixture(scope="module")
def models() -> Models:
    return Models.read(models_folder())


def test_both_sides_give_the_same(models: Models) -> None:
    engine = Engine(models.soh, models.thermal)
    found = compare(engine, models.baseline(), models.soh.table("nasa-18650"))
    compared = {one.output: one.compared for one in found}
    assert compared["soh"] > 0
    assert compared["thermal_score"] > 0
    assert compared["resistance_ohm"] > 0
    raised = {record.code for record in engine.alarm_records()}
    assert raised == {
        "over_voltage", "over_temperature", "thermal_anomaly", "charge_over_current",
        "fast_heating",
    }  # fmt: skip
    assert compared["half-cycle charge, Ah"] == 6


def test_a_difference_is_noticed(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "SECONDS", 100)
    baseline = models.baseline()
    baseline.dt = 1.001
    with pytest.raises(OutputsDifferError, match="differ by"):
        compare(Engine(models.soh, models.thermal), baseline, models.soh.table("nasa-18650"))


@pytest.mark.parametrize("frame", [1, 8])
def test_the_measured_fleets_run_both_models(models: Models, frame: int) -> None:
    stream = FleetStream(8, frame)
    engine = start_engine(models, stream)
    messages = list(stream.messages(FIRST_S))
    before = engine.counters.samples
    size = run_engine(engine, messages)
    assert size == 8 * RESULTS * 4
    assert engine.counters.samples == before + 8
    assert not np.isnan(engine.fleet.cells["soc"][:8]).any()
    estimates = [engine.estimate(name) for name in stream.assets]
    scores = [x for one in estimates if one is not None for x in one.thermal_score.value]
    assert len(scores) == 8
    assert None not in scores
    assert not engine.alarm_records()


def test_a_copied_baseline_cell_goes_on_as_its_group(models: Models) -> None:
    stream = FleetStream(16, 1)
    baseline = start_baseline(models, stream)
    assert run_baseline(baseline, stream.messages(FIRST_S)) > 16 * 100
    outs = [baseline.cells[name][0]["out"] for name in stream.assets]
    assert not any(np.isnan(out["thermal_score"]) for out in outs)
    assert len({id(baseline.cells[name][0]["half"].hist) for name in stream.assets}) == 16
    assert baseline.changes == []


def test_the_baseline_stays_short() -> None:
    assert len(BASELINE.read_text(encoding="utf-8").splitlines()) <= 150


def test_figures_carry_their_targets() -> None:
    figures = [
        figure("rate", 90.0, "samples/s", 100.0, "higher", "p"),
        figure("state", 2_000.0, "bytes", 4_096.0, "lower", "p"),
        figure("other", 1.0, "ms", None, "lower", "p"),
    ]
    assert [figure.met for figure in figures] == [False, True, None]
    result = json.loads(json.dumps(as_object("bench engine", {"a": "0"}, figures)))
    assert set(result) == {"command", "version", "commit", "data", "figures"}
    assert result["figures"][0] == {
        "name": "rate", "value": 90.0, "unit": "samples/s", "target": 100.0, "better": "higher",
        "met": False, "protocol": "p",
    }  # fmt: skip
    assert "MISSED" in table(("name", "value", "target", "met"), [figures[0].row()])


def test_a_page_says_its_command_and_every_protocol_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        figure("rate", 7.0, "1/s", 9.0, "higher", "on one core"),
        figure("delay", 7.0, "ms", 9.0, "lower", "on one core"),
        figure("memory", 7.0, "MiB", None, "lower", "resident"),
    ]
    file = tmp_path / "results.md"
    about = below_headline("Says what it is.\n\nHow it is measured.\n")
    hand_out(Page("Speed", "bench x", about), found, json_out=True, file=file, data={"a": "0f"})
    printed = json.loads(capsys.readouterr().out)
    assert (printed["command"], printed["data"]) == ("bench x", {"a": "0f"})
    assert [figure["met"] for figure in printed["figures"]] == [False, True, None]
    title, written, way, rows, protocols = file.read_text(encoding="utf-8").split("\n\n")
    assert (title, way) == ("# Speed", "How it is measured.")
    assert written == f"Written by `cellpulse bench x` at commit {printed['commit']}."
    assert rows.count("MISSED") == 1
    assert protocols == "- on one core\n- resident\n"
