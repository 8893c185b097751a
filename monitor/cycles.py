"""A half-cycle that ended: its summary with what SOH and the trend of the fade were at its end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.contract import SOH_STATES, VERSION, CycleSummary, cell_name
from monitor.estimates import none_for_nan
from monitor.fade import CellFade, Fade
from monitor.fleet import Asset, Fleet
from monitor.kernels.columns import BINS, Ended, Result
from monitor.kernels.frames import Outputs
from monitor.kernels.results import FADE_ACCELERATION, KNEE_CYCLE
from monitor.results import FinishedCycle


def finish_inplace(
    fleet: Fleet, asset: Asset, out: Outputs, k: int, result: NDArray[np.float32]
) -> FinishedCycle:
    """What half-cycle `k` of those that ended in a run was.

    The asset's fade trackers learn of it, and `out.extras` gets what the rules look at.
    `result`, (samples, RESULTS), is the run's.
    """
    sample = int(out.ended_sample[k])
    row = out.ended[k]
    start_ms = int(row[Ended.START_MS])
    own = out.soh_ms[sample] > start_ms  # at the start itself it was the one before
    state = SOH_STATES[int(result[sample, Result.SOH_STATE])] if own else "not_enough_seen"
    if not own and not fleet.has_model(int(out.row[sample])):
        state = "no_model"

    def soh(column: Result) -> float | None:
        return none_for_nan(result[sample, column]) if own else None

    charge = bool(row[Ended.KIND] > 0)
    complete = bool(row[Ended.COMPLETE] == 1.0)
    capacity_ah = float(row[Ended.CHARGE_AH])
    cell = int(out.row[sample]) - asset.first_row
    tracked = asset.fades.setdefault(cell, CellFade(new_test=fleet.knee_test))
    fade = _learn(asset, tracked, charge, complete, capacity_ah, soh(Result.SOH))
    asset.fades_ms[cell] = int(row[Ended.END_MS])
    out.extras[sample, KNEE_CYCLE] = fade.knee_cycle or 0
    if fade.acceleration is not None:
        out.extras[sample, FADE_ACCELERATION] = fade.acceleration
    summary = CycleSummary(
        v=VERSION,
        asset=asset.name,
        cell=cell_name(cell),
        number=int(row[Ended.NUMBER]),
        kind="charge" if charge else "discharge",
        start_ms=start_ms,
        end_ms=int(row[Ended.END_MS]),
        complete=complete,
        capacity_ah=capacity_ah,
        energy_wh=float(row[Ended.ENERGY_WH]),
        duration_s=float(row[Ended.END_MS] - row[Ended.START_MS]) / 1000.0,
        voltage_start_v=none_for_nan(row[Ended.VOLTAGE_START_V]),
        voltage_end_v=none_for_nan(row[Ended.VOLTAGE_END_V]),
        current_mean_a=none_for_nan(row[Ended.CURRENT_MEAN_A]),
        temperature_mean_c=none_for_nan(row[Ended.TEMPERATURE_MEAN_C]),
        temperature_max_c=none_for_nan(row[Ended.TEMPERATURE_MAX_C]),
        resistance_ohm=none_for_nan(row[Ended.R60_OHM]),
        soh=soh(Result.SOH),
        soh_low=soh(Result.SOH_LOW),
        soh_high=soh(Result.SOH_HIGH),
        soh_state=state,
        fade_per_cycle=fade.slope_per_cycle,
        fade_acceleration=fade.acceleration,
        knee_cycle=fade.knee_cycle,
    )
    return FinishedCycle(summary, out.ended_histogram[k, :BINS].copy())


def _learn(
    asset: Asset,
    fade: CellFade,
    charge: bool,
    complete: bool,
    capacity_ah: float,
    soh: float | None,
) -> Fade:
    """Have a cell's fade trackers learn of a half-cycle; what they say then."""
    if charge:
        # Rounded: a model's last bits hang on the size of the batch, a knee must not.
        fade.charged(None if soh is None else round(soh, 5))
    else:
        known = complete and asset.configured
        fade.discharged(capacity_ah / asset.config.nominal_capacity_ah if known else None)
    return fade.now()
