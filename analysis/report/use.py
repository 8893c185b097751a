"""How a cell was used: hours, charge, energy, extremes and efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from analysis.report.record import Band, Efficiency, Use
from analysis.report.samples import BAND_EDGES_C
from monitor.contract import CycleSummary

if TYPE_CHECKING:
    from analysis.report.material import Material

CLOSED_PAIR = (0.95, 1.02)  # of charge out over in; outside it a pair was no closed cycle
SMALLEST_PAIR = 0.4  # of nominal capacity
PAIRS = 5


def use_of(material: Material, cycles: Sequence[CycleSummary]) -> Use:
    """The use of one cell, whose half-cycles are given in order."""
    samples, config = material.samples, material.config
    charges = [c for c in cycles if c.kind == "charge"]
    discharges = [c for c in cycles if c.kind == "discharge"]
    in_ah = sum(c.capacity_ah for c in charges)
    out_ah = sum(c.capacity_ah for c in discharges)
    edges: list[float | None] = [None, *BAND_EDGES_C, None]
    pairs = _pairs(cycles, config.nominal_capacity_ah)
    lowest = config.limits.voltage_min_v
    hours = samples.hours
    return Use(
        hours=hours["all"],
        hours_charge=hours["charge"],
        hours_discharge=hours["discharge"],
        hours_rest=hours["rest"],
        charges=len(charges),
        charges_complete=sum(c.complete for c in charges),
        discharges=len(discharges),
        discharges_complete=sum(c.complete for c in discharges),
        charge_in_ah=in_ah,
        charge_out_ah=out_ah,
        energy_in_wh=sum(c.energy_wh for c in charges),
        energy_out_wh=sum(c.energy_wh for c in discharges),
        energy_all_cells_wh=sum(summary.energy_wh for summary, _ in material.cycles),
        equivalent_cycles=(in_ah + out_ah) / (2.0 * config.nominal_capacity_ah),
        depth_median=_median([c.capacity_ah / config.nominal_capacity_ah for c in discharges]),
        charge_current_max_a=_positive(samples.current.high),
        discharge_current_max_a=_positive(-samples.current.low),
        voltage_min_v=_known(samples.voltage.low),
        voltage_max_v=_known(samples.voltage.high),
        temperature_min_c=_known(samples.temperature.low),
        temperature_mean_c=(
            samples.temperature_sum / samples.temperature_hours
            if samples.temperature_hours
            else None
        ),
        temperature_max_c=_known(samples.temperature.high),
        bands=[
            Band(low, high, float(spent))
            for low, high, spent in zip(edges, edges[1:], samples.bands, strict=False)
        ],
        hours_too_hot=hours["hot"],
        hours_too_cold=hours["cold"],
        hours_charging_too_hot=hours["charge_hot"],
        hours_charging_below_0_c=hours["charge_below_0"],
        deep_discharges=sum(
            c.voltage_end_v is not None and c.voltage_end_v < lowest for c in discharges
        ),
        efficiency_first=_efficiency(pairs[:PAIRS]),
        efficiency_newest=_efficiency(pairs[-PAIRS:]),
    )


def _pairs(
    cycles: Sequence[CycleSummary], nominal_ah: float
) -> list[tuple[CycleSummary, CycleSummary]]:
    """Complete charges with the complete discharge right after them that took the same out."""
    pairs = []
    for charge, discharge in pairwise(cycles):
        whole = charge.kind == "charge" and discharge.kind == "discharge"
        if not (whole and charge.complete and discharge.complete):
            continue
        if charge.capacity_ah < SMALLEST_PAIR * nominal_ah or charge.energy_wh <= 0:
            continue
        if CLOSED_PAIR[0] <= discharge.capacity_ah / charge.capacity_ah <= CLOSED_PAIR[1]:
            pairs.append((charge, discharge))
    return pairs


def _efficiency(pairs: Sequence[tuple[CycleSummary, CycleSummary]]) -> Efficiency | None:
    if not pairs:
        return None
    energy = [out.energy_wh / into.energy_wh for into, out in pairs]
    charge = [out.capacity_ah / into.capacity_ah for into, out in pairs]
    return Efficiency(
        len(pairs), pairs[-1][1].number, float(np.median(energy)), float(np.median(charge))
    )


def _known(value: float) -> float | None:
    return None if value != value else value


def _positive(value: float) -> float | None:
    return value if value > 0 else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
