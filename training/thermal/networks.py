"""Autoencoders in PyTorch as detectors: dense and LSTM on windows, one with carried state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from training.thermal.data import Floats, Floats32
from training.thermal.slots import Slots
from training.thermal.windowed import WINDOW, Windowed, channels, some

DENSE_STEPS = 1_200
LSTM_STEPS = 300
CARRIED_STEPS = 300


class Autoencoder:
    """A network that gives the window back; the score is its squared error."""

    def __init__(self, make: Callable[[], nn.Module], steps: int) -> None:
        self._make = make
        self._steps = steps

    def learn(self, x: Floats32, seed: int) -> None:
        """Train on windows, (n, slots, channels)."""
        self._model = _trained(self._make, x, seed, self._steps)

    def judge(self, x: Floats32) -> Floats:
        """The reconstruction's error a window. (n,)"""
        with torch.no_grad():
            given = torch.from_numpy(x)
            error = (self._model(given) - given).square().mean(dim=(1, 2))
        found: Floats = error.numpy().astype(np.float64)
        return found


def dense_autoencoder(steps: int = DENSE_STEPS) -> Windowed:
    """Dense layers around a bottleneck of eight."""
    return Windowed("dense autoencoder, raw window", Autoencoder(_dense, steps))


def lstm_autoencoder(steps: int = LSTM_STEPS) -> Windowed:
    """The sequence autoencoder of Malhotra et al. (2016), on the same windows."""
    return Windowed("LSTM autoencoder, raw window", Autoencoder(_Lstm, steps))


def _dense() -> nn.Module:
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

    def __init__(self, steps: int = CARRIED_STEPS) -> None:
        self._steps = steps

    def fit(self, train: Sequence[Slots], seed: int) -> None:
        """Train on whole streams of the training groups."""
        rng = np.random.default_rng(seed)
        groups: dict[str, list[Floats32]] = {}
        for slots in train:
            x = channels(slots)
            whole = len(x) // self.chunk
            groups.setdefault(slots.group, []).append(
                x[: whole * self.chunk].reshape(whole, self.chunk, 4)
            )
        sample = np.concatenate(
            [some(np.concatenate(groups[name]), 150, rng) for name in sorted(groups)]
        )
        self._mean = sample.mean(axis=(0, 1))
        self._scale = sample.std(axis=(0, 1)) + np.float32(1e-3)
        z = (sample - self._mean) / self._scale
        self._model = _trained(_Carried, z, seed, self._steps, batch=64)

    def score(self, slots: Slots) -> Floats:
        """The reconstruction's error a slot."""
        if len(slots) == 0:
            return np.zeros(0)
        with torch.no_grad():
            given = torch.from_numpy(((channels(slots) - self._mean) / self._scale)[None])
            error = (self._model(given) - given).square().mean(dim=2)[0]
        found: Floats = error.numpy().astype(np.float64)
        return found


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
