"""The shipped SOH model: one small ridge regression for each window of voltage that may be seen.

For a table (a family of cells, charge or discharge) and a window of whole bins [start, end), SOH is
linear in the charge that moved in each of these bins and, where it is known, in the resistance at
60 s. A histogram only lacks what lies outside its window, so every complete charge trains every
window inside it; nothing is imputed. A charge that began empty had no charge to give below where
it began, so its window begins with the table's first bin. The beginning of a discharge from full
is told by its marks instead: the drops below the rest before and the logs of their steps.

Each regression's penalty and its augmentation (copies of the histogram moved by a few millivolts up
and down, as a sensor's offset would) are chosen by leaving each training cell out in turn; the
errors on the cells left out give the half-width of the 90 % interval (split conformal prediction,
Vovk et al. 2005, with cells, not rows, kept apart), smoothed over neighbouring windows and made
never to shrink when less is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.kernels.columns import SOH_BINS, SOH_WIDTH
from training.dataset import C_MEAN, C_SPREAD, END, R60, START
from training.soh.likeness import Likeness
from training.soh.tables import COLUMNS, EDGES, USED, Fits, TableFit, TableSpec, WindowFit
from training.soh.widths import COVERAGE, neighbour_mean, never_shrinking, weighted_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SQUARE_PENALTY = 100.0  # squares count a tenth
ENSEMBLE = 3  # the best configurations are averaged; the mean of ridges is one more ridge
FEWEST_ROWS = 30
LONGEST_RELATIVE = 30  # bins
LATEST_START_BIN = 46  # 4.06 V: no charge window that starts here or higher is answered
SOH_MARGIN = 0.05  # how far beyond the training cells' SOH an estimate is believed


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is chosen for each window on cells left out."""

    shift_v: float  # copies of the histogram moved by so much up and down; 0 for none
    penalty: float
    quadratic: bool


CONFIGURATIONS = tuple(
    Configuration(shift_v, penalty, quadratic)
    for shift_v in (0.0, 0.006, 0.012)
    for penalty in (1e-3, 1e-2, 1e-1)
    for quadratic in (False, True)
)
MARK_CONFIGURATIONS = tuple(
    Configuration(0.0, penalty, quadratic)
    for penalty in (1e-4, 1e-3, 1e-2, 1e-1)
    for quadratic in (False, True)
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows of one cell: whole half-cycles and their labels."""

    cell: str
    x: Floats  # (n, SOH_WIDTH)
    y: Floats  # (n,)
    begin: Floats  # (n,): the first bin crossed under load


def windows(spec: TableSpec) -> list[tuple[int, int]]:
    """Every window the table may answer."""
    return [
        (start, end)
        for start in range(spec.first, min(spec.latest_start, spec.last), spec.step)
        for end in range(start + spec.shortest, spec.last + 1)
        if (end - spec.first) % spec.step == 0 or end == spec.last
    ]


def moved(x: Floats, bins: float) -> Floats:
    """Rows whose histogram is moved up in voltage by a number of bins, its edge values repeated."""
    source = np.arange(SOH_BINS) - bins
    low = np.floor(source)
    share = source - low
    a = np.clip(low.astype(np.int64), 0, SOH_BINS - 1)
    b = np.clip(low.astype(np.int64) + 1, 0, SOH_BINS - 1)
    out = x.copy()
    out[:, :SOH_BINS] = x[:, a] * (1.0 - share) + x[:, b] * share
    return out


class Fitter:
    """Ridge fits on any window and any set of a table's cells; moment matrices are kept by cell.

    Features are u = x - centre and, at a tenth of the scale, u squared.
    """

    def __init__(self, spec: TableSpec, cells: Sequence[Rows]) -> None:
        self.spec = spec
        self.cells = [
            Rows(rows.cell, rows.x[keep], rows.y[keep], rows.begin[keep])
            for rows in cells
            if (keep := (rows.x[:, R60] >= 0.0) | spec.relative).any()
        ]
        self.centre = np.zeros(SOH_WIDTH)
        if not spec.relative:
            x = np.vstack([rows.x for rows in self.cells])
            for b in range(SOH_BINS):
                crossed = (x[:, START] <= b) & (x[:, END] > b)
                self.centre[b] = x[crossed, b].mean() if crossed.any() else 0.0
            self.centre[R60] = x[:, R60].mean()
        self._features = [self._expand(rows.x) for rows in self.cells]
        self._moments = lru_cache(maxsize=None)(self._compute_moments)
        self._sum = lru_cache(maxsize=None)(self._pooled)
        self.configurations = [
            how
            for how in (MARK_CONFIGURATIONS if spec.marks else CONFIGURATIONS)
            if not (spec.relative and how.quadratic)
        ]
        self._kinds = dict.fromkeys((how.shift_v, how.quadratic) for how in self.configurations)

    def _expand(self, x: Floats) -> Floats:
        """(n, 2 * COLUMNS): u, then u squared."""
        u = x[:, USED] - self.centre[USED]
        return np.hstack([u, u * u])

    def _columns(self, start: int, end: int, resistance: bool, quadratic: bool) -> Ints:
        linear = np.arange(start, end)
        if resistance:
            linear = np.append(linear, COLUMNS - 1)
        return np.concatenate([linear, linear + COLUMNS]) if quadratic else linear

    def eligible(self, cell: int, start: int, end: int) -> NDArray[np.bool_]:
        """Rows of a cell whose own window covers [start, end)."""
        rows = self.cells[cell]
        begin = rows.x[:, START] if start == self.spec.first else rows.begin
        mask: NDArray[np.bool_] = (begin <= start) & (rows.x[:, END] >= end)
        return mask

    def _compute_moments(
        self, cell: int, start: int, top: int, shift_v: float
    ) -> tuple[int, Floats]:
        """Mean of [1, u, u^2, y]^T [1, u, u^2, y], rows that reach from `start` to `top`."""
        mask = self.eligible(cell, start, top)
        x, y = self.cells[cell].x[mask], self.cells[cell].y[mask]
        total = np.zeros((2 * COLUMNS + 2, 2 * COLUMNS + 2))
        if not len(y):
            return 0, total
        copies = [x]
        if shift_v:
            copies += [moved(x, shift_v / self.spec.bin_v), moved(x, -shift_v / self.spec.bin_v)]
        for copy in copies:
            full = np.column_stack([np.ones(len(y)), self._expand(copy), y])
            total += full.T @ full
        return len(y), total / (len(copies) * len(y))

    def _pooled(
        self, held_out: int | None, start: int, top: int, shift_v: float
    ) -> tuple[int, Floats]:
        """Rows of all cells but one, and the mean of their moments: each cell counts the same."""
        kept = [
            self._moments(cell, start, top, shift_v)
            for cell in range(len(self.cells))
            if cell != held_out
        ]
        kept = [(n, own) for n, own in kept if n]
        if not kept:
            return 0, np.zeros(0)
        return sum(n for n, _ in kept), np.mean([own for _, own in kept], axis=0)

    def _top(self, end: int) -> int:
        # A complete charge reaches the top, so windows share moments; a discharge begins anywhere.
        return end if self.spec.discharge else max(end, self.spec.last - 2)

    def fit(
        self, held_out: int | None, start: int, end: int, resistance: bool
    ) -> tuple[Floats, Floats] | None:
        """Weights (configurations, 2 * COLUMNS) and biases on all cells but one, in order.

        None where there are too few rows.
        """
        weights = np.zeros((len(self.configurations), 2 * COLUMNS))
        bias = np.zeros(len(self.configurations))
        for shift_v, quadratic in self._kinds:
            rows, moment = self._sum(held_out, start, self._top(end), shift_v)
            if rows < FEWEST_ROWS:
                return None
            which = [
                k
                for k, how in enumerate(self.configurations)
                if (how.shift_v, how.quadratic) == (shift_v, quadratic)
            ]
            columns = self._columns(start, end, resistance, quadratic)
            at = columns + 1
            mean, mean_y = moment[0, at], moment[0, -1]
            covariance = moment[at[:, None], at] - mean[:, None] * mean
            scale = np.sqrt(np.maximum(covariance.diagonal(), 1e-18)) + 1e-9
            against = (moment[at, -1] - mean * mean_y) / scale
            normal = covariance / (scale[:, None] * scale)
            ridge = np.diag(np.where(columns >= COLUMNS, SQUARE_PENALTY, 1.0))
            penalties = np.array([self.configurations[k].penalty for k in which])
            solved = np.linalg.solve(
                normal + penalties[:, None, None] * ridge, against[None, :, None]
            )[:, :, 0] / scale  # fmt: skip
            weights[np.array(which)[:, None], columns] = solved
            bias[which] = mean_y - solved @ mean
        return weights, bias

    def left_out_scores(self, start: int, end: int, resistance: bool) -> Floats | None:
        """RMSE (configurations,) over cells, each predicted by fits on the others."""
        squares: list[Floats] = []
        for cell in range(len(self.cells)):
            n, moment = self._moments(cell, start, self._top(end), 0.0)
            if not n:
                continue
            found = self.fit(cell, start, end, resistance)
            if found is None:
                return None
            weights, bias = found
            v = np.column_stack([bias, weights, np.full(len(bias), -1.0)])
            squares.append(np.maximum(np.einsum("ki,ij,kj->k", v, moment, v, optimize=True), 0.0))
        return np.sqrt(np.mean(squares, axis=0)) if len(squares) >= 2 else None

    def left_out_errors(
        self, start: int, end: int, resistance: bool, chosen: Sequence[int]
    ) -> list[Floats]:
        """Errors of each cell by the mean of the chosen fits; NaN where it would be flagged."""
        errors: list[Floats] = []
        for cell in range(len(self.cells)):
            mask = self.eligible(cell, start, end)
            found = self.fit(cell, start, end, resistance) if mask.any() else None
            if found is None:
                continue
            weights, bias = found[0][chosen].mean(axis=0), found[1][chosen].mean()
            soh = self._features[cell][mask] @ weights + bias
            others = [rows.y for i, rows in enumerate(self.cells) if i != cell]
            low = min(float(o.min()) for o in others) - SOH_MARGIN
            high = max(float(o.max()) for o in others) + SOH_MARGIN
            flagged = (soh < low) | (soh > high)
            errors.append(np.where(flagged, np.nan, soh - self.cells[cell].y[mask]))
        return errors

    def fit_all(self, resistance: bool, progress: Callable[[str], None] | None = None) -> Fits:
        """Every window that the cells allow, its configuration chosen on cells left out."""
        found = windows(self.spec)
        score = np.full((len(self.configurations), EDGES, EDGES), np.nan)
        for start, end in found:
            scores = self.left_out_scores(start, end, resistance)
            if scores is not None:
                score[:, start, end] = scores
        smooth = np.array([neighbour_mean(plane, self.spec.step) for plane in score])
        half = np.full((EDGES, EDGES), np.nan)
        chosen: dict[tuple[int, int], Ints] = {}
        for start, end in found:
            if np.isfinite(smooth[:, start, end]).all():
                best = np.argsort(smooth[:, start, end])[:ENSEMBLE]
                chosen[start, end] = best
                half[start, end] = weighted_quantile(
                    self.left_out_errors(start, end, resistance, best.tolist()), COVERAGE
                )
        falls = self.spec.discharge and not self.spec.marks
        half = never_shrinking(neighbour_mean(half, self.spec.step), falls)
        fits: Fits = {}
        for (start, end), best in chosen.items():
            solved = self.fit(None, start, end, resistance)
            if solved is not None:
                fits[start, end] = WindowFit(
                    solved[0][best].mean(axis=0),
                    float(solved[1][best].mean()),
                    float(half[start, end]),
                )
        if progress is not None:
            known = "with" if resistance else "without"
            progress(f"{self.spec.name}, {known} resistance: {len(fits)} windows of {len(found)}")
        return fits


def fit_table(
    spec: TableSpec,
    cells: Sequence[Rows],
    seen: Sequence[Floats],
    progress: Callable[[str], None] | None = None,
) -> TableFit:
    """Everything one table needs; `seen` are rows at many instants, for the plausible ranges."""
    return completed(spec, fit_windows(spec, cells, progress), cells, seen)


class Regressions(Struct, frozen=True):
    """The regressions of a table, in a form that can be kept as JSON."""

    centre: list[float]
    windows: list[list[tuple[int, int]]]  # without resistance, with it
    weights: list[list[list[float]]]
    bias: list[list[float]]
    half: list[list[float]]

    def fits(self, known: bool) -> Fits:
        """By window."""
        return {
            window: WindowFit(np.array(weights), bias, half)
            for window, weights, bias, half in zip(
                self.windows[known],
                self.weights[known],
                self.bias[known],
                self.half[known],
                strict=True,
            )
        }


def fit_windows(
    spec: TableSpec, cells: Sequence[Rows], progress: Callable[[str], None] | None = None
) -> Regressions:
    """The regressions of a table: the long part of training."""
    centre = np.zeros(SOH_WIDTH)
    if spec.relative:
        both = [_fit_relative(spec, cells, progress)] * 2
    elif spec.marks:  # the drops tell the resistance
        fitter = Fitter(spec, cells)
        centre = fitter.centre
        both = [fitter.fit_all(False, progress)] * 2
    else:
        fitter = Fitter(spec, cells)
        centre = fitter.centre
        both = [fitter.fit_all(resistance, progress) for resistance in (False, True)]
    return Regressions(
        centre.tolist(),
        [list(fits) for fits in both],
        [[fit.weights.tolist() for fit in fits.values()] for fits in both],
        [[fit.bias for fit in fits.values()] for fits in both],
        [[fit.half for fit in fits.values()] for fits in both],
    )


def completed(
    spec: TableSpec, found: Regressions, cells: Sequence[Rows], seen: Sequence[Floats]
) -> TableFit:
    """A table from its regressions: with what it holds for plausible."""
    low, high = ranges(seen)
    labels = np.concatenate([rows.y for rows in cells])
    return TableFit(
        spec, found.fits(False), found.fits(True), np.array(found.centre),
        Likeness([rows.x for rows in cells]), low, high,
        float(labels.min()) - SOH_MARGIN, float(labels.max()) + SOH_MARGIN,
    )  # fmt: skip


def _fit_relative(
    spec: TableSpec, cells: Sequence[Rows], progress: Callable[[str], None] | None
) -> Fits:
    """One fit a window's length on bins counted down from the top, put where each window lies."""
    lengths = replace(spec, first=0, last=LONGEST_RELATIVE, latest_start=1, discharge=False)
    turned = [
        Rows(rows.cell, counted_down(rows.x), rows.y, np.zeros(len(rows.y))) for rows in cells
    ]
    by_length = Fitter(lengths, turned).fit_all(False, progress)
    fits: Fits = {}
    for start, end in windows(spec):
        fit = by_length.get((0, end - start))
        if fit is not None:
            weights = np.zeros(2 * COLUMNS)
            weights[start:end] = fit.weights[: end - start][::-1]
            fits[start, end] = replace(fit, weights=weights)
    return fits


def counted_down(x: Floats) -> Floats:
    """Rows whose bin k is the k-th below the first voltage under load: levels drop out."""
    out = x.copy()
    end = x[:, END].astype(np.int64)
    source = end[:, None] - 1 - np.arange(SOH_BINS)
    out[:, :SOH_BINS] = np.where(
        source >= 0, np.take_along_axis(x, np.maximum(source, 0), axis=1), 0.0
    )
    out[:, START] = 0.0
    out[:, END] = x[:, END] - x[:, START]
    return out


def ranges(seen: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The plausible range of resistance and C-rate: what the training cells span, and a tenth."""
    low, high = np.full(SOH_WIDTH, -np.inf), np.full(SOH_WIDTH, np.inf)
    x = np.vstack(seen)
    for column in (R60, C_MEAN):
        values = x[x[:, column] >= 0.0, column]
        if len(values):
            low[column], high[column] = 0.9 * values.min(), 1.1 * values.max()
    high[C_SPREAD] = 1.5 * float(x[:, C_SPREAD].max()) + 0.01
    return low, high
