"""Waiting longer after each failure, with jitter, so that many bridges do not knock at once."""

from __future__ import annotations

import random


class Backoff:
    """Waits of `first_s`, doubling up to `most_s`, each shortened by up to a quarter at random."""

    def __init__(self, first_s: float, most_s: float, rng: random.Random | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._next_s = first_s
        self._rng = rng or random.Random()

    def wait_s(self) -> float:
        """The seconds to wait before the next attempt."""
        wait = self._next_s
        self._next_s = min(2 * wait, self._most_s)
        return wait * (1 - self._rng.random() / 4)

    def reset(self) -> None:
        """After a success: start over."""
        self._next_s = self._first_s
