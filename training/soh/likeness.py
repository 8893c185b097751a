"""How far a histogram's window lies from those of the training cells.

A factor model of the standardised bins and the resistance, z = V f + e with f ~ N(0, diag(scale^2))
and e ~ N(0, noise I) (probabilistic principal components, Tipping and Bishop 1999), gives the
squared Mahalanobis distance of any subset w of columns in closed form:

    d = |z_w|^2 - q' M_w q,   q = V_w' z_w,   M_w = (V_w' V_w + noise diag(scale^-2))^-1

Missing bins of training rows are filled by the model itself, a few times over. The limit of d in a
window is the 99 % quantile over the training rows, times how much farther a cell is that the model
has not seen: the median ratio, over the training cells, of the 90 % quantile of a cell left out to
the 99 % quantile of the others. (The largest ratio is that of the one cell which is unlike the
others; a limit as wide as that lets strangers pass.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import SOH_BINS, SOH_WIDTH
from training.dataset import END, R60, START

Floats = NDArray[np.float64]

FACTORS = 3
FILLS = 10
QUANTILE = 0.9
INSIDE = 0.99
SMALLEST_RATIO = 1.44
SHARE_SEEN = 0.5  # a bin crossed by fewer of the training rows is left out


@dataclass(frozen=True, slots=True)
class FactorModel:
    """Columns that are left out have `inverse_sd` 0."""

    mean: Floats  # (SOH_WIDTH,)
    inverse_sd: Floats  # (SOH_WIDTH,)
    loadings: Floats  # (SOH_WIDTH, FACTORS)
    scale: Floats  # (FACTORS,)
    noise: float

    def standardised(self, x: Floats, start: int, end: int, resistance: bool) -> Floats:
        """z of rows (n, SOH_WIDTH), zero outside the window."""
        mask = np.zeros(SOH_WIDTH)
        mask[start:end] = 1.0
        mask[R60] = float(resistance)
        z: Floats = (x - self.mean) * self.inverse_sd * mask
        return z

    def weights(self, start: int, end: int, resistance: bool) -> Floats:
        """M of a window, (FACTORS, FACTORS)."""
        seen = np.zeros(SOH_WIDTH, bool)
        seen[start:end] = True
        seen[R60] = resistance
        v = self.loadings[seen & (self.inverse_sd > 0.0)]
        return np.linalg.inv(v.T @ v + self.noise * np.diag(self.scale**-2.0)).astype(np.float64)

    def distance(self, x: Floats, start: int, end: int, resistance: bool) -> Floats:
        """d of rows (n, SOH_WIDTH), (n,)."""
        z = self.standardised(x, start, end, resistance)
        q = z @ self.loadings
        d: Floats = (z * z).sum(axis=1) - ((q @ self.weights(start, end, resistance)) * q).sum(
            axis=1
        )
        return d


def fit_factors(cells: Sequence[Floats]) -> FactorModel:
    """The factor model of rows (n, SOH_WIDTH) of several cells."""
    x = np.vstack(cells)
    bins = np.arange(SOH_BINS)
    crossed = np.zeros((len(x), SOH_WIDTH), bool)
    crossed[:, :SOH_BINS] = (bins >= x[:, [START]]) & (bins < x[:, [END]])
    crossed[:, R60] = x[:, R60] >= 0.0
    used = np.flatnonzero(crossed.mean(axis=0) >= SHARE_SEEN)
    seen, values = crossed[:, used], x[:, used]
    count = seen.sum(axis=0)
    mean = np.where(seen, values, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(seen, (values - mean) ** 2, 0.0).sum(axis=0) / count) + 1e-6
    z = np.where(seen, (values - mean) / sd, 0.0)
    factors = min(FACTORS, len(used) - 1)
    v, scale = np.zeros((len(used), factors)), np.ones(factors)
    for _ in range(FILLS):
        power, directions = np.linalg.eigh(z.T @ z / len(z))
        v = directions[:, ::-1][:, :factors]
        scale = np.sqrt(np.maximum(power[::-1][:factors], 1e-9))
        z = np.where(seen, z, (z @ v) @ v.T)
    noise = max(float(((z - (z @ v) @ v.T) ** 2).sum()) / len(z) / (len(used) - factors), 1e-6)
    loadings = np.zeros((SOH_WIDTH, FACTORS))
    loadings[used, :factors] = v
    full_scale = np.ones(FACTORS)
    full_scale[:factors] = scale
    means, inverse = np.zeros(SOH_WIDTH), np.zeros(SOH_WIDTH)
    means[used], inverse[used] = mean, 1.0 / sd
    return FactorModel(means, inverse, loadings, full_scale, noise)


class Likeness:
    """The factor model of all training cells and the limit of each window."""

    def __init__(self, cells: Sequence[Floats]) -> None:
        self.model = fit_factors(cells)
        self._all = np.vstack(cells)
        self._left_out = []
        for i, cell in enumerate(cells):
            others = [other for j, other in enumerate(cells) if j != i]
            self._left_out.append((cell, np.vstack(others), fit_factors(others)))

    def limit(self, start: int, end: int, resistance: bool) -> float:
        """The largest plausible distance of a window."""

        def quantile(model: FactorModel, x: Floats, level: float) -> float | None:
            rows = x[(x[:, START] <= start) & (x[:, END] >= end)]
            if not len(rows):
                return None
            return float(np.quantile(model.distance(rows, start, end, resistance), level))

        inside = quantile(self.model, self._all, INSIDE)
        if inside is None:
            return np.inf
        ratios = []
        for cell, others, model in self._left_out:
            own, theirs = quantile(model, cell, QUANTILE), quantile(model, others, INSIDE)
            if own is not None and theirs is not None:
                ratios.append(own / max(theirs, 1e-9))
        farther = max(SMALLEST_RATIO, float(np.median(ratios))) if ratios else SMALLEST_RATIO
        return farther * inside
