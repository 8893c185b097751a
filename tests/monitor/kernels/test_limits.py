"""Limits compared sample by sample: deadband, delays in event time, values that are missing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alarms.rules import DEFAULT_RULES, Rule
from monitor.kernels.columns import FEATURES, Extra, Feature
from monitor.kernels.frames import Outputs
from monitor.kernels.limits import CHANGE, check_inplace, rule_rows

NAN = float("nan")
HOT = replace(
    DEFAULT_RULES[2], quantity=Feature.TEMPERATURE_C, above=True, deadband=3.0,
    on_delay_ms=2_000, off_delay_ms=30_000,
)  # fmt: skip
LOW = replace(
    DEFAULT_RULES[1], quantity=Feature.VOLTAGE_V, above=False, deadband=0.1, on_delay_ms=0,
    off_delay_ms=0,
)  # fmt: skip
SCORE = replace(HOT, quantity=Extra.THERMAL_SCORE, deadband=0.0, on_delay_ms=0, off_delay_ms=0)


class Checker:
    """Rules on a few rows, with their memory."""

    def __init__(self, rules: list[Rule], limits: list[list[float]]) -> None:
        self.rules = rules
        self.limits = np.array(limits)
        self.active: np.ndarray = np.zeros(self.limits.shape, np.int8)
        self.since = np.full(self.limits.shape, np.nan)

    def check(self, samples: list[tuple[int, int, dict[int, float]]]) -> list[tuple[int, int, int]]:
        """Samples are (row, time, {quantity: value}); changes are (sample, rule, became)."""
        n = len(samples)
        out = Outputs(n)
        out.features[:] = np.nan
        out.extras[:] = np.nan
        for k, (row, at, values) in enumerate(samples):
            out.row[k], out.timestamp_ms[k] = row, at
            for quantity, value in values.items():
                if quantity < FEATURES:
                    out.features[k, quantity] = value
                else:
                    out.extras[k, quantity - FEATURES] = value
        found = np.array([(-1, -1, False)] * (n * len(self.rules)), CHANGE)
        changes = check_inplace(
            self.active, self.since, self.limits, rule_rows(self.rules), out, found, n
        )
        sample, rule, became = (found[name] for name in ("sample", "rule", "active"))
        assert (sample[changes:] == -1).all()
        return list(
            zip(sample[:changes].tolist(), rule[:changes].tolist(), became.tolist(), strict=False)
        )


def temperatures(*pairs: tuple[float, float]) -> list[tuple[int, int, dict[int, float]]]:
    return [(0, round(s * 1000), {Feature.TEMPERATURE_C: c}) for s, c in pairs]


def hot(*pairs: tuple[float, float], limit: float = 60.0) -> list[tuple[int, int]]:
    """Changes as (sample, became) of one hot rule on one row."""
    changes = Checker([HOT], [[limit]]).check(temperatures(*pairs))
    return [(sample, became) for sample, _, became in changes]


def test_it_is_raised_when_it_has_lasted() -> None:
    assert hot((0, 61), (1, 61), (1.999, 61)) == []
    assert hot((0, 61), (1, 61), (2, 61), (3, 61)) == [(2, 1)]
    assert hot((0, 60), (5, 60)) == []  # the limit itself is still inside
    assert hot((0, 61), (1, 60), (2, 61), (3, 61), (4, 61)) == [(4, 1)]  # it counts anew


def test_the_delay_is_event_time_not_samples() -> None:
    assert hot((0, 61), (100, 61)) == [(1, 1)]
    assert hot(*((k / 100, 61) for k in range(200))) == []


def test_it_returns_only_past_the_deadband_and_after_its_delay() -> None:
    raised = [(0, 61), (2, 61)]
    inside = hot(*raised, (3, 59), (100, 57.1), (200, 57.001))
    assert inside == [(1, 1)]
    assert hot(*raised, (3, 57), (33, 57)) == [(1, 1), (3, 0)]
    assert hot(*raised, (3, 57), (32.999, 57)) == [(1, 1)]
    assert hot(*raised, (3, 57), (20, 58), (40, 57), (70, 57)) == [(1, 1), (5, 0)]


def test_a_missing_value_holds_the_condition_and_the_wait() -> None:
    assert hot((0, 61), (1, NAN), (2, 61)) == [(2, 1)]
    assert hot((0, 61), (2, NAN), (10, NAN)) == []
    assert hot((0, 61), (2, 61), (3, NAN), (500, NAN), (501, 61)) == [(1, 1)]
    assert hot((0, 61), (2, 61), (3, 50), (20, NAN), (33, 50)) == [(1, 1), (4, 0)]


def test_a_clock_set_back_counts_from_the_new_time() -> None:
    assert hot((100, 61), (10, 61), (11, 61), (12, 61)) == [(3, 1)]


def test_too_low_is_the_mirror() -> None:
    checker = Checker([LOW], [[2.5]])
    values = [2.5, 2.49, 2.55, 2.59, 2.61, 2.49]
    changes = checker.check([(0, k, {Feature.VOLTAGE_V: v}) for k, v in enumerate(values)])
    assert changes == [(1, 0, 1), (4, 0, 0), (5, 0, 1)]


def test_rules_and_rows_do_not_meet() -> None:
    checker = Checker([HOT, LOW, SCORE], [[60.0, 2.5, 1.0], [NAN, 2.0, NAN]])
    ill: dict[int, float] = {
        Feature.TEMPERATURE_C: 99.0,
        Feature.VOLTAGE_V: 2.2,
        Extra.THERMAL_SCORE: 1.5,
    }
    changes = checker.check([(1, 0, ill), (0, 0, ill), (1, 5_000, ill), (0, 5_000, ill)])
    assert changes == [(1, 1, 1), (1, 2, 1), (3, 0, 1)]
    assert checker.active.tolist() == [[1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("rule", DEFAULT_RULES, ids=lambda rule: rule.code)
def test_the_default_rules_are_sane(rule: Rule) -> None:
    assert 1 <= rule.severity <= 5
    assert rule.deadband >= 0
    assert rule.on_delay_ms >= 0
    assert rule.off_delay_ms >= rule.on_delay_ms
    assert all((rule.says, rule.says_zh, rule.action, rule.action_zh))
    yes_or_no = rule.quantity in (Extra.VOLTAGE_FAULT, Extra.TEMPERATURE_FAULT, Extra.CURRENT_FAULT)
    assert bool(rule.unit) != yes_or_no


SAMPLES = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 40_000),
        st.sampled_from([NAN, 50.0, 57.0, 57.5, 60.0, 60.5, 70.0]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(SAMPLES, st.lists(st.integers(0, 40), max_size=4))
def test_cuts_change_nothing_and_conditions_alternate(
    raw: list[tuple[int, int, float]], cuts: list[int]
) -> None:
    samples: list[tuple[int, int, dict[int, float]]] = [
        (row, 500 * k + t // 100, {Feature.TEMPERATURE_C: x}) for k, (row, t, x) in enumerate(raw)
    ]
    whole = Checker([HOT], [[60.0], [60.0]])
    expected = whole.check(samples)
    pieces = Checker([HOT], [[60.0], [60.0]])
    found = []
    edges = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
    for start, end in pairwise(edges):
        found += [(k + start, j, became) for k, j, became in pieces.check(samples[start:end])]
    assert found == expected
    assert (pieces.active == whole.active).all()
    for row in (0, 1):
        own = [became for k, _, became in expected if samples[k][0] == row]
        assert own == [1 - k % 2 for k in range(len(own))]
        # Nothing is raised without a value above the limit, nothing cleared above the deadband.
        for k, _, became in expected:
            value = samples[k][2][Feature.TEMPERATURE_C]
            assert not math.isnan(value)
            assert value > 60.0 if became else value <= 57.0
