"""Charging advice of the running monitor: from what the engine knows, on the estimate topic."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from monitor.charging.advice import advise, sentence
from monitor.contract import Advice, AssetConfig, Estimate, Frame, Topics, decode, encode
from monitor.dashboard.live.rows import make_row
from monitor.engine import Engine
from monitor.estimate_queue import ADVICE_EVERY_S
from monitor.inputs import ConfigIn, FrameIn
from monitor.models.folder import load_models, models_folder
from monitor.mqtt.link import Message
from monitor.pipeline import Pipeline
from monitor.service import load_policy
from monitor.store.journal import Journal
from recordings.open import open_recording
from simulator.demo_file import demo_recording
from simulator.replay import ReplayOptions, asset_config, messages
from tests.engine_world import FakePublisher

T0 = 1_700_000_000_000


def frames(asset: str, count: int) -> tuple[AssetConfig, list[Frame]]:
    """The first frames of a bundled twin cell, in mid-charge."""
    [recording] = [r for r in open_recording(demo_recording()) if r.info.asset == asset]
    options = ReplayOptions(speed=None)
    found = (timed.message for timed in messages(recording, options))
    kept = itertools.islice((m for m in found if isinstance(m, Frame)), count)
    return asset_config(recording.info, options, "x"), list(kept)


def full_then_drawn(start_ms: int) -> list[Frame]:
    """A cell that was full and gave half of it: its state of charge is known."""
    made = [
        Frame(v=1, timestamp_ms=start_ms + 1000 * k, current_a=0.02, voltage_v=4.2,
              temperature_c=25.0, ambient_c=25.0)
        for k in range(120)
    ]  # fmt: skip
    made += [
        Frame(v=1, timestamp_ms=start_ms + 120_000 + 10_000 * k, current_a=-2.0,
              voltage_v=4.0 - 0.0015 * k, temperature_c=25.0 + 0.02 * k, ambient_c=25.0)
        for k in range(200)
    ]  # fmt: skip
    return made


def test_the_engine_tells_what_advice_needs() -> None:
    policy = load_policy(models_folder())
    assert policy is not None
    engine = Engine(*load_models(models_folder()))
    assert engine.charge_state("pack") is None
    config = AssetConfig(v=1, nominal_capacity_ah=2.0, cell_type="nasa-18650")
    engine.process([ConfigIn("pack", config, 0)])
    charged = full_then_drawn(T0)
    engine.process([FrameIn("pack", f, f.timestamp_ms, b"") for f in charged])
    state = engine.charge_state("pack")
    assert state is not None
    assert state.voltage_v[0] == pytest.approx(4.0 - 0.0015 * 199, abs=1e-4)
    assert state.current_a == pytest.approx(-2.0)
    assert 0.3 < state.soc[0] < 0.6
    advice = advise(policy, state)
    assert advice.current_a is not None
    assert advice.allowed_a is not None
    assert 0.0 < advice.current_a <= advice.allowed_a
    assert advice.shadow


def test_a_cell_without_a_sensor_gets_no_advice_but_a_reason() -> None:
    policy = load_policy(models_folder())
    assert policy is not None
    engine = Engine(None, None)
    engine.process([ConfigIn("pack", AssetConfig(v=1, nominal_capacity_ah=2.0), 0)])
    bare = [msgspec.structs.replace(f, temperature_c=None) for f in full_then_drawn(T0)]
    engine.process([FrameIn("pack", f, f.timestamp_ms, b"") for f in bare])
    state = engine.charge_state("pack")
    assert state is not None
    advice = advise(policy, state)
    assert advice.current_a is None
    assert "not known" in sentence(advice)
    assert "没有充电建议" in sentence(advice, zh=True)


def test_it_stands_on_the_estimate_topic_and_in_the_row(tmp_path: Path) -> None:
    publisher = FakePublisher()
    journal = Journal(tmp_path / "store.sqlite")
    topics = Topics("bms")
    engine = Engine(*load_models(models_folder()))
    pipeline = Pipeline(engine, journal, publisher, topics, "m", load_policy(models_folder()))
    config, first = frames("twin-fresh", 200)

    def come(payload: bytes, kind: str, mid: int) -> Message:
        return Message(topics.of("twin-fresh", kind), payload, 1, False, mid, T0, 1)

    pipeline.step([come(encode(config), "config", 1)], T0)
    pipeline.step([come(encode(f), "telemetry", k + 2) for k, f in enumerate(first)], T0)
    pipeline.publish_estimates(0.0)
    told = [decode(Estimate, payload) for _, payload in publisher.published("estimate")]
    assert told[-1].advice is not None
    row = make_row("twin-fresh", config, first[-1], told[-1], [])
    assert row.advice == sentence(told[-1].advice)
    assert row.advice_zh == sentence(told[-1].advice, zh=True)
    later = msgspec.structs.replace(first[-1], timestamp_ms=first[-1].timestamp_ms + 1000, seq=9999)
    pipeline.step([come(encode(later), "telemetry", 9999)], T0)
    pipeline.publish_estimates(ADVICE_EVERY_S - 1.0)
    again = [decode(Estimate, payload) for _, payload in publisher.published("estimate")]
    assert len(again) > len(told)
    assert again[-1].advice == told[-1].advice  # thought over every few seconds only
    journal.close()


def test_without_a_policy_there_is_none(tmp_path: Path) -> None:
    assert load_policy(tmp_path) is None
    engine = Engine(None, None)
    config, first = frames("twin-fresh", 5)
    engine.process([ConfigIn("a", config, 0)])
    engine.process([FrameIn("a", f, f.timestamp_ms, b"") for f in first])
    estimate = engine.estimate("a")
    assert estimate is not None
    assert estimate.advice is None
    assert make_row("a", config, first[-1], estimate, []).advice is None


@pytest.mark.parametrize("zh", [False, True])
def test_the_sentence_says_current_outlook_and_reason(zh: bool) -> None:
    advice = Advice(3.0, 1.5, 4.0, 40.0, 0.0005, "because", "因为", "normal")
    text = sentence(advice, zh=zh)
    for part in ("3 A", "1.5C", "4 A", "40", "0.050 %", "因为" if zh else "because"):
        assert part in text
    untold = msgspec.structs.replace(advice, minutes=None)
    assert "0.050" not in sentence(untold, zh=zh)
