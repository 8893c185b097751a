"""Incremental capacity as the asset's page draws it."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.contract import Frame
from monitor.dashboard.history import curve_columns, read_history
from monitor.dashboard.pages.ica import BIN_V, incremental_capacity, read_curves
from tests.dashboard_world import START_MS, FakeHistory, make_cycle, make_frame


def test_a_charge_with_an_even_slope_has_an_even_curve_that_holds_all_its_charge() -> None:
    times = np.arange(0, 3_601_000, 10_000)
    voltage = np.linspace(3.5, 4.1, len(times))
    centres, dqdv = incremental_capacity(times, voltage, np.full(len(times), 2.0))
    assert float(np.nansum(dqdv) * BIN_V) == pytest.approx(2.0, rel=0.02)
    inner = dqdv[2:-2]
    assert np.allclose(inner, 2.0 / 0.6, rtol=0.02)
    assert centres[0] == pytest.approx(3.505)


def test_a_plateau_is_a_peak_at_its_voltage() -> None:
    times = np.arange(0, 3_600_000, 10_000)
    voltage = np.interp(times / 3.6e6, [0, 0.2, 0.8, 1.0], [3.5, 3.8, 3.82, 4.1])
    centres, dqdv = incremental_capacity(times, voltage, np.full(len(times), 1.5))
    assert 3.79 < centres[int(np.nanargmax(dqdv))] < 3.83


def test_the_constant_voltage_end_does_not_hide_the_peaks() -> None:
    """A CC-CV charge with a plateau at 3.9 V: half of its charge moves at 4.2 V."""
    times = np.arange(0, 7_200_000, 10_000)
    hours = times / 3.6e6
    voltage = np.interp(hours, [0, 0.3, 0.7, 1.0, 2.0], [3.5, 3.89, 3.91, 4.2, 4.2])
    current = np.where(hours < 1.0, 1.5, 1.5 * np.exp(-(hours - 1.0)))
    whole_v, whole = incremental_capacity(times, voltage, current)
    assert whole_v[int(np.nanargmax(whole))] > 4.19  # what was shown before: the spike alone
    centres, dqdv = incremental_capacity(times, voltage, current, 4.2)
    assert centres.max() < 4.2
    assert 3.88 < centres[int(np.nanargmax(dqdv))] < 3.92
    below = (whole_v > 3.55) & (whole_v < 4.15)
    same = (centres > 3.55) & (centres < 4.15)
    assert np.allclose(whole[below], dqdv[same])  # nothing else has changed


def test_discharge_gaps_and_missing_values_add_nothing() -> None:
    times = np.array([0, 10_000, 20_000, 10_000_000, 10_010_000, 10_020_000])
    voltage = np.array([3.60, 3.61, np.nan, 3.9, 3.89, 3.88])
    current = np.array([1.0, 1.0, 1.0, 1.0, -2.0, -2.0])
    _, dqdv = incremental_capacity(times, voltage, current)
    assert float(np.nansum(dqdv) * BIN_V) == pytest.approx(10 / 3_600, rel=0.3)
    empty = incremental_capacity(times[3:], voltage[3:], np.full(3, -1.0))
    assert [len(part) for part in empty] == [0, 0]


def test_the_first_charges_and_the_newest_are_drawn() -> None:
    history = FakeHistory(cycle_count=12)

    history.frames["a"] = [
        Frame(
            v=1,
            timestamp_ms=make_cycle("a", number).start_ms + step * 60_000,
            current_a=2.0,
            voltage_v=3.6 + 0.01 * step,
        )
        for number in (2, 4, 6, 8, 10, 12)
        for step in range(60)
    ]
    curves = read_curves(history, "a", 0)
    assert [(curve.number, curve.age) for curve in curves] == [
        (2, "first"),
        (4, "first"),
        (6, "first"),
        (12, "newest"),
    ]
    columns = curve_columns(curves[-1])
    assert len(columns["v"]) == len(columns["q"]) > 50


def test_a_running_charge_is_drawn_beside_the_first_ones() -> None:
    history = FakeHistory(cycle_count=3)
    begins = make_cycle("a", 3).end_ms + 10_000

    def frames(currents: list[float]) -> list[Frame]:
        return [
            Frame(v=1, timestamp_ms=begins + k * 60_000, current_a=i, voltage_v=3.5 + 0.01 * k)
            for k, i in enumerate(currents)
        ]

    history.frames["a"] = frames([-1.0] * 5 + [2.0] * 30)
    now = history.frames["a"][-1].timestamp_ms
    running = [c for c in read_curves(history, "a", 0, now) if c.age == "running"]
    assert [c.number for c in running] == [make_cycle("a", 2).number + 1]
    assert float(np.nansum(running[0].dqdv_ah_per_v) * BIN_V) == pytest.approx(29 / 30, rel=0.05)
    history.frames["a"] = frames([2.0] * 30 + [-1.0] * 5)
    now = history.frames["a"][-1].timestamp_ms
    assert [c.age for c in read_curves(history, "a", 0, now) if c.age == "running"] == []
    assert read_curves(history, "a", 0) == []


def test_history_ends_at_the_newest_frame_and_reaches_as_far_back_as_asked() -> None:
    history = FakeHistory(cycle_count=3)
    history.frames["a"] = [make_frame(n, START_MS + n * 10_000) for n in range(100)]
    last = START_MS + 990_000
    minute = read_history(history, "a", 0, "1m", last)["trace"]["ts"]
    assert minute == [START_MS + n * 10_000 for n in range(93, 100)]
    everything = read_history(history, "a", 0, "all", None)
    assert len(everything["trace"]["ts"]) == 100
    assert everything["trace"]["soh"][0] is None
    assert len(everything["cycles"]) == 3
    assert read_history(history, "nobody", 0, "10m", None)["trace"]["ts"] == []
