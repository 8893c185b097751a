"""The newest known value of what charging advice needs, kept as frames go by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.charging.advice import ChargeState, charge_state
from monitor.contract import AssetConfig, Frame, as_list
from monitor.kernels.columns import Result

Floats = NDArray[np.float64]

LOOK = 200


class Newest:
    """The newest known value of everything that advice needs, as frames go through an engine."""

    def __init__(self, cells: int) -> None:
        self.soc, self.soh, self.voltage_v, self.temperature_c = np.full((4, cells), np.nan)
        self.current_a = self.ambient_c = float("nan")

    def take(self, frames: Sequence[Frame], rows: Sequence[NDArray[np.float32] | None]) -> None:
        """A batch of frames and their result rows; its last `LOOK` frames tell what is newest."""
        for frame, row in zip(frames[-LOOK:], rows[-LOOK:], strict=True):
            self.look(frame, row)

    def look(self, frame: Frame, row: NDArray[np.float32] | None) -> None:
        """One frame and its result rows, a row a cell."""
        for cell, volts in enumerate(as_list(frame.voltage_v)[: len(self.soc)]):
            if volts is not None:
                self.voltage_v[cell] = volts
        warm = [value for value in as_list(frame.temperature_c) if value is not None]
        if warm:
            self.temperature_c[:] = max(warm)
        if frame.current_a is not None:
            self.current_a = frame.current_a
        if frame.ambient_c is not None:
            self.ambient_c = frame.ambient_c
        if row is not None:
            for values, column in ((self.soc, Result.SOC), (self.soh, Result.SOH)):
                found = np.asarray(row[:, column], dtype=np.float64)
                known = ~np.isnan(found)
                values[: len(found)][known] = found[known]

    def state(self, config: AssetConfig) -> ChargeState:
        """What is known now."""
        return charge_state(
            config,
            soc=self.soc,
            soh=self.soh,
            voltage_v=self.voltage_v,
            temperature_c=self.temperature_c,
            current_a=self.current_a,
            ambient_c=self.ambient_c,
        )
