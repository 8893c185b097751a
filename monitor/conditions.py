"""Limits compared sample by sample, with deadband and delays in event time; only changes come out.

Pure arithmetic on arrays, compiled; what a change means is in `alarms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.jit import kernel
from monitor.rules import Rule

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
        return RuleColumns(
            np.array([int(rule.quantity) for rule in rules], np.int64),
            np.array([1.0 if rule.above else -1.0 for rule in rules]),
            np.array([rule.deadband for rule in rules]),
            np.array([rule.on_delay_ms for rule in rules], np.int64),
            np.array([rule.off_delay_ms for rule in rules], np.int64),
        )


@kernel
def check_inplace(
    active: NDArray[np.int8], since: Floats, limits: Floats,
    quantity: Ints, sign: Floats, deadband: Floats, on_delay: Ints, off_delay: Ints,
    row: Ints, t: Ints, features: Floats, extras: Floats, n: int,
    change_sample: Ints, change_rule: Ints, change_active: NDArray[np.int8],
) -> int:  # fmt: skip
    """Walk n samples; returns the number of changes, each a sample, a rule and what it became.

    `active` and `since` (when the pending change began, NaN for none) are (rows, rules), `limits`
    too, NaN where a rule does not apply. A missing value holds the condition.
    """
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
