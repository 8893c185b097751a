"""One contract for every detector, and what the heat balance alone promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitor.kernels.columns import TERMS
from training.thermal.balance import BalancePrior, fit_balance, follow, terms
from training.thermal.data import HeatParameters, Stream, run_kernel
from training.thermal.detectors import Detector, all_detectors
from training.thermal.injection import inject
from training.thermal.networks import CarriedAutoencoder, dense_autoencoder, lstm_autoencoder
from training.thermal.physical import HeatBalance, ResidualAutoencoder, ShippedScorer
from training.thermal.scenarios import Scenario, sites
from training.thermal.slots import Slots, slots_of

TRUTH = (0.15, 0.03, 0.02, -0.09, 0.5, 0.12, -0.03, 0.0)


def made_stream(group: str, seed: int, hours: float = 30.0) -> Stream:
    """A cell at 10 s that obeys the balance up to a slowly wandering error."""
    rng = np.random.default_rng(seed)
    n = int(hours * 360)
    current = np.repeat(rng.choice([-2.0, -1.0, 0.0, 1.5], n // 90 + 1), 90)[:n]
    volts = np.repeat(rng.uniform(3.65, 4.1, n // 90 + 1), 90)[:n]
    share = rng.normal(1.0, 0.05, TERMS) * TRUTH
    temperature = np.full(n, 25.0)
    lagged, wander = 0.0, 0.0
    for k in range(1, n):
        c = current[k] / 2.0
        charging, discharging = max(c, 0.0), max(-c, 0.0)
        made = share[0] * c * c + share[3] * c
        made += share[5] * charging * (volts[k] - 4.0) / 0.2
        made += share[6] * discharging * min((volts[k] - 3.4) / 0.3, 1.5)
        lagged += (1 - np.exp(-10 / 45)) * (made - lagged)
        wander += -wander / 60 + rng.normal(0.0, 0.001)
        rise = temperature[k - 1] - 25.0
        heat = lagged + share[2] - share[1] * rise + wander
        temperature[k] = temperature[k - 1] + 10.0 * heat / 20.0
    return Stream(
        asset=f"{group}-{seed}",
        group=group,
        nominal_ah=2.0,
        charge_v=4.2,
        discharge_v=2.7,
        timestamp_ms=10_000 * np.arange(n, dtype=np.int64),
        current_a=current,
        voltage_v=volts,
        temperature_c=temperature,
        ambient_c=np.full(n, 25.0),
        operation=np.arange(n) // 1440,
    )


@pytest.fixture(scope="module")
def train() -> list[Slots]:
    return [slots_of(made_stream(group, seed)) for seed, group in enumerate("abcd")]


def made_quickly(name: str) -> Detector:
    """The detector by its name; networks train for a few steps only."""
    trained = (
        dense_autoencoder, lstm_autoencoder, CarriedAutoencoder, ResidualAutoencoder, ShippedScorer,
    )  # fmt: skip
    quick: dict[str, Detector] = {one.name: one for one in (make(10) for make in trained)}
    return quick.get(name) or all_detectors()[name]()


@pytest.fixture(scope="module", params=sorted(all_detectors()))
def fitted(request: pytest.FixtureRequest, train: list[Slots]) -> Detector:
    detector = made_quickly(request.param)
    detector.fit(train, seed=1)
    return detector


def test_a_score_for_every_slot(fitted: Detector, train: list[Slots]) -> None:
    score = fitted.score(train[0])
    assert score.shape == (len(train[0]),)
    assert score.dtype == np.float64
    assert np.isfinite(score[40:]).all()


def test_scoring_learns_nothing(fitted: Detector, train: list[Slots]) -> None:
    first = fitted.score(train[0])
    fitted.score(train[1])
    np.testing.assert_array_equal(fitted.score(train[0]), first)


def test_a_score_does_not_look_ahead(fitted: Detector, train: list[Slots]) -> None:
    whole, half = train[2], train[2].before(int(train[2].timestamp_ms[1_500]))
    np.testing.assert_allclose(
        fitted.score(whole)[: len(half)], fitted.score(half), rtol=1e-4, atol=1e-5
    )


def test_history_is_as_long_as_it_says(fitted: Detector, train: list[Slots]) -> None:
    if not np.isfinite(fitted.history_s):
        return
    later = train[3].after(int(train[3].timestamp_ms[1_000]))
    skip = 2 * int(fitted.history_s / 30.0) + 1
    np.testing.assert_allclose(
        fitted.score(train[3])[-len(later) + skip :],
        fitted.score(later)[skip:],
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_empty_stream_has_no_scores(fitted: Detector, train: list[Slots]) -> None:
    assert fitted.score(train[0].before(-1)).shape == (0,)


def test_fitting_again_starts_afresh(fitted: Detector, train: list[Slots]) -> None:
    before = fitted.score(train[1])
    fitted.fit(train[:3], seed=2)
    fitted.fit(train, seed=1)
    np.testing.assert_allclose(fitted.score(train[1]), before, rtol=1e-4, atol=1e-5)


def test_no_detector_but_the_random_one_sleeps_through_a_fire(
    fitted: Detector, train: list[Slots]
) -> None:
    stream = made_stream("a", 0)
    site = replace(sites([stream])[0], onset_ms=14 * 3_600_000)
    burning = slots_of(inject(stream, site, Scenario("heat", 8.0, "W")).stream)
    if fitted.name == "random":
        return
    hot = fitted.score(burning)[burning.timestamp_ms > site.onset_ms]
    assert np.nanmax(hot) > np.nanmax(fitted.score(train[0])), fitted.name


# The heat balance


def test_the_fit_finds_the_coefficients_that_made_the_data(train: list[Slots]) -> None:
    found = fit_balance(train)
    # The cells scatter by 5 % around the truth; the offset and the cooling trade with each other.
    np.testing.assert_allclose(found[:4], TRUTH[:4], rtol=0.2, atol=0.01)


def test_terms_times_coefficients_is_the_stored_heat_of_a_perfect_cell() -> None:
    stream = made_stream("a", 0)
    x, stored = terms(slots_of(stream))
    left = stored - x @ fit_balance([slots_of(stream)])
    assert np.abs(left).mean() < 0.02


def test_it_adapts_to_a_cell_that_differs_from_the_prior() -> None:
    slots = slots_of(made_stream("a", 0, hours=60.0))
    off = BalancePrior(tuple(1.3 * t for t in TRUTH), tuple(0.3 * abs(t) for t in TRUTH))
    fixed, learned = follow(slots, off, adapt=False), follow(slots, off)
    late = slice(len(slots) // 2, None)
    assert np.abs(learned.excess[late]).mean() < 0.7 * np.abs(fixed.excess[late]).mean()


def test_it_does_not_learn_a_fault_away(train: list[Slots]) -> None:
    detector = HeatBalance()
    detector.fit(train, seed=0)
    stream = made_stream("new", 9)
    site = replace(sites([stream])[0], onset_ms=14 * 3_600_000)
    slots = slots_of(inject(stream, site, Scenario("heat", 1.0, "W")).stream)
    score = detector.score(slots)
    age = slots.timestamp_ms - site.onset_ms
    calm = np.median(score[(age < 0) & (age > -4 * 3_600_000)])
    late = score[(age > 15 * 60_000) & (age < 7_000_000)]
    assert late.min() > max(1.0, 3.0 * calm)


def test_without_an_ambient_sensor_it_still_answers(train: list[Slots]) -> None:
    detector = HeatBalance()
    detector.fit(train, seed=0)
    blind = replace(train[0], ambient_c=np.full(len(train[0]), np.nan))
    assert np.isfinite(detector.score(blind)).all()


@pytest.mark.parametrize("every_ms", [1_000, 10_000, 30_000])
def test_slots_do_not_depend_on_the_sampling(every_ms: int) -> None:
    time = np.arange(0, 3_600_001, every_ms, dtype=np.int64)
    hours = time / 3.6e6
    stream = replace(
        made_stream("a", 0, hours=1.0),
        timestamp_ms=time,
        current_a=np.full(len(time), -1.0),
        voltage_v=4.0 - 0.5 * hours,
        temperature_c=25.0 + 3.0 * hours,
        ambient_c=np.full(len(time), 25.0),
        operation=np.zeros(len(time), np.int64),
    )
    slots = slots_of(stream)
    assert len(slots) == 120
    np.testing.assert_allclose(slots.duration_s, 30.0)
    np.testing.assert_allclose(slots.warming_c, 3.0 / 120, rtol=1e-6)
    np.testing.assert_allclose(slots.temperature_c[:2], 25.0 + 3.0 / 240 * np.array([1, 3]))
    np.testing.assert_allclose(slots.c_rate, -0.5)


def test_a_gap_begins_new_slots_and_costs_no_hours() -> None:
    stream = made_stream("a", 0, hours=2.0)
    kept = np.r_[0:200, 400:700]
    gap = replace(
        stream,
        **{
            name: getattr(stream, name)[kept]
            for name in (
                "timestamp_ms",
                "current_a",
                "voltage_v",
                "temperature_c",
                "ambient_c",
                "operation",
            )
        },
    )
    slots = slots_of(gap)
    assert slots.begins.sum() == 2
    assert slots.hours == pytest.approx((199 + 299) * 10 / 3600)


def test_the_benchmarks_slots_give_what_the_monitors_kernel_gives(train: list[Slots]) -> None:
    stream = made_stream("a", 0)
    keep = np.r_[0:3_000, 3_100:5_000, 5_003 : len(stream)]  # a gap, and one that is bridged
    columns = ("timestamp_ms", "current_a", "voltage_v", "temperature_c", "ambient_c", "operation")
    holed = replace(stream, **{name: getattr(stream, name)[keep] for name in columns})
    prior = HeatParameters(20.0, 0.025, 0.2)
    rows = next(iter(run_kernel(holed, prior)))
    trace = follow(slots_of(holed), BalancePrior(prior.balance_mean, prior.balance_spread))
    # A slot is closed by the next sample.
    closes = np.searchsorted(holed.timestamp_ms, slots_of(holed).timestamp_ms) + 1
    inside = (closes < len(holed)) & np.isin(closes, np.flatnonzero(rows.usable))
    assert inside.sum() > 3_000
    newest = rows.thermal_inputs[closes[inside]][:, -4:-2]
    np.testing.assert_allclose(newest[:, 0], trace.fast[inside], atol=1e-5)
    np.testing.assert_allclose(newest[:, 1], trace.slow[inside], atol=1e-5)
