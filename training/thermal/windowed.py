"""Detectors on windows of slots: what they look at, and PCA and PyOD models as learners.

A windowed detector is two parts: `Windowed` cuts windows, standardises them on a sample with every
group at the same weight and keeps to the past; a `Learner` learns and judges standardised windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.decomposition import PCA

from training.thermal.data import Floats, Floats32, Ints
from training.thermal.slots import Slots

WINDOW = 16  # slots, 8 minutes
WINDOWS_PER_GROUP = 3_000


class Learner(Protocol):
    """Learns what healthy windows are like and judges others; windows are (m, WINDOW, 4)."""

    def learn(self, x: Floats32, seed: int) -> None:
        """Learn from these windows alone; what was learned before is forgotten."""
        ...

    def judge(self, x: Floats32) -> Floats:
        """(m,) scores, higher is worse."""
        ...


class Windowed:
    """A learner on standardised windows of raw channels."""

    history_s = WINDOW * 30.0

    def __init__(self, name: str, learner: Learner) -> None:
        self.name = name
        self._learner = learner
        self._mean = np.zeros(4, np.float32)
        self._scale = np.ones(4, np.float32)

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Standardise on the sample, then learn from it."""
        rng = np.random.default_rng(seed)
        groups: dict[str, list[Floats32]] = {}
        for slots in train:
            groups.setdefault(slots.group, []).append(windows(slots)[1])
        sample = np.concatenate(
            [some(np.concatenate(groups[name]), WINDOWS_PER_GROUP, rng) for name in sorted(groups)]
        )
        self._mean = sample.mean(axis=(0, 1))
        self._scale = sample.std(axis=(0, 1)) + np.float32(1e-3)
        self._learner.learn((sample - self._mean) / self._scale, seed)

    def score(self, slots: Slots) -> Floats:
        """(n,) scores; NaN where no window is full."""
        at, x = windows(slots)
        found = np.full(len(slots), np.nan)
        for first in range(0, len(at), 20_000):
            piece = slice(first, first + 20_000)
            found[at[piece]] = self._learner.judge((x[piece] - self._mean) / self._scale)
        return found


class PrincipalComponents:
    """Reconstruction error of the window from its first eight principal components."""

    def learn(self, x: Floats32, seed: int) -> None:
        """Fit the components on windows, (n, slots, channels)."""
        self._pca = PCA(n_components=8, random_state=seed).fit(x.reshape(len(x), -1))

    def judge(self, x: Floats32) -> Floats:
        """What the components do not give back of a window. (n,)"""
        flat = x.reshape(len(x), -1)
        back = self._pca.inverse_transform(self._pca.transform(flat))
        error: Floats = np.square(flat - back).mean(axis=1)
        return error


class PyodModel:
    """A PyOD model on mean, spread, end and trend of every channel of the window."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def learn(self, x: Floats32, seed: int) -> None:
        """Fit the model on the windows' summaries."""
        self._model = self._make(seed)
        self._model.fit(_summary(x))

    def judge(self, x: Floats32) -> Floats:
        """The model's score a window. (n,)"""
        score: Floats = self._model.decision_function(_summary(x))
        return score


def principal_components() -> Windowed:
    """PCA, a baseline."""
    return Windowed("PCA", PrincipalComponents())


def isolation_forest() -> Windowed:
    """Isolation Forest (Liu et al. 2008) of PyOD."""

    def make(seed: int) -> Any:
        from pyod.models.iforest import IForest

        return IForest(n_estimators=50, max_samples=512, random_state=seed, n_jobs=1)

    return Windowed("Isolation Forest (PyOD)", PyodModel(make))


def histogram_outliers() -> Windowed:
    """Histogram-based outlier score (Goldstein and Dengel 2012) of PyOD."""

    def make(seed: int) -> Any:
        from pyod.models.hbos import HBOS

        return HBOS(n_bins=30)

    return Windowed("HBOS (PyOD)", PyodModel(make))


def windows(slots: Slots) -> tuple[Ints, Floats32]:
    """The last slot's index and the raw channels of every full window: (m,), (m, WINDOW, 4)."""
    return full_windows(slots, channels(slots))


def channels(slots: Slots) -> Floats32:
    """C-rate, voltage, rise over ambient, warming in K/min; (n, 4). Missing ones are carried on."""
    rise = slots.temperature_c - np.where(
        np.isfinite(slots.ambient_c), slots.ambient_c, np.minimum.accumulate(slots.temperature_c)
    )
    volts = np.where(np.isfinite(slots.voltage_v), slots.voltage_v, 3.7)
    table = np.stack([slots.c_rate, volts, rise, 60.0 * slots.warming_c / slots.duration_s], axis=1)
    return table.astype(np.float32)


def full_windows(slots: Slots, x: Floats32) -> tuple[Ints, Floats32]:
    """The last slot's index and the rows of `x` of every window that no gap cuts."""
    if len(x) < WINDOW:
        return np.zeros(0, np.int64), np.zeros((0, WINDOW, x.shape[1]), np.float32)
    since = np.arange(len(x)) - np.maximum.accumulate(np.where(slots.begins, np.arange(len(x)), 0))
    at = np.flatnonzero(since >= WINDOW - 1)
    every = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)
    return at, np.ascontiguousarray(every[at - WINDOW + 1].transpose(0, 2, 1))


def some(rows: Floats32, most: int, rng: np.random.Generator) -> Floats32:
    """At most so many rows, drawn without replacement."""
    return rows[rng.choice(len(rows), min(most, len(rows)), replace=False)]


def _summary(x: Floats32) -> Floats32:
    trend = x[:, WINDOW // 2 :].mean(axis=1) - x[:, : WINDOW // 2].mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), x[:, -1], trend], axis=1)
