"""Risk levels: the physical limits need no model, and an unknown temperature is never safe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.risk import Risk, ThermalSigns, assess

CALM = ThermalSigns(temperature_c=30.0, temperature_max_c=60.0, slope_c_per_s=0.0, score=0.1)


def test_a_calm_cell_is_normal_and_needs_no_reason() -> None:
    assert assess(CALM).risk is Risk.NORMAL
    assert assess(CALM).reasons == ()


@pytest.mark.parametrize(
    ("change", "risk", "words"),
    [
        ({"temperature_c": 56.0}, Risk.WATCH, "4.0 K under its maximum"),
        ({"temperature_c": 61.0}, Risk.WARNING, "over its maximum, 60 °C"),
        ({"temperature_c": 75.0}, Risk.DANGER, "15.0 K over its maximum"),
        ({"slope_c_per_s": 0.3}, Risk.WARNING, "0.30 °C/s"),
        ({"slope_c_per_s": 0.8}, Risk.DANGER, "0.80 °C/s"),
        ({"score": 0.8}, Risk.WATCH, "0.8 times the limit"),
        ({"score": 1.4, "excess_heat_w": 0.52}, Risk.WARNING, "0.52 W: 1.4 times the limit"),
        ({"score": 4.0}, Risk.DANGER, "4.0 times the limit"),
        ({"score": 1.4, "ambient_measured": False}, Risk.WARNING, "ambient is not measured"),
        ({"temperature_c": None, "sensor_fault": "frozen"}, Risk.WATCH, "sensor is frozen"),
        ({"temperature_c": None}, Risk.WATCH, "no temperature"),
    ],
)
def test_each_sign_gives_its_level_and_says_so(
    change: dict[str, object], risk: Risk, words: str
) -> None:
    found = assess(replace(CALM, **change))  # type: ignore[arg-type]
    assert found.risk is risk
    assert words in found.reasons[0]


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
