"""Fewer points for a plot without losing a peak."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def keep_extremes(series: Sequence[NDArray[np.float64]], points: int) -> NDArray[np.int64]:
    """Indices, in order, of at most about `points` rows of equally long series.

    The rows are cut into stretches; each stretch keeps its first row and where each series is
    smallest and largest (min-max decimation). NaN is passed over.
    """
    n = len(series[0]) if series else 0
    if n <= points:
        return np.arange(n)
    per_stretch = 2 * len(series) + 1
    stretches = max(1, points // per_stretch)
    edges = np.linspace(0, n, stretches + 1).astype(np.int64)
    starts = edges[:-1]
    stretch = np.repeat(np.arange(stretches), np.diff(edges))
    kept = [starts, np.array([n - 1])]
    for values in series:
        known = ~np.isnan(values)
        for extremes in (np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)):
            there = np.flatnonzero(known & (values == extremes[stretch]))
            kept.append(there[np.unique(stretch[there], return_index=True)[1]])
    return np.unique(np.concatenate(kept))
