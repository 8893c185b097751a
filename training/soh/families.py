"""Model families for SOH, side by side: each learns from whole charges of the training cells.

A family is a function of training rows and rows to tell. Its hyper-parameters are searched on the
training rows only, grouped by cell: each candidate is judged on training cells left out.

The module is long because every family stands here, each in a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigurationError
from training.dataset import R60, HalfCycle

Floats = NDArray[np.float64]

FIRST = {"nasa": 26, "calce": 10}  # 3.86 V and 3.70 V: below, a charge has not settled
LAST = 59


@dataclass(frozen=True, slots=True)
class Table:
    """Whole charges as rows: what a family may look at, labels and whose they are."""

    curve: Floats  # (n, bins + 1): charge in each bin, resistance at 60 s
    coulomb: Floats  # (n,): coulomb count of the whole charge over nominal
    below: Floats  # (n,): of that, given back for what the discharge before drew under 2.7 V
    temperature: Floats  # (n,): mean of the charge, degC
    since_load: Floats  # (n,): log of the hours of rest before
    cycle: Floats  # (n,)
    series: list[Floats]  # voltage at the snapshots, for tsfresh
    y: Floats  # (n,)
    cell: NDArray[np.str_]

    def rows(self, which: NDArray[Any]) -> Table:
        """Some of the rows."""
        at = np.flatnonzero(which) if which.dtype == bool else which
        return Table(
            self.curve[at], self.coulomb[at], self.below[at], self.temperature[at],
            self.since_load[at], self.cycle[at], [self.series[i] for i in at], self.y[at],
            self.cell[at],
        )  # fmt: skip


def table_of(halves: Sequence[HalfCycle], first: int) -> Table:
    """Rows of the labelled whole charges."""
    kept, below = [], []
    drawn_below = 0.0
    for h in halves:
        if h.kind == "discharge":
            drawn_below = h.below_ah / h.nominal_ah
        elif h.usable and len(h.inputs) and h.whole[R60] >= 0.0:
            kept.append(h)
            below.append(drawn_below)
    whole = np.array([h.whole for h in kept], dtype=np.float64)
    rest_h = np.array([h.rest_s / 3600.0 if np.isfinite(h.rest_s) else 1.0 for h in kept])
    return Table(
        np.column_stack([whole[:, first:LAST], whole[:, R60]]),
        np.array([h.charge_ah / h.nominal_ah for h in kept]),
        np.array(below),
        np.array([h.temperature_c for h in kept]),
        np.log(np.maximum(rest_h, 0.01)),
        np.array([float(h.cycle) for h in kept]),
        [h.voltage_v for h in kept],
        np.array([h.soh for h in kept]),
        np.array([h.cell for h in kept]),
    )


def joined(tables: Sequence[Table]) -> Table:
    """Several cells' rows, one after another."""
    return Table(
        np.concatenate([t.curve for t in tables]),
        np.concatenate([t.coulomb for t in tables]),
        np.concatenate([t.below for t in tables]),
        np.concatenate([t.temperature for t in tables]),
        np.concatenate([t.since_load for t in tables]),
        np.concatenate([t.cycle for t in tables]),
        [series for t in tables for series in t.series],
        np.concatenate([t.y for t in tables]),
        np.concatenate([t.cell for t in tables]),
    )


Predict = Callable[[Table], Floats]
Fit = Callable[[Table, int], Predict]  # training rows, seed
Candidate = tuple[str, Fit]


@dataclass(frozen=True, slots=True)
class FamilyOfModels:
    """A name and the candidates to choose from."""

    name: str
    candidates: tuple[Candidate, ...]


def chosen(family: FamilyOfModels, train: Table, seed: int) -> tuple[str, Predict]:
    """The candidate that does best on training cells left out, fitted on all of them.

    With a single training cell its last fifth stands in for a cell.
    """
    if len(family.candidates) == 1:
        name, fit = family.candidates[0]
        return name, fit(train, seed)
    cells = np.unique(train.cell)
    if len(cells) > 1:
        parts = [train.cell == cell for cell in cells]
    else:
        late = np.zeros(len(train.y), bool)
        late[int(0.8 * len(late)) :] = True
        parts = [late]
    errors = []
    for _, fit in family.candidates:
        told = [fit(train.rows(~held), seed)(train.rows(held)) - train.y[held] for held in parts]
        errors.append(np.sqrt(np.mean([np.mean(error**2) for error in told])))
    name, fit = family.candidates[int(np.argmin(errors))]
    return name, fit(train, seed)


def _standard(x: Floats) -> tuple[Floats, Floats]:
    return x.mean(axis=0), x.std(axis=0) + 1e-9


Look = Callable[[Table], Floats]


def curve(table: Table) -> Floats:
    """The bins and the resistance."""
    return table.curve


def bands(width: int) -> Look:
    """The bins summed by `width`, the resistance and the temperature: what changes least between
    groups that were cycled at other currents and temperatures."""

    def look(table: Table) -> Floats:
        bins = table.curve[:, :-1]
        edges = np.arange(0, bins.shape[1], width)
        sums = np.add.reduceat(bins, edges, axis=1)
        return np.column_stack([sums, table.curve[:, -1], table.temperature])

    return look


def counted(table: Table) -> Floats:
    """The charge taken, less what the discharge before drew under the voltage where the published
    capacity ends: a count of the monitor's own, not a label."""
    return table.coulomb - table.below


def about_the_count(table: Table) -> Floats:
    """What a coulomb count may be wrong by: resistance, rest and how deep it had been emptied."""
    return np.column_stack([table.curve[:, -1], table.since_load, table.below])


ROUNDS = 8  # of reweighting


def ridge(
    penalty: float,
    square: float = 0.0,
    look: Look = curve,
    base: Look | None = None,
    clipped_at: float | None = None,
) -> Fit:
    """Ridge on what `look` gives; with `base` on what that leaves of the label.

    `clipped_at`: Huber's loss with this limit (Huber 1964), by reweighting; a few odd rows then
    move nothing.
    """

    def fit(train: Table, _: int) -> Predict:
        mean, sd = _standard(look(train))

        def expand(table: Table) -> Floats:
            z = (look(table) - mean) / sd
            return np.hstack([z, square * z * z]) if square else z

        each = np.zeros(len(train.y))
        for cell in np.unique(train.cell):
            own = train.cell == cell
            each[own] = 1.0 / own.sum()
        target = train.y if base is None else train.y - base(train)
        z_all = expand(train)
        weight = each
        for _round in range(1 if clipped_at is None else ROUNDS):
            weight = weight / weight.sum()
            centre, level = weight @ z_all, float(weight @ target)
            z = z_all - centre
            normal = (z * weight[:, None]).T @ z + penalty * np.eye(z.shape[1])
            solved = np.linalg.solve(normal, (z * weight[:, None]).T @ (target - level))
            if clipped_at is not None:
                off = np.abs(target - level - z @ solved)
                weight = each * np.minimum(1.0, clipped_at / np.maximum(off, 1e-9))

        def predict(table: Table) -> Floats:
            told: Floats = (expand(table) - centre) @ solved + level
            return told if base is None else told + base(table)

        return predict

    return fit


def gaussian_process(gamma: float, noise: float, rows: int = 600) -> Fit:
    """Gaussian process with a linear plus a squared-exponential kernel, on at most `rows` rows."""

    def fit(train: Table, seed: int) -> Predict:
        rng = np.random.default_rng(seed)
        keep = np.sort(rng.permutation(len(train.y))[:rows])
        x, y = train.curve[keep], train.y[keep]
        mean, sd = _standard(x)

        def scaled(curve: Floats) -> Floats:
            z: Floats = (curve - mean) / sd / np.sqrt(curve.shape[1])
            return z

        def kernel(a: Floats, b: Floats) -> Floats:
            apart = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
            k: Floats = np.exp(-gamma * apart) + a @ b.T
            return k

        z, level = scaled(x), y.mean()
        solved = np.linalg.solve(kernel(z, z) + noise * np.eye(len(z)), y - level)

        def predict(table: Table) -> Floats:
            told: Floats = kernel(scaled(table.curve), z) @ solved + level
            return told

        return predict

    return fit


def forest(leaf: int, features: float) -> Fit:
    """Random forest on the curve."""

    def fit(train: Table, seed: int) -> Predict:
        from sklearn.ensemble import RandomForestRegressor

        model = RandomForestRegressor(
            60, min_samples_leaf=leaf, max_features=features, random_state=seed, n_jobs=1
        ).fit(train.curve, train.y)
        return lambda table: np.asarray(model.predict(table.curve), dtype=np.float64)

    return fit


def boosting(depth: int, by_cycle: bool = False) -> Fit:
    """XGBoost on the curve, or on the cycle number alone (the course's fifth week)."""

    def look(table: Table) -> Floats:
        return table.cycle[:, None] if by_cycle else table.curve

    def fit(train: Table, seed: int) -> Predict:
        from xgboost import XGBRegressor

        model = XGBRegressor(
            n_estimators=150, max_depth=depth, learning_rate=0.08, subsample=0.8,
            random_state=seed, n_jobs=1, verbosity=0,
        ).fit(look(train), train.y)  # fmt: skip
        return lambda table: np.asarray(model.predict(look(table)), dtype=np.float64)

    return fit


def masked_mlp(hidden: int, epochs: int = 120) -> Fit:
    """A small network on the curve and a mask; training windows are cut at random."""

    def fit(train: Table, seed: int) -> Predict:
        import torch

        torch.manual_seed(seed)
        mean, sd = _standard(train.curve)
        level = float(train.y.mean())

        def tensor(values: Floats) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32)

        z, y = tensor((train.curve - mean) / sd), tensor((train.y - level) * 10.0)
        bins = z.shape[1] - 1
        net = torch.nn.Sequential(
            torch.nn.Linear(2 * z.shape[1], hidden), torch.nn.SiLU(),
            torch.nn.Linear(hidden, hidden), torch.nn.SiLU(), torch.nn.Linear(hidden, 1),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(z), generator=generator)
            for start in range(0, len(order), 128):
                batch = order[start : start + 128]
                edges = torch.rand(len(batch), 2, generator=generator).sort(dim=1).values * bins
                whole = torch.rand(len(batch), generator=generator) < 0.5
                at = torch.arange(bins)
                mask = (at >= edges[:, :1]) & (at < edges[:, 1:]) | whole[:, None]
                full = torch.cat([mask, torch.ones(len(batch), 1, dtype=torch.bool)], dim=1)
                noise = 0.05 * torch.randn(z[batch].shape, generator=generator)
                told = net(torch.cat([(z[batch] + noise) * full, full.float()], dim=1))[:, 0]
                loss = (told - y[batch]).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

        def predict(table: Table) -> Floats:
            x = tensor((table.curve - mean) / sd)
            with torch.no_grad():
                told = net(torch.cat([x, torch.ones_like(x)], dim=1))[:, 0].numpy()
            out: Floats = told.astype(np.float64) / 10.0 + level
            return out

        return predict

    return fit


TSFRESH = {
    "abs_energy": None, "absolute_sum_of_changes": None, "mean": None, "median": None,
    "variance": None, "skewness": None, "kurtosis": None, "length": None, "mean_abs_change": None,
    "mean_second_derivative_central": None, "first_location_of_maximum": None,
    "longest_strike_above_mean": None, "count_above_mean": None, "cid_ce": [{"normalize": True}],
    "quantile": [{"q": q / 20} for q in range(1, 20)],
    "c3": [{"lag": lag} for lag in (1, 2, 3)],
    "autocorrelation": [{"lag": lag} for lag in (1, 2, 5, 10)],
    "linear_trend": [{"attr": name} for name in ("slope", "intercept", "rvalue", "stderr")],
    "fft_coefficient": [{"coeff": k, "attr": "abs"} for k in range(1, 9)],
    "index_mass_quantile": [{"q": q} for q in (0.1, 0.3, 0.5, 0.7, 0.9)],
    "energy_ratio_by_chunks": [
        {"num_segments": 6, "segment_focus": k} for k in range(6)
    ],
    "change_quantiles": [{"ql": 0.2, "qh": 0.8, "isabs": True, "f_agg": "mean"}],
}  # fmt: skip


def tsfresh_features(tables: Sequence[Table]) -> list[Floats]:
    """Over sixty features of each charge's voltage over time, for several tables.

    Raises ConfigurationError where tsfresh, of the extra `train`, is not installed.
    """
    import pandas as pd

    try:
        from tsfresh import extract_features
    except ImportError as error:
        raise ConfigurationError(
            "the tsfresh features need `pip install 'cellpulse[train]'`; what was computed is kept"
        ) from error

    frames, at = [], 0
    for table in tables:
        for series in table.series:
            frames.append(pd.DataFrame({"id": at, "time": np.arange(len(series)), "v": series}))
            at += 1
    found = extract_features(
        pd.concat(frames), column_id="id", column_sort="time", n_jobs=0,
        default_fc_parameters=TSFRESH, disable_progressbar=True,
    ).fillna(0.0)  # fmt: skip
    values, out, start = found.to_numpy(dtype=np.float64), [], 0
    for table in tables:
        out.append(values[start : start + len(table.y)])
        start += len(table.y)
    return out


def selected_ridge(penalty: float) -> Fit:
    """Ridge on the features in `curve` that correlate with the label, selected on training rows.

    Benjamini-Yekutieli on Kendall's tau, as tsfresh's own selection does, at a 5 % false rate.
    """

    def fit(train: Table, seed: int) -> Predict:
        from scipy.stats import kendalltau

        p = np.array(
            [
                float(kendalltau(column, train.y).pvalue) if np.ptp(column) > 0 else 1.0
                for column in train.curve.T
            ]
        )
        order = np.argsort(p)
        m = len(p)
        limit = 0.05 * np.arange(1, m + 1) / (m * np.sum(1.0 / np.arange(1, m + 1)))
        passed = np.flatnonzero(p[order] <= limit)
        keep = np.sort(order[: passed[-1] + 1]) if len(passed) else order[:5]

        def cut(table: Table) -> Table:
            return replace(table, curve=table.curve[:, keep])

        inner = ridge(penalty)(cut(train), seed)
        return lambda table: inner(cut(table))

    return fit


RIDGE = FamilyOfModels(
    "ridge",
    tuple((f"penalty {p:g}", ridge(p)) for p in (1e-4, 1e-3, 1e-2, 1e-1)),
)
QUADRATIC = FamilyOfModels(
    "ridge, quadratic",
    tuple((f"penalty {p:g}", ridge(p, 0.1)) for p in (1e-3, 1e-2, 1e-1)),
)
COULOMB = FamilyOfModels(
    "coulomb count + residual",
    tuple(
        (f"penalty {p:g}, {name}", ridge(p, look=about_the_count, base=counted, clipped_at=limit))
        for p in (1e-2, 1e-1, 1.0)
        for name, limit in (("least squares", None), ("Huber", 0.005))
    ),
)
GAUSSIAN = FamilyOfModels(
    "Gaussian process",
    tuple(
        (f"gamma {g:g}, noise {s:g}", gaussian_process(g, s))
        for g in (0.005, 0.1)
        for s in (1e-4, 1e-2)
    ),
)
FOREST = FamilyOfModels(
    "random forest", tuple((f"leaf {leaf}", forest(leaf, 0.4)) for leaf in (2, 8))
)
BOOSTING = FamilyOfModels(
    "XGBoost on the curve", tuple((f"depth {d}", boosting(d)) for d in (2, 4))
)
BY_CYCLE = FamilyOfModels("XGBoost on cycle number", (("depth 3", boosting(3, by_cycle=True)),))
MLP = FamilyOfModels("masked MLP", (("48 units", masked_mlp(48)),))
TSFRESH_RIDGE = FamilyOfModels(
    "tsfresh + ridge", tuple((f"penalty {p:g}", selected_ridge(p)) for p in (1e-2, 1.0))
)
# The cheap ones first: a budget then leaves out the dear ones.
FAMILIES = (RIDGE, QUADRATIC, COULOMB, BY_CYCLE, BOOSTING, GAUSSIAN, FOREST, TSFRESH_RIDGE, MLP)
