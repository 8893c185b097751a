"""Fronts of time against wear: measured over conditions, compared at equal wear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from monitor.charging.shield import Limits
from simulator.twin import CellParameters
from training.charging import rewards
from training.charging.bound import cost
from training.charging.cell import random_variations
from training.charging.policies import (
    CcCv,
    CcCvByAmbient,
    MultiStage,
    Network,
    Policy,
)
from training.charging.rollout import Conditions, Outcome, charge, grid
from training.charging.tuning import FRONT_WEIGHTS, pareto

Floats = NDArray[np.float64]

DURATIONS_MIN = (45.0, 60.0, 75.0, 90.0)  # of the opponent's charge; fixed before any result
UNSEEN_AMBIENTS_C = (10.0, 17.5, 25.0, 32.5, 40.0)
UNSEEN_SOHS = (0.80, 0.87, 0.93, 1.00)
OFF = 0.10


def unseen_conditions(seed: int) -> list[Conditions]:
    """Cells that no tuning and no training saw: every parameter 10 % up or down, two sizes,
    state of charge and of health as a BMS gets them wrong."""
    small = random_variations(6, OFF, seed=1000 + seed)
    large = random_variations(3, OFF, seed=2000 + seed)
    errors = {"soc_error": 0.02, "soh_error": 0.03}
    return [
        grid(UNSEEN_AMBIENTS_C, UNSEEN_SOHS, small, seed=seed, **errors),
        grid(UNSEEN_AMBIENTS_C, UNSEEN_SOHS, large, nominal_ah=5.0, seed=seed + 1, **errors),
    ]


def nominal_conditions() -> list[Conditions]:
    """The calibrated cell at every unseen ambient: where the best profile is sought."""
    return [grid(UNSEEN_AMBIENTS_C, (0.9,))]


@dataclass(frozen=True, slots=True)
class Front:
    """What a family of settings came to; points are means over conditions."""

    name: str
    minutes: Floats  # (points,)
    loss: Floats
    peak_c: float  # the highest of all charges
    violations: int
    charges: int
    ambient_minutes: dict[float, Floats]  # by ambient: (points,)
    ambient_loss: dict[float, Floats]

    def kept(self) -> tuple[Floats, Floats]:
        """Minutes and loss of the points that no other point beats, by rising loss."""
        return _kept(self.minutes, self.loss)

    @property
    def fastest(self) -> float:
        """Minutes of the fastest charge."""
        return float(self.minutes.min())

    def minutes_at(self, loss: float) -> float | None:
        """Time at a wear, between points; the fastest where more is allowed than it ever needs,
        None where it never wears as little."""
        minutes, losses = self.kept()
        if not len(losses) or loss < losses[0]:
            return None
        return float(np.interp(loss, losses, minutes))

    def loss_at(self, minutes: float) -> float | None:
        """Wear of the charge that takes so long, None where the front has none."""
        own, losses = self.kept()
        if not len(own) or not own.min() <= minutes <= own.max():
            return None
        return float(np.interp(minutes, own[::-1], losses[::-1]))


def _kept(minutes: Floats, loss: Floats) -> tuple[Floats, Floats]:
    finite = np.isfinite(minutes)
    minutes, loss = minutes[finite], loss[finite]
    chosen = pareto(minutes, loss)
    return minutes[chosen], loss[chosen]


def gain(policy: Front, opponent: Front, minutes: float) -> float | None:
    """Percent less time than the opponent's charge of so many minutes, at that charge's wear."""
    loss = opponent.loss_at(minutes)
    if loss is None:
        return None
    own = policy.minutes_at(loss)
    return None if own is None else 100.0 * (1.0 - own / minutes)


def most_gain(bound: Front, opponent: Front, minutes: float) -> float | None:
    """The most time in percent that anything can save on the opponent's charge of so many minutes.

    `bound` has the least cost of every of `FRONT_WEIGHTS`: each says what time + w wear cannot go
    under, and the tightest of them counts.
    """
    loss = opponent.loss_at(minutes)
    if loss is None:
        return None
    least = cost(bound.minutes, bound.loss, FRONT_WEIGHTS)
    own = (least - cost(np.zeros(1), np.full(1, loss), FRONT_WEIGHTS)) * rewards.TIME_S / 60.0
    return 100.0 * (1.0 - float(own.max()) / minutes)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of a few seeds and half its 95 % confidence interval (Student's t)."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) < 2:
        return float(data.mean()), float("nan")
    half = student.ppf(0.975, len(data) - 1) * data.std(ddof=1) / np.sqrt(len(data))
    return float(data.mean()), float(half)


def measure(
    policies: Sequence[Policy] | Network,
    where: Sequence[Conditions],
    cell: CellParameters,
    name: str,
    *,
    shielded: bool = True,
    limits: Limits | None = None,
) -> Front:
    """The front of a list of settings, or of a network over `FRONT_WEIGHTS`."""
    parts: list[Outcome] = []
    ambient_c: list[Floats] = []
    for conditions in where:
        if isinstance(policies, Network):
            count = len(FRONT_WEIGHTS)
            weight = np.tile(FRONT_WEIGHTS, conditions.n)
            found = charge(policies, conditions, cell, weight=weight, repeat=count,
                           shielded=shielded, limits=limits)  # fmt: skip
        else:
            count = len(policies)
            together = _together(policies, conditions.n)
            found = charge(together, conditions, cell, repeat=count, shielded=shielded,
                           limits=limits)  # fmt: skip
        parts.append(found.reshaped(conditions.n, count))
        ambient_c.append(conditions.ambient_c)
    return front_of(name, parts, np.concatenate(ambient_c))


def front_of(name: str, parts: Sequence[Outcome], ambient_c: Floats) -> Front:
    """A front from outcomes of (conditions, points)."""
    minutes = np.concatenate([part.minutes for part in parts])
    loss = np.concatenate([part.loss for part in parts])
    violations = np.concatenate([part.violations for part in parts])
    return Front(
        name=name,
        minutes=minutes.mean(axis=0),
        loss=loss.mean(axis=0),
        peak_c=float(max(part.peak_c.max() for part in parts)),
        violations=int(violations.sum()),
        charges=violations.size,
        ambient_minutes={float(a): minutes[ambient_c == a].mean(axis=0) for a in set(ambient_c)},
        ambient_loss={float(a): loss[ambient_c == a].mean(axis=0) for a in set(ambient_c)},
    )


def _together(policies: Sequence[Policy], times: int) -> Policy:
    """Settings of one family as one policy, repeated for so many conditions."""
    first = policies[0]
    if isinstance(first, CcCv):
        own = [p for p in policies if isinstance(p, CcCv)]
        rate = np.concatenate([p.rate_c for p in own])
        cut = np.concatenate([p.cut_v for p in own])
        return CcCv(np.tile(rate, times), np.tile(cut, times), first.name)
    if isinstance(first, MultiStage):
        rates = np.stack([p.rates_c for p in policies if isinstance(p, MultiStage)])
        return MultiStage(np.tile(rates, (times, 1)), first.name)
    if isinstance(first, CcCvByAmbient):
        tables = [p for p in policies if isinstance(p, CcCvByAmbient)]
        return _Tables(tables, np.tile(np.arange(len(tables)), times), first.name)
    raise TypeError(f"no way to put policies like {first.name} together")


@dataclass(frozen=True, slots=True)
class _Tables:
    """Several tables by ambient, one for each charge."""

    tables: Sequence[CcCvByAmbient]
    which: NDArray[np.int64]  # (n,): the table of every charge
    name: str

    def ask(self, seen: Floats) -> tuple[Floats, Floats]:
        current_c, cut_v = np.empty(len(seen)), np.empty(len(seen))
        for index, table in enumerate(self.tables):
            own = self.which == index
            current_c[own], cut_v[own] = table.ask(seen[own])
        return current_c, cut_v

    def only(self, kept: NDArray[np.bool_]) -> _Tables:
        return _Tables(self.tables, self.which[kept], self.name)
