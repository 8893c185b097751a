"""What is known of every cell now: each sample's result row, each quantity's newest value."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor.kernels.cell import CELL
from monitor.kernels.columns import (
    FEATURES,
    RESULTS,
    SOH_BINS,
    SOH_WIDTH,
    TEMPERATURE_BAD,
    VOLTAGE_BAD,
    Extra,
    Feature,
    Floats,
    Floats32,
    Ints,
    Quality,
    Record,
    Records,
    Result,
)
from monitor.kernels.frames import SAMPLE, Outputs
from monitor.kernels.jit import kernel, unfit
from monitor.kernels.soh_state import SohCode, accepted

(
    THERMAL_SCORE, SOH_HIGH, VOLTAGE_FAULT, TEMPERATURE_FAULT, IMBALANCE_V, KNEE_CYCLE,
    FADE_ACCELERATION, CURRENT_FAULT,
) = (int(extra) - FEATURES for extra in Extra)  # fmt: skip


class Answers(NamedTuple):
    """What the models said of the usable samples, in their order; float32 but for the state."""

    soh: Floats32  # (answers,)
    low: Floats32
    high: Floats32
    state: Ints
    score: Floats32  # (scores,) of the thermal model, 1 at its alarm threshold


def settle_inplace(
    cells: Records, value: Floats, value_ms: Ints, out: Outputs, answers: Answers,
    result: Floats32, n: int,
) -> None:  # fmt: skip
    """Write n samples' results, their extras, and each cell's newest values; no risk yet.

    `cells` is (rows,) of CELL, `value` and `value_ms` are (rows, RESULTS), `result` is
    (n, RESULTS). The SOH model's newest answer is carried from sample to sample with its time
    (`soh_ms`); too little seen of a new half-cycle does not displace what an earlier one gave, and
    a cell once found unlike the training data (`soh_unlike_bins`: at so many bins seen) is not
    believed again on less. Other values are this sample's, NaN where it has none, while `value`
    keeps the newest that was one. Raises ValueError where sizes do not fit.
    """
    fits = cells.dtype == CELL and out.samples.dtype == SAMPLE
    if not fits or not _settle_inplace(
        cells, value, value_ms, out.samples, out.soh_inputs, answers, result, n
    ):
        raise unfit(
            f"results: {n:,} samples", cells=cells, value=value, value_ms=value_ms,
            samples=out.samples, soh_inputs=out.soh_inputs, result=result, **answers._asdict(),
        )  # fmt: skip


@kernel
def _fits(
    cells: Records, value: Floats, value_ms: Ints, samples: Records, soh_inputs: Floats32,
    answers: Answers, result: Floats32, n: int,
) -> bool:  # fmt: skip
    rows = len(cells)
    if value.shape != (rows, RESULTS) or value_ms.shape != (rows, RESULTS):
        return False
    found = len(answers.state)
    if not found == len(answers.soh) == len(answers.low) == len(answers.high):
        return False
    if n < 0 or n > min(len(samples), len(result), len(soh_inputs)):
        return False
    if result.shape[1] != RESULTS or soh_inputs.shape[1] != SOH_WIDTH:
        return False
    usable = 0
    scored = 0
    for k in range(n):
        if samples[k].row < 0 or samples[k].row >= rows:
            return False
        usable += samples[k].soh_usable
        scored += samples[k].thermal_usable
    return usable <= found and scored <= len(answers.score)


@kernel
def _settle_inplace(
    cells: Records, value: Floats, value_ms: Ints, samples: Records, soh_inputs: Floats32,
    answers: Answers, result: Floats32, n: int,
) -> bool:  # fmt: skip
    """As above, samples (size,) of SAMPLE, soh_inputs (size, SOH_WIDTH); False, and nothing done,
    where sizes do not fit."""
    if not _fits(cells, value, value_ms, samples, soh_inputs, answers, result, n):
        return False
    m = 0
    w = 0
    for k in range(n):
        s = samples[k]
        r = s.row
        held, held_ms = value[r], value_ms[r]
        if s.soh_usable:
            now = _accepted_inplace(cells[r], answers.state[m], soh_inputs[k])
            if now != SohCode.NOT_ENOUGH_SEEN or not _known(held[Result.SOH_STATE]):
                believed = now == SohCode.OK
                held[Result.SOH] = answers.soh[m] if believed else np.nan
                held[Result.SOH_LOW] = answers.low[m] if believed else np.nan
                held[Result.SOH_HIGH] = answers.high[m] if believed else np.nan
                held[Result.SOH_STATE] = now
                held_ms[Result.SOH] = s.timestamp_ms
            m += 1
        elif not cells[r].config.soh_table >= 0.0:
            held[Result.SOH_STATE] = SohCode.NO_MODEL + 0
        elif not held[Result.SOH_STATE] <= SohCode.UNLIKE_TRAINING + 0:
            held[Result.SOH_STATE] = SohCode.NOT_ENOUGH_SEEN + 0
        s.soh_ms = held_ms[Result.SOH]
        score: np.floating = np.float32(np.nan)
        if s.thermal_usable:
            score = answers.score[w]
            w += 1
        _row_inplace(s, score, held, held_ms, result[k])
        _extras_inplace(s, result[k])
        first = k == 0 or s.frame != samples[k - 1].frame
        if first and k + 1 < n and samples[k + 1].frame == s.frame:
            s.extras[IMBALANCE_V] = _spread(samples, k, n)
    return True


@kernel
def _known(state: float) -> bool:
    return state in (SohCode.OK + 0, SohCode.UNLIKE_TRAINING + 0)


@kernel
def _accepted_inplace(cell: Record, state: int, x: Floats32) -> int:
    """The model's state of an answer, or unlike where the cell was that on more bins than now."""
    seen = 0
    if state == SohCode.UNLIKE_TRAINING or cell.soh_unlike_bins > 0.0:
        for b in range(SOH_BINS):  # bins that hold charge, or a discharge's drops
            seen += x[b] > 0.0
    state, cell.soh_unlike_bins = accepted(state, seen, cell.soh_unlike_bins)
    return state


@kernel
def _row_inplace(s: Record, score: np.floating, held: Floats, held_ms: Ints, row: Floats32) -> None:
    """The sample's result, and what of it is the newest of its cell; each (RESULTS,)."""
    for c in range(Result.SOH + 0, Result.SOH_STATE + 1):
        row[c] = held[c]
    row[Result.SOC] = s.features[Feature.SOC]
    row[Result.RESISTANCE_OHM] = s.features[Feature.RESISTANCE_OHM]
    row[Result.THERMAL_SCORE] = score
    row[Result.EXCESS_HEAT_W] = s.features[Feature.EXCESS_HEAT_W]
    row[Result.PHASE] = s.features[Feature.PHASE]
    row[Result.QUALITY] = s.quality
    row[Result.DT_DT_C_PER_S] = s.features[Feature.DT_DT_C_PER_S]
    row[Result.C_RATE] = s.features[Feature.C_RATE]
    for c in range(Result.RISK + 0):
        soh_column = Result.SOH <= c <= Result.SOH_STATE
        if not soh_column and not np.isnan(row[c]):
            held[c] = row[c]
            held_ms[c] = s.timestamp_ms


@kernel
def _extras_inplace(s: Record, row: Floats32) -> None:
    """What limits watch beside the features, (EXTRAS,) in the sample."""
    x = s.extras
    x[THERMAL_SCORE] = row[Result.THERMAL_SCORE]
    x[SOH_HIGH] = row[Result.SOH_HIGH]
    x[VOLTAGE_FAULT] = 1.0 if s.quality & VOLTAGE_BAD else 0.0
    x[TEMPERATURE_FAULT] = 1.0 if s.quality & TEMPERATURE_BAD else 0.0
    x[CURRENT_FAULT] = 1.0 if s.quality & Quality.CURRENT_IMPOSSIBLE else 0.0
    x[IMBALANCE_V] = np.nan
    x[KNEE_CYCLE] = np.nan  # known where a half-cycle ends: see the engine
    x[FADE_ACCELERATION] = np.nan


@kernel
def _spread(samples: Records, first: int, n: int) -> float:
    """Highest less lowest known voltage, V, of the frame whose first sample is `first`."""
    low = np.inf
    high = -np.inf
    k = first
    while k < n and samples[k].frame == samples[first].frame:
        v = samples[k].features[Feature.VOLTAGE_V]
        if not np.isnan(v):
            low = min(low, v)
            high = max(high, v)
        k += 1
    return float(high - low) if high >= low else np.nan
