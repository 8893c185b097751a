"""Charging advice: the shipped policy and its card, the shield around it, what is said and why."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.advice import advice_model, state_of_asset, state_of_file
from cellpulse.cli import app
from monitor.charging.advice import ADVICE_INPUTS, STYLES, ChargeState, advise
from monitor.charging.shield import Limits, allowed_c
from monitor.errors import ConfigurationError, ModelError
from monitor.models.onnx import read_card
from simulator.twin import load_parameters
from tests.conftest import ROOT
from tests.recording_files import nasa_mat
from training.charging.chargers import Chargers
from training.charging.export import to_onnx
from training.charging.fronts import gain, interval, measure, most_gain
from training.charging.policies import Network, always_1c
from training.charging.rollout import charge, grid
from training.charging.saved import SEEDS_FILE, load_networks, save_networks
from training.charging.tuning import FRONT_WEIGHTS, pareto

MODELS = ROOT / "models"
STATE = ChargeState(
    soc=np.array([0.3, 0.32]),
    soh=np.array([0.9, np.nan]),
    voltage_v=np.array([3.7, 3.71]),
    temperature_c=np.array([25.0, 26.0]),
    current_a=0.0,
    ambient_c=24.0,
    nominal_capacity_ah=2.0,
)


def test_the_shipped_policy_is_the_seed_that_its_card_names() -> None:
    model = advice_model(MODELS)
    networks = load_networks(MODELS / SEEDS_FILE)["PPO"]
    assert len(networks) == 5
    chargers = Chargers(64, seed=3)
    for _ in range(5):
        chargers.step_inplace(np.full(64, 1.0))
    seen = chargers.seen()
    told, minutes, loss = model.run(seen.astype(np.float32))
    own, _ = networks[model.card.seed].ask(seen)
    assert told == pytest.approx(own, rel=1e-4)
    assert (minutes > 0).all()
    assert (loss > 0).all()


def test_the_outlook_is_about_what_a_charge_then_takes() -> None:
    model = advice_model(MODELS)
    network = load_networks(MODELS / SEEDS_FILE)["PPO"][model.card.seed]
    where = grid([15.0, 25.0, 35.0], [0.85, 0.95])
    found = charge(network, where, load_parameters(), weight=6.0)
    chargers = Chargers(where.n)
    chargers.cells.restart_inplace(
        np.ones(where.n, dtype=bool), np.full(where.n, 0.1), where.soh, where.ambient_c
    )
    chargers.weight[:] = 6.0
    _, minutes, loss = model.run(chargers.seen().astype(np.float32))
    for told, took in ((minutes, found.minutes), (loss, found.loss)):
        off = np.abs(told / took - 1.0)
        assert np.median(off) < 0.1
        assert off.max() < 0.4  # in the cold, where the shield decides


def test_a_network_and_its_onnx_agree() -> None:
    import onnxruntime as ort

    rng = np.random.default_rng(0)
    sizes = [len(ADVICE_INPUTS), 16, 16, 1]
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in itertools.pairwise(sizes)]
    outlook = [(rng.normal(size=(8, 2)) * 0.1, np.zeros(2))]
    seen = Chargers(32, seed=1).seen()
    for squash in (False, True):
        network = Network(layers, squash)
        session = ort.InferenceSession(to_onnx(network, outlook))
        told = session.run(None, {"x": seen.astype(np.float32)})[0]
        assert told == pytest.approx(network.ask(seen)[0], rel=1e-4)


def test_networks_come_back_from_disk_as_they_went(tmp_path: Path) -> None:
    layers = [(np.ones((8, 4)), np.zeros(4)), (np.full((4, 1), 0.5), np.ones(1))]
    save_networks(tmp_path / "n.npz", {"PPO": [Network(layers)], "SAC": [Network(layers, True)]})
    back = load_networks(tmp_path / "n.npz")
    assert [back["PPO"][0].squash, back["SAC"][0].squash] == [False, True]
    assert back["SAC"][0].weights[1][0] == pytest.approx(np.full((4, 1), 0.5))
    with pytest.raises(ModelError, match="train charging"):
        load_networks(tmp_path / "missing.npz")


@pytest.mark.parametrize("style", STYLES)
def test_advice_never_asks_for_more_than_the_shield_allows(style: str) -> None:
    model = advice_model(MODELS)
    rng = np.random.default_rng(1)
    for _ in range(100):
        state = ChargeState(
            soc=rng.uniform(0.0, 0.79, 2), soh=rng.uniform(0.7, 1.0, 2),
            voltage_v=rng.uniform(3.0, 4.2, 2), temperature_c=rng.uniform(-30.0, 70.0, 2),
            current_a=0.0, ambient_c=None, nominal_capacity_ah=5.0,
        )  # fmt: skip
        told = advise(model, state, style)  # type: ignore[arg-type]  # one of STYLES
        bound = allowed_c(state.soc, state.soh, state.temperature_c, Limits()).min() * 5.0
        assert told.current_a is not None
        assert 0.0 <= told.current_a <= bound + 0.005
        assert told.shadow


def test_the_weakest_cell_decides() -> None:
    model = advice_model(MODELS)
    whole = advise(model, STATE, "fast")
    both = replace(STATE, temperature_c=np.array([25.0, 0.0]), ambient_c=None)
    cold = advise(model, both, "fast")
    assert whole.current_a is not None
    assert cold.current_a is not None
    assert cold.current_a < 0.6 * whole.current_a
    assert "plating" in cold.why
    assert "0 degC" in cold.why


def test_gentler_is_slower_and_wears_less() -> None:
    told = [advise(advice_model(MODELS), STATE, style) for style in STYLES]
    minutes = [one.minutes for one in told]
    assert minutes == sorted(minutes)  # type: ignore[type-var]  # none is None
    assert [one.loss for one in told] == sorted((one.loss for one in told), reverse=True)  # type: ignore[type-var]  # none is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"soc": np.array([0.5, np.nan])}, "not known"),
        ({"soc": np.array([0.5, 0.9])}, "90%"),
        ({"temperature_c": np.array([48.0, 30.0])}, "no charging at 48 degC"),
        ({"charge_current_max_a": 0.2}, "largest current"),
    ],
)
def test_it_says_why(change: dict[str, Any], why: str) -> None:
    told = advise(advice_model(MODELS), replace(STATE, **change), "fast")
    assert why in told.why


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    card = (MODELS / "charging.json").read_bytes()
    onnx = (MODELS / "charging.onnx").read_bytes()
    assert read_card(card, "charging").onnx_sha256 == hashlib.sha256(onnx).hexdigest()
    (tmp_path / "charging.json").write_bytes(card)
    (tmp_path / "charging.onnx").write_bytes(onnx + b" ")
    with pytest.raises(ModelError, match="sha256"):
        advice_model(tmp_path)
    with pytest.raises(ModelError, match="train charging"):
        advice_model(tmp_path / "empty")


def test_a_front_is_compared_at_equal_wear() -> None:
    where = [grid([25.0], [0.9])]
    front = measure([always_1c()], where, load_parameters(), "always 1C")
    twice = replace(front, minutes=np.array([60.0, 30.0]), loss=np.array([1.0, 2.0]))
    half = replace(front, minutes=np.array([45.0, 20.0]), loss=np.array([1.0, 2.0]))
    assert gain(half, twice, 60.0) == pytest.approx(25.0)
    assert gain(half, twice, 45.0) == pytest.approx(100 * (1 - 32.5 / 45))
    assert gain(half, twice, 90.0) is None
    assert list(pareto(np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))) == [0, 1]
    # A bound whose two points cost the same as the opponent's leaves nothing to save.
    weights = len(FRONT_WEIGHTS)
    same = replace(twice, minutes=np.full(weights, 60.0), loss=np.full(weights, 1.0))
    assert most_gain(same, twice, 60.0) == pytest.approx(0.0)
    assert most_gain(replace(same, minutes=same.minutes / 2), twice, 60.0) == pytest.approx(50.0)
    assert most_gain(same, twice, 90.0) is None
    mean, spread = interval([1.0, 2.0, 3.0])
    assert (mean, spread) == pytest.approx((2.0, 2.484), abs=1e-3)


def test_advice_for_a_recording(tmp_path: Path) -> None:
    path = nasa_mat(tmp_path / "B0005.mat")
    states = state_of_file(path)
    assert list(states) == ["B0005"]
    assert states["B0005"].nominal_capacity_ah == 2.0
    asked = ["advise", str(path), "--soc", "0.3", "--json"]
    result = CliRunner().invoke(app, asked)
    told = json.loads(result.stdout)
    assert told["asset"] == "B0005"
    assert told["advice"]["current_a"] > 0
    assert told["advice"]["shadow"] is True
    said = CliRunner().invoke(app, asked[:-1]).stdout
    assert "nothing is commanded" in said
    assert isinstance(
        CliRunner().invoke(app, ["advise", str(path), "--style", "wild"]).exception,
        ConfigurationError,
    )


def test_an_unknown_asset_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file, and no store"):
        state_of_asset("nobody", tmp_path / "none.sqlite")


def test_the_card_can_be_read_by_anyone() -> None:
    card = msgspec.json.decode((MODELS / "charging.json").read_bytes())
    assert card["name"] == "charging"
    assert "shadow" in card["description"]
    assert card["limits"]
