"""The heat balance as a detector, alone and with an autoencoder on what it leaves over.

The third one is made like the shipped scorer: the larger of the balance's evidence and of what a
denoising autoencoder sees in its windows, each over its own limit. Together they are the ablation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.thermal import autoencoder as thermal_autoencoder
from training.thermal.balance import (
    BalancePrior,
    BalanceTrace,
    fit_balance,
    follow,
    prior_of,
)
from training.thermal.data import Floats, Floats32, HeatParameters, Ints
from training.thermal.scoring import RATE_PER_1000_H, limit_for
from training.thermal.slots import Slots
from training.thermal.windowed import full_windows

AUTOENCODER_MARGIN = 1.25
FAST_MARGIN = 1.25  # the fast window hangs on a few heavy loads; a new group's may be heavier
_ADDED = HeatParameters(20.0, 0.025, 0.2)  # what heat added in training does to the rise


class HeatBalance:
    """The lumped heat balance; adaptive, or with the prior's coefficients for good.

    The score is the larger of fast and slow evidence over their limits. A limit is the largest
    that any training group needs for the stated rate, judged with a prior that leaves it out; the
    fast one has a margin.
    """

    history_s = float("inf")
    limit = 1.0  # calibrated by itself

    def __init__(self, *, adapt: bool = True) -> None:
        self.name = "heat balance, adaptive" if adapt else "heat balance, fixed prior"
        self._adapt = adapt

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Fit the prior on the training groups, and the limits on what is left over."""
        groups: dict[str, list[Slots]] = {}
        for slots in train:
            groups.setdefault(slots.group, []).append(slots)
        fits = {name: _cached_fit(members) for name, members in groups.items()}
        self.prior: BalancePrior = prior_of(fits)
        limits = []
        for name, members in groups.items():
            prior = prior_of(fits, (name,)) if len(fits) > 1 else self.prior
            found = [follow(slots, prior, adapt=self._adapt) for slots in members]
            limits.append(
                (
                    _needed(members, [trace.fast for trace in found]),
                    _needed(members, [trace.slow for trace in found]),
                )
            )
        fast, slow = map(float, np.max(limits, axis=0))
        self.fast_limit, self.slow_limit = FAST_MARGIN * fast, slow

    def trace(self, slots: Slots) -> BalanceTrace:
        """What the balance says, slot by slot."""
        return follow(slots, self.prior, adapt=self._adapt)

    def score(self, slots: Slots) -> Floats:
        """The larger of both windows of evidence, each over its limit; a score a slot."""
        trace = self.trace(slots)
        return np.maximum(trace.fast / self.fast_limit, trace.slow / self.slow_limit)


def _needed(members: Sequence[Slots], scores: Sequence[Floats]) -> float:
    hours = sum(slots.hours for slots in members)
    traces = [(slots.timestamp_ms, score) for slots, score in zip(members, scores, strict=True)]
    return limit_for(traces, hours, RATE_PER_1000_H)


_FITS: dict[tuple[tuple[str, float], ...], Floats] = {}


def _cached_fit(members: Sequence[Slots]) -> Floats:
    """A group's fit; leave-one-out asks for the same group again and again."""
    key = tuple((slots.asset, float(np.nansum(slots.temperature_c))) for slots in members)
    if key not in _FITS:
        _FITS[key] = fit_balance(members)
    return _FITS[key]


class ResidualAutoencoder:
    """The denoising autoencoder on windows of the adaptive balance's evidence, on its own."""

    name = "autoencoder on the residual"
    history_s = float("inf")
    limit = 1.0  # calibrated by itself

    def __init__(self, steps: int = 2_000) -> None:
        self._steps = steps

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Fit the prior and the limit on the training groups."""
        groups: dict[str, list[Slots]] = {}
        for slots in train:
            groups.setdefault(slots.group, []).append(slots)
        self._prior = prior_of({name: _cached_fit(members) for name, members in groups.items()})
        found = {
            name: np.concatenate([self._windows(slots)[1] for slots in groups[name]])
            for name in sorted(groups)
        }
        self._fitted = thermal_autoencoder.fit(found, _ADDED, seed, steps=self._steps)
        limits = [
            _needed(members, [self.heat(slots) for slots in members]) for members in groups.values()
        ]
        self.heat_limit = AUTOENCODER_MARGIN * max(limits)

    def heat(self, slots: Slots) -> Floats:
        """W per nominal Ah above what the context makes the autoencoder expect, NaN at first."""
        at, x = self._windows(slots)
        found = np.full(len(slots), np.nan)
        if len(at):
            found[at] = np.maximum(self._fitted.heat_above_expected(x), 0.0)
        return found

    def score(self, slots: Slots) -> Floats:
        """Heat over its limit; a score a slot."""
        return self.heat(slots) / self.heat_limit

    def _windows(self, slots: Slots) -> tuple[Ints, Floats32]:
        trace = follow(slots, self._prior)
        table = np.stack([trace.fast, trace.slow, slots.c_rate, trace.rise_c], axis=1)
        at, x = full_windows(slots, table.astype(np.float32))
        return at, x.reshape(len(x), x.shape[1] * x.shape[2])


class ShippedScorer:
    """The adaptive balance beside the autoencoder on what it leaves over."""

    name = "heat balance, adaptive, with autoencoder"
    history_s = float("inf")
    limit = 1.0

    def __init__(self, steps: int = 2_000) -> None:
        self._balance = HeatBalance()
        self._autoencoder = ResidualAutoencoder(steps)

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Fit both parts."""
        self._balance.fit(train, seed)
        self._autoencoder.fit(train, seed)

    def score(self, slots: Slots) -> Floats:
        """The larger of both scores, a slot."""
        return np.fmax(self._balance.score(slots), self._autoencoder.score(slots))
