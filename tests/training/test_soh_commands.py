"""predict_soh.py and the commands around SOH, on real files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import predict_soh
from cellpulse.cli import app

runner = CliRunner()


def test_predict_soh_prints_and_writes_every_cycle(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "nasa" / "mat" / "B0029.mat"
    assert predict_soh.main([str(source), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("B0029\n")
    with (tmp_path / "B0029-soh.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    assert {row["kind"] for row in rows} == {"charge", "discharge"}
    assert {row["state"] for row in rows} <= {"ok", "not_enough_seen", "unlike_training"}
    for row in rows:
        if row["state"] == "not_enough_seen":
            assert row["soh"] == ""
        else:
            assert float(row["low"]) <= float(row["soh"]) <= float(row["high"])
    # Discharged at 4 A and 43 C: not what the model was trained on, and it says so.
    flagged = [row for row in rows if row["kind"] == "discharge" and row["state"] != "ok"]
    assert len(flagged) == 40
    assert (tmp_path / "B0029-soh.png").read_bytes().startswith(b"\x89PNG")


def test_predict_soh_refuses_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mat"
    broken.write_bytes(b"nothing")
    assert predict_soh.main([str(broken), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_evaluate_takes_files_that_training_never_saw(shared_data: Path) -> None:
    source = shared_data / "nasa" / "mat" / "B0029.mat"
    result = runner.invoke(app, ["evaluate", "soh", str(source), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["command"] == "evaluate soh"
    assert list(told["data"]) == ["B0029.mat"]
    protocols = {figure["protocol"].split(";")[0] for figure in told["figures"]}
    assert "whole charge" in protocols
    late = [f for f in told["figures"] if f["protocol"].startswith("window from 4.06 V")]
    assert late
    assert all("0% answered" in figure["protocol"] for figure in late)


def test_forecast_of_an_id_as_json(shared_data: Path, tmp_path: Path) -> None:
    result = runner.invoke(
        app,
        ["forecast", "B0018", "--data", str(shared_data), "--after", "60", "--json",
         "--out", str(tmp_path / "b.png")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[0])
    assert told["battery"] == "B0018"
    assert told["cycles_seen"] == 60
    assert told["low"][0] < told["soh"][0] < told["high"][0]
    assert told["remaining_cycles_low"] <= told["remaining_cycles"]
    assert (tmp_path / "b.png").exists()


def test_files_are_told_with_how_much_of_the_cycle_was_seen(shared_data: Path) -> None:
    source = shared_data / "nasa" / "mat" / "B0029.mat"
    result = runner.invoke(app, ["evaluate", "soh", str(source)])
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split() == [
        "cell", "view", "seen", "rows", "answered", "unlike", "rmse", "mae", "worst", "coverage",
        "width",
    ]  # fmt: skip
    seen = {" ".join(line.split()[1:-9]): float(line.split()[-9]) for line in lines}
    assert 0.5 < seen["whole charge"] <= 1.0
    assert seen["first 2 min of discharge"] < seen["first 20 min of discharge"] < 1.0
