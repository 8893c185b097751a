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
    kept = [edges[:-1]]
    for values in series:
        known = ~np.isnan(values)
        low = np.where(known, values, np.inf)
        high = np.where(known, values, -np.inf)
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if known[start:end].any():
                kept.append(
                    np.array(
                        [start + np.argmin(low[start:end]), start + np.argmax(high[start:end])]
                    )
                )
    return np.unique(np.concatenate([*kept, np.array([n - 1])]))
