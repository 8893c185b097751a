"""The opponents, tuned as well as we can: CC-CV over a grid, multi-stage CC by Bayesian
optimisation.

All are judged by cost = time / 30 min + w wear / 0.001, the mean over the tuning conditions, for
the weights that the learned policies are asked with too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

from monitor.charging.shield import Limits
from simulator.twin import CellParameters
from training.charging import rewards
from training.charging.bound import cost
from training.charging.policies import STAGES, CcCv, CcCvByAmbient, MultiStage
from training.charging.rollout import Conditions, Outcome, charge, grid

Floats = NDArray[np.float64]
Say = Callable[[str], None]

WEIGHTS = np.geomspace(rewards.LOWEST_WEIGHT, rewards.HIGHEST_WEIGHT, 11)
# A front is read between its points along straight lines, so it has to have enough of them.
FRONT_WEIGHTS = np.geomspace(rewards.LOWEST_WEIGHT, rewards.HIGHEST_WEIGHT, 31)
RATES_C = np.geomspace(0.25, 3.0, 28)
CUTS_V = np.array([3.9, 3.95, 4.0, 4.05, 4.1, 4.15, 4.2])
TUNING_AMBIENTS_C = (12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 39.0)


def tuning_conditions() -> Conditions:
    """Where the opponents are tuned: the same range as the learned policies' training."""
    return grid(TUNING_AMBIENTS_C, (0.82, 0.9, 0.98))


def cc_cv_grid(
    conditions: Conditions, cell: CellParameters, *, shielded: bool = True,
    limits: Limits | None = None,
) -> tuple[Floats, Floats, Outcome]:  # fmt: skip
    """Every rate with every cut-off: rates, cut-offs and outcomes (conditions, settings)."""
    rate_c, cut_v = (axis.ravel() for axis in np.meshgrid(RATES_C, CUTS_V))
    count = len(rate_c)
    policy = CcCv(np.tile(rate_c, conditions.n), np.tile(cut_v, conditions.n))
    found = charge(policy, conditions, cell, repeat=count, shielded=shielded,
                   limits=limits)  # fmt: skip
    return rate_c, cut_v, found.reshaped(conditions.n, count)


def pareto(minutes: Floats, loss: Floats) -> NDArray[np.int64]:
    """Indices of the settings that no other beats in both, by rising loss."""
    order = np.lexsort((minutes, loss))
    best, kept = np.inf, []
    for index in order:
        if minutes[index] < best:
            best = float(minutes[index])
            kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def cc_cv_front(found: tuple[Floats, Floats, Outcome]) -> list[CcCv]:
    """The Pareto front of the grid's settings, by their means, without one that broke a limit."""
    rate_c, cut_v, outcome = found
    minutes = np.where(outcome.violations.any(axis=0), np.inf, outcome.minutes.mean(axis=0))
    chosen = pareto(minutes, outcome.loss.mean(axis=0))
    return [
        CcCv(rate_c[[i]], cut_v[[i]], f"CC-CV {rate_c[i]:.2f}C to {cut_v[i]:.2f} V") for i in chosen
    ]


def cc_cv_by_ambient(
    found: tuple[Floats, Floats, Outcome], conditions: Conditions
) -> list[CcCvByAmbient]:
    """For every weight, a table of the best setting at every tuning ambient."""
    rate_c, cut_v, outcome = found
    ambients = np.unique(conditions.ambient_c)
    tables = []
    for weight in FRONT_WEIGHTS:
        judged = cost(outcome.minutes, outcome.loss, weight)
        best = [int(judged[conditions.ambient_c == a].mean(axis=0).argmin()) for a in ambients]
        tables.append(CcCvByAmbient(ambients, rate_c[best], cut_v[best]))
    return tables


def tune_multi_stage(
    conditions: Conditions, cell: CellParameters, seed: int, say: Say, rounds: int = 30
) -> list[MultiStage]:
    """For every weight of a front, the rates of `STAGES` stages by Bayesian optimisation.

    A Gaussian process (Matern 5/2) over the logarithms of the rates, expected improvement, one
    candidate a weight and round. One charge serves all weights, since its time and wear do.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    low, high = np.log(0.2), np.log(3.0)
    sampler = qmc.Sobol(STAGES, seed=seed)
    x = sampler.random_base2(7)
    x = np.concatenate([x, np.repeat(np.linspace(0.0, 1.0, 16)[:, None], STAGES, axis=1)])
    minutes, loss = _stages(np.exp(low + (high - low) * x), conditions, cell)
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        asked = []
        for weight in WEIGHTS:
            y = np.log(cost(minutes, loss, weight))
            near = np.argsort(y)[:160]
            centre, spread = y[near].mean(), y[near].std() + 1e-9
            kernel = ConstantKernel(1.0) * Matern(np.full(STAGES, 0.5), nu=2.5) + WhiteKernel(1e-5)
            fit = GaussianProcessRegressor(
                kernel, optimizer="fmin_l_bfgs_b" if number == 0 else None
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a length scale at its bound is no news
                fit.fit(x[near], (y[near] - centre) / spread)
            best = x[y.argmin()]
            tries = np.concatenate(
                [
                    rng.random((256, STAGES)),
                    np.clip(best + 0.08 * rng.standard_normal((512, STAGES)), 0.0, 1.0),
                    np.clip(best + 0.02 * rng.standard_normal((256, STAGES)), 0.0, 1.0),
                ]
            )
            mean, deviation = fit.predict(tries, return_std=True)
            gap = (y.min() - centre) / spread - mean
            z = gap / np.maximum(deviation, 1e-9)
            improvement = gap * norm.cdf(z) + deviation * norm.pdf(z)
            asked.append(tries[int(np.argmax(improvement))])
        new_minutes, new_loss = _stages(
            np.exp(low + (high - low) * np.array(asked)), conditions, cell
        )
        x = np.concatenate([x, asked])
        minutes, loss = np.concatenate([minutes, new_minutes]), np.concatenate([loss, new_loss])
        if number % 5 == 4:
            say(f"multi-stage CC: round {number + 1} of {rounds}")
    rates = np.exp(low + (high - low) * x)
    return [MultiStage(rates[int(cost(minutes, loss, w).argmin())]) for w in FRONT_WEIGHTS]


def _stages(rates_c: Floats, conditions: Conditions, cell: CellParameters) -> tuple[Floats, Floats]:
    """Mean minutes and loss of every set of rates over the conditions."""
    count = len(rates_c)
    policy = MultiStage(np.tile(rates_c, (conditions.n, 1)))
    found = charge(policy, conditions, cell, repeat=count).reshaped(conditions.n, count)
    return found.minutes.mean(axis=0), found.loss.mean(axis=0)
