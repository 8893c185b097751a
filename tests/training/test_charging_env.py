"""Charging: the environment's contract, the anode, the shield, what a charge comes to."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.charging import anode
from monitor.charging.shield import PERFECT, Limits, allowed_c, which_limit, worst_anode_v
from simulator.twin import load_parameters
from training.charging import rewards
from training.charging.bound import best_profiles, cost
from training.charging.cell import CellBatch, Variation, random_variations, scale_exponents
from training.charging.chargers import Chargers
from training.charging.policies import CHARGER_V, CcCv, MultiStage, always_1c
from training.charging.rollout import charge, grid, lifetime

CELL = load_parameters()


def test_the_anode_settles_where_the_shield_expects_it() -> None:
    cells = CellBatch.at(CELL, soc=0.4, soh=1.0, ambient_c=25.0)
    for _ in range(30):
        cells.step_inplace(np.array([0.5]), 10.0)
    settled = anode.steady_potential_v(
        cells.soc, cells.current_c / (1 - cells.capacity_loss), cells.temperature_c
    )
    assert cells.anode_v == pytest.approx(settled, abs=3e-3)


def test_a_fast_cold_charge_brings_the_anode_to_lithium() -> None:
    warm = anode.steady_potential_v(0.7, 1.0, 30.0)
    cold = anode.steady_potential_v(0.7, 1.0, 0.0)
    assert cold < 0.0 < warm
    assert anode.steady_potential_v(0.7, 0.5, 30.0) > warm
    # At rest it is graphite's own potential.
    assert anode.steady_potential_v(0.5, 0.0, 25.0) == pytest.approx(
        anode.open_circuit_v(anode.stoichiometry(0.5))
    )


@given(soc=st.floats(0.0, 1.0), soh=st.floats(0.7, 1.0), temperature_c=st.floats(-30.0, 70.0))
@settings(max_examples=60, deadline=None)
def test_what_the_shield_allows_keeps_every_bound(
    soc: float, soh: float, temperature_c: float
) -> None:
    limits = Limits()
    allowed = float(allowed_c(soc, soh, temperature_c, limits))
    assert 0.0 <= allowed <= limits.current_max_c
    if not -20.0 <= temperature_c <= 44.5:
        assert allowed == 0.0
    elif allowed > 0.0 and 0.005 < soc < 0.995:
        worst = worst_anode_v(soc, allowed / soh, temperature_c, limits.tolerance)
        assert worst > limits.anode_min_v  # and a table's error is no more than rest_v
        # Every cell within the tolerance stands higher, whatever of it is off.
        for off in itertools.product((0.9, 1.0, 1.1), repeat=4):
            own_c = allowed / soh / off[0]
            settled = anode.steady_potential_v(soc, own_c, temperature_c, *off[1:])
            assert settled > limits.anode_min_v


def test_the_shield_says_which_bound_it_is() -> None:
    assert which_limit(0.1, 1.0, 30.0, Limits(current_max_c=0.5)) == "current"
    assert which_limit(0.3, 1.0, 44.0, Limits()) == "temperature"
    assert which_limit(0.7, 1.0, 5.0, Limits()) == "plating"


def test_faster_charging_takes_less_time_and_wears_more_in_the_warm() -> None:
    policy = CcCv(np.array([0.3, 0.6, 1.5]), np.full(3, CHARGER_V))
    found = charge(policy, grid([30.0], [0.9]), CELL, repeat=3)
    assert np.all(np.diff(found.minutes) < 0)
    assert np.all(np.diff(found.loss) > 0)
    assert not found.violations.any()
    assert found.minutes[0] == pytest.approx(0.7 * 0.9 / 0.3 * 60, rel=0.01)  # 70 % of 0.9 at 0.3C


def test_stages_of_one_rate_are_a_constant_current() -> None:
    scene = grid([20.0, 30.0], [0.85])
    one = charge(MultiStage(np.full(5, 0.8)), scene, CELL)
    same = charge(CcCv(np.full(1, 0.8), np.full(1, CHARGER_V)), scene, CELL)
    assert one.minutes == pytest.approx(same.minutes)
    assert one.loss == pytest.approx(same.loss)


def test_without_the_shield_a_hot_cell_passes_its_limit() -> None:
    scene = grid([40.0], [0.85])
    fast = CcCv(np.full(1, 2.5), np.full(1, CHARGER_V))
    assert charge(fast, scene, CELL, shielded=False).violations.all()
    assert not charge(fast, scene, CELL).violations.any()


def test_other_cells_and_wrong_estimates_break_no_limit() -> None:
    kinds = random_variations(4, 0.1, seed=5)
    scene = grid([10.0, 40.0], [0.8, 1.0], kinds, soc_error=0.02, soh_error=0.03)
    fast = CcCv(np.full(1, 3.0), np.full(1, CHARGER_V))
    found = charge(fast, scene, CELL)
    assert not found.violations.any()
    assert np.isfinite(found.minutes).all()


def every_corner() -> list[Variation]:
    """All 256 kinds of cells with every parameter 10 % up or down."""
    kinds = []
    for signs in itertools.product((0.9, 1.1), repeat=8):
        capacity, ohm, heat, cooling, entropy, exchange, diffusion, electrolyte = signs
        kinds.append(
            Variation(capacity=capacity, resistance=ohm, heat_capacity=heat, cooling=cooling,
                      entropy=entropy, exchange=exchange, diffusion=diffusion,
                      electrolyte=electrolyte)
        )  # fmt: skip
    return kinds


@pytest.mark.parametrize("soc_error", [-0.02, 0.02])
@pytest.mark.parametrize("soh_error", [-0.03, 0.03])
def test_no_corner_of_the_tolerance_breaks_a_limit(soc_error: float, soh_error: float) -> None:
    where = grid([10.0, 20.0, 40.0], [0.8, 1.0], every_corner())
    where = replace(
        where, soc_error=np.full(where.n, soc_error), soh_error=np.full(where.n, soh_error)
    )
    found = charge(CcCv(np.full(1, 3.0), np.full(1, CHARGER_V)), where, CELL)
    assert not found.violations.any()
    assert np.isfinite(found.minutes).all()
    if soc_error < 0 < soh_error:
        # The margin is no wider than it has to be: the worst of them comes near the limit.
        assert found.lowest_anode_v.min() < 0.006


def test_a_current_that_jumps_about_breaks_no_limit() -> None:
    class Restless:
        name = "restless"

        def __init__(self) -> None:
            self.rng = np.random.default_rng(3)

        def ask(self, seen: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            wish = np.where(self.rng.random(len(seen)) < 0.5, 0.15, 3.0)
            return wish, np.full(len(seen), CHARGER_V)

        def only(self, kept: NDArray[np.bool_]) -> Restless:
            return self

    kinds = [kind for kind in every_corner() if kind.exchange < 1 < kind.electrolyte]
    where = grid([10.0, 40.0], [0.8, 1.0], kinds)
    where = replace(where, soc_error=np.full(where.n, -0.02), soh_error=np.full(where.n, 0.03))
    found = charge(Restless(), where, CELL)
    assert not found.violations.any()
    assert np.isfinite(found.minutes).all()


def test_one_who_knows_the_cell_may_charge_faster() -> None:
    scene = grid([10.0, 25.0, 40.0], [0.9])
    fast = CcCv(np.full(1, 3.0), np.full(1, CHARGER_V))
    behind = charge(fast, scene, CELL)
    bare = charge(fast, scene, CELL, limits=Limits(tolerance=PERFECT))
    assert np.all(bare.minutes < behind.minutes)
    assert np.all(bare.lowest_anode_v < behind.lowest_anode_v)


def test_charges_that_leave_the_batch_do_not_change_the_others() -> None:
    scene = grid([15.0, 35.0], [0.85], [Variation(), Variation(capacity=0.9)])
    rates = np.array([0.3, 0.9, 2.5])
    together = charge(CcCv(np.tile(rates, 4), np.full(1, 4.1)), scene, CELL, repeat=3)
    for index, rate in enumerate(rates):
        alone = charge(CcCv(np.array([rate]), np.full(1, 4.1)), scene, CELL)
        assert together.reshaped(4, 3).minutes[:, index] == pytest.approx(alone.minutes)
        assert together.reshaped(4, 3).loss[:, index] == pytest.approx(alone.loss)
        assert together.reshaped(4, 3).peak_c[:, index] == pytest.approx(alone.peak_c)


def test_nothing_that_is_tried_beats_the_bound() -> None:
    scene = grid([12.0, 25.0], [0.9], soc_error=0.02, soh_error=0.03)
    weights = np.array([1.0, 8.0])
    best = best_profiles(scene, CELL, weights, 0, lambda _: None, rounds=10, tried=128).outcome
    assert not best.violations.any()
    rates = np.geomspace(0.2, 3.0, 40)
    for cut_v in (4.0, 4.2):
        tried = charge(CcCv(np.tile(rates, 2), np.full(1, cut_v)), scene, CELL, repeat=40)
        tried = tried.reshaped(2, 40)
        for index, weight in enumerate(weights):
            least = cost(best.minutes[:, index], best.loss[:, index], weight)
            # The search's own error is allowed for; a learner's gap is several times that.
            assert np.all(least <= 1.001 * cost(tried.minutes, tried.loss, weight).min(axis=1))


def test_a_life_wears_by_what_its_charges_and_discharges_wear() -> None:
    scene = grid([25.0], [0.95])
    left = lifetime(always_1c(), scene, CELL, cycles=3)
    once = charge(always_1c(), scene, CELL)
    lost = float(0.95 - left[0])
    assert 3 * once.loss[0] < lost < 9 * once.loss[0]


def test_scaled_exponents_keep_the_law_where_it_was_calibrated() -> None:
    def loss(factor: float, rate: float) -> float:
        cell = scale_exponents(CELL, factor)
        policy = CcCv(np.array([rate]), np.full(1, CHARGER_V))
        return float(charge(policy, grid([20.0], [0.9]), cell).loss[0])

    assert loss(0.5, 1.0) == pytest.approx(loss(1.5, 1.0), rel=0.2)
    assert loss(1.5, 2.0) / loss(1.5, 0.5) > loss(0.5, 2.0) / loss(0.5, 0.5)


def test_kinds_share_the_batch_in_blocks() -> None:
    kinds = [Variation(), Variation(capacity=0.9)]
    found = charge(always_1c(), grid([25.0], [0.9], kinds), CELL)
    assert found.minutes[1] == pytest.approx(0.9 * found.minutes[0], rel=0.03)
    with pytest.raises(ValueError, match="3 cells over 2 kinds"):
        CellBatch.at(CELL, soc=np.full(3, 0.5), soh=0.9, ambient_c=25.0, kinds=kinds)


def test_the_rewards_are_what_they_say() -> None:
    course = rewards.course(np.array([1e-5]), np.array([30.0]))
    assert course == pytest.approx(-1e-5 + 1 / 30)
    weight, ambient = np.array([4.0]), np.array([24.0])
    whole = rewards.scaled(np.array([1e-3]), np.array([1800.0]), np.ones(1), weight, ambient)
    assert whole == pytest.approx((rewards.par(weight, ambient) - 5.0) / 3.0)


def test_many_cells_are_the_same_as_one_by_one() -> None:
    many = Chargers(3, seed=1)
    for _ in range(4):
        many.step_inplace(np.array([0.5, 1.0, 2.0]))
    for index, rate in enumerate((0.5, 1.0, 2.0)):
        same = Chargers(3, seed=1)
        for _ in range(4):
            same.step_inplace(np.full(3, rate))
        assert same.seen()[index] == pytest.approx(many.seen()[index])
