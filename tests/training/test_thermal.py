"""The thermal model: the kernel's inputs, the trained network as ONNX, and what it warns of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from monitor.kernels.columns import (
    HEAT_CAPACITY_J_PER_K_AH,
    SLOT_CHANNELS,
    SLOTS,
    THERMAL_WIDTH,
    Feature,
)
from monitor.models.onnx import ThermalModel, read_card
from recordings.open import open_recording
from tests.conftest import ROOT
from training.thermal import autoencoder as thermal_autoencoder
from training.thermal.command import windows_of
from training.thermal.data import HeatParameters, Stream, healthy_streams, run_kernel, stream_of
from training.thermal.prior import fit_group, median_prior
from training.thermal.scoring import alarm_times

PRIOR = HeatParameters(20.0, 0.025, 0.2)


def _cycled(seed: int, heat: HeatParameters = PRIOR, hours: float = 6.0) -> Stream:
    """A 2 Ah cell whose temperature obeys the lumped balance exactly, at 10 s."""
    rng = np.random.default_rng(seed)
    n = int(hours * 360)
    current = np.repeat(rng.choice([-2.0, -1.0, 0.0, 1.5], n // 60 + 1), 60)[:n]
    temperature = np.empty(n)
    temperature[0] = 24.0
    for k in range(1, n):
        c_rate = 0.25 * (current[k] + current[k - 1])
        drive = heat.resistance_ohm_ah * c_rate**2
        rate = (drive - heat.cooling_w_per_k_ah * (temperature[k - 1] - 24.0)) * 10.0
        temperature[k] = temperature[k - 1] + rate / heat.heat_capacity_j_per_k_ah
    return Stream(
        asset=f"made-{seed}",
        group=f"made-{seed}",
        nominal_ah=2.0,
        charge_v=4.2,
        discharge_v=2.7,
        timestamp_ms=10_000 * np.arange(n, dtype=np.int64),
        current_a=current,
        voltage_v=3.7 + 0.05 * current,
        temperature_c=temperature,
        ambient_c=np.full(n, 24.0),
        operation=np.repeat(np.arange(n // 360 + 1), 360)[:n],
    )


@pytest.fixture(scope="module")
def fitted() -> thermal_autoencoder.Fitted:
    windows = {f"made-{s}": windows_of(_cycled(s), PRIOR).x for s in range(2)}
    return thermal_autoencoder.fit(windows, PRIOR, seed=3, steps=150)


def test_the_prior_finds_the_parameters_that_made_the_temperatures() -> None:
    truth = HeatParameters(HEAT_CAPACITY_J_PER_K_AH, 0.02, 0.25)
    found = fit_group([_cycled(1, truth), _cycled(2, truth)], np.random.default_rng(0))
    assert found.cooling_w_per_k_ah == pytest.approx(0.02, rel=0.1)
    assert found.resistance_ohm_ah == pytest.approx(0.25, rel=0.1)


def test_one_wild_group_does_not_move_the_prior_far() -> None:
    sane = [HeatParameters(20.0, 0.02 + 0.001 * k, 0.2) for k in range(5)]
    wild = HeatParameters(20.0, 5.0, 90.0)
    assert median_prior([*sane, wild]).cooling_w_per_k_ah < 0.025


def test_added_heat_is_what_the_kernel_makes_of_heat() -> None:
    watts_per_ah = 0.5
    calm = _cycled(5)
    n = len(calm)
    onset = 1_000
    rise = np.zeros(n)
    for k in range(onset + 1, n):
        rate = (watts_per_ah - PRIOR.cooling_w_per_k_ah * rise[k - 1]) * 10.0
        rise[k] = rise[k - 1] + rate / PRIOR.heat_capacity_j_per_k_ah
    hot = replace(calm, temperature_c=calm.temperature_c + rise)
    at = onset + 90  # 900 s after the onset
    rows = [next(iter(run_kernel(s, PRIOR))).thermal_inputs[at].copy() for s in (calm, hot)]
    added = (rows[1] - rows[0]).reshape(SLOTS, len(SLOT_CHANNELS))
    age = 900.0
    # The fast window allows for half of the load's own heat, 0.1 W per Ah at 1 C here; the slow one
    # is clipped at 0.15 W per Ah, and a slot ends up to 30 s before the sample.
    assert added[-1, 0] == pytest.approx(0.4 * (1 - np.exp(-age / 150)), rel=0.05)
    assert added[-1, 1] == pytest.approx(0.15 * (1 - np.exp(-age / 400)), rel=0.08)
    assert added[-1, 2] == 0.0
    time_constant = PRIOR.heat_capacity_j_per_k_ah / PRIOR.cooling_w_per_k_ah
    expected = watts_per_ah / PRIOR.cooling_w_per_k_ah * (1 - np.exp(-age / time_constant))
    assert added[-1, 3] == pytest.approx(expected, rel=0.05)


def test_the_onnx_graph_is_the_torch_network(fitted: thermal_autoencoder.Fitted) -> None:
    model = thermal_autoencoder.network()
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(linear, fitted.layers, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
    rng = np.random.default_rng(0)
    x = (fitted.mean + 3.0 * fitted.scale * rng.normal(size=(400, THERMAL_WIDTH))).astype("f4")
    with torch.no_grad():
        z = (torch.from_numpy(x) - torch.from_numpy(fitted.mean)) / torch.from_numpy(fitted.scale)
        error = (z - model(z)) * torch.from_numpy(fitted.scale)
        unexpected = torch.relu(error[:, thermal_autoencoder.HEAT].mean(dim=1)).numpy() / 0.3
    expected = np.maximum(unexpected, np.maximum(x[:, -4] / 0.2, x[:, -3] / 0.1))
    limits = thermal_autoencoder.Limits(fast=0.2, slow=0.1, autoencoder=0.3)
    session = ort.InferenceSession(
        thermal_autoencoder.to_onnx(fitted, limits), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_allclose(thermal_autoencoder.score(fitted, limits, x), expected, atol=1e-4)
    score = session.run(None, {"x": x})[0]
    assert score.shape == (400,)
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, expected, atol=1e-4)
    assert (score > 0).any()
    assert (score == 0).any()


def test_training_is_deterministic(fitted: thermal_autoencoder.Fitted) -> None:
    windows = {f"made-{s}": windows_of(_cycled(s), PRIOR).x for s in range(2)}
    again = thermal_autoencoder.fit(windows, PRIOR, seed=3, steps=150)
    limits = thermal_autoencoder.Limits(1.0, 1.0, 1.0)
    one, two = (thermal_autoencoder.to_onnx(f, limits) for f in (again, fitted))
    assert one == two


@pytest.fixture(scope="module")
def shipped() -> ThermalModel:
    card = read_card((ROOT / "models" / "thermal.json").read_bytes(), "thermal")
    return ThermalModel((ROOT / "models" / "thermal.onnx").read_bytes(), card)


def _scores(model: ThermalModel, stream: Stream) -> np.ndarray:
    prior = HeatParameters(**msgspec.structs.asdict(model.prior))
    score = np.full(len(stream), np.nan, np.float32)
    for rows in run_kernel(stream, prior):
        usable = np.flatnonzero(rows.usable)
        if len(usable):
            score[rows.first + usable] = model.run(rows.thermal_inputs[usable])
    return score


def test_the_shipped_model_warns_of_the_demonstrations_short_and_of_nothing_else(
    shipped: ThermalModel,
) -> None:
    warned = 0
    for recording in open_recording(ROOT / "simulator" / "bundled" / "demo.parquet"):
        stream = stream_of(recording)
        score = _scores(shipped, stream)
        if "shorting" not in stream.asset:
            assert np.nanmax(score) < 1.0, stream.asset
            continue
        alarms = alarm_times(stream.timestamp_ms, score)
        hot = stream.timestamp_ms[np.argmax(stream.temperature_c > 60.0)]
        assert alarms[0] < hot - 5 * 60_000
        warned += 1
    assert warned == 1


def test_the_shipped_card_says_what_was_held_out(shipped: ThermalModel) -> None:
    groups = shipped.card.metrics["held_out_groups"]
    assert len(groups) >= 11
    alarms = sum(found["false_alarms"] for found in groups.values())
    assert alarms == shipped.card.metrics["pooled"]["false_alarms"]
    limits = {name: value for name, value in shipped.card.threshold.items() if "w_per" in name}
    assert len(limits) == 3
    assert min(limits.values()) > 0.0


def test_hot_but_healthy_real_cells_raise_no_alarm(
    shipped: ThermalModel, shared_data: Path
) -> None:
    hottest = 0.0
    for stream, _ in healthy_streams(shared_data):
        if stream.asset not in ("B0030", "B0039"):
            continue
        hottest = max(hottest, float(np.nanmax(stream.temperature_c)))
        assert len(alarm_times(stream.timestamp_ms, _scores(shipped, stream))) == 0, stream.asset
    assert hottest > 60.0


def test_the_kernel_balance_closes_on_a_cell_that_obeys_it() -> None:
    stream = _cycled(9)
    rows = next(iter(run_kernel(stream, PRIOR)))
    excess = rows.features[:, Feature.EXCESS_HEAT_W]
    heat = 2.0 * PRIOR.resistance_ohm_ah  # at 1C
    assert np.nanpercentile(np.abs(excess), 99) < 0.1 * heat
