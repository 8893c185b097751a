"""Limits compared sample by sample, with deadband and delays in event time; only changes come out.

Pure arithmetic on arrays, compiled; what a change means is in `alarms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.alarms.rules import Rule
from monitor.kernels.jit import kernel, unfit

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RuleColumns:
    """The rules as arrays, in the rules' order."""

    quantity: Ints
    sign: Floats  # +1: too high, -1: too low
    deadband: Floats
    on_delay_ms: Ints
    off_delay_ms: Ints

    @staticmethod
    def of(rules: Sequence[Rule]) -> RuleColumns:
        """The rules' columns, in the rules' order."""
        return RuleColumns(
            np.array([int(rule.quantity) for rule in rules], np.int64),
            np.array([1.0 if rule.above else -1.0 for rule in rules]),
            np.array([rule.deadband for rule in rules]),
            np.array([rule.on_delay_ms for rule in rules], np.int64),
            np.array([rule.off_delay_ms for rule in rules], np.int64),
        )


def check_inplace(
    active: NDArray[np.int8], since: Floats, limits: Floats,
    quantity: Ints, sign: Floats, deadband: Floats, on_delay: Ints, off_delay: Ints,
    row: Ints, t: Ints, features: Floats, extras: Floats, n: int,
    change_sample: Ints, change_rule: Ints, change_active: NDArray[np.int8],
) -> int:  # fmt: skip
    """Walk n samples; returns the number of changes, each a sample, a rule and what it became.

    `active` and `since` (when the pending change began, NaN for none) are (rows, rules), `limits`
    too, NaN where a rule does not apply. A missing value holds the condition. There must be room
    for as many changes as n times the rules. Raises ValueError where sizes do not fit.
    """
    changes = _check_inplace(
        active, since, limits, quantity, sign, deadband, on_delay, off_delay, row, t, features,
        extras, n, change_sample, change_rule, change_active,
    )  # fmt: skip
    if changes < 0:
        raise unfit(
            f"limits: {n:,} samples", active=active, since=since, limits=limits,
            quantity=quantity, sign=sign, deadband=deadband, on_delay=on_delay,
            off_delay=off_delay, row=row, t=t, features=features, extras=extras,
            change_sample=change_sample, change_rule=change_rule, change_active=change_active,
        )  # fmt: skip
    return int(changes)


@kernel
def _fits(
    active: NDArray[np.int8], since: Floats, limits: Floats,
    quantity: Ints, sign: Floats, deadband: Floats, on_delay: Ints, off_delay: Ints,
    row: Ints, t: Ints, features: Floats, extras: Floats, n: int, room: int,
) -> bool:  # fmt: skip
    rows, rules = limits.shape
    if active.shape != limits.shape or since.shape != limits.shape or rules != len(quantity):
        return False
    if not rules == len(sign) == len(deadband) == len(on_delay) == len(off_delay):
        return False
    if n < 0 or n > min(len(row), len(t), len(features), len(extras)) or n * rules > room:
        return False
    for j in range(rules):
        if quantity[j] < 0 or quantity[j] >= features.shape[1] + extras.shape[1]:
            return False
    outside = 0
    for k in range(n):
        outside += row[k] < 0 or row[k] >= rows
    return outside == 0


@kernel
def _check_inplace(
    active: NDArray[np.int8], since: Floats, limits: Floats,
    quantity: Ints, sign: Floats, deadband: Floats, on_delay: Ints, off_delay: Ints,
    row: Ints, t: Ints, features: Floats, extras: Floats, n: int,
    change_sample: Ints, change_rule: Ints, change_active: NDArray[np.int8],
) -> int:  # fmt: skip
    """As above; -1, and nothing done, where sizes do not fit."""
    if not _fits(
        active, since, limits, quantity, sign, deadband, on_delay, off_delay, row, t, features,
        extras, n, min(len(change_sample), len(change_rule), len(change_active)),
    ):  # fmt: skip
        return -1
    changes = 0
    rules = len(quantity)
    first_extra = features.shape[1]  # not a constant of another file, which a cache would keep
    for k in range(n):
        r = row[k]
        for j in range(rules):
            limit = limits[r, j]
            if np.isnan(limit):
                continue
            q = quantity[j]
            x = features[k, q] if q < first_extra else extras[k, q - first_extra]
            if np.isnan(x):
                continue
            over = sign[j] * (x - limit)
            if active[r, j] == 0:
                changing = over > 0.0
                delay = on_delay[j]
            else:
                changing = over <= -deadband[j]
                delay = off_delay[j]
            if not changing:
                since[r, j] = np.nan
                continue
            if not since[r, j] <= t[k]:
                since[r, j] = t[k]  # it begins now, or the clock was set back
            if t[k] - since[r, j] >= delay:
                active[r, j] = 1 - active[r, j]
                since[r, j] = np.nan
                change_sample[changes] = k
                change_rule[changes] = j
                change_active[changes] = active[r, j]
                changes += 1
    return changes
