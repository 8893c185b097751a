"""Analysis on made-up lives with a known answer, and on real cells where one is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recordings import analysis
from recordings.knee import KneeReport, bacon_watts, find_knee, kneedle, running_median
from recordings.open import open_recording
from recordings.types import Operation, OperationKind, RecordingInfo
from tests import recording_files as made

INFO = RecordingInfo(asset="x", dataset="made", nominal_capacity_ah=2.0)
Floats = np.ndarray


def operation(kind: OperationKind, cycle: int = 1, **columns: np.ndarray) -> Operation:
    n = len(columns["time_s"])
    return Operation(
        index=0,
        cycle=cycle,
        kind=kind,
        start_ms=0,
        time_s=columns["time_s"],
        current_a=columns["current_a"],
        voltage_v=columns["voltage_v"].reshape(n, -1),
        temperature_c=np.empty((n, 0)),
    )


# The knee


def bent(n: int, knee: float, before: float, after: float, noise: float) -> tuple[Floats, Floats]:
    x = np.arange(1.0, n + 1)
    y = 1.0 + before * np.minimum(x, knee) + after * np.maximum(x - knee, 0)
    return x, y + np.random.default_rng(1).normal(0, noise, n)


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.006])
@pytest.mark.parametrize("knee", [250, 400, 600])
def test_a_bent_line_has_its_knee_found_by_both(knee: float, noise: float) -> None:
    x, y = bent(800, knee, -1e-4, -1.5e-3, noise)
    report = find_knee(x, y)
    assert report.bacon_watts == pytest.approx(knee, abs=10)
    assert report.kneedle == pytest.approx(knee, abs=40)
    assert report.slope_before == pytest.approx(-1e-4, abs=3e-5)
    assert report.slope_after == pytest.approx(-1.5e-3, rel=0.05)
    assert report.verdict == "agree"


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: 1 - 5e-4 * x,
        lambda x: 1 - 0.02 * np.sqrt(x),  # slows down: no knee
        lambda x: np.where(x < 400, 1 - 1.5e-3 * x, 0.4 - 1e-4 * (x - 400)),  # bends the other way
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.004])
def test_no_knee_where_there_is_none(
    shape: Callable[[np.ndarray], np.ndarray], noise: float
) -> None:
    x = np.arange(1.0, 801)
    y = shape(x) + np.random.default_rng(2).normal(0, noise, 800)
    report = find_knee(x, y)
    assert (report.bacon_watts, report.kneedle, report.verdict) == (None, None, "no knee")


def test_disagreement_is_said() -> None:
    x, y = bent(800, 400, -5e-4, -9e-4, 0.0)  # under twice as steep: no Bacon-Watts knee
    report = find_knee(x, y)
    assert report.bacon_watts is None
    assert report.kneedle == pytest.approx(400, abs=10)
    assert report.verdict == "disagree: Kneedle only"


@pytest.mark.parametrize(
    ("y", "verdict"),
    [
        (np.ones(10), "too few capacities (10)"),
        (np.linspace(1, 0.97, 50), "no knee: ends less than 5 % below its start"),
        (
            np.linspace(1, 0.8, 105) + np.where(np.arange(105) // 5 % 2, 0.2, 0.0),
            "discharges are not alike: capacity comes back by more than 15 %",
        ),
        (
            np.linspace(1, 0.8, 105) + np.where(np.arange(105) // 5 % 2, 0.06, 0.0),
            "too scattered: discharges are not alike",
        ),
    ],
)
def test_curves_that_cannot_tell(y: Floats, verdict: str) -> None:
    assert find_knee(np.arange(len(y), dtype=float), y).verdict == verdict


def test_missing_capacities_are_passed_over() -> None:
    x, y = bent(800, 500, -1e-4, -1.5e-3, 0.001)
    y[::7] = np.nan
    assert find_knee(x, y).bacon_watts == pytest.approx(500, abs=10)


def test_methods_apart() -> None:
    x, y = bent(300, 200, -1e-4, -2e-3, 0)
    found = bacon_watts(x, y)
    assert found is not None
    assert found.knee == pytest.approx(200, abs=1)
    assert kneedle(x, y[::-1]) is None  # rising
    np.testing.assert_array_equal(running_median(np.array([1.0, 9.0, 2.0, 3.0]), 3), [5, 2, 3, 2.5])


def test_knees_of_real_cells(shared_data: Path) -> None:
    def report(path: str) -> KneeReport:
        life = analysis.gather(open_recording(shared_data / path)[0], 1, 1)
        return find_knee(*life.capacities())

    calce = report("calce/tidy/CS2_36.parquet")
    assert calce.verdict == "agree"
    assert calce.bacon_watts == pytest.approx(668, abs=3)
    assert calce.earlier_bacon_watts is not None
    assert calce.earlier_bacon_watts < 500  # provisional indeed
    assert report("nasa/tidy/B0006.parquet").verdict == "no knee"


# Curves


def test_discharge_curve_counts_a_square_wave_right() -> None:
    time_s = np.arange(0, 3600.5, 0.5)
    current = np.where((time_s // 10) % 2 == 0, -4.0, 0.0)
    op = operation("discharge", time_s=time_s, current_a=current, voltage_v=4 - time_s / 3600)
    curve = analysis.discharge_curve(op, 2.0)
    assert curve is not None
    assert curve.capacity_ah[-1] == pytest.approx(2.0, rel=0.01)
    assert (np.diff(curve.capacity_ah) >= 0).all()
    assert len(curve.voltage_v) == (current < 0).sum()


def test_plateau_of_a_straight_discharge() -> None:
    time_s = np.arange(0, 3601, 10.0)
    voltage = 4.0 - 0.8 * time_s / 3600
    op = operation("discharge", time_s=time_s, current_a=np.full(361, -2.0), voltage_v=voltage)
    curve = analysis.discharge_curve(op, 2.0)
    assert curve is not None
    found = analysis.plateau(curve)
    assert found is not None
    assert found.slope_v == pytest.approx(-0.8, rel=1e-6)
    assert found.voltage_v == pytest.approx(3.6, abs=0.002)


def test_a_discharge_without_load_has_no_curve() -> None:
    rest = operation(
        "discharge", time_s=np.arange(50.0), current_a=np.zeros(50), voltage_v=np.full(50, 3.9)
    )
    assert analysis.discharge_curve(rest, 2.0) is None


def charge_with_peak(center_v: float, cycle: int = 1, dt_s: float = 5.0) -> Operation:
    """A CC charge whose dQ/dV is a flat 1 Ah/V with a Gaussian of 6 Ah/V at `center_v`."""
    voltage = np.linspace(3.4, 4.2, 20_001)
    dq_dv = 1.0 + 6.0 * np.exp(-0.5 * ((voltage - center_v) / 0.04) ** 2)
    charge = np.concatenate([[0], np.cumsum((dq_dv[1:] + dq_dv[:-1]) / 2 * np.diff(voltage))])
    time_s = np.arange(0, charge[-1] / 1.5 * 3600, dt_s)
    at = np.interp(time_s * 1.5 / 3600, charge, voltage)
    return operation(
        "charge", cycle, time_s=time_s, current_a=np.full(len(time_s), 1.5), voltage_v=at
    )


@pytest.mark.parametrize("center_v", [3.75, 3.9, 4.0])
def test_ica_gives_back_the_curve_that_made_the_charge(center_v: float) -> None:
    curve = analysis.incremental_capacity(charge_with_peak(center_v), INFO)
    assert curve is not None
    [(voltage_v, height)] = analysis.ica_peaks(curve)
    assert voltage_v == pytest.approx(center_v, abs=0.003)
    # The smoothing widens a peak of 40 mV by 15 mV: 6 * 40 / hypot(40, 15) above the floor.
    assert height == pytest.approx(1 + 6 * 40 / np.hypot(40, 15), rel=0.02)
    assert curve.voltage_v[-1] < 4.19


def test_short_and_empty_charges_have_no_ica() -> None:
    short = charge_with_peak(3.9)
    cut = operation(
        "charge",
        time_s=short.time_s[:100],
        current_a=short.current_a[:100],
        voltage_v=short.voltage_v[:100],
    )
    assert analysis.incremental_capacity(cut, INFO) is None
    rest = operation(
        "charge", time_s=np.arange(50.0), current_a=np.zeros(50), voltage_v=np.full(50, 3.9)
    )
    assert analysis.incremental_capacity(rest, INFO) is None


def test_peaks_are_followed_as_they_wander_and_cross_a_gap() -> None:
    curves = []
    for cycle in range(1, 31):
        if cycle % 10 == 0:
            continue
        found = analysis.incremental_capacity(charge_with_peak(3.8 + 0.004 * cycle, cycle), INFO)
        assert found is not None
        curves.append(found)
    [track] = analysis.track_peaks(curves)
    assert len(track.cycle) == 27
    slope, start = np.polyfit(track.cycle, track.voltage_v, 1)
    assert slope == pytest.approx(0.004, rel=0.03)
    assert start == pytest.approx(3.8, abs=0.01)


def test_a_peak_that_jumps_is_another_track() -> None:
    curves = []
    for cycle in range(1, 21):
        center = 3.7 if cycle <= 10 else 3.95
        found = analysis.incremental_capacity(charge_with_peak(center, cycle), INFO)
        assert found is not None
        curves.append(found)
    tracks = analysis.track_peaks(curves)
    assert sorted(len(track.cycle) for track in tracks) == [10, 10]


# Fade, resistance, temperature


def test_regeneration_needs_a_rise_and_a_rest() -> None:
    n = 60
    capacity: np.ndarray = 1.9 - 0.004 * np.arange(n)
    capacity[20:] += 0.05  # after a rest
    capacity[40:] += 0.05  # without one
    capacity[55:] += 0.5  # after a rest, but another load
    capacity[30] -= 0.2  # one short discharge, then back: no regeneration
    start_ms: np.ndarray = np.arange(n) * 5 * 3.6e6
    start_ms[20:] += 70 * 3.6e6
    start_ms[31:] += 70 * 3.6e6
    start_ms[50:] += 70 * 3.6e6  # a rest without a rise
    start_ms[55:] += 70 * 3.6e6
    assert analysis.regenerations(start_ms, capacity, 2.0) == [20]
    assert analysis.regenerations(start_ms[:4], capacity[:4], 2.0) == []


def test_regenerations_of_b0005_are_those_published(shared_data: Path) -> None:
    recording = open_recording(shared_data / "nasa" / "mat" / "B0005.reconstructed.mat")[0]
    life = analysis.gather(recording)
    cycle, capacity = life.capacities()
    start_ms = np.array([one.start_ms for one in life.cycles], dtype=float)
    found = analysis.regenerations(start_ms, capacity, 2.0)
    assert [int(cycle[i]) for i in found] == [20, 31, 48, 90, 120, 151, 167]
    rises = [capacity[i] - capacity[i - 1] for i in found]
    assert min(rises) > 0.02
    assert max(rises) < 0.09
    # The rest of a whole life in the same pass.
    assert len(life.cycles) == 168
    assert len(life.curves) == 100
    assert len(life.impedance) == 278
    [track] = analysis.track_peaks(life.ica)
    assert track.voltage_v[0] == pytest.approx(3.985, abs=0.011)
    assert track.voltage_v[-1] > track.voltage_v[0]  # it moves up as the resistance grows
    first, last = life.cycles[0].plateau, life.cycles[-1].plateau
    assert first is not None
    assert last is not None
    assert last.voltage_v < first.voltage_v
    assert life.cycles[0].temperature_max_c == pytest.approx(38.98, abs=0.01)


def test_growth_is_not_tilted_by_one_wild_value() -> None:
    cycle = np.arange(50.0)
    ohm = 0.05 + 1e-4 * cycle
    ohm[25] = 0.9
    assert analysis.growth_per_cycle(cycle, ohm) == pytest.approx(1e-4, rel=0.02)
    assert analysis.growth_per_cycle(cycle[:2], ohm[:2]) is None
    assert analysis.growth_per_cycle(np.zeros(5), ohm[:5]) is None


def test_gather_on_a_made_up_cell(tmp_path: Path) -> None:
    life = analysis.gather(open_recording(made.nasa_mat(tmp_path / "B0005.mat"))[0])
    cycle, capacity = life.capacities()
    assert cycle.tolist() == [1, 2, 3]
    np.testing.assert_allclose(capacity, [1.8, 1.79, 1.78])
    assert [curve.cycle for curve in life.curves] == [1, 2, 3]
    assert len(life.impedance) == 3
    assert life.cycles[0].temperature_start_c == 24.0
    assert life.cycles[0].ambient_c == 24.0
