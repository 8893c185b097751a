"""Annex VII of Regulation (EU) 2023/1542: what the data can answer, and what they cannot.

Part A lists parameters of state of health, Part B those of expected lifetime. The Regulation asks
them of batteries for electric vehicles, of stationary stores and of light means of transport; a
cell in a laboratory falls under neither, the list then serves for orientation. Counts are of the
period that the data cover, never of the whole life, and are therefore known in part only.
"""

from __future__ import annotations

from typing import Literal

from analysis.report.record import About, Health, Known, Parameter, Resistance, Use


def annex_vii(about: About, health: Health, use: Use, resistance: Resistance) -> list[Parameter]:
    """Every parameter in the Annex's order."""
    capacity_ah = None if health.measured is None else health.measured.capacity_ah
    state: Known = "known"
    if capacity_ah is None and health.estimated is not None:
        capacity_ah, state = health.estimated.soh * about.nominal_capacity_ah, "partly"
    efficiency = use.efficiency_newest
    return [
        Parameter("A", "certified_energy", "unknown", None, "%"),
        _of("A", "remaining_capacity", state, capacity_ah, "Ah"),
        Parameter("A", "power_capability", "unknown", None, "W"),
        _of(
            "A", "round_trip_efficiency", "known",
            None if efficiency is None else 100.0 * efficiency.energy, "%",
        ),
        Parameter("A", "self_discharge", "unknown", None, "%/month"),
        _of("A", "ohmic_resistance", "partly", _milli(resistance.newest_ohm), "mΩ"),
        Parameter("B", "manufacturing_date", "unknown", None, ""),
        Parameter("B", "service_date", "unknown", None, ""),
        _of("B", "energy_throughput", "partly", use.energy_all_cells_wh, "Wh"),
        _of("B", "capacity_throughput", "partly", use.charge_in_ah + use.charge_out_ah, "Ah"),
        _of("B", "deep_discharges", "partly", float(use.deep_discharges), ""),
        _of("B", "extreme_hours", "partly", use.hours_too_hot + use.hours_too_cold, "h"),
        _of(
            "B", "charging_extreme_hours", "partly",
            use.hours_charging_too_hot + use.hours_charging_below_0_c, "h",
        ),
        _of("B", "equivalent_cycles", "partly", use.equivalent_cycles, ""),
    ]  # fmt: skip


def _of(
    part: Literal["A", "B"], code: str, state: Known, value: float | None, unit: str
) -> Parameter:
    return Parameter(part, code, "unknown" if value is None else state, value, unit)


def _milli(ohm: float | None) -> float | None:
    return None if ohm is None else 1_000.0 * ohm
