"""Risk levels: the physical limits need no model, and an unknown temperature is never safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.contract import Frame
from monitor.engine import Engine
from monitor.inputs import ConfigIn
from monitor.kernels.columns import RESULTS, Result, stored_rows
from monitor.risk import Cause, Risk, ThermalSigns, assess
from tests.engine_world import T0, cycling, frame_in, make_config, soh_model, thermal_model

CALM = ThermalSigns(temperature_c=30.0, temperature_max_c=60.0, slope_c_per_s=0.0, score=0.1)


def test_a_calm_cell_is_normal_and_needs_no_reason() -> None:
    assert assess(CALM).risk is Risk.NORMAL
    assert assess(CALM).reasons == ()


@pytest.mark.parametrize(
    ("change", "risk", "words"),
    [
        ({"temperature_c": 56.0}, Risk.WATCH, "4.0 K under its maximum, 60 °C"),
        ({"temperature_c": 61.0}, Risk.WARNING, "1.0 K over its maximum, 60 °C"),
        ({"temperature_c": 75.0}, Risk.DANGER, "15.0 K over its maximum"),
        ({"slope_c_per_s": 0.3}, Risk.WARNING, "0.30 °C/s, expected at most 0.1 °C/s"),
        ({"slope_c_per_s": 0.8}, Risk.DANGER, "0.80 °C/s"),
        ({"heating_c_per_s": 2.5}, Risk.DANGER, "2.50 °C/s"),
        ({"heating_c_per_s": 0.3}, Risk.NORMAL, None),
        ({"rising_c_per_s": 0.8}, Risk.WARNING, "0.80 °C/s, expected at most 0.1 °C/s"),
        ({"rising_c_per_s": 0.4}, Risk.NORMAL, None),
        ({"score": 0.8}, Risk.WATCH, "0.8 times the limit"),
        ({"score": 1.4, "excess_heat_w": 0.52}, Risk.WARNING, "0.52 W: 1.4 times the limit"),
        ({"score": 4.0}, Risk.DANGER, "4.0 times the limit"),
        ({"score": 1.4, "ambient_measured": False}, Risk.WARNING, "ambient is not measured"),
        ({"temperature_c": None, "sensor_fault": "frozen"}, Risk.WATCH, "sensor is frozen"),
        ({"temperature_c": None}, Risk.WATCH, "sensor is missing"),
    ],
)
def test_each_sign_gives_its_level_and_says_so(
    change: dict[str, Any], risk: Risk, words: str | None
) -> None:
    found = assess(replace(CALM, **change))
    assert found.risk is risk
    assert len(found.reasons) == len(found.reasons_zh)
    assert words is None or words in found.reasons[0]


def test_the_limits_hold_without_a_model() -> None:
    found = assess(replace(CALM, temperature_c=80.0, score=None))
    assert found.risk is Risk.DANGER


maybe = st.none() | st.floats(-50, 500)


@given(
    t=maybe,
    slope=st.none() | st.floats(-5, 5),
    score=st.none() | st.floats(0, 20),
    fault=st.sampled_from([None, "missing", "impossible", "frozen"]),
)
def test_nothing_unknown_is_safe_and_the_gravest_reason_leads(
    t: float | None, slope: float | None, score: float | None, fault: str | None
) -> None:
    signs = ThermalSigns(t, 60.0, slope, score, sensor_fault=fault)
    found = assess(signs)
    assert (found.risk is Risk.NORMAL) == (not found.reasons)
    if t is None or fault is not None:
        assert found.risk >= Risk.WATCH
    if slope is not None:
        assert assess(replace(signs, slope_c_per_s=slope + 1.0)).risk >= found.risk
    if score is not None:
        assert assess(replace(signs, score=score + 1.0)).risk >= found.risk


# In the engine


def _risen(temperatures: list[float | None], dt_s: float = 10.0) -> tuple[Engine, np.ndarray]:
    engine = Engine(soh_model(), thermal_model())
    frames = [
        frame_in("p", Frame(v=1, timestamp_ms=T0 + round(1000 * dt_s * k), current_a=-0.5,
                            voltage_v=3.7, temperature_c=t, ambient_c=24.0))
        for k, t in enumerate(temperatures)
    ]  # fmt: skip
    results = engine.process([ConfigIn("p", make_config(), T0), *frames])
    return engine, np.concatenate([row for row in results.rows if row is not None])


def _risk(engine: Engine) -> tuple[str | None, str, str]:
    estimate = engine.estimate("p")
    assert estimate is not None
    assert estimate.risk is not None
    return estimate.risk.level[0], estimate.risk.reason[0], estimate.risk.reason_zh[0]


def test_every_sample_is_judged_and_the_estimate_says_why() -> None:
    engine, rows = _risen([30.0, 41.0, 46.0, 60.0], dt_s=200.0)  # the limit is 45
    levels = rows[:, Result.RISK].tolist()
    assert levels == [Risk.NORMAL, Risk.WATCH, Risk.WARNING, Risk.DANGER]
    level, reason, reason_zh = _risk(engine)
    assert level == "danger"
    assert reason.startswith("temperature 60.0 °C is 15.0 K over its maximum, 45 °C")
    assert "超过上限 45 °C" in reason_zh
    calm, _ = _risen([30.0, 30.0])
    assert _risk(calm) == ("normal", "", "")


def test_a_lost_sensor_is_named_and_does_not_lower_the_level() -> None:
    engine, rows = _risen([30.0, 60.0, None], dt_s=200.0)
    assert rows[-1, Result.RISK] == Risk.DANGER
    assert rows[-1, Result.RISK_CAUSE] == Cause.SENSOR
    level, reason, _ = _risk(engine)
    assert level == "danger"
    assert "sensor is missing" in reason
    assert "at danger when the sensor was lost" in reason
    engine, rows = _risen([30.0, 30.0, 70.0], dt_s=1.0)
    assert rows[:, Result.RISK].tolist() == [Risk.NORMAL, Risk.NORMAL, Risk.WARNING]
    assert rows[-1, Result.RISK_CAUSE] == Cause.SENSOR
    assert "a broken sensor, or a runaway" in _risk(engine)[1]
    engine, rows = _risen([30.0, 1_500.0], dt_s=200.0)
    assert rows[:, Result.RISK].tolist() == [Risk.NORMAL, Risk.WATCH]
    assert "reads what cannot be" in _risk(engine)[1]
    engine, rows = _risen([60.0, None, 30.0], dt_s=200.0)
    assert rows[-1, Result.RISK] == Risk.NORMAL


def test_unexplained_heat_and_a_steep_slope_reach_the_level() -> None:
    _, rows = _risen([24.0 + 0.05 * 10.0 * k for k in range(30)])
    heated = rows[:, Result.RISK_CAUSE] == Cause.UNEXPLAINED_HEAT
    assert heated.any()
    assert (rows[heated, Result.THERMAL_SCORE] > 0.6).all()
    engine, rows = _risen([24.0 + 0.4 * k for k in range(30)], dt_s=1.0)
    assert rows[-1, Result.RISK] == Risk.WARNING
    assert "rises by 0." in _risk(engine)[1]


def test_a_runaway_is_danger_within_seconds_and_one_odd_reading_is_not() -> None:
    calm = [30.0] * 10
    _, rows = _risen([*calm, *(30.0 + 1.5 * k for k in range(1, 6))], dt_s=1.0)
    assert rows[:10, Result.RISK].max() == Risk.NORMAL
    danger = np.flatnonzero(rows[:, Result.RISK] == Risk.DANGER)
    assert danger[0] == 11  # the second second of 1.5 C/s
    _, begun = _risen([*calm, 30.2, 31.0, 32.5], dt_s=1.0)
    assert begun[10:, Result.RISK].tolist() == [Risk.NORMAL, Risk.WARNING, Risk.DANGER]
    for size in (0.6, 1.0, 3.0):
        _, odd = _risen([*calm, 30.0 + size, *calm], dt_s=1.0)
        assert odd[:, Result.RISK].max() < Risk.WARNING


def test_a_flickering_thermometer_does_not_warn_of_a_rise() -> None:
    rng = np.random.default_rng(5)
    flicker = (30.0 + 0.3 * rng.standard_normal(900)).tolist()
    _, rows = _risen(flicker, dt_s=1.0)
    assert rows[400:, Result.RISK].max() < Risk.WARNING
    crushed = [*flicker, *(30.0 + 2.5 * k for k in range(1, 5))]
    _, rows = _risen(crushed, dt_s=1.0)
    assert rows[-1, Result.RISK] == Risk.DANGER


def test_the_words_belong_to_the_level_that_was_judged() -> None:
    engine = Engine(soh_model(), thermal_model())
    engine.process([ConfigIn("p", make_config(3), T0)])
    for frame in cycling("p", 300, 3, sensors=3):
        row = engine.process([frame]).rows[0]
        estimate = engine.estimate("p")
        if row is None or estimate is None or estimate.risk is None:
            continue
        judged = [Risk(int(level)).name.lower() for level in row[:, Result.RISK]]
        assert estimate.risk.level == judged
        for level, reason, zh in zip(
            judged, estimate.risk.reason, estimate.risk.reason_zh, strict=True
        ):
            assert (level == "normal") == (reason == "") == (zh == "")


def test_rows_stored_before_there_was_a_risk_can_still_be_read() -> None:
    now = np.arange(7.0 * RESULTS, dtype=np.float32).reshape(7, RESULTS)
    assert np.array_equal(stored_rows(now.tobytes(), 7), now)
    old = np.ascontiguousarray(now[:, : Result.RISK])
    read = stored_rows(old.tobytes(), 7)
    assert np.array_equal(read[:, : Result.RISK], old)
    assert np.isnan(read[:, Result.RISK :]).all()
