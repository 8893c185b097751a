"""The risk of every sample from its heat: level and cause."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import FEATURES, RESULTS, Feature, Result
from monitor.kernels.jit import kernel, unfit
from monitor.kernels.levels import levels

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_levels = kernel(levels)


def judge_inplace(
    row: Ints, t: Ints, features: Floats, temperature_max_c: Floats, n: int, result: Floats32,
    value: Floats, value_ms: Ints,
) -> None:  # fmt: skip
    """Level and cause of n samples, into their settled results and each cell's newest values.

    `temperature_max_c` has one entry a row. While a temperature is not believed its slope says
    nothing. Raises ValueError where sizes do not fit.
    """
    if not _judge_inplace(row, t, features, temperature_max_c, n, result, value, value_ms):
        raise unfit(
            f"risk: {n:,} samples", row=row, t=t, features=features,
            temperature_max_c=temperature_max_c, result=result, value=value, value_ms=value_ms,
        )  # fmt: skip


@kernel
def _judge_inplace(
    row: Ints, t: Ints, features: Floats, temperature_max_c: Floats, n: int, result: Floats32,
    value: Floats, value_ms: Ints,
) -> bool:  # fmt: skip
    """As above; False, and nothing done, where sizes do not fit."""
    rows = len(temperature_max_c)
    if value.shape != (rows, RESULTS) or value_ms.shape != (rows, RESULTS):
        return False
    if features.shape[1] != FEATURES or result.shape[1] != RESULTS:
        return False
    if n < 0 or n > min(len(row), len(t), len(features), len(result)):
        return False
    for k in range(n):
        if row[k] < 0 or row[k] >= rows:
            return False
    for k in range(n):
        r = row[k]
        temperature = features[k, Feature.TEMPERATURE_C]
        lost = np.isnan(temperature)
        slope = np.nan if lost else float(result[k, Result.DT_DT_C_PER_S])
        score = float(result[k, Result.THERMAL_SCORE])
        held = value[r, Result.RISK]
        before = 0 if np.isnan(held) else int(held)
        heating = features[k, Feature.HEATING_C_PER_S]
        rising = features[k, Feature.RISING_C_PER_S]
        found = _levels(
            temperature, temperature_max_c[r], slope, heating, rising, score, lost, before
        )
        most = max(found[0], found[1], found[2], found[3])
        why = 0
        if most > 0:
            for position in range(3, -1, -1):
                if found[position] == most:
                    why = position + 1
        result[k, Result.RISK] = most
        result[k, Result.RISK_CAUSE] = why
        value[r, Result.RISK] = most
        value[r, Result.RISK_CAUSE] = why
        value_ms[r, Result.RISK] = t[k]
        value_ms[r, Result.RISK_CAUSE] = t[k]
    return True
