"""A cell that the SOH model was not made for: doubted early, not believed again on less."""

from __future__ import annotations

import numpy as np
import pytest

from cellpulse.paths import demo_recording, models_folder
from monitor.contract import Frame
from monitor.engine import Engine, Results
from monitor.features import FEATURES, SOH_WIDTH, Feature
from monitor.inputs import ConfigIn, FrameIn
from monitor.latest import RESULTS, Result, settle_inplace
from monitor.rules import EXTRAS
from monitor.service import load_models
from recordings.open import open_recording
from recordings.types import Recording
from simulator.replay import ReplayOptions, asset_config, messages

TWINS = open_recording(demo_recording())


def states(start_end: list[tuple[float, float]], told: list[int]) -> list[float]:
    """Go through windows of one cell with what the model said of each; the states that come out."""
    n = len(told)
    value = np.full((1, RESULTS), np.nan)
    value_ms = np.full((1, RESULTS), -1, np.int64)
    inputs = np.zeros((n, SOH_WIDTH), np.float32)
    inputs[:, 60:62] = start_end
    for row, (start, end) in zip(inputs, start_end, strict=True):
        row[int(start) : int(end)] = 0.01
    result = np.empty((n, RESULTS), np.float32)
    features = np.full((n, FEATURES), np.nan)
    features[:, Feature.PHASE] = 2.0
    soh = np.full(n, 0.9, np.float32)
    settle_inplace(
        value, value_ms, np.zeros(n, np.int64), np.arange(n), np.arange(n), features,
        np.zeros(n, np.int64), np.ones(n, np.bool_), soh, soh - 0.01, soh + 0.01,
        np.array(told, np.int64), np.empty(0, np.float32), np.zeros(n, np.bool_),
        np.ones(1, np.int64), n, result, np.zeros(n, np.int64), np.empty((n, EXTRAS)),
        inputs, np.zeros(1, np.float32),
    )  # fmt: skip
    known = ~np.isnan(result[:, Result.SOH])
    assert (known == (result[:, Result.SOH_STATE] == 0.0)).all()
    return result[:, Result.SOH_STATE].tolist()


def test_what_was_doubted_is_believed_again_on_as_much() -> None:
    windows = [(10, 12), (10, 40), (10, 11), (10, 15), (10, 39), (10, 40), (10, 13), (10, 14)]
    told = [0, 2, 1, 0, 0, 0, 1, 0]
    assert states(windows, told) == [0, 2, 2, 2, 2, 0, 0, 0]


def test_not_enough_displaces_nothing() -> None:
    assert states([(0, 1), (0, 9), (0, 1)], [1, 0, 1]) == [1, 0, 0]
    assert states([(0, 1), (0, 9), (0, 1)], [1, 2, 1]) == [1, 2, 2]


def replayed(recording: Recording) -> Results:
    engine = Engine(*load_models(models_folder()))
    info, options = recording.info, ReplayOptions(speed=None)
    inputs = [
        FrameIn(info.asset, timed.message, timed.message.timestamp_ms, b"")
        for timed in messages(recording, options)
        if isinstance(timed.message, Frame)
    ]
    engine.process([ConfigIn(info.asset, asset_config(info, options, "sim"), 0)])
    return engine.process(inputs)


@pytest.mark.parametrize("recording", TWINS, ids=[twin.info.asset for twin in TWINS])
def test_a_twin_is_said_to_be_unlike_the_training_data(recording: Recording) -> None:
    results = replayed(recording)
    rows = np.array([row[0] for row in results.rows if row is not None])
    state = rows[:, Result.SOH_STATE]
    assert (state == 2.0).mean() > 0.9
    answered = np.flatnonzero(state == 0.0)
    assert len(answered) < 0.03 * len(state)
    assert not len(answered) or answered[-1] < 0.05 * len(state)  # and only at the beginning
    assert [c.summary.soh_state for c in results.cycles] == ["unlike_training"] * len(
        results.cycles
    )
    assert not [e for e in results.events if e.alarm.code == "soh_end_of_life"]
