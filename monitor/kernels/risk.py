"""The level of risk of every sample and its cause, as numbers; the words are `monitor.risk`'s."""

from __future__ import annotations

import numpy as np

from monitor.kernels.cell import CELL
from monitor.kernels.columns import RESULTS, Feature, Floats, Floats32, Ints, Records, Result
from monitor.kernels.frames import SAMPLE, Outputs
from monitor.kernels.jit import kernel, unfit
from monitor.kernels.levels import levels

_levels = kernel(levels)


def assess_inplace(
    cells: Records, value: Floats, value_ms: Ints, out: Outputs, result: Floats32, n: int
) -> None:
    """Level and cause of n samples, into their settled results and each cell's newest values.

    `cells` is (rows,) of CELL, `value` and `value_ms` are (rows, RESULTS), `result` (n, RESULTS).
    While a temperature is not believed its slope says nothing. Raises ValueError where sizes do
    not fit.
    """
    fits = cells.dtype == CELL and out.samples.dtype == SAMPLE
    if not fits or not _assess_inplace(cells, value, value_ms, out.samples, result, n):
        raise unfit(
            f"risk: {n:,} samples", cells=cells, value=value, value_ms=value_ms,
            samples=out.samples, result=result,
        )  # fmt: skip


@kernel
def _assess_inplace(
    cells: Records, value: Floats, value_ms: Ints, samples: Records, result: Floats32, n: int
) -> bool:
    """As above, samples (size,) of SAMPLE; False, and nothing done, where sizes do not fit."""
    rows = len(cells)
    if value.shape != (rows, RESULTS) or value_ms.shape != (rows, RESULTS):
        return False
    if result.shape[1] != RESULTS or n < 0 or n > min(len(samples), len(result)):
        return False
    for k in range(n):
        if samples[k].row < 0 or samples[k].row >= rows:
            return False
    for k in range(n):
        r = samples[k].row
        x = samples[k].features
        temperature = x[Feature.TEMPERATURE_C]
        lost = np.isnan(temperature)
        held = value[r, Result.RISK]
        found = _levels(
            temperature,
            cells[r].config.temperature_max_c,
            np.nan if lost else float(result[k, Result.DT_DT_C_PER_S]),
            x[Feature.HEATING_C_PER_S],
            x[Feature.RISING_C_PER_S],
            float(result[k, Result.THERMAL_SCORE]),
            lost,
            0 if np.isnan(held) else int(held),
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
        value_ms[r, Result.RISK] = samples[k].timestamp_ms
        value_ms[r, Result.RISK_CAUSE] = samples[k].timestamp_ms
    return True
