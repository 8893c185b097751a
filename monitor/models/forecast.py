"""The forecast of a cell's fade: the next ten cycles, the long run, the remaining cycles. Pure.

The ONNX network gives the next ten cycles with a 90 % interval; beyond them the curves of the
training cells, which travel in the model's metadata, are laid on (`fade_curves`). History is
measured capacity: complete discharges, in order, a cycle each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.contract import CycleSummary
from monitor.errors import ModelError
from monitor.models.fade_curves import Template
from monitor.models.onnx import Card, single_threaded

Floats = NDArray[np.float64]

HISTORY = 50  # cycles that a forecast wants to have seen
AHEAD = 10  # cycles that the network forecasts
FARTHEST = 2000  # cycles


@dataclass(frozen=True, slots=True)
class Forecast:
    """SOH as fractions; entry h - 1 is the cycle `seen` + h."""

    asset: str
    history: Floats  # (seen,)
    soh: Floats  # (ahead,)
    low: Floats  # (ahead,), of the 90 % interval
    high: Floats
    end_of_life: float  # threshold
    remaining: int | None  # cycles until the forecast is below it; None: not within FARTHEST
    remaining_low: int | None  # until the low end of the interval is
    remaining_high: int | None

    @property
    def seen(self) -> int:
        """How many cycles were seen."""
        return len(self.history)


class ForecastModel:
    """The committed ONNX with its templates."""

    def __init__(self, onnx: bytes, card: Card) -> None:
        """Raises ModelError where card and model do not belong together."""
        self.card = card
        if hashlib.sha256(onnx).hexdigest() != card.onnx_sha256:
            raise ModelError("model forecast: the file is not the one that its card describes")
        self._session = single_threaded(onnx, "forecast")
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.templates: list[dict[str, Any]] = json.loads(metadata["templates"])

    def next_cycles(self, history: Floats, family: int) -> tuple[Floats, Floats, Floats]:
        """SOH, low and high (n, AHEAD) from histories (n, HISTORY) of one family."""
        soh, low, high = self._session.run(
            None,
            {
                "history": history.astype(np.float32),
                "family": np.full(len(history), family, np.int64),
            },
        )
        return (
            np.asarray(soh, dtype=np.float64),
            np.asarray(low, dtype=np.float64),
            np.asarray(high, dtype=np.float64),
        )

    def family(self, cell_type: str | None) -> int:
        """The index of a family of cells. Raises ModelError for one that it never saw."""
        for index, template in enumerate(self.templates):
            if template["cell_type"] == cell_type:
                return index
        known = ", ".join(str(template["cell_type"]) for template in self.templates)
        raise ModelError(f"model forecast: cells of type {cell_type} were not trained on ({known})")


def forecast_series(
    model: ForecastModel,
    asset: str,
    cell_type: str | None,
    series: Floats,
    *,
    ahead: int | None = None,
    end_of_life: float = 0.7,
) -> Forecast:
    """Forecast a cell from the SOH of its cycles (n,), until end of life or for `ahead` cycles.

    Raises ModelError for a family that was not trained on, and for fewer than HISTORY cycles.
    """
    family = model.family(cell_type)
    if len(series) < HISTORY:
        raise ModelError(f"{asset}: {len(series)} complete discharges; a forecast needs {HISTORY}")
    near, near_low, near_high = (
        part[0] for part in model.next_cycles(series[None, -HISTORY:], family)
    )
    spec = model.templates[family]
    curves = tuple(np.array(curve) for curve in spec["curves"])
    template = Template(curves, tuple((a, b) for a, b in spec["exponents"]))
    far = template.forecast(series, FARTHEST)
    soh = np.concatenate([near, far[AHEAD:] + (near[-1] - far[AHEAD - 1])])
    steps = np.arange(1, FARTHEST + 1)
    half = np.interp(
        np.sqrt(steps),  # errors grow about as a random walk's between the horizons kept
        np.sqrt(np.array(spec["interval_at"], dtype=np.float64)),
        np.array(spec["interval_half"]),
    )
    low, high = soh - half, soh + half
    low[:AHEAD], high[:AHEAD] = near_low, near_high
    remaining, soonest, latest = (_first_below(part, end_of_life) for part in (soh, low, high))
    shown = ahead if ahead is not None else min(FARTHEST, max(60, 20 + (remaining or 200)))
    return Forecast(
        asset, series, soh[:shown], low[:shown], high[:shown], end_of_life,
        remaining, soonest, latest,
    )  # fmt: skip


def measured(cycles: Iterable[CycleSummary], nominal_ah: float) -> Floats:
    """SOH of a cell's complete discharges, in order."""
    return np.array(
        [c.capacity_ah / nominal_ah for c in cycles if c.kind == "discharge" and c.complete]
    )


def _first_below(series: Sequence[float] | Floats, threshold: float) -> int | None:
    below = np.flatnonzero(np.asarray(series) < threshold)
    return int(below[0]) if len(below) else None
