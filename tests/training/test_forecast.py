"""Forecasts: the baselines, the network and its ONNX, and what is drawn from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from monitor.errors import ModelError
from monitor.models.folder import load_card, load_model
from recordings.open import open_recording
from recordings.types import RecordingError
from tests.conftest import ROOT
from training.forecast.run import ForecastModel, draw, forecast, sentence
from training.forecast.series import (
    AHEAD,
    HISTORY,
    PLAIN,
    Template,
    drift,
    end_of_life,
    next_cycles_error,
    persistence,
)


def line(start: float, slope: float, cycles: int) -> np.ndarray:
    return start - slope * np.arange(cycles)


def test_drift_and_persistence() -> None:
    series = line(1.0, 0.002, 60)
    assert drift(series, 5) == pytest.approx(1.0 - 0.002 * np.arange(60, 65))
    assert persistence(series, 3).tolist() == [series[-1]] * 3


def test_the_error_of_the_next_cycles() -> None:
    series = line(1.0, 0.001, 80)
    told = {50: series[50:60] + 0.01, 60: series[60:70] - 0.03}
    assert next_cycles_error(series, told) == pytest.approx(2.0)


def test_end_of_life_wants_more_than_one_low_value() -> None:
    series = np.full(100, 0.9)
    series[40] = 0.5
    assert end_of_life(series, 0.7) is None
    series[60:] = 0.6
    assert end_of_life(series, 0.7) == 60


def test_a_template_lays_the_other_curve_on() -> None:
    other = line(1.0, 0.001, 300)
    told = Template((other,)).forecast(line(0.9, 0.001, 50), 100)
    # The level is the median of the last five, two cycles old.
    assert told == pytest.approx(0.9 - 0.001 * (48 + np.arange(1, 101) + 1), abs=2.5e-3)


def test_a_cell_that_fades_faster_is_told_to_go_on_so() -> None:
    curves = tuple(line(1.0, slope, 200) for slope in (0.0010, 0.0012, 0.0014))
    truth = line(1.0, 0.0018, 150)[50:]
    told = Template(curves).forecast(line(1.0, 0.0018, 50), 100)
    plain = Template(curves, PLAIN).forecast(line(1.0, 0.0018, 50), 100)
    assert np.abs(told - truth).mean() < 0.8 * np.abs(plain - truth).mean()


def test_a_curve_goes_on_past_its_end_along_its_tail() -> None:
    told = Template((line(1.0, 0.002, 100),)).forecast(line(1.0, 0.002, 50), 150)
    assert told[-1] == pytest.approx(1.0 - 0.002 * 199, abs=0.01)


def test_the_onnx_network_equals_torch() -> None:
    import torch

    from training.forecast import net as forecast_net

    curves = {
        "a": (0, line(1.0, 0.002, 90)),
        "b": (1, line(1.0, 0.001, 120)),
    }
    net = forecast_net.train_net(curves, 2, 4, seed=1, epochs=3)
    again = forecast_net.train_net(curves, 2, 4, seed=1, epochs=3)
    for one, other in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    half = np.array([np.linspace(0.01, 0.02, AHEAD), np.linspace(0.02, 0.04, AHEAD)])
    other_net = forecast_net.train_net(curves, 2, 4, seed=2, epochs=3)
    data = forecast_net.export([net, other_net], half, [{"cell_type": "x"}])
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    history = line(1.0, 0.0015, HISTORY) + 0.005 * rng.standard_normal((30, HISTORY))
    family = np.arange(30) % 2
    soh, low, high = session.run(
        None, {"history": history.astype(np.float32), "family": family.astype(np.int64)}
    )
    for index, own in ((0, net), (1, other_net)):
        told = forecast_net.run_net(own, history[family == index], index)
        assert np.abs(soh[family == index] - told).max() < 1e-4
    assert high - low == pytest.approx(2 * half[family], abs=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["templates"]) == [
        {"cell_type": "x"}
    ]


@pytest.fixture(scope="module")
def shipped() -> ForecastModel:
    return load_model(ForecastModel, "forecast", ROOT / "models")


def test_the_shipped_forecast_is_small_and_its_card_complete(shipped: ForecastModel) -> None:
    assert (ROOT / "models" / "forecast.onnx").stat().st_size < 5 * 1024 * 1024
    assert set(shipped.card.metrics) == set(shipped.card.training_data)
    for line_ in shipped.card.metrics.values():
        assert line_["next_ten"]["LSTM"] < line_["next_ten"]["persistence"]
    assert [template["cell_type"] for template in shipped.templates] == [
        family.cell_type for family in shipped.card.families
    ]


def test_a_changed_file_is_refused(shipped: ForecastModel) -> None:
    models = ROOT / "models"
    data = (models / "forecast.onnx").read_bytes() + b"\0"
    with pytest.raises(ModelError, match="not the one that its card describes"):
        ForecastModel(data, load_card("forecast", models))


def test_forecast_of_a_real_cell_is_drawn(
    shipped: ForecastModel, shared_data: Path, tmp_path: Path
) -> None:
    recording = open_recording(shared_data / "nasa" / "tidy" / "B0018.parquet")[0]
    found = forecast(shipped, recording, after=60)
    assert found.seen == 60
    truth = forecast(shipped, recording).history[60:70]
    assert np.abs(found.soh[:10] - truth).mean() < 0.03
    assert (found.low <= found.soh).all()
    assert (found.high >= found.soh).all()
    assert found.high[60] - found.low[60] > found.high[0] - found.low[0]
    assert found.remaining is not None
    assert 5 < found.remaining < 120
    assert "cycles" in sentence(found)
    picture = tmp_path / "b0018.png"
    draw(found, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RecordingError, match="a forecast needs 50"):
        forecast(shipped, recording, after=20)


def test_a_family_that_was_not_trained_on_is_refused(shipped: ForecastModel) -> None:
    with pytest.raises(ModelError, match="were not trained on"):
        shipped.family(None)


def test_a_budget_leaves_out_and_names_what_it_has_no_time_for() -> None:
    from training.forecast.command import Budget, leave_one_out
    from training.forecast.evaluate import figures_of, knee_figures

    curves: dict[str, tuple[int, np.ndarray]] = {
        cell: (0, 1.0 - 0.001 * (1 + 0.1 * k) * np.arange(160))
        for k, cell in enumerate(("B0005", "B0006", "B0007", "B0018"))
    }
    budget = Budget(0.0)
    assert not budget.allows("B0006 left out")
    assert budget.left_out == ["B0006 left out"]
    assert Budget(None).allows("anything")
    series = curves["B0005"][1]
    told = np.array([series[at - 1] * np.ones(10) for at in range(50, 151)])
    figures = figures_of({"B0005": leave_one_out(curves, "B0005", told)}, budget.note)
    assert figures
    assert {f.name.split()[0] for f in figures} == {"nasa"}
    assert all("mean of 1 cells; within a budget of 0 s" in f.protocol for f in figures)
    assert not [f for f in figures if "interval" in f.name]  # it takes another cell's errors
    assert [f.value for f in knee_figures(curves)] == [None] * 4
