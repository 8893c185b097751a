"""The benchmark's injection: energy in is energy found, nothing before the onset, sites fixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.thermal.data import Stream
from training.thermal.injection import break_sensor, disturb, inject
from training.thermal.scenarios import (
    NUISANCES,
    SCENARIOS,
    SENSOR_FAULTS,
    SITES_PER_GROUP,
    Scenario,
    sites,
)


def _resting(hours: float = 40.0, group: str = "made") -> Stream:
    n = int(hours * 360)
    return Stream(
        asset=group,
        group=group,
        nominal_ah=2.0,
        charge_v=4.2,
        discharge_v=2.7,
        timestamp_ms=10_000 * np.arange(n, dtype=np.int64),
        current_a=np.zeros(n),
        voltage_v=np.full(n, 3.7),
        temperature_c=np.full(n, 25.0),
        ambient_c=np.full(n, 25.0),
        operation=np.arange(n) // 1440,
    )


def test_sites_are_the_same_every_time_and_as_many_in_every_group() -> None:
    streams = [_resting(group="one"), _resting(group="two")]
    found = sites(streams)
    assert found == sites(list(reversed(streams)))
    assert [s.group for s in found] == ["one"] * SITES_PER_GROUP + ["two"] * SITES_PER_GROUP


def test_a_constant_heat_settles_where_the_balance_says() -> None:
    stream = _resting()
    site = replace(sites([stream])[0], onset_ms=15 * 3_600_000, cooling_w_per_k=0.09)
    made = inject(stream, site, Scenario("heat", 0.5, "W"))
    # hA times the surface's rise is the heat; 2 h are over ten time constants.
    assert made.stream.temperature_c[-1] - 25.0 == pytest.approx(0.5 / 0.09, rel=0.01)
    assert np.all(made.stream.temperature_c[~made.active] == 25.0)
    assert made.runaway_ms is None


def test_early_heat_is_stored_in_the_whole_capacity() -> None:
    stream = _resting()
    site = replace(
        sites([stream])[0], onset_ms=15 * 3_600_000, cooling_w_per_k=1e-9, sensor_lag_s=4.0
    )
    made = inject(stream, site, Scenario("heat", 1.0, "W"))
    minutes_10_to_20 = np.searchsorted(
        made.stream.timestamp_ms - made.onset_ms, [600_000, 1_200_000]
    )
    warm = made.stream.temperature_c[minutes_10_to_20]
    # The reactions give a little of their own at 50 C.
    assert (warm[1] - warm[0]) / 600.0 == pytest.approx(1.0 / site.heat_capacity_j_per_k, rel=0.01)


def test_a_short_heats_with_its_power_and_pulls_the_voltage_down() -> None:
    stream = _resting()
    site = replace(sites([stream])[0], onset_ms=15 * 3_600_000, cooling_w_per_k=0.09)
    made = inject(stream, site, Scenario("short", 20.0, "ohm"))
    amps = 3.7 / (20.0 + site.contact_ohm)
    assert made.stream.temperature_c[-1] - 25.0 == pytest.approx(3.7 * amps / 0.09, rel=0.01)
    assert made.stream.voltage_v[-1] == pytest.approx(3.7 - amps * site.contact_ohm)


@pytest.mark.parametrize("minutes", [19.0, 55.0, 180.0])
def test_a_growing_short_runs_away_hot_and_steep(minutes: float) -> None:
    stream = _resting()
    site = replace(sites([stream])[0], onset_ms=15 * 3_600_000, cooling_w_per_k=0.04)
    made = inject(stream, site, Scenario("growing_short", minutes, "min"))
    assert made.runaway_ms == made.stream.timestamp_ms[-1]
    assert made.stream.temperature_c[-1] >= 80.0
    assert made.stream.temperature_c[-1] - made.stream.temperature_c[-3] > 10.0


def test_cooling_loss_needs_a_rise_to_show() -> None:
    stream = _resting()
    site = replace(sites([stream])[0], onset_ms=15 * 3_600_000)
    loss = Scenario("cooling_loss", 0.2, "of hA left")
    np.testing.assert_allclose(inject(stream, site, loss).stream.temperature_c, 25.0, atol=1e-3)
    warm = replace(stream, temperature_c=np.full(len(stream), 40.0))
    assert inject(warm, site, loss).stream.temperature_c[-1] > 50.0


def test_every_scenario_nuisance_and_sensor_fault_leaves_the_past_alone() -> None:
    stream = _resting()
    site = sites([stream])[3]
    for scenario in SCENARIOS:
        made = inject(stream, site, scenario)
        assert np.all(made.stream.temperature_c[~made.active] == 25.0), scenario.name
    for fault in SENSOR_FAULTS:
        broken = break_sensor(stream, site, fault)
        before = broken.timestamp_ms < site.onset_ms
        assert np.all(broken.temperature_c[before] == 25.0), fault
    for nuisance in NUISANCES:
        assert len(disturb(stream, site, nuisance)) > 100, nuisance
