"""What is known of every cell now: each sample's result row, each quantity's newest value."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from monitor.alarms.rules import EXTRAS, Extra
from monitor.kernels.features import FEATURES, SOH_BINS, SOH_WIDTH, Feature, Quality
from monitor.kernels.jit import kernel, unfit
from monitor.kernels.soh_state import SohCode, accepted

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]


class Result(IntEnum):
    """Columns of a sample's result, as stored (float32) and as kept for the newest (float64)."""

    SOC = 0
    SOH = 1
    SOH_LOW = 2
    SOH_HIGH = 3
    SOH_STATE = 4  # a SohCode
    RESISTANCE_OHM = 5
    THERMAL_SCORE = 6
    EXCESS_HEAT_W = 7
    PHASE = 8
    QUALITY = 9
    DT_DT_C_PER_S = 10
    C_RATE = 11
    RISK = 12  # monitor.risk.Risk; written by monitor.risk.judge_inplace
    RISK_CAUSE = 13  # monitor.risk.Cause


RESULTS = len(Result)
RESULTS_BEFORE_RISK = 12  # what rows written by earlier versions have
VOLTAGE_BAD = Quality.VOLTAGE_IMPOSSIBLE | Quality.VOLTAGE_FROZEN
TEMPERATURE_BAD = (
    Quality.TEMPERATURE_IMPOSSIBLE
    | Quality.TEMPERATURE_FROZEN
    | Quality.TEMPERATURE_SPIKE
    | Quality.TEMPERATURE_JUMP
)
(
    THERMAL_SCORE, SOH_HIGH, VOLTAGE_FAULT, TEMPERATURE_FAULT, IMBALANCE_V, KNEE_CYCLE,
    FADE_ACCELERATION, CURRENT_FAULT,
) = (int(extra) - FEATURES for extra in Extra)  # fmt: skip


def stored_rows(result: bytes, cells: int) -> Floats32:
    """A stored frame's result as (cells, RESULTS); what was not judged then is NaN.

    `cells` tells a row of an earlier version from one of today's.
    """
    flat = np.frombuffer(result, np.float32)
    if len(flat) != RESULTS_BEFORE_RISK * cells and len(flat) % RESULTS == 0:
        return flat.reshape(-1, RESULTS)
    old = flat.reshape(-1, RESULTS_BEFORE_RISK)
    return np.pad(old, ((0, 0), (0, RESULTS - RESULTS_BEFORE_RISK)), constant_values=np.nan)


def settle_inplace(
    value: Floats, value_ms: Ints, row: Ints, frame: Ints, t: Ints, features: Floats, quality: Ints,
    usable: NDArray[np.bool_], soh: Floats32, low: Floats32, high: Floats32, state: Ints,
    score: Floats32, scored: NDArray[np.bool_], has_model: Ints, n: int, result: Floats32,
    soh_ms: Ints, extras: Floats, inputs: Floats32, unlike_bins: Floats32,
) -> None:  # fmt: skip
    """Write n samples' results, their `rules.Extra` columns, and each cell's newest values.

    The risk is judged from these results afterwards.

    `value` and `value_ms` are (rows, RESULTS). The SOH model's rows are those of the usable
    samples, in order. Its newest answer is carried from sample to sample with its time (`soh_ms`);
    too little seen of a new half-cycle does not displace what an earlier one gave, and a cell once
    found unlike the training data (`unlike_bins`: at so many bins seen) is not believed again on
    less. Scores are those
    of the scored samples, in order. Other values are this sample's, NaN where it has none, while
    `value` keeps the newest that was one. Raises ValueError where sizes do not fit.
    """
    if not _settle_inplace(
        value, value_ms, row, frame, t, features, quality, usable, soh, low, high, state, score,
        scored, has_model, n, result, soh_ms, extras, inputs, unlike_bins,
    ):  # fmt: skip
        raise unfit(
            f"results: {n:,} samples", value=value, value_ms=value_ms, row=row, frame=frame, t=t,
            features=features, quality=quality, usable=usable, soh=soh, low=low, high=high,
            state=state, score=score, scored=scored, has_model=has_model, result=result,
            soh_ms=soh_ms, extras=extras, inputs=inputs, unlike_bins=unlike_bins,
        )  # fmt: skip


@kernel
def _fits(
    value: Floats, value_ms: Ints, row: Ints, frame: Ints, t: Ints, features: Floats, quality: Ints,
    usable: NDArray[np.bool_], soh: Floats32, low: Floats32, high: Floats32, state: Ints,
    score: Floats32, scored: NDArray[np.bool_], has_model: Ints, n: int, result: Floats32,
    soh_ms: Ints, extras: Floats, inputs: Floats32, unlike_bins: Floats32,
) -> bool:  # fmt: skip
    rows = len(value)
    if value.shape != (rows, RESULTS) or value_ms.shape != (rows, RESULTS):
        return False
    if not rows == len(has_model) == len(unlike_bins):
        return False
    if not len(state) == len(soh) == len(low) == len(high):
        return False
    if n < 0 or n > min(len(row), len(frame), len(t), len(features), len(quality), len(usable)):
        return False
    if n > min(len(scored), len(result), len(soh_ms), len(extras), len(inputs)):
        return False
    if features.shape[1] != FEATURES or result.shape[1] != RESULTS:
        return False
    if extras.shape[1] != EXTRAS or inputs.shape[1] != SOH_WIDTH:
        return False
    answers = 0
    scores = 0
    for k in range(n):
        if row[k] < 0 or row[k] >= rows:
            return False
        answers += usable[k]
        scores += scored[k]
    return answers <= len(state) and scores <= len(score)


@kernel
def _settle_inplace(
    value: Floats, value_ms: Ints, row: Ints, frame: Ints, t: Ints, features: Floats, quality: Ints,
    usable: NDArray[np.bool_], soh: Floats32, low: Floats32, high: Floats32, state: Ints,
    score: Floats32, scored: NDArray[np.bool_], has_model: Ints, n: int, result: Floats32,
    soh_ms: Ints, extras: Floats, inputs: Floats32, unlike_bins: Floats32,
) -> bool:  # fmt: skip
    """As above; False, and nothing done, where sizes do not fit."""
    if not _fits(
        value, value_ms, row, frame, t, features, quality, usable, soh, low, high, state, score,
        scored, has_model, n, result, soh_ms, extras, inputs, unlike_bins,
    ):  # fmt: skip
        return False
    m = 0
    w = 0
    for k in range(n):
        r = row[k]
        held = value[r]
        if usable[k]:
            now = state[m]
            seen = 0
            if now == SohCode.UNLIKE_TRAINING or unlike_bins[r] > 0.0:
                for b in range(SOH_BINS):  # bins that hold charge, or a discharge's drops
                    seen += inputs[k, b] > 0.0
            now, unlike_bins[r] = accepted(now, seen, unlike_bins[r])
            answered = held[Result.SOH_STATE] == SohCode.OK + 0
            answered |= held[Result.SOH_STATE] == SohCode.UNLIKE_TRAINING + 0
            if now != SohCode.NOT_ENOUGH_SEEN or not answered:
                known = now == SohCode.OK
                held[Result.SOH] = soh[m] if known else np.nan
                held[Result.SOH_LOW] = low[m] if known else np.nan
                held[Result.SOH_HIGH] = high[m] if known else np.nan
                held[Result.SOH_STATE] = now
                value_ms[r, Result.SOH] = t[k]
            m += 1
        elif has_model[r] == 0:
            held[Result.SOH_STATE] = SohCode.NO_MODEL + 0
        elif not held[Result.SOH_STATE] < SohCode.NO_MODEL + 0:
            held[Result.SOH_STATE] = SohCode.NOT_ENOUGH_SEEN + 0
        soh_ms[k] = value_ms[r, Result.SOH]
        for c in range(Result.SOH + 0, Result.SOH_STATE + 1):
            result[k, c] = held[c]
        result[k, Result.SOC] = features[k, Feature.SOC]
        result[k, Result.RESISTANCE_OHM] = features[k, Feature.RESISTANCE_OHM]
        result[k, Result.THERMAL_SCORE] = score[w] if scored[k] else np.nan
        w += scored[k]
        result[k, Result.EXCESS_HEAT_W] = features[k, Feature.EXCESS_HEAT_W]
        result[k, Result.PHASE] = features[k, Feature.PHASE]
        result[k, Result.QUALITY] = quality[k]
        result[k, Result.DT_DT_C_PER_S] = features[k, Feature.DT_DT_C_PER_S]
        result[k, Result.C_RATE] = features[k, Feature.C_RATE]
        for c in range(Result.RISK + 0):
            soh_column = Result.SOH <= c <= Result.SOH_STATE
            if not soh_column and not np.isnan(result[k, c]):
                held[c] = result[k, c]
                value_ms[r, c] = t[k]
        extras[k, THERMAL_SCORE] = result[k, Result.THERMAL_SCORE]
        extras[k, SOH_HIGH] = result[k, Result.SOH_HIGH]
        extras[k, VOLTAGE_FAULT] = 1.0 if quality[k] & VOLTAGE_BAD else 0.0
        extras[k, TEMPERATURE_FAULT] = 1.0 if quality[k] & TEMPERATURE_BAD else 0.0
        extras[k, CURRENT_FAULT] = 1.0 if quality[k] & Quality.CURRENT_IMPOSSIBLE else 0.0
        extras[k, IMBALANCE_V] = np.nan
        extras[k, KNEE_CYCLE] = np.nan  # known where a half-cycle ends: see the engine
        extras[k, FADE_ACCELERATION] = np.nan
        if (k == 0 or frame[k] != frame[k - 1]) and k + 1 < n and frame[k + 1] == frame[k]:
            extras[k, IMBALANCE_V] = _spread(features, frame, k, n)
    return True


@kernel
def _spread(features: Floats, frame: Ints, first: int, n: int) -> float:
    """Highest less lowest known voltage of the frame whose first sample is `first`."""
    low = np.inf
    high = -np.inf
    k = first
    while k < n and frame[k] == frame[first]:
        v = features[k, Feature.VOLTAGE_V]
        if not np.isnan(v):
            low = min(low, v)
            high = max(high, v)
        k += 1
    return float(high - low) if high >= low else np.nan
