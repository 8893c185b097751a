"""A cell that the SOH model was not made for: doubted early, not believed again on less; and one
that it was made for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from monitor.contract import Frame
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.kernels.cell import empty_cells
from monitor.kernels.columns import RESULTS, Feature, Result
from monitor.kernels.frames import Outputs
from monitor.kernels.results import Answers, settle_inplace
from monitor.models.folder import load_models, models_folder
from monitor.results import Results
from recordings.open import open_recording
from recordings.types import Recording, RecordingInfo
from simulator.demo_file import demo_recording
from simulator.demo_recording import MadeRecording
from simulator.replay import ReplayOptions, asset_config, messages
from simulator.twin import TwinState, load_parameters
from simulator.twin_cycler import Protocol, Rig, Sensors, cycle

T0 = 1_767_225_600_000
DEMO = open_recording(demo_recording())
# The share of samples that may be doubted: of the youngest, whose age only the first cycles of the
# fitted cell show, the end of the first discharge.
IN_FAMILY = {"twin-fresh": 0.15, "twin-used": 0.0, "twin-aged": 0.0, "twin-old": 0.0}


def stranger(number: int, soh: float, soc: float) -> Recording:
    """A cycled twin of the general set: about the voltages of the training cells, not their dQ/dV.

    Its resistances are where B0005, B0007 and B0018 lie beside the set's mean.
    """
    tables = load_parameters("nasa-18650").tables()
    rng = np.random.default_rng([0, number])
    phase = rng.uniform(0.0, 2.0 * math.pi)
    rig = Rig(
        tables,
        Protocol(),
        ambient_c=lambda time_s: 24.0 + 0.25 * math.sin(2.0 * math.pi * time_s / 2400.0 + phase),
    )
    state = TwinState.at(tables, soc=soc, loss=1.0 - soh, temperature_c=25.0)
    state.resistance_scale[:] = 0.87
    made = cycle(rig, state, 9 * 3600, start_ms=T0, sensors=Sensors(), rng=rng)
    info = RecordingInfo(
        f"stranger-{100 * soh:.0f}", "twin", 2.0, cell_type="nasa-18650", synthetic=True
    )
    return MadeRecording(info, tuple(made))


STRANGERS = [
    stranger(0, soh=0.93, soc=0.16),
    stranger(1, soh=0.88, soc=0.20),
    stranger(2, soh=0.80, soc=0.13),
    stranger(3, soh=0.75, soc=0.08),
]


def states(start_end: Sequence[tuple[float, float]], told: list[int]) -> list[float]:
    """Go through windows of one cell with what the model said of each; the states that come out."""
    n = len(told)
    value = np.full((1, RESULTS), np.nan)
    value_ms = np.full((1, RESULTS), -1, np.int64)
    cells, out = empty_cells(1), Outputs(n)
    cells["config"]["soh_table"] = 0.0
    out.frame[:] = out.timestamp_ms[:] = range(n)
    out.soh_usable[:] = True
    out.soh_inputs[:, 60:62] = start_end
    for row, (start, end) in zip(out.soh_inputs, start_end, strict=True):
        row[int(start) : int(end)] = 0.01
    out.features[:] = np.nan
    out.features[:, Feature.PHASE] = 2.0
    result = np.empty((n, RESULTS), np.float32)
    soh = np.full(n, 0.9, np.float32)
    answers = Answers(
        soh, soh - 0.01, soh + 0.01, np.array(told, np.int64), np.empty(0, np.float32)
    )
    settle_inplace(cells, value, value_ms, out, answers, result, n)
    known = ~np.isnan(result[:, Result.SOH])
    assert (known == (result[:, Result.SOH_STATE] == 0.0)).all()
    told_states: list[float] = result[:, Result.SOH_STATE].tolist()
    return told_states


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


@pytest.mark.parametrize("recording", STRANGERS, ids=[one.info.asset for one in STRANGERS])
def test_a_twin_of_the_general_set_is_said_to_be_unlike_the_training_data(
    recording: Recording,
) -> None:
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


@pytest.mark.parametrize("asset", IN_FAMILY)
def test_a_twin_of_a_training_cell_gets_a_state_of_health_that_holds(asset: str) -> None:
    [recording] = [twin for twin in DEMO if twin.info.asset == asset]
    results = replayed(recording)
    rows = np.array([row[0] for row in results.rows if row is not None])
    of_sample = [k for o in recording.operations() for k in (o.start_ms + 1000.0 * o.time_s)]
    minutes = (np.array(of_sample) - of_sample[0]) / 60_000.0
    state = rows[:, Result.SOH_STATE]
    assert minutes[state == 0.0][0] < 60.0  # half a minute of the demo
    assert minutes[~np.isnan(rows[:, Result.SOC])][0] < 5.0
    assert (state == 2.0).mean() <= IN_FAMILY[asset]
    measured = [o.capacity_ah for o in recording.operations() if o.capacity_ah is not None]
    charges = [c.summary for c in results.cycles if c.summary.kind == "charge"]
    assert measured
    for charge, capacity_ah in zip(charges, measured, strict=False):
        assert charge.soh_low is not None
        assert charge.soh_high is not None
        assert charge.soh_low <= capacity_ah / 2.0 <= charge.soh_high
    assert not [e for e in results.events if e.alarm.code == "soh_end_of_life"]


def test_a_twin_at_40_degrees_is_unlike_the_training_data() -> None:
    [hot] = [twin for twin in DEMO if twin.info.asset == "twin-hot-but-healthy"]
    rows = np.array([row[0] for row in replayed(hot).rows if row is not None])
    assert not (rows[:, Result.SOH_STATE] == 0.0).any()
    assert (rows[:, Result.SOH_STATE] == 2.0).mean() > 0.8
