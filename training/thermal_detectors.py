"""Every thermal detector of the benchmark behind one small interface.

`fit` sees healthy streams only. `score` gives one number a slot, higher is worse, NaN where the
detector cannot say; it may look at the past of the stream and at nothing later (the contract suite
holds that). What is learned is learned in `fit`: `score` changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from training.thermal_balance import (
    BalancePrior,
    BalanceTrace,
    fit_balance,
    follow,
    prior_of,
)
from training.thermal_data import Floats, Floats32, Ints
from training.thermal_scoring import limit_for
from training.thermal_slots import Slots

WINDOW = 16  # slots, 8 minutes
WINDOWS_PER_GROUP = 3_000
RATE_PER_1000_H = 1.0


class Detector(Protocol):
    """What the benchmark asks of a detector."""

    @property
    def name(self) -> str: ...

    @property
    def history_s(self) -> float:
        """How much past a score may depend on; infinite for a state that is carried."""
        ...

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Learn from healthy streams. May be called again and then starts afresh."""
        ...

    def score(self, slots: Slots) -> Floats:
        """(n,) scores of a stream."""
        ...


class Rule:
    """A baseline without learning: a function of the slot."""

    history_s = 0.0
    limit: float | None = None  # a fixed one; None is set on the training groups

    def __init__(self, name: str, of: Callable[[Slots], Floats]) -> None:
        self.name = name
        self._of = of

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Nothing to learn."""

    def score(self, slots: Slots) -> Floats:
        return self._of(slots)


def random_rule() -> Rule:
    """Noise that depends on nothing but the time of the slot."""

    def of(slots: Slots) -> Floats:
        mixed = (slots.timestamp_ms.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(
            11
        )
        return mixed.astype(np.float64) / 2.0**53

    return Rule("random", of)


def temperature_rule() -> Rule:
    """Absolute temperature, what a plain limit looks at."""
    return Rule("absolute temperature", lambda slots: slots.temperature_c.copy())


def sixty_degrees() -> Rule:
    """The plain limit that the lead times are compared with: 60 C, whatever it costs."""
    rule = Rule("60 C limit", lambda slots: slots.temperature_c.copy())
    rule.limit = 60.0
    return rule


def slope_rule() -> Rule:
    """Slope of the temperature over the slot, C/s."""
    return Rule("dT/dt", lambda slots: slots.warming_c / slots.duration_s)


class Windowed:
    """A detector on standardised windows of raw channels; subclasses learn and judge them."""

    history_s = WINDOW * 30.0
    name = "windowed"

    def __init__(self) -> None:
        self._mean = np.zeros(4, np.float32)
        self._scale = np.ones(4, np.float32)

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Standardise on a sample with every group at the same weight, then learn from it."""
        rng = np.random.default_rng(seed)
        groups: dict[str, list[Floats32]] = {}
        for slots in train:
            groups.setdefault(slots.group, []).append(windows(slots)[1])
        sample = np.concatenate(
            [_some(np.concatenate(groups[name]), WINDOWS_PER_GROUP, rng) for name in sorted(groups)]
        )
        self._mean = sample.mean(axis=(0, 1))
        self._scale = sample.std(axis=(0, 1)) + np.float32(1e-3)
        self._learn((sample - self._mean) / self._scale, seed)

    def score(self, slots: Slots) -> Floats:
        at, x = windows(slots)
        found = np.full(len(slots), np.nan)
        for first in range(0, len(at), 20_000):
            piece = slice(first, first + 20_000)
            found[at[piece]] = self._judge((x[piece] - self._mean) / self._scale)
        return found

    def _learn(self, x: Floats32, seed: int) -> None:
        raise NotImplementedError

    def _judge(self, x: Floats32) -> Floats:
        raise NotImplementedError


class PcaDetector(Windowed):
    """Reconstruction error of the window from its first eight principal components."""

    name = "PCA"

    def _learn(self, x: Floats32, seed: int) -> None:
        self._pca = PCA(n_components=8, random_state=seed).fit(x.reshape(len(x), -1))

    def _judge(self, x: Floats32) -> Floats:
        flat = x.reshape(len(x), -1)
        back = self._pca.inverse_transform(self._pca.transform(flat))
        error: Floats = np.square(flat - back).mean(axis=1)
        return error


class PyodDetector(Windowed):
    """A PyOD model on mean, spread, end and trend of every channel of the window."""

    def __init__(self, name: str, make: Callable[[int], Any]) -> None:
        super().__init__()
        self.name = name
        self._make = make

    def _learn(self, x: Floats32, seed: int) -> None:
        self._model = self._make(seed)
        self._model.fit(_summary(x))

    def _judge(self, x: Floats32) -> Floats:
        score: Floats = self._model.decision_function(_summary(x))
        return score


def isolation_forest() -> PyodDetector:
    """Isolation Forest (Liu et al. 2008) of PyOD."""

    def make(seed: int) -> Any:
        from pyod.models.iforest import IForest

        return IForest(n_estimators=50, max_samples=512, random_state=seed, n_jobs=1)

    return PyodDetector("Isolation Forest (PyOD)", make)


def histogram_outliers() -> PyodDetector:
    """Histogram-based outlier score (Goldstein and Dengel 2012) of PyOD."""

    def make(seed: int) -> Any:
        from pyod.models.hbos import HBOS

        return HBOS(n_bins=30)

    return PyodDetector("HBOS (PyOD)", make)


class TorchWindowed(Windowed):
    """An autoencoder on the raw window; the score is its squared error."""

    steps = 1_200

    def _network(self) -> nn.Module:
        raise NotImplementedError

    def _learn(self, x: Floats32, seed: int) -> None:
        self._model = _trained(self._network, x, seed, self.steps)

    def _judge(self, x: Floats32) -> Floats:
        with torch.no_grad():
            given = torch.from_numpy(x)
            error = (self._model(given) - given).square().mean(dim=(1, 2))
        found: Floats = error.numpy().astype(np.float64)
        return found


class DenseAutoencoder(TorchWindowed):
    """Dense layers around a bottleneck of eight."""

    name = "dense autoencoder, raw window"

    def _network(self) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(WINDOW * 4, 32),
            nn.ReLU(),
            nn.Linear(32, 8),
            nn.ReLU(),
            nn.Linear(8, 32),
            nn.ReLU(),
            nn.Linear(32, WINDOW * 4),
            nn.Unflatten(1, (WINDOW, 4)),
        )


class _Lstm(nn.Module):
    """Encoder LSTM, its last state repeated, decoder LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(4, 16, batch_first=True)
        self.decoder = nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.encoder(x)
        steps, _ = self.decoder(hidden[-1].unsqueeze(1).expand(-1, x.shape[1], -1))
        out: torch.Tensor = self.out(steps)
        return out


class LstmAutoencoder(TorchWindowed):
    """The sequence autoencoder of Malhotra et al. (2016), on the same windows."""

    name = "LSTM autoencoder, raw window"
    steps = 300

    def _network(self) -> nn.Module:
        return _Lstm()


class _Carried(nn.Module):
    """A GRU whose state is a running code of the stream; a narrow decoder gives the slot back."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 12, batch_first=True)
        self.narrow = nn.Sequential(nn.Linear(12, 3), nn.Tanh(), nn.Linear(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.cell(x)
        out: torch.Tensor = self.narrow(states)
        return out


class CarriedAutoencoder:
    """A recurrent autoencoder with carried state: one step a slot, not a window a slot."""

    name = "recurrent autoencoder, carried state"
    history_s = float("inf")
    chunk = 240
    steps = 300

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        rng = np.random.default_rng(seed)
        groups: dict[str, list[Floats32]] = {}
        for slots in train:
            x = channels(slots)
            whole = len(x) // self.chunk
            groups.setdefault(slots.group, []).append(
                x[: whole * self.chunk].reshape(whole, self.chunk, 4)
            )
        sample = np.concatenate(
            [_some(np.concatenate(groups[name]), 150, rng) for name in sorted(groups)]
        )
        self._mean = sample.mean(axis=(0, 1))
        self._scale = sample.std(axis=(0, 1)) + np.float32(1e-3)
        z = (sample - self._mean) / self._scale
        self._model = _trained(_Carried, z, seed, self.steps, batch=64)

    def score(self, slots: Slots) -> Floats:
        if len(slots) == 0:
            return np.zeros(0)
        with torch.no_grad():
            given = torch.from_numpy(((channels(slots) - self._mean) / self._scale)[None])
            error = (self._model(given) - given).square().mean(dim=2)[0]
        found: Floats = error.numpy().astype(np.float64)
        return found


class HeatBalance:
    """The lumped heat balance; adaptive, or with the prior's coefficients for good.

    The score is the larger of fast and slow evidence over their limits. A limit is the largest
    that any training group needs for the stated rate, judged with a prior that leaves it out.
    """

    history_s = float("inf")
    limit = 1.0  # calibrated by itself

    def __init__(self, *, adapt: bool = True) -> None:
        self.name = "heat balance, adaptive" if adapt else "heat balance, fixed prior"
        self._adapt = adapt

    def fit(self, train: Sequence[Slots], seed: int) -> None:
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
        self.fast_limit, self.slow_limit = map(float, np.max(limits, axis=0))

    def trace(self, slots: Slots) -> BalanceTrace:
        """What the balance says, slot by slot."""
        return follow(slots, self.prior, adapt=self._adapt)

    def score(self, slots: Slots) -> Floats:
        trace = self.trace(slots)
        return np.maximum(trace.fast / self.fast_limit, trace.slow / self.slow_limit)


def windows(slots: Slots) -> tuple[Ints, Floats32]:
    """The last slot's index and the raw channels of every full window: (m,), (m, WINDOW, 4)."""
    return _full(slots, channels(slots))


def channels(slots: Slots) -> Floats32:
    """C-rate, voltage, rise over ambient, warming in K/min; (n, 4). Missing ones are carried on."""
    rise = slots.temperature_c - np.where(
        np.isfinite(slots.ambient_c), slots.ambient_c, _lowest_so_far(slots.temperature_c)
    )
    volts = np.where(np.isfinite(slots.voltage_v), slots.voltage_v, 3.7)
    table = np.stack([slots.c_rate, volts, rise, 60.0 * slots.warming_c / slots.duration_s], axis=1)
    return table.astype(np.float32)


def _full(slots: Slots, x: Floats32) -> tuple[Ints, Floats32]:
    if len(x) < WINDOW:
        return np.zeros(0, np.int64), np.zeros((0, WINDOW, x.shape[1]), np.float32)
    since = np.arange(len(x)) - np.maximum.accumulate(np.where(slots.begins, np.arange(len(x)), 0))
    at = np.flatnonzero(since >= WINDOW - 1)
    every = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)
    return at, np.ascontiguousarray(every[at - WINDOW + 1].transpose(0, 2, 1))


def _lowest_so_far(values: Floats) -> Floats:
    lowest: Floats = np.minimum.accumulate(values)
    return lowest


def _summary(x: Floats32) -> Floats32:
    trend = x[:, WINDOW // 2 :].mean(axis=1) - x[:, : WINDOW // 2].mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), x[:, -1], trend], axis=1)


def _some(rows: Floats32, most: int, rng: np.random.Generator) -> Floats32:
    return rows[rng.choice(len(rows), min(most, len(rows)), replace=False)]


def _trained(
    make: Callable[[], nn.Module], x: Floats32, seed: int, steps: int, batch: int = 512
) -> nn.Module:
    """Train a network to give its input back; one thread, deterministic in the seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        model = make()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(steps):
            given = torch.from_numpy(x[rng.integers(0, len(x), batch)])
            loss = (model(given) - given).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    finally:
        torch.set_num_threads(threads)
    return model.eval()


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


def all_detectors() -> Mapping[str, Callable[[], Detector]]:
    """Makers of every detector by name, baselines first."""
    makers: list[Callable[[], Detector]] = [
        random_rule,
        temperature_rule,
        sixty_degrees,
        slope_rule,
        PcaDetector,
        isolation_forest,
        histogram_outliers,
        DenseAutoencoder,
        LstmAutoencoder,
        CarriedAutoencoder,
        lambda: HeatBalance(adapt=False),
        HeatBalance,
    ]
    return {make().name: make for make in makers}
