"""The knee's test is River's Page-Hinkley bit for bit; River's own detectors can be chosen."""

from __future__ import annotations

import doctest
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift

import monitor.drift
from analysis.forecast import forecast_model
from monitor.config import load
from monitor.drift import ALLOWED, DETECTORS, OWN, THRESHOLD, NewTest, PageHinkley, detector
from monitor.errors import ConfigurationError
from monitor.fade import WARM_UP, FadeTracker, TrackerState
from monitor.models.folder import models_folder


def of_river() -> drift.PageHinkley:
    return drift.PageHinkley(
        min_instances=1, delta=ALLOWED, threshold=THRESHOLD, alpha=1.0, mode="up"
    )


def remembered(test: drift.PageHinkley) -> PageHinkley:
    mean = test._x_mean
    return PageHinkley(
        mean.n, mean.get(), test._sum_increase, test._sum_decrease, test._min_increase,
        test._max_decrease,
    )  # fmt: skip


def agree(residuals: list[float]) -> int | None:
    """Where both say that the mean has risen; their states are equal to the last bit before it."""
    ours, theirs = PageHinkley(), of_river()
    for k, x in enumerate(residuals):
        risen = ours.update_inplace(x)
        theirs.update(x)  # type: ignore[no-untyped-call]  # River has no types
        assert risen == theirs.drift_detected
        assert ours == remembered(theirs)
        if risen:
            return k
    return None


@given(st.lists(st.floats(-0.01, 0.01), max_size=300))
def test_any_residuals(residuals: list[float]) -> None:
    agree(residuals)


@given(st.lists(st.floats(-1e9, 1e9), max_size=30))
def test_any_numbers(residuals: list[float]) -> None:
    agree(residuals)


def test_a_rise_is_found_where_river_finds_it() -> None:
    found = []
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0.0, 0.004, 800)
        rise = np.where(np.arange(800) < 200 + 5 * seed, 0.0, 0.008)
        found.append(agree(np.clip(noise + rise, -0.01, 0.01).tolist()))
    risen = [k for k in found if k is not None]
    assert len(risen) > 40
    assert min(risen) > 200


def curves() -> list[list[float]]:
    """The fade of the NASA and CALCE cells that travels in the forecast's model."""
    templates = forecast_model(models_folder()).templates
    return [curve for template in templates for curve in template["curves"]]


def knee(curve: list[float], new_test: NewTest) -> FadeTracker:
    tracker = FadeTracker(new_test=new_test)
    for soh in curve:
        tracker.update(soh)
    return tracker


def test_real_cells_have_the_knees_that_river_gives_them() -> None:
    knees = []
    for curve in curves():
        ours = knee(curve, PageHinkley).now()
        assert ours == knee(curve, detector("river:PageHinkley")).now()
        knees.append(ours.knee_cycle)
    assert len(knees) > 5
    assert any(cycle is not None for cycle in knees)


BENT = np.concatenate([1.0 - 0.0002 * np.arange(300), 0.94 - 0.004 * np.arange(200)])


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_finds_a_bend_and_goes_on_from_a_checkpoint(name: str) -> None:
    new_test = detector(load(None, {}, knee_detector=name).knee_detector)
    noise = 0.002 * np.random.default_rng(5).standard_normal(len(BENT))
    series = (BENT + noise).tolist()
    whole = FadeTracker(new_test=new_test)
    cut = FadeTracker(new_test=new_test)
    for k, soh in enumerate(series):
        whole.update(soh)
        if k % 97 == 0:
            kept = msgspec.msgpack.encode(cut.state())
            cut = FadeTracker(msgspec.msgpack.decode(kept, type=TrackerState), new_test)
        cut.update(soh)
        assert cut.state() == whole.state()
    found = whole.now().knee_cycle
    assert found is not None
    assert 300 < found < 400


def test_a_detector_that_is_chosen_later_goes_on_as_far_as_it_can() -> None:
    series = BENT[: WARM_UP + 100].tolist()
    ours = knee(series, PageHinkley)
    to_river = FadeTracker(ours.state(), detector("river:PageHinkley"))
    assert to_river.now() == ours.now()
    assert to_river.state().test is None  # what River's test would have been given is not known
    theirs = knee(series, detector("river:PageHinkley"))
    assert FadeTracker(theirs.state()).state() == ours.state()  # here it is, so nothing is lost


def test_a_checkpoint_of_an_earlier_version_is_read() -> None:
    """As it was written when the test was River's own: six numbers."""
    line = [61.2, 1_650.0, 63_000.0, 60.0, 1_600.0]
    old = [80, 80, 0.97, line, line, None, [20.0, 0.001, -0.05, 0.06, -0.05, 0.06]]
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=TrackerState)
    assert state.test == PageHinkley(20.0, 0.001, -0.05, 0.06, -0.05, 0.06)
    assert FadeTracker(state).state() == state


def test_without_river_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    assert detector(OWN) is PageHinkley
    with pytest.raises(ConfigurationError, match=r"pip install 'cellpulse\[river\]'"):
        detector("river:ADWIN")
    with pytest.raises(ConfigurationError, match="expected one of page-hinkley, river:"):
        load(None, {}, knee_detector="river:DDM")


def test_the_example_is_true() -> None:
    assert doctest.testmod(monitor.drift).failed == 0
