"""State of health in a report: what was estimated, what was measured, how far to trust it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.report.record import Estimated, Health, HeldOut, Knee, Measured
from monitor.contract import CycleSummary
from monitor.models.onnx import Card

if TYPE_CHECKING:
    from analysis.report.material import Material

END_OF_LIFE = 0.7
TRUTH_WITHIN_MS = 600_000  # from the start of a published discharge to the current's
TREND = 100  # complete discharges that the present fade is read from
TREND_LEAST = 10
WHOLE_CHARGE = "whole charge"  # the view in the SOH model's card


def measured_of(
    cycles: Sequence[CycleSummary], truths: Sequence[tuple[int, float]], nominal_ah: float
) -> dict[tuple[str, int], Measured]:
    """What every complete discharge gave, in order, by kind and number of the half-cycle.

    The recording's own figure where it has one, as `cellpulse forecast` has it, else the monitor's
    coulomb count.
    """
    starts = [start for start, _ in truths]
    found: dict[tuple[str, int], Measured] = {}
    for cycle in cycles:
        if cycle.kind != "discharge" or not cycle.complete:
            continue
        k = bisect_left(starts, cycle.start_ms)
        near = [j for j in (k - 1, k) if 0 <= j < len(starts)]
        best = min(near, key=lambda j: abs(starts[j] - cycle.start_ms), default=None)
        published = best is not None and abs(starts[best] - cycle.start_ms) <= TRUTH_WITHIN_MS
        soh = truths[best][1] if published and best is not None else cycle.capacity_ah / nominal_ah
        found[cycle.kind, cycle.number] = Measured(
            soh, soh * nominal_ah, cycle.number, cycle.end_ms, published
        )
    return found


def health_of(
    material: Material,
    cycles: Sequence[CycleSummary],
    measured: Mapping[tuple[str, int], Measured],
    card: Card | None,
) -> Health:
    """The state of health of one cell from its half-cycles in order."""
    known = list(measured.values())
    answered = [c for c in cycles if c.soh is not None and c.soh_state == "ok"]
    doubtful = [c for c in cycles if c.soh is not None and c.soh_state == "unlike_training"]
    newest = answered[-1] if answered else doubtful[-1] if doubtful else None
    return Health(
        end_of_life=material.config.limits.soh_end_of_life or END_OF_LIFE,
        estimated=None if newest is None else _estimated(newest),
        state=cycles[-1].soh_state if cycles else "not_enough_seen",
        answered=len(answered),
        asked=len(cycles),
        measured=known[-1] if known else None,
        first_measured=known[0] if known else None,
        fade_per_100=_fade_per_100(known),
        held_out=held_out(card, material.config.cell_type),
        in_training=card is not None and material.asset in card.training_data,
        knee=_knee(known),
    )


def held_out(card: Card | None, cell_type: str | None) -> HeldOut | None:
    """The card's error on cells of this family that its fit never saw; None where it has none."""
    if card is None or cell_type is None:
        return None
    lines: list[dict[str, Any]] = [
        line
        for line in card.metrics.get(cell_type.partition("-")[0], [])
        if isinstance(line, dict) and line.get("view") == WHOLE_CHARGE and line.get("rmse")
    ]
    if not lines:
        return None
    return HeldOut(
        len(lines),
        float(np.mean([line["rmse"] for line in lines])) / 100.0,
        max(float(line["worst"]) for line in lines) / 100.0,
        float(np.mean([line["coverage"] for line in lines])),
    )


def _estimated(cycle: CycleSummary) -> Estimated | None:
    if cycle.soh is None or cycle.soh_low is None or cycle.soh_high is None:
        return None
    return Estimated(
        cycle.soh, cycle.soh_low, cycle.soh_high, cycle.soh_state, cycle.kind, cycle.number,
        cycle.end_ms,
    )  # fmt: skip


def _fade_per_100(known: Sequence[Measured]) -> float | None:
    from recordings.analysis import growth_per_cycle

    recent = known[-TREND:]
    if len(recent) < TREND_LEAST:
        return None
    soh = np.array([one.soh for one in recent])
    per_cycle = growth_per_cycle(np.arange(len(recent), dtype=np.float64), soh)
    return None if per_cycle is None else -100.0 * per_cycle


def _knee(known: Sequence[Measured]) -> Knee:
    from recordings.knee import AGREE_SHARE, MIN_POINTS, find_knee

    if len(known) < MIN_POINTS:
        return Knee("too_few", None, None)
    at = np.arange(1, len(known) + 1, dtype=np.float64)
    found = find_knee(at, np.array([one.soh for one in known]))
    first, second = found.bacon_watts, found.kneedle
    if first is None and second is None:
        return Knee("none", None, None)
    if first is None or second is None or abs(first - second) > AGREE_SHARE * len(known):
        return Knee("unclear", first, second)
    return Knee("found", first, second)
