"""Alarms with delays in event time, and what hours without an alarm can prove."""

from __future__ import annotations

import numpy as np
import pytest

from training.thermal.scoring import FalseAlarms, alarm_times, limit_for


def _seconds(*times: float) -> np.ndarray:
    return (np.array(times) * 1000.0).astype(np.int64)


def test_an_alarm_comes_on_after_the_delay_in_event_time() -> None:
    time = _seconds(0, 10, 20, 50, 80, 90)
    score = np.array([0.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    assert alarm_times(time, score).tolist() == [80_000]


def test_one_sample_at_the_limit_starts_the_wait_again() -> None:
    time = _seconds(*range(0, 200, 10))
    score = np.full(20, 2.0)
    score[5] = 1.0
    assert alarm_times(time, score).tolist() == [120_000]


def test_a_gap_starts_the_wait_again() -> None:
    time = _seconds(0, 40, 40 + 121, 190, 215, 240)
    assert alarm_times(time, np.full(6, 2.0)).tolist() == [240_000]


def test_a_short_dip_is_the_same_alarm_and_a_long_one_is_not() -> None:
    time = _seconds(*range(0, 600, 10))
    short, long = np.full(60, 2.0), np.full(60, 2.0)
    short[20:24] = 0.0
    long[20:40] = 0.0
    assert len(alarm_times(time, short)) == 1
    assert len(alarm_times(time, long)) == 2


def test_a_missing_score_is_not_above_the_limit() -> None:
    time = _seconds(*range(0, 100, 10))
    score = np.full(10, np.nan)
    assert len(alarm_times(time, score)) == 0


def test_the_bounds_are_the_exact_poisson_ones() -> None:
    none = FalseAlarms(0, 1000.0)
    assert none.low == 0.0
    assert none.high == pytest.approx(3.6889, abs=1e-4)  # -ln 0.025
    ten = FalseAlarms(10, 1000.0)
    assert (ten.low, ten.high) == pytest.approx((4.795, 18.390), abs=1e-3)
    assert FalseAlarms(0, 0.0).high == float("inf")


def test_the_limit_is_the_smallest_that_keeps_the_rate() -> None:
    time = _seconds(*range(0, 36_000, 10))
    score = np.zeros(3600)
    for number, height in enumerate((1.0, 2.0, 3.0, 4.0)):
        score[100 + 500 * number : 150 + 500 * number] = height
    assert limit_for([(time, score)], 10.0, 0.0) == pytest.approx(4.0, abs=1e-4)
    assert limit_for([(time, score)], 10.0, 200.0) == pytest.approx(2.0, abs=1e-4)
