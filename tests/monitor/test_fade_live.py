"""The knee and accelerated fade in the monitor: found at cycle rate, the same however it is cut."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from monitor.contract import Event, Frame
from monitor.engine import Engine
from monitor.fade import CellFade
from monitor.inputs import ConfigIn, Input
from monitor.results import Results
from tests.engine_world import T0, frame_in, make_config

NOMINAL_AH = 2.0
BEND = 200  # cycles
CYCLES = 300


def life() -> list[Input]:
    """A cell that fades 0.05 % a cycle and, behind the bend, 0.3 %; full cycles, ten frames each.

    The discharge lasts as long as its capacity says at 2 A.
    """
    rng = np.random.default_rng(5)
    soh = 1.0 - 5e-4 * np.arange(CYCLES) - 2.5e-3 * np.maximum(np.arange(CYCLES) - BEND, 0)
    soh += 0.002 * rng.standard_normal(CYCLES)
    config = make_config(max_gap_ms=10_000_000, cell_type="none", nominal_capacity_ah=NOMINAL_AH)
    inputs: list[Input] = [ConfigIn("a", config, T0)]
    t_s = 0.0
    for share in soh:
        hours = share * NOMINAL_AH / 2.0
        steps = [(10.0, 0.0, 4.15), (1.0, -2.0, 4.1)]
        steps += [(3600.0 * hours / 4.0, -2.0, v) for v in (3.8, 3.6, 3.2, 2.69)]
        steps += [(10.0, 0.0, 3.2), (1800.0, 2.0, 3.7), (1800.0, 1.9, 4.195), (600.0, 0.06, 4.2)]
        for seconds, current_a, voltage_v in steps:
            t_s += seconds
            frame = Frame(v=1, timestamp_ms=T0 + round(1000 * t_s), current_a=current_a,
                          voltage_v=voltage_v, temperature_c=25.0)  # fmt: skip
            inputs.append(frame_in("a", frame))
    return inputs


LIFE = life()


@cache
def whole() -> Results:
    return Engine(None, None).process(LIFE)


def events(results: Results) -> list[Event]:
    return [event for event in results.events if event.alarm.code in ("knee", "accelerated_fade")]


def test_knee_and_accelerated_fade_are_published_and_raised() -> None:
    discharges = [c.summary for c in whole().cycles if c.summary.kind == "discharge"]
    assert len(discharges) == CYCLES
    steady = discharges[BEND - 1]
    assert steady.knee_cycle is None
    assert steady.fade_per_cycle == pytest.approx(-5e-4, abs=5e-5)
    assert steady.fade_acceleration == pytest.approx(1.0, abs=0.4)
    knee = discharges[-1].knee_cycle
    assert knee is not None
    assert BEND < knee < CYCLES
    assert next(d.number for d in discharges if d.knee_cycle is not None) == knee

    found = {event.alarm.code: event.alarm for event in events(whole())}
    assert len(events(whole())) == 2
    fast, bent = found["accelerated_fade"], found["knee"]
    assert fast.value is not None
    assert fast.value > 2.0
    assert bent.value == knee
    assert (bent.source, bent.unit, bent.severity) == ("c001", "cycle", 3)
    ended = next(d for d in discharges if d.number == knee)
    assert ended.end_ms <= bent.timestamp_ms < ended.end_ms + 1_900_000  # the frame that ends it


def test_the_estimate_tells_of_the_fade() -> None:
    engine = Engine(None, None)
    engine.process(LIFE[:5])
    early = engine.estimate("a")
    assert early is not None
    assert early.fade is None
    engine.process(LIFE[5:])
    now = engine.estimate("a")
    assert now is not None
    assert now.fade is not None
    last = [c.summary for c in whole().cycles][-1]
    assert now.fade.timestamp_ms == [last.end_ms]
    assert now.fade.knee_cycle == [last.knee_cycle]
    assert now.fade.acceleration == [last.fade_acceleration]


@pytest.mark.parametrize("cut", [700, 2003, 2600, 2900])
def test_a_restart_changes_nothing(cut: int) -> None:
    first, second = Engine(None, None), Engine(None, None)
    before = first.process(LIFE[:cut])
    second.put_asset_state(first.asset_state("a"))
    assert second.asset_state("a") == first.asset_state("a")
    after = second.process(LIFE[cut:])
    assert before.cycles[-1].summary.number > 50
    assert [c.summary for c in before.cycles + after.cycles] == [c.summary for c in whole().cycles]
    assert events(before) + events(after) == events(whole())


@pytest.mark.parametrize("size", [1, 7, 400])
def test_where_it_is_cut_changes_nothing(size: int) -> None:
    engine = Engine(None, None)
    parts = [engine.process(LIFE[k : k + size]) for k in range(0, len(LIFE), size)]
    assert [c.summary for part in parts for c in part.cycles] == [c.summary for c in whole().cycles]
    assert [event for part in parts for event in events(part)] == events(whole())


def test_another_nominal_capacity_begins_anew() -> None:
    engine = Engine(None, None)
    engine.process(LIFE)
    config = make_config(max_gap_ms=10_000_000, cell_type="none", nominal_capacity_ah=3.0)
    engine.process([ConfigIn("a", config, T0)])
    assert engine.estimate("a").fade is None  # type: ignore[union-attr]  # its config came


def test_measured_and_estimated_are_not_mixed() -> None:
    """A cell told 5 % too low by its charges and measured later has not gained capacity."""
    fade = CellFade()
    for k in range(100):
        fade.charged(0.95 - 5e-4 * k)
        fade.discharged(None)
    by_charges = fade.now()
    assert by_charges.soh < 0.95
    assert by_charges.slope_per_cycle == pytest.approx(-5e-4, rel=0.05)
    for k in range(100, 300):
        fade.charged(None)
        fade.discharged(1.0 - 5e-4 * k)
    now = fade.now()
    assert now.knee_cycle is None
    assert now.slope_per_cycle == pytest.approx(-5e-4, rel=0.05)
    assert not math.isnan(now.soh)
