"""Limits compared sample by sample, with deadband and delays in event time; only changes come out.

Pure arithmetic on arrays, compiled; what a change means is in `alarms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import (
    EXTRAS,
    FEATURES,
    Extra,
    Feature,
    Floats,
    Record,
    Records,
)
from monitor.kernels.frames import SAMPLE, Outputs
from monitor.kernels.jit import kernel, unfit

RULE = np.dtype(
    [
        ("quantity", "i8"),  # of `Feature`, or on from there of `Extra`
        ("sign", "f8"),  # +1: too high, -1: too low
        ("deadband", "f8"),  # in the quantity's unit
        ("on_delay_ms", "i8"),
        ("off_delay_ms", "i8"),
    ],
    align=True,
)
CHANGE = np.dtype([("sample", "i8"), ("rule", "i8"), ("active", "?")], align=True)


class Limited(Protocol):
    """What is looked at of an alarm rule."""

    @property
    def quantity(self) -> Feature | Extra:
        """What is compared, of a sample."""

    @property
    def above(self) -> bool:
        """Whether it must stay below the limit."""

    @property
    def deadband(self) -> float:
        """How far back over the limit it must go, in its unit."""

    @property
    def on_delay_ms(self) -> int:
        """How long it must last, ms of event time."""

    @property
    def off_delay_ms(self) -> int:
        """And how long its end must."""


def rule_rows(rules: Sequence[Limited]) -> Records:
    """(rules,) of RULE, in the rules' order."""
    return np.array(
        [
            (
                int(rule.quantity),
                1.0 if rule.above else -1.0,
                rule.deadband,
                rule.on_delay_ms,
                rule.off_delay_ms,
            )
            for rule in rules
        ],
        RULE,
    )


def check_inplace(
    active: NDArray[np.int8], since: Floats, limits: Floats, rules: Records, out: Outputs,
    changes: Records, n: int,
) -> int:  # fmt: skip
    """Walk n samples; returns the number of changes, each a sample, a rule and what it became.

    `active`, `since` (when the pending change began in ms, NaN for none) and `limits` (in the
    quantity's unit, NaN where a rule does not apply) are (rows, rules), `rules` is (rules,) of
    RULE. A missing value holds the condition. `changes`, of CHANGE, must have room for n times the
    rules. Raises ValueError where sizes do not fit.
    """
    found = -1
    if (rules.dtype, out.samples.dtype, changes.dtype) == (RULE, SAMPLE, CHANGE):
        found = _check_inplace(active, since, limits, rules, out.samples, changes, n)
    if found < 0:
        raise unfit(
            f"limits: {n:,} samples", active=active, since=since, limits=limits, rules=rules,
            samples=out.samples, changes=changes,
        )  # fmt: skip
    return int(found)


@kernel
def _fits(
    active: NDArray[np.int8], since: Floats, limits: Floats, rules: Records, samples: Records,
    room: int, n: int,
) -> bool:  # fmt: skip
    rows, columns = limits.shape
    if active.shape != limits.shape or since.shape != limits.shape or columns != len(rules):
        return False
    if n < 0 or n > len(samples) or n * columns > room:
        return False
    for j in range(columns):
        if rules[j].quantity < 0 or rules[j].quantity >= FEATURES + EXTRAS:
            return False
    outside = 0
    for k in range(n):
        outside += samples[k].row < 0 or samples[k].row >= rows
    return outside == 0


@kernel
def _check_inplace(
    active: NDArray[np.int8], since: Floats, limits: Floats, rules: Records, samples: Records,
    changes: Records, n: int,
) -> int:  # fmt: skip
    """As above, samples (size,) of SAMPLE; -1, and nothing done, where sizes do not fit."""
    if not _fits(active, since, limits, rules, samples, len(changes), n):
        return -1
    found = 0
    for k in range(n):
        s = samples[k]
        r = s.row
        for j in range(len(rules)):
            limit = limits[r, j]
            if np.isnan(limit):
                continue
            q = rules[j].quantity
            x = s.features[q] if q < FEATURES else s.extras[q - FEATURES]
            if np.isnan(x):
                continue
            if not _changing(rules[j], x - limit, active[r, j]):
                since[r, j] = np.nan
                continue
            if not since[r, j] <= s.timestamp_ms:
                since[r, j] = s.timestamp_ms  # it begins now, or the clock was set back
            delay = rules[j].on_delay_ms if active[r, j] == 0 else rules[j].off_delay_ms
            if s.timestamp_ms - since[r, j] >= delay:
                active[r, j] = 1 - active[r, j]
                since[r, j] = np.nan
                changes[found].sample = k
                changes[found].rule = j
                changes[found].active = active[r, j] == 1
                found += 1
    return found


@kernel
def _changing(rule: Record, above: float, active: int) -> bool:
    """Whether a value so far above its limit asks for the other condition than it has."""
    over = rule.sign * above
    return bool(over > 0.0 if active == 0 else over <= -rule.deadband)
