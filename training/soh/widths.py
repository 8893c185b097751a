"""Half-widths of the intervals: quantiles in which cells count the same, smoothed over windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.soh.tables import EDGES

Floats = NDArray[np.float64]

COVERAGE = 0.9


def weighted_quantile(errors: Sequence[Floats], level: float) -> float:
    """The quantile of |errors| where each cell counts the same, with n+1 rows as conformal asks."""
    errors = [kept for error in errors if len(kept := error[np.isfinite(error)])]
    if not errors:
        return float("nan")
    values = np.concatenate([np.abs(error) for error in errors])
    weights = np.concatenate([np.full(len(error), 1.0 / len(error)) for error in errors])
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    n = len(values)
    rank = min(1.0, level * (n + 1) / n)
    return float(values[order][min(int(np.searchsorted(cumulative, rank)), n - 1)])


def never_shrinking(half: Floats, discharge: bool) -> Floats:
    """Half-widths over (start, end) such that seeing more never widens the interval.

    A charge sees more as its end rises, a discharge as its start falls.
    """
    out = (half.T if discharge else half[:, ::-1]).copy()
    for line in out:
        known = np.isfinite(line)
        line[known] = np.maximum.accumulate(line[known])
    return out.T if discharge else out[:, ::-1]


def neighbour_mean(plane: Floats, step: int) -> Floats:
    """The mean over the 3 x 3 neighbours that are known, where the middle is."""
    padded = np.pad(plane, step, constant_values=np.nan)
    at = (0, step, 2 * step)
    stack = np.stack([padded[i : i + EDGES, j : j + EDGES] for i in at for j in at])
    known = np.isfinite(stack)
    total = np.where(known, stack, 0.0).sum(axis=0)
    mean = total / np.maximum(known.sum(axis=0), 1)
    return np.where(np.isfinite(plane), mean, np.nan)
