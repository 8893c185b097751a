"""The adaptive heat balance the obvious way: NumPy matrices, one object a cell, a list of samples.

The part of the baseline that the thermal model's input needs; the equations are those of
`monitor.kernels.balance.balance_slot_inplace`, for regular samples without gaps.
"""

from math import exp

import numpy as np

from monitor.kernels import balance as f
from monitor.kernels.columns import HEAT_CAPACITY_J_PER_K_AH, SLOT_MS

SLOT_MS = SLOT_MS


class HeatBalance:
    """What a cell's load does not explain, in two windows, W per nominal Ah."""

    def __init__(self, mean: list[float], spread: list[float]) -> None:
        self.mean, self.variance = np.array(mean), np.array(spread) ** 2
        self.covariance = np.diag(self.variance)
        self.lagged = np.zeros(5)  # Joule, reversible, deep discharge, charge and discharge voltage
        self.fast = self.slow = self.fixture = 0.0
        self.known = False
        self.origin = self.number = 0
        self.samples: list[tuple[float, ...]] = []

    def sample(self, t: int, v: float, c_rate: float, temp: float, ambient: float) -> None:
        """One sample: V, 1/h, degC; gathered into slots."""
        row = (t / 1000, v, c_rate, temp, ambient)
        if not self.samples:
            self.origin, self.samples = t, [row]
            return
        if (t - self.origin - 1) // SLOT_MS != self.number:
            self.close(np.array(self.samples))
            self.number, self.samples = (t - self.origin - 1) // SLOT_MS, self.samples[-1:]
        self.samples.append(row)

    def close(self, rows: np.ndarray) -> None:
        """One slot of the balance from its rows, (n, 5)."""
        steps = np.diff(rows[:, 0])
        dt = steps.sum()
        v, c, temp, ambient = ((rows[1:] + rows[:-1])[:, 1:] / 2 * steps[:, None]).sum(0) / dt
        now, before = rows[1:, 2], rows[:-1, 2]
        square = ((now**2 + now * before + before**2) / 3 * steps).sum() / dt
        hot = exp(f.ARRHENIUS_K * (1 / (temp + 273.15) - 1 / f.REFERENCE_K))
        drawn, given = max(-c, 0.0), max(c, 0.0)
        deep = drawn * min(max(f.DEEP_V - v, 0.0), f.DEEP_MOST_V)
        charge = given * min(max((v - 4.0) / 0.2, -2.0), 1.0)
        discharge = drawn * min(max((v - f.DEEP_V) / 0.3, -1.0), 1.5)
        heats = np.array([square * hot, c, deep, charge, discharge])
        self.lagged += (1 - exp(-dt / f.BALANCE_LAG_S)) * (heats - self.lagged)
        self.fixture += (1 - exp(-dt / f.FIXTURE_S)) * (temp - ambient - self.fixture)
        x = np.array([self.lagged[0], ambient - temp, 1.0, *self.lagged[1:], self.fixture])
        warming = (rows[-1, 3] - rows[0, 3]) / dt
        excess = HEAT_CAPACITY_J_PER_K_AH * warming - x @ self.mean
        own, deep = x[0] * abs(self.mean[0]), x[4] * abs(self.mean[4])
        margin = np.array([f.FAST_MODEL_SHARE * (own + deep), f.SLOW_MODEL_SHARE * own])
        left = np.sign(excess) * np.maximum(0.0, abs(excess) - margin)
        most = (f.FAST_MOST_W_PER_AH, f.SLOW_MOST_W_PER_AH)
        fast, slow = np.clip(left, f.EVIDENCE_LEAST_W_PER_AH, most)
        self.fast = max(0.0, self.fast + (1 - exp(-dt / f.EVIDENCE_FAST_S)) * (fast - self.fast))
        self.slow = max(0.0, self.slow + (1 - exp(-dt / f.EVIDENCE_SLOW_S)) * (slow - self.slow))
        self.known = True
        if self.slow >= f.HOLD_W_PER_AH:
            return
        walked = np.diag(self.covariance) + self.variance * dt / f.WALK_S
        np.fill_diagonal(self.covariance, np.minimum(walked, 4 * self.variance))
        gain = self.covariance @ x
        spread = f.BALANCE_NOISE_W_PER_AH**2 * 30 / max(dt, 1.0) + x @ gain
        clip = f.INNOVATION_MOST_W_PER_AH
        self.mean = self.mean + gain / spread * np.clip(excess, -clip, clip)
        self.covariance -= np.outer(gain, gain) / spread
