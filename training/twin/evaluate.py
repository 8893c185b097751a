"""Check the calibrated twin on cells that it was not calibrated with.

Voltage and temperature: the twin starts each cycle full, at the recorded temperature, with the
health (capacity, resistance) that the cell's previous discharge showed, and is driven through the
recorded current of a discharge, the rest and the charge after it. Voltage counts while the load is
on, temperature over the whole cycle. Fade: the twin is driven through the cell's recorded current;
the fade of windows of 100 cycles is compared, with the ageing law alone and with its rate corrected
by what the cell had shown before the window.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulator.twin import Tables, load_parameters
from simulator.twin_cycles import Cycle, assimilate, life, read_cycles
from training.figures import Figure, figure, report
from training.twin.calibrate import CALIBRATION_CELLS

Floats = NDArray[np.float64]

HELD_OUT = ("B0007", "B0018")
FADE_CYCLES = 100
_ENDS = 5
_PRIOR_LOSS = 0.3


def cycle_errors(cycles: Sequence[Cycle], tables: Tables, every: int) -> Floats:
    """RMSE of voltage under load (V) and of temperature (C) of every few cycles. (n, 2)"""
    rows = []
    for index in range(1, len(cycles) - 1, every):
        cycle = cycles[index]
        loss, resistance_scale = assimilate(cycles[index - 1], tables)
        run = cycle.run(tables, loss=loss, resistance_scale=resistance_scale)
        trusted = cycle.weight > 0
        loaded = cycle.discharging & trusted & (cycle.voltage_v >= 2.7)
        wrong_v = (run.output.voltage_v - cycle.voltage_v)[loaded]
        wrong_c = (run.temperature_c - cycle.temperature_c)[trusted]
        rows.append([np.sqrt(np.mean(wrong_v**2)), np.sqrt(np.mean(wrong_c**2))])
    return np.array(rows)


@dataclass(frozen=True, slots=True)
class Fade:
    """Measured and predicted capacity loss of one cell after each of its cycles."""

    measured: Floats
    predicted: Floats

    @classmethod
    def of(cls, cycles: Sequence[Cycle], tables: Tables) -> Fade:
        """The fade of cycles in order, smoothed."""
        losses = np.array([cycle.loss for cycle in cycles])
        # Capacity regenerates after rests: a median of five cycles says where it stands.
        around = np.lib.stride_tricks.sliding_window_view(np.pad(losses, 2, mode="edge"), _ENDS)
        return cls(np.median(around, axis=1), life(cycles, tables))

    def error(self, first: int, own_history: bool) -> float:
        """Predicted less measured fade over 100 cycles from `first` on, in SOH points.

        With `own_history` the law's rate is corrected by what the cell has shown before `first`,
        which weighs against the law as much as it has faded beside `_PRIOR_LOSS`.
        """
        last = first + FADE_CYCLES - 1
        scale = 1.0
        if own_history:
            seen = self.measured[first] - self.measured[0] + _PRIOR_LOSS
            scale = seen / (self.predicted[first] - self.predicted[0] + _PRIOR_LOSS)
        predicted = scale * (self.predicted[last] - self.predicted[first])
        return float(100.0 * (predicted - (self.measured[last] - self.measured[first])))


def evaluate(directory: Path, cells: Sequence[str], tables: Tables, every: int) -> list[Figure]:
    """All figures, cell by cell. Raises RecordingError where a recording cannot be read."""
    figures = []
    for cell in cells:
        cycles = read_cycles(directory / f"{cell}.parquet")
        errors = cycle_errors(cycles, tables, every)
        note = f"{cell}, every {every}th of {len(cycles)} cycles, health from the cycle before"
        voltage, temperature = errors[:, 0] * 1000.0, errors[:, 1]
        figures.append(_lower(f"{cell} voltage RMSE, median", np.median(voltage), "mV", 30, note))
        figures.append(
            _lower(f"{cell} voltage RMSE, 95 %", np.quantile(voltage, 0.95), "mV", None, note)
        )
        figures.append(
            _lower(f"{cell} temperature RMSE, median", np.median(temperature), "C", 1.5, note)
        )
        figures.append(
            _lower(
                f"{cell} temperature RMSE, 95 %", np.quantile(temperature, 0.95), "C", None, note
            )
        )
        starts = range(0, len(cycles) - FADE_CYCLES, 10)
        if len(starts):
            fade = Fade.of(cycles, tables)
            note = f"{cell}, {len(starts)} windows of 100 cycles, ten cycles apart; mean |error|"
            for own, name in ((False, "fade in 100 cycles, law alone"), (True, "with own history")):
                wrong = np.abs([fade.error(start, own) for start in starts]).mean()
                figures.append(_lower(f"{cell} {name}", wrong, "%SOH", 3, note))
    return figures


def _lower(name: str, value: float, unit: str, target: float | None, protocol: str) -> Figure:
    return figure(name, value, unit, target, "lower", protocol, digits=3)


def run(
    data: Path,
    *,
    as_json: bool = False,
    parameters: str = "nasa-18650",
    cells: Sequence[str] = HELD_OUT,
    every: int = 5,
) -> None:
    """Evaluate and print. Raises RecordingError or ParameterError where something is missing."""
    directory = data / "nasa" / "tidy"
    figures = evaluate(directory, cells, load_parameters(parameters).tables(), every)
    if as_json:
        print(json.dumps(_result(directory, cells, figures), indent=1))
        return
    print(f"twin calibrated on {', '.join(CALIBRATION_CELLS)}, checked on other cells")
    for one in figures:
        target = "" if one.target is None else f"  target {one.target:g}"
        met = {None: "", True: "  met", False: "  MISSED"}[one.met]
        print(f"{one.name:36s} {one.value:8.2f} {one.unit:5s}{target}{met}")


def _result(directory: Path, cells: Sequence[str], figures: Sequence[Figure]) -> Any:
    names = [f"{cell}.parquet" for cell in cells]
    data = {n: hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in names}
    return msgspec.to_builtins(report("evaluate twin", data, figures))
