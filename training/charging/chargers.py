"""n cells on chargers from 10 to 80 %, one decision a minute: plain NumPy, thousands at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.charging.shield import Limits, allowed_c
from simulator.twin import CellParameters, load_parameters
from training.charging import rewards
from training.charging.cell import CellBatch, Variation
from training.charging.policies import CHARGER_V, END_SOC, START_SOC

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Reward = Literal["scaled", "course"]

DECISION_S = 60.0
STEP_S = 20.0  # the cells and the shield
LONGEST_S = 6 * 3600.0  # a charge that is not done by then is given up
UNFINISHED = -5.0  # for every 70 % of charge that a given-up charge lacks


@dataclass(frozen=True, slots=True)
class Scene:
    """What charges begin with: ranges that are drawn from evenly."""

    ambient_c: tuple[float, float] = (10.0, 40.0)
    soh: tuple[float, float] = (0.8, 1.0)
    soc: tuple[float, float] = (START_SOC, START_SOC)
    weight: tuple[float, float] = (rewards.LOWEST_WEIGHT, rewards.HIGHEST_WEIGHT)
    soc_error: float = 0.0  # standard deviation of what the BMS thinks
    soh_error: float = 0.0


class Watcher(Protocol):
    """Looks at the cells after every step of theirs."""

    def see(self) -> None:
        """Look at the cells as they are now."""


class Chargers:
    """n cells on chargers behind the shield. Deterministic for a seed."""

    def __init__(
        self,
        n: int,
        *,
        seed: int = 0,
        scene: Scene | None = None,
        cell: CellParameters | None = None,
        kinds: Sequence[Variation] = (Variation(),),
        reward: Reward = "scaled",
        limits: Limits | None = None,
    ) -> None:
        self.n = n
        self.scene = scene or Scene()
        self.reward = reward
        self.rng = np.random.default_rng(seed)
        self.limits = limits or Limits()
        soc, soh, ambient_c = self._draw()
        self.cells = CellBatch.at(
            cell or load_parameters(),
            soc=soc,
            soh=soh,
            ambient_c=ambient_c,
            limits=self.limits,
            kinds=kinds,
        )
        self.weight = np.ones(n)
        self.soc_error, self.soh_error = np.zeros(n), np.zeros(n)
        self.elapsed_s = np.zeros(n)
        self.restart_inplace(np.ones(n, dtype=bool))

    def restart_inplace(self, which: Bools) -> None:
        """New charges, with new conditions, where `which`."""
        soc, soh, ambient_c = self._draw()
        self.cells.restart_inplace(which, soc, soh, ambient_c)
        low, high = self.scene.weight
        weight = low * (high / low) ** self.rng.random(self.n)
        self.weight[which] = weight[which]
        for error, spread in (
            (self.soc_error, self.scene.soc_error),
            (self.soh_error, self.scene.soh_error),
        ):
            error[which] = (spread * self.rng.standard_normal(self.n))[which]
        self.elapsed_s[which] = 0.0

    def keep_inplace(self, kept: Bools) -> None:
        """Go on with some of the charges only; their order stays."""
        self.cells.keep_inplace(kept)
        self.weight, self.elapsed_s = self.weight[kept], self.elapsed_s[kept]
        self.soc_error, self.soh_error = self.soc_error[kept], self.soh_error[kept]
        self.n = self.cells.n

    def allowed_c(self) -> Floats:
        """The shield's bound, from what the BMS thinks."""
        soc = np.clip(self.cells.soc + self.soc_error, 0.0, 1.0)
        soh = 1.0 - self.cells.capacity_loss + self.soh_error
        return allowed_c(soc, soh, self.cells.temperature_c, self.limits)

    def seen(self) -> Floats:
        """What a BMS knows, in the order of ADVICE_INPUTS. (n, 8)"""
        cells = self.cells
        soc = np.clip(cells.soc + self.soc_error, 0.0, 1.0)
        soh = 1.0 - cells.capacity_loss + self.soh_error
        temperature_c = cells.temperature_c
        return np.column_stack(
            [
                soc,
                cells.voltage_v,
                cells.current_c,
                temperature_c,
                cells.ambient_c,
                soh,
                allowed_c(soc, soh, temperature_c, self.limits),
                self.weight,
            ]
        )

    def step_inplace(
        self,
        current_c: Floats,
        cut_v: Floats | None = None,
        *,
        shielded: bool = True,
        watch: Watcher | None = None,
    ) -> tuple[Floats, Bools, Bools]:
        """One decision: reward, whether the charge is done, whether it is given up. (n,) each."""
        cells = self.cells
        for group in cells.groups:
            group.conditions.voltage_max_v[:] = CHARGER_V if cut_v is None else cut_v[group.part]
        before, began = cells.capacity_loss, cells.soc
        running = np.ones(self.n, dtype=bool)
        lasted_s = np.zeros(self.n)
        for _ in range(round(DECISION_S / STEP_S)):
            was = cells.soc
            held_c = np.minimum(current_c, self.allowed_c()) if shielded else current_c
            cells.step_inplace(np.where(running, held_c, 0.0), STEP_S)
            if watch is not None:
                watch.see()
            now = cells.soc
            ends = running & (now >= END_SOC)
            share = np.where(ends, (END_SOC - was) / np.maximum(now - was, 1e-12), 1.0)
            lasted_s += np.where(running, STEP_S * share, 0.0)
            running &= ~ends
        loss = cells.capacity_loss - before
        self.elapsed_s += lasted_s
        given_up = running & (self.elapsed_s >= LONGEST_S)
        if self.reward == "course":
            worth = rewards.course(loss, self.elapsed_s)
        else:
            charged = (np.minimum(cells.soc, END_SOC) - began) / (END_SOC - START_SOC)
            worth = rewards.scaled(loss, lasted_s, charged, self.weight, cells.ambient_c)
            missing = (END_SOC - cells.soc) / (END_SOC - START_SOC)
            worth = worth + np.where(given_up, UNFINISHED * missing, 0.0)
        return worth, ~running, given_up

    def _draw(self) -> tuple[Floats, Floats, Floats]:
        def even(ends: tuple[float, float]) -> Floats:
            return self.rng.uniform(*ends, self.n)

        return even(self.scene.soc), even(self.scene.soh), even(self.scene.ambient_c)
