"""The twin obeys physics: balances close, it relaxes, and a step's length hardly matters."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.twin import Conditions, TwinState, load_parameters, step_inplace

CELL = load_parameters("nasa-18650")
TABLES = CELL.tables()


def _conditions(n: int, current_a: float, ambient_c: float = 24.0) -> Conditions:
    conditions = Conditions.resting(n, ambient_c=ambient_c)
    conditions.setpoint[:] = current_a
    return conditions


def test_charge_balance_closes() -> None:
    state = TwinState.full(TABLES, loss=0.2, temperature_c=24.0)
    moved_ah = 0.0
    for current_a in (-2.0, 0.0, 1.5, -1.0):
        for _ in range(100):
            output = step_inplace(state, _conditions(1, current_a), TABLES, 3.0)
            moved_ah += float(output.current_a[0]) * 3.0 / 3600.0
    assert state.discharged_ah[0] == pytest.approx(-moved_ah, abs=1e-12)


def test_energy_balance_closes() -> None:
    """Terminal energy is the open-circuit energy of the charge moved, plus heat.

    The reversible heat is switched off, for it is exchanged with the chemistry.
    """
    tables = TABLES._replace(entropy_v_per_k=np.zeros_like(TABLES.entropy_v_per_k))
    state = TwinState.full(tables, loss=0.2, temperature_c=24.0)
    conditions = _conditions(1, -2.0)
    conditions.short_s[:] = 0.05
    dt_s, terminal_j, heat_j, stored_j, lost_j = 1.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(1500):
        output = step_inplace(state, conditions, tables, dt_s)
        ocv_next_v = step_inplace(state.copy(), _conditions(1, 0.0), tables, 1e-6).ocv_v
        terminal_j += float(output.voltage_v[0] * output.current_a[0]) * dt_s
        heat_j += float(output.heat_w[0]) * dt_s
        lost_j += float(output.loss_to_ambient_w[0]) * dt_s
        middle_v = 0.5 * (output.ocv_v[0] + ocv_next_v[0])
        stored_j += float(output.cell_current_a[0] * middle_v) * dt_s
    assert terminal_j - stored_j == pytest.approx(heat_j, rel=2e-4)
    warmed_j = (state.temperature_c[0] - 24.0) * tables.heat_capacity_j_per_k
    assert heat_j - lost_j == pytest.approx(warmed_j, rel=1e-9)


def test_zero_current_relaxes_to_open_circuit_voltage_and_ambient() -> None:
    state = TwinState.full(TABLES, loss=0.1, temperature_c=24.0)
    for _ in range(200):
        step_inplace(state, _conditions(1, -2.0), TABLES, 5.0)
    resting = _conditions(1, 0.0)
    loaded = step_inplace(state, resting, TABLES, 1.0)
    assert loaded.voltage_v[0] < loaded.ocv_v[0] - 0.05
    for _ in range(40):
        output = step_inplace(state, resting, TABLES, 600.0)
    assert output.voltage_v[0] == pytest.approx(output.ocv_v[0], abs=1e-6)
    assert state.temperature_c[0] == pytest.approx(24.0, abs=1e-3)


@pytest.mark.parametrize("dt_s", [0.1, 5.0, 20.0])
def test_step_length_hardly_matters(dt_s: float) -> None:
    def after_half_an_hour(dt_s: float) -> tuple[float, float]:
        state = TwinState.full(TABLES, loss=0.15, temperature_c=24.0)
        conditions = _conditions(1, -2.0)
        for _ in range(round(1800.0 / dt_s)):
            output = step_inplace(state, conditions, TABLES, dt_s)
        return float(output.voltage_v[0]), float(state.temperature_c[0])

    voltage_v, temperature_c = after_half_an_hour(dt_s)
    reference_v, reference_c = after_half_an_hour(1.0)
    assert voltage_v == pytest.approx(reference_v, abs=2e-3)
    assert temperature_c == pytest.approx(reference_c, abs=0.1)


def test_any_step_is_stable_even_with_a_hard_short() -> None:
    state = TwinState.full(TABLES, loss=0.1, temperature_c=24.0)
    conditions = _conditions(1, 0.0)
    conditions.short_s[:] = 1.0 / 0.05
    for _ in range(50):
        output = step_inplace(state, conditions, TABLES, 600.0)
        assert -0.1 <= output.voltage_v[0] <= 4.3
    assert output.voltage_v[0] < 0.1


def test_many_cells_equal_single_ones() -> None:
    rng = np.random.default_rng(1)
    loss, soc = rng.uniform(0.05, 0.35, 7), rng.uniform(0.1, 0.9, 7)
    current_a = rng.uniform(-3.0, 2.0, 7)
    together = TwinState.at(TABLES, soc=soc, loss=loss, temperature_c=24.0)
    conditions = _conditions(7, 0.0)
    conditions.setpoint[:] = current_a
    for _ in range(60):
        step_inplace(together, conditions, TABLES, 2.0)
    for cell in range(7):
        alone = TwinState.at(TABLES, soc=soc[cell], loss=loss[cell], temperature_c=24.0)
        for _ in range(60):
            step_inplace(alone, _conditions(1, current_a[cell]), TABLES, 2.0)
        np.testing.assert_array_equal(alone.values[:, 0], together.values[:, cell])


def test_constant_voltage_and_constant_power_hold_their_setpoint() -> None:
    state = TwinState.at(TABLES, soc=0.9, loss=0.1, temperature_c=24.0)
    charging = _conditions(1, 1.5)
    charging.voltage_max_v[:] = 4.2
    currents = []
    for _ in range(300):
        output = step_inplace(state, charging, TABLES, 10.0)
        currents.append(float(output.current_a[0]))
    assert output.voltage_v[0] == pytest.approx(4.2, abs=1e-9)
    assert 0.0 < currents[-1] < currents[100] < 1.5
    power = _conditions(1, -6.0)
    power.is_power[:] = 1.0
    output = step_inplace(state, power, TABLES, 1.0)
    assert output.voltage_v[0] * output.current_a[0] == pytest.approx(-6.0, abs=1e-9)


def test_reference_discharge_delivers_the_stated_capacity() -> None:
    for loss in (0.08, 0.15, 0.25, 0.33):
        state = TwinState.full(TABLES, loss=loss, temperature_c=24.0)
        moved_ah = 0.0
        voltage_v = 4.2
        while voltage_v > 2.7:
            output = step_inplace(state, _conditions(1, -2.0), TABLES, 2.0)
            voltage_v = float(output.voltage_v[0])
            moved_ah += 2.0 * 2.0 / 3600.0
        assert moved_ah / 2.0 == pytest.approx(1.0 - loss, abs=0.02)


def test_step_refuses_time_that_does_not_pass() -> None:
    state = TwinState.full(TABLES, loss=0.1, temperature_c=24.0)
    with pytest.raises(ValueError, match="positive"):
        step_inplace(state, _conditions(1, 0.0), TABLES, 0.0)
