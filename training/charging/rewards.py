"""What a charge is worth, step by step.

`course`: R = -dSOH + 1/t as the course writes it, with dSOH the loss of this step as a fraction and
t the seconds since the charge began. Its two terms differ by orders of magnitude, and since every
step adds another 1/t, it pays for a charge to last: a policy that learns it well charges slowly.

`scaled`: minus the time over 30 min, minus w times the wear over 0.001, plus the share of charge
put in times a par that depends on nothing but w and the ambient. Over a whole charge that is how
much cheaper it was than par; the par moves no optimum, since every charge puts in the same, but it
leaves a learner only the differences to tell. Divided by 1 + sqrt(w), so that all weights count
alike. The weight is one of the inputs, so a single policy holds a whole front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TIME_S = 1800.0
LOSS = 1e-3
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.15, 40.0


def course(loss: Floats, elapsed_s: Floats) -> Floats:
    """R = -dSOH + 1/t."""
    return np.asarray(-loss + 1.0 / elapsed_s)


def scaled(
    loss: Floats, dt_s: Floats, charged: Floats, weight: Floats, ambient_c: Floats
) -> Floats:
    """Par for the share of the charge put in, less time and weighted wear of the step."""
    cost = dt_s / TIME_S + weight * loss / LOSS
    return np.asarray((par(weight, ambient_c) * charged - cost) / (1.0 + np.sqrt(weight)))


def par(weight: Floats, ambient_c: Floats) -> Floats:
    """About what a sensible whole charge costs, by eye from constant currents on the twin."""
    minutes = 34.0 + 4.2 * weight**0.75
    loss = 0.8e-3 * (1.0 + np.abs(ambient_c - 24.0) / 24.0)
    return np.asarray(60.0 * minutes / TIME_S + weight * loss / LOSS)
