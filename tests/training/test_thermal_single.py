"""What the page says beside the detectors: odd readings, alarms on healthy cells, a kept budget."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from training.thermal.data import Stream
from training.thermal.evaluate import _Clock
from training.thermal.healthy import _look
from training.thermal.single import glitch_costs, rising_warnings, second_readings
from training.thermal.slots import slots_of


def _still(temperature_c: np.ndarray) -> Stream:
    n = len(temperature_c)
    return Stream(
        asset="still", group="still", nominal_ah=2.0, charge_v=4.2, discharge_v=2.7,
        timestamp_ms=1_000 * np.arange(n, dtype=np.int64), current_a=np.zeros(n),
        voltage_v=np.full(n, 3.7), temperature_c=temperature_c, ambient_c=np.full(n, 24.0),
        operation=np.zeros(n, np.int64),
    )  # fmt: skip


def test_an_odd_reading_speaks_to_one_rule_and_a_rise_to_all() -> None:
    calm = 24.0 + 0.01 * np.sin(np.arange(600.0))
    odd = calm.copy()
    odd[300] += 2.0
    found = rising_warnings([_still(odd)])
    assert (found.one_reading, found.rising, found.two_readings) == (1, 0, 0)
    risen = calm.copy()
    risen[300:] += np.minimum(np.arange(300) * 0.8, 40.0)
    found = rising_warnings([_still(risen)])
    assert found.one_reading >= 1
    assert found.rising >= 1
    assert found.two_readings >= 1


def test_the_real_channels_bound_what_a_second_reading_can_do(shared_data: Path) -> None:
    readings = second_readings(shared_data)
    assert len(readings) > 50
    assert all(one.next_s < one.second_s for one in readings)
    for one in glitch_costs(shared_data):
        assert one.glitches > 100
        assert one.monitor < 0.2 < one.one_reading


def test_an_alarm_on_a_leaking_charge_shows_what_the_charger_gave() -> None:
    minutes = np.arange(0, 180)
    time_ms, current, volts, operation = [], [], [], []
    for number in range(4):
        charging = number % 2 == 0
        leak = 0.1 if number == 2 else 0.0
        time_ms.append(60_000 * (minutes + 300 * number))
        current.append(np.full(180, (0.5 + leak) if charging else -0.5))
        volts.append(np.full(180, 4.2 if charging else 3.6 - (0.1 if number == 3 else 0.0)))
        operation.append(np.full(180, number))
    n = 4 * 180
    stream = Stream(
        asset="leaky", group="made", nominal_ah=2.0, charge_v=4.2, discharge_v=2.7,
        timestamp_ms=np.concatenate(time_ms).astype(np.int64), current_a=np.concatenate(current),
        voltage_v=np.concatenate(volts), temperature_c=np.full(n, 26.0),
        ambient_c=np.full(n, 24.0), operation=np.concatenate(operation),
    )  # fmt: skip
    slots = slots_of(stream)
    found = _look(stream, slots, np.full(len(slots), 0.2), 60_000 * (600 + 60))
    assert found.charging
    assert found.excess_w == pytest.approx(0.4)
    assert found.charger_w == pytest.approx(0.42)
    assert (found.next_start_v, found.usual_next_v) == pytest.approx((3.5, 3.6))


def test_a_budget_is_a_share_of_what_is_left() -> None:
    assert _Clock(time.monotonic(), None).has(0.9)
    assert _Clock(time.monotonic(), 1000.0).has(0.9)
    assert not _Clock(time.monotonic() - 990.0, 1000.0).has(0.1)
