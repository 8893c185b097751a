"""The shipped SOH model: one small ridge regression for each window of voltage that may be seen.

For a table (a family of cells, charge or discharge) and a window of whole bins [start, end), SOH is
linear in the charge that moved in each of these bins and, where it is known, in the resistance at
60 s. A histogram only lacks what lies outside its window, so every complete charge trains every
window inside it; nothing is imputed.

Each regression's penalty and its augmentation (copies of the histogram moved by a few millivolts up
and down, as a sensor's offset would) are chosen by leaving each training cell out in turn; the
errors on the cells left out give the half-width of the 90 % interval (split conformal prediction,
Vovk et al. 2005, with cells, not rows, kept apart), smoothed over neighbouring windows and made
never to shrink when less is seen.

All of it is float64 NumPy: `Tables.predict` is the reference that the ONNX export must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.features import SOH_BINS, SOH_WIDTH
from training.dataset import C_MEAN, C_SPREAD, END, R60, START, TABLE
from training.soh_likeness import FACTORS, Likeness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EDGES = SOH_BINS + 1
_USED = np.append(np.arange(SOH_BINS), R60)  # the columns that a regression may look at
COLUMNS = len(_USED)
SQUARE_PENALTY = 100.0  # squares count a tenth
ENSEMBLE = 3  # the best configurations are averaged; the mean of ridges is one more ridge
COVERAGE = 0.9
FEWEST_ROWS = 30
LONGEST_RELATIVE = 30  # bins
WIDEST_HALF = 0.08  # an interval wider than +-8 %SOH is no estimate
LATEST_START_BIN = 46  # 4.06 V: no charge window that starts here or higher is answered
HIGHEST_SOH = 1.5  # an estimate is clipped to 0..HIGHEST_SOH
SOH_MARGIN = 0.05  # how far beyond the training cells' SOH an estimate is believed
OK, NOT_ENOUGH, UNLIKE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is chosen for each window on cells left out."""

    shift_v: float  # copies of the histogram moved by so much up and down; 0 for none
    penalty: float
    quadratic: bool


SHIFTS_V = (0.0, 0.006, 0.012)
CONFIGURATIONS = tuple(
    Configuration(shift_v, penalty, quadratic)
    for shift_v in SHIFTS_V
    for penalty in (1e-3, 1e-2, 1e-1)
    for quadratic in (False, True)
)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How one table is fitted. Windows are clamped to [first, last), bins of the kernel's row."""

    table: int
    name: str
    bin_v: float
    first: int
    last: int
    latest_start: int  # windows that start here or later are not answered
    shortest: int = 2  # bins
    discharge: bool = False
    relative: bool = False  # bins counted down from the first voltage under load, not by voltage
    step: int = 1  # bins between the windows fitted; one in between is answered by the next inside


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows of one cell: whole half-cycles and their labels."""

    cell: str
    x: Floats  # (n, SOH_WIDTH)
    y: Floats  # (n,)


@dataclass(frozen=True, slots=True)
class WindowFit:
    """One regression: SOH = [u, u^2] @ weights + bias, +- half."""

    weights: Floats  # (2 * COLUMNS,)
    bias: float
    half: float


Fits = dict[tuple[int, int], WindowFit]


@dataclass(frozen=True, slots=True)
class TableFit:
    """One table: its fits without and with resistance, and what it holds for plausible."""

    spec: TableSpec
    without: Fits
    known: Fits
    centre: Floats  # (SOH_WIDTH,)
    likeness: Likeness
    low: Floats
    high: Floats
    soh_low: float
    soh_high: float


@dataclass(slots=True)
class Tables:
    """The whole model as arrays; row 0 answers nothing."""

    index: Ints  # (tables, 2, EDGES, EDGES): table, resistance known, start, end -> row
    centre: Floats  # (tables, SOH_WIDTH): u = x - centre
    weights: Floats  # (rows, SOH_WIDTH), of u
    squares: Floats  # (rows, SOH_WIDTH), of u squared
    bias: Floats  # (rows,)
    half: Floats  # (rows,)
    first: Ints  # (tables,)
    last: Ints  # (tables,)
    low: Floats  # (tables, SOH_WIDTH): the plausible range of resistance and C-rate
    high: Floats  # (tables, SOH_WIDTH)
    soh_low: Floats  # (tables,)
    soh_high: Floats  # (tables,)
    mean: Floats  # (tables, SOH_WIDTH), and so on: the factor model of `soh_likeness`
    inverse_sd: Floats  # (tables, SOH_WIDTH)
    loadings: Floats  # (tables, SOH_WIDTH, FACTORS)
    likeness: Floats  # (rows, FACTORS, FACTORS): M of the row's window
    limit: Floats  # (rows,): the largest plausible distance

    def predict(self, x: NDArray[np.floating]) -> tuple[Floats, Floats, Floats, Ints]:
        """SOH, low, high (n,) and state (n,) for rows (n, SOH_WIDTH)."""
        x = np.asarray(x, dtype=np.float64)
        table = x[:, TABLE].astype(np.int64)
        start = np.minimum(np.maximum(x[:, START], self.first[table]), SOH_BINS).astype(np.int64)
        end = np.maximum(np.minimum(x[:, END], self.last[table]), 0).astype(np.int64)
        known = (x[:, R60] >= 0.0).astype(np.int64)
        row = self.index[table, known, start, end]
        u = x - self.centre[table]
        soh = (u * (self.weights[row] + u * self.squares[row])).sum(axis=1) + self.bias[row]
        soh = np.clip(soh, 0.0, HIGHEST_SOH)
        half = self.half[row]
        outside = (x < self.low[table]) | (x > self.high[table])
        bins = np.arange(SOH_BINS)
        mask = np.zeros(x.shape)
        mask[:, :SOH_BINS] = (bins >= start[:, None]) & (bins < end[:, None])
        mask[:, R60] = known
        z = (x - self.mean[table]) * self.inverse_sd[table] * mask
        q = np.einsum("ni,nik->nk", z, self.loadings[table])
        far = (z * z).sum(axis=1) - np.einsum("nk,nkl,nl->n", q, self.likeness[row], q)
        unlike = (
            (far > self.limit[row])
            | (outside[:, C_MEAN])
            | (outside[:, C_SPREAD])
            | (outside[:, R60] & (known == 1))
            | (soh < self.soh_low[table])
            | (soh > self.soh_high[table])
        )
        state = np.where(row == 0, NOT_ENOUGH, np.where(unlike, UNLIKE, OK))
        return soh, soh - half, soh + half, state


def clamped(spec: TableSpec, x: Floats) -> tuple[Ints, Ints]:
    """The window of each row as the table sees it."""
    start = np.minimum(np.maximum(x[:, START], spec.first), SOH_BINS).astype(np.int64)
    return start, np.minimum(x[:, END], spec.last).astype(np.int64)


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
            Rows(rows.cell, rows.x[keep], rows.y[keep])
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
            how for how in CONFIGURATIONS if not (spec.relative and how.quadratic)
        ]

    def _expand(self, x: Floats) -> Floats:
        """(n, 2 * COLUMNS): u, then u squared."""
        u = x[:, _USED] - self.centre[_USED]
        return np.hstack([u, u * u])

    def _columns(self, start: int, end: int, resistance: bool, quadratic: bool) -> Ints:
        linear = np.arange(start, end)
        if resistance:
            linear = np.append(linear, COLUMNS - 1)
        return np.concatenate([linear, linear + COLUMNS]) if quadratic else linear

    def eligible(self, cell: int, start: int, end: int) -> NDArray[np.bool_]:
        """Rows of a cell whose own window covers [start, end)."""
        x = self.cells[cell].x
        mask: NDArray[np.bool_] = (x[:, START] <= start) & (x[:, END] >= end)
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
        for shift_v in SHIFTS_V:
            rows, moment = self._sum(held_out, start, self._top(end), shift_v)
            if rows < FEWEST_ROWS:
                return None
            for quadratic in (False, True):
                which = [
                    k
                    for k, how in enumerate(self.configurations)
                    if how.shift_v == shift_v and how.quadratic == quadratic
                ]
                if not which:
                    continue
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
        smooth = np.array([_neighbour_mean(plane, self.spec.step) for plane in score])
        half = np.full((EDGES, EDGES), np.nan)
        chosen: dict[tuple[int, int], Ints] = {}
        for start, end in found:
            if np.isfinite(smooth[:, start, end]).all():
                best = np.argsort(smooth[:, start, end])[:ENSEMBLE]
                chosen[start, end] = best
                half[start, end] = weighted_quantile(
                    self.left_out_errors(start, end, resistance, best.tolist()), COVERAGE
                )
        half = never_shrinking(_neighbour_mean(half, self.spec.step), self.spec.discharge)
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
    turned = [Rows(rows.cell, counted_down(rows.x), rows.y) for rows in cells]
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


def _neighbour_mean(plane: Floats, step: int) -> Floats:
    """The mean over the 3 x 3 neighbours that are known, where the middle is."""
    padded = np.pad(plane, step, constant_values=np.nan)
    at = (0, step, 2 * step)
    stack = np.stack([padded[i : i + EDGES, j : j + EDGES] for i in at for j in at])
    known = np.isfinite(stack)
    total = np.where(known, stack, 0.0).sum(axis=0)
    mean = total / np.maximum(known.sum(axis=0), 1)
    return np.where(np.isfinite(plane), mean, np.nan)


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


def _answer_between_inplace(index: Ints, spec: TableSpec) -> None:
    """Let a window that was not fitted be answered by the widest fitted one inside it."""
    fitted = index.copy()
    for start in range(spec.first, EDGES):
        inner = spec.first + -(-(start - spec.first) // spec.step) * spec.step
        for end in range(start + spec.shortest, spec.last + 1):
            outer = spec.last
            if end < spec.last:
                outer = spec.first + (end - spec.first) // spec.step * spec.step
            if start < spec.latest_start and inner < EDGES:
                index[start, end] = fitted[inner, outer]


def assemble(fits: Sequence[TableFit], tables: int) -> Tables:
    """The model's arrays. A window whose interval would be wider than `WIDEST_HALF` stays out."""
    index = np.zeros((tables, 2, EDGES, EDGES), np.int64)
    weights, squares, bias, half = [np.zeros(SOH_WIDTH)], [np.zeros(SOH_WIDTH)], [0.0], [0.0]
    likeness, limit = [np.zeros((FACTORS, FACTORS))], [0.0]
    model = Tables(
        index=index,
        centre=np.zeros((tables, SOH_WIDTH)),
        weights=np.zeros((1, SOH_WIDTH)),
        squares=np.zeros((1, SOH_WIDTH)),
        bias=np.zeros(1),
        half=np.zeros(1),
        first=np.zeros(tables, np.int64),
        last=np.full(tables, SOH_BINS),
        low=np.full((tables, SOH_WIDTH), -np.inf),
        high=np.full((tables, SOH_WIDTH), np.inf),
        soh_low=np.zeros(tables),
        soh_high=np.full(tables, 2.0),
        mean=np.zeros((tables, SOH_WIDTH)),
        inverse_sd=np.zeros((tables, SOH_WIDTH)),
        loadings=np.zeros((tables, SOH_WIDTH, FACTORS)),
        likeness=np.zeros((1, FACTORS, FACTORS)),
        limit=np.zeros(1),
    )
    for table in fits:
        spec = table.spec
        for known, found in enumerate((table.without, table.known)):
            for (start, end), fit in found.items():
                if not fit.half <= WIDEST_HALF:
                    continue
                index[spec.table, known, start, end] = len(bias)
                for kept, part in (
                    (weights, fit.weights[:COLUMNS]),
                    (squares, fit.weights[COLUMNS:]),
                ):
                    line = np.zeros(SOH_WIDTH)
                    line[_USED] = part
                    kept.append(line)
                bias.append(fit.bias)
                half.append(fit.half)
                likeness.append(table.likeness.model.weights(start, end, bool(known)))
                limit.append(table.likeness.limit(start, end, bool(known)))
            _answer_between_inplace(index[spec.table, known], spec)
        model.first[spec.table], model.last[spec.table] = spec.first, spec.last
        model.centre[spec.table] = table.centre
        factors = table.likeness.model
        model.mean[spec.table], model.inverse_sd[spec.table] = factors.mean, factors.inverse_sd
        model.loadings[spec.table] = factors.loadings
        model.low[spec.table], model.high[spec.table] = table.low, table.high
        model.soh_low[spec.table] = table.soh_low
        model.soh_high[spec.table] = table.soh_high
    model.weights, model.squares = np.array(weights), np.array(squares)
    model.bias, model.half = np.array(bias), np.array(half)
    model.likeness, model.limit = np.array(likeness), np.array(limit)
    return model
