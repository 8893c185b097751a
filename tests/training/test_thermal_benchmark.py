"""The benchmark's own arithmetic: VUS-PR, leads, held-out limits, kept results, the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.training.test_thermal_detectors import made_stream
from training.resume import keep
from training.thermal.abuse import judge_test
from training.thermal.benchmark import (
    Bench,
    Outcome,
    Result,
    fit_leaving_out,
    in_parts,
    judge,
    judge_nuisance,
    one_each,
)
from training.thermal.detectors import all_detectors
from training.thermal.evaluate import Kept, file_name, kept
from training.thermal.physical import HeatBalance
from training.thermal.report import as_report, figures, page
from training.thermal.scenarios import SCENARIOS, SENSOR_FAULTS, sites
from training.thermal.sensors import falsely_named, falsely_named_disturbed, judge_sensors
from training.thermal.slots import Slots, slots_of
from training.thermal.tables import OURS, Beside
from training.thermal.twin import healthy_twins, shorted_twin
from training.thermal.vus import Series, vus_pr


def _series(score: list[float], onset: int) -> Series:
    return Series(np.array(score), np.arange(len(score)) >= onset)


def test_a_perfect_score_has_nearly_all_of_the_volume() -> None:
    perfect = [_series([0.0] * 300 + [1.0] * 300, 300) for _ in range(5)]
    assert vus_pr(perfect) > 0.94  # the shoulders before the onset are what is missing


def test_a_constant_score_has_the_share_of_faulty_time() -> None:
    flat = [_series([1.0] * 400, 300) for _ in range(5)]
    assert vus_pr(flat) == pytest.approx(0.25, abs=0.05)


def test_one_hit_in_an_event_is_not_the_whole_event() -> None:
    # Point adjustment would give this 1.
    once = [_series([0.0] * 300 + [0.0] * 150 + [1.0] + [0.0] * 149, 300) for _ in range(5)]
    assert vus_pr(once) < 0.6


def test_a_missing_score_counts_as_the_lowest() -> None:
    blind = [_series([0.0] * 300 + [np.nan] * 300, 300) for _ in range(5)]
    awake = [_series([0.0] * 300 + [1.0] * 300, 300) for _ in range(5)]
    assert vus_pr(blind) < vus_pr(awake)


def test_leads_count_a_miss_and_leave_out_what_does_not_run_away() -> None:
    result = Result("x")
    result.outcomes["s"] = [
        Outcome("g", 10.0, 40.0),
        Outcome("g", None, 40.0),
        Outcome("g", 1.0, None),
        Outcome("g", 2.0, 8.0),
    ]
    assert result.leads_min("s").tolist() == [30.0, -1.0, 6.0]
    assert result.leads_min("s", least_physics_min=10.0).tolist() == [30.0, -1.0]
    assert result.found_within("s", 5.0) == 0.5


@pytest.fixture(scope="module")
def bench() -> Bench:
    streams = [made_stream(group, seed) for seed, group in enumerate("abcd")]
    return Bench(streams, [slots_of(s) for s in streams], sites(streams, per_group=1))


def test_a_held_out_group_is_never_in_its_detectors_training(bench: Bench) -> None:
    seen: list[set[str]] = []

    class Spy(HeatBalance):
        def fit(self, train: Sequence[Slots], seed: int) -> None:
            seen.append({slots.group for slots in train})
            super().fit(train, seed)

    fit_leaving_out(Spy, bench, one_each(bench.groups), 0)
    assert seen == [set("abcd") - {group} for group in "abcd"]
    assert in_parts(list("abcdef"), 4) == [["a", "e"], ["b", "f"], ["c"], ["d"]]


def test_the_benchmark_runs_and_its_page_says_every_figure(bench: Bench, tmp_path: Path) -> None:
    names = ("random", "absolute temperature", "60 C limit", OURS)
    fitted = {
        name: fit_leaving_out(all_detectors()[name], bench, one_each(bench.groups), 0)
        for name in names
    }
    results = judge(fitted, bench)
    judge_nuisance(results, fitted, bench)
    ours = results[OURS]
    assert ours.found_within("heat 2 W") == 1.0
    assert ours.vus["all"] > results["random"].vus["all"]
    for result in results.values():
        keep(tmp_path, file_name(result.name), Kept(1, result))
    again = kept(tmp_path)
    assert set(again) == set(names)
    assert again[OURS][0].outcomes == ours.outcomes
    assert again[OURS][0].pooled == ours.pooled
    sensors = judge_sensors(fitted[OURS], bench)
    assert [o.fault for o in sensors] == list(SENSOR_FAULTS)
    assert sensors[0].named == 1.0
    named = falsely_named(bench.streams)
    assert named.alarms == 0
    beside = Beside(
        100.0, sensors=sensors, named=named, named_disturbed=falsely_named_disturbed(bench, 1),
        cost_us={"thermal": 0.4},
    )  # fmt: skip
    numbers = figures(again, beside)
    text = page(as_report({"a": "0" * 64}, numbers, again, beside))
    for one in numbers:
        assert one.name in text
    for scenario in SCENARIOS:
        assert scenario.name in text


def test_a_crush_is_seen_at_once_and_rest_is_not() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(0.0, 300.0, 0.2)
    heated = 25.0 + 3.0 * np.clip(time - 200.0, 0.0, 30.0) + rng.normal(0, 0.005, len(time))
    volts = np.where(time < 201.0, 4.1, 0.1)
    test = judge_test("made", True, time, volts, heated[:, None])
    temperature, voltage = test.channels
    assert temperature.sign_s == pytest.approx(200.0, abs=0.6)
    assert temperature.delay_s is not None
    assert temperature.delay_s <= 1.0
    assert voltage.delay_s == pytest.approx(0.0, abs=0.21)
    assert temperature.early == voltage.early == 0
    assert test.runaway_s == pytest.approx(203.5, abs=1.5)
    calm = judge_test("calm", True, time, np.full_like(time, 4.1), np.full((len(time), 1), 25.0))
    assert calm.runaway_s is None
    assert all(c.sign_s is None and c.warned_s is None for c in calm.channels)


def test_the_twin_is_calm_when_healthy_and_runs_away_when_shorted() -> None:
    calm = healthy_twins(24.0, seed=1, duration_s=3 * 3600.0)
    assert len({stream.asset for stream in calm}) == len(calm) == 6
    assert all(stream.temperature_c.max() < 60.0 for stream in calm)
    stream, onset_ms = shorted_twin(19.0, 24.0, 0.92, seed=1)
    before = stream.timestamp_ms < onset_ms
    assert stream.temperature_c[before].max() < 45.0
    assert stream.temperature_c[~before].max() > 150.0
    again, _ = shorted_twin(19.0, 24.0, 0.92, seed=1)
    assert np.array_equal(again.temperature_c, stream.temperature_c)
