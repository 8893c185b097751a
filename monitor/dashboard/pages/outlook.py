"""What the page says of a cell's future: the next cycles, the end of its life, its knee. Pure.

Computed once a finished discharge, in a thread; the numbers are those of `monitor.models.forecast`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from monitor.contract import AssetConfig, CycleSummary
from monitor.errors import ModelError
from monitor.models.forecast import (
    AHEAD,
    FARTHEST,
    HISTORY,
    ForecastModel,
    forecast_series,
    measured,
)

LONGEST = 400  # cycles that are drawn
POINTS = 120
PACE = 50  # cycles whose usual distance in time carries the forecast onto the time axis


class Outlook(Struct, frozen=True):
    """A forecast as the page draws it. SOH in fractions; `step` counts cycles from the last."""

    state: Literal["ok", "few", "family"]  # few: too few cycles; family: not trained on these cells
    seen: int  # complete discharges
    needs: int
    end_of_life: float | None
    knee_cycle: int | None = None  # number of the discharge at which it was noticed
    knee_ms: int | None = None
    last_ms: int | None = None
    cycle_ms: int | None = None  # usual time from one discharge to the next
    step: list[int] = []
    soh: list[float] = []
    low: list[float] = []
    high: list[float] = []
    ahead: int = AHEAD  # cycles of the network; behind them other cells' curves
    remaining: int | None = None  # cycles until SOH is below the end of life; None: not seen
    remaining_low: int | None = None
    remaining_high: int | None = None
    farthest: int = FARTHEST


def outlook(
    model: ForecastModel, asset: str, config: AssetConfig, cycles: Sequence[CycleSummary]
) -> Outlook:
    """The outlook of one cell from its finished half-cycles, oldest first."""
    end_of_life = config.limits.soh_end_of_life
    full = [c for c in cycles if c.kind == "discharge" and c.complete]
    newest = next((c for c in reversed(cycles) if c.knee_cycle is not None), None)
    number = None if newest is None else newest.knee_cycle
    at = [c.end_ms for c in cycles if newest is not None
          and c.kind == newest.kind and c.number == number]  # fmt: skip
    told = Outlook(
        "few", len(full), HISTORY, end_of_life, number, at[-1] if at else None,
        full[-1].end_ms if full else None,
    )  # fmt: skip
    try:
        model.family(config.cell_type)
    except ModelError:
        return replace(told, state="family")
    if len(full) < HISTORY:
        return told
    found = forecast_series(
        model, asset, config.cell_type, measured(full, config.nominal_capacity_ah),
        end_of_life=0.0 if end_of_life is None else end_of_life, ahead=LONGEST,
    )  # fmt: skip
    shown = LONGEST
    if found.remaining is not None:
        shown = min(LONGEST, max(2 * AHEAD, found.remaining + 20))
    step = sorted({*range(AHEAD), *np.linspace(AHEAD, shown - 1, POINTS).astype(int).tolist()})
    pace = np.diff([c.end_ms for c in full[-PACE:]])
    known = end_of_life is not None
    return replace(
        told,
        state="ok",
        cycle_ms=int(np.median(pace)),
        step=[k + 1 for k in step],
        soh=found.soh[step].round(4).tolist(),
        low=found.low[step].round(4).tolist(),
        high=found.high[step].round(4).tolist(),
        remaining=found.remaining if known else None,
        remaining_low=found.remaining_low if known else None,
        remaining_high=found.remaining_high if known else None,
    )
