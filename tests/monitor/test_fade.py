"""The online knee: found where fade runs away, not in a straight fade, noise or a rest."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from monitor.fade import WARM_UP, FadeTracker, TrackerState


def run(series: np.ndarray) -> FadeTracker:
    tracker = FadeTracker()
    for soh in series:
        tracker.update(float(soh))
    return tracker


def test_a_straight_noisy_fade_has_no_knee() -> None:
    for seed in range(20):
        noise = 0.004 * np.random.default_rng(seed).standard_normal(600)
        now = run(1.0 - 0.0004 * np.arange(600) + noise).now()
        assert now.knee_cycle is None
        assert now.slope_per_cycle == pytest.approx(-0.0004, abs=1e-4)


def test_a_knee_is_noticed_soon_after_it() -> None:
    cycles = np.arange(600)
    bent = 1.0 - 0.0003 * cycles - 0.0017 * np.maximum(cycles - 400, 0)
    noise = 0.004 * np.random.default_rng(3).standard_normal(600)
    knee = run(bent + noise).now().knee_cycle
    assert knee is not None
    assert 400 < knee < 500


def test_regeneration_after_rests_is_no_knee() -> None:
    cycles = np.arange(400)
    series = 1.0 - 0.0006 * cycles + 0.03 * np.exp(-(cycles % 50) / 8.0)
    assert run(series).now().knee_cycle is None


def test_a_knee_is_never_taken_back_and_the_slope_waits() -> None:
    tracker = FadeTracker()
    for _ in range(WARM_UP):
        assert tracker.update(1.0).slope_per_cycle is None
    cycles = np.arange(500)
    for soh in 1.0 - 0.004 * np.maximum(cycles - 100, 0):
        tracker.update(float(soh))
    knee = tracker.now().knee_cycle
    assert knee is not None
    for _ in range(100):
        assert tracker.update(1.0).knee_cycle == knee


def test_missing_cycles_count_and_change_nothing_else() -> None:
    tracker = FadeTracker()
    assert math.isnan(tracker.update(math.nan).soh)
    for i in range(100):
        tracker.update(1.0 - 0.001 * i)
        tracker.update(math.nan)
    now = tracker.now()
    assert now.cycles == 201
    assert now.slope_per_cycle == pytest.approx(-0.0005, rel=0.01)


@pytest.mark.parametrize("cut", [0, 40, 250, 310, 450])
def test_the_tracker_survives_a_checkpoint(cut: int) -> None:
    cycles = np.arange(500)
    noise = 0.004 * np.random.default_rng(1).standard_normal(500)
    series = 1.0 - 0.0003 * cycles - 0.002 * np.maximum(cycles - 300, 0) + noise
    whole = run(series)
    kept = msgspec.msgpack.encode(run(series[:cut]).state())
    resumed = FadeTracker(msgspec.msgpack.decode(kept, type=TrackerState))
    for soh in series[cut:]:
        resumed.update(float(soh))
    assert resumed.now() == whole.now()
    assert resumed.state() == whole.state()
    assert whole.now().knee_cycle is not None


def test_fade_that_speeds_up_is_told_as_a_ratio() -> None:
    cycles = np.arange(400)
    steady = run(1.0 - 0.001 * cycles).now()
    assert steady.acceleration == pytest.approx(1.0, abs=0.01)
    bent = run(1.0 - 0.001 * cycles - 0.004 * np.maximum(cycles - 330, 0)).now()
    assert bent.acceleration is not None
    assert bent.acceleration > 2.0
    flat = run(np.ones(400)).now()
    assert flat.acceleration == pytest.approx(0.0, abs=0.01)
