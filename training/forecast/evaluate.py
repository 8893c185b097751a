"""What is measured of the forecasts: every cell from the others, with the targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from monitor.fade import FadeTracker
from training.figures import Figure, figure, report
from training.forecast import net as forecast_net
from training.forecast.command import (
    END_OF_LIFE,
    GROUPS,
    HIDDEN,
    SOURCES,
    Budget,
    Curves,
    LeftOut,
    Progress,
    all_left_out,
    half_widths,
    load,
    told_by_net,
)
from training.resume import key_of, remembered


class OtherNetwork(Struct, frozen=True):
    """A network that is not shipped on one cell left out: MAE of the next ten cycles, %SOH."""

    name: str
    group: str
    cell: str
    next_ten: float


def evaluate(
    data: Path, seed: int = 0, progress: Progress = print, cache: Path | None = None,
    budget_s: float | None = None,
) -> tuple[dict[str, Any], dict[str, LeftOut], list[str]]:  # fmt: skip
    """The `--json` object, the lines behind it, and what a budget in seconds left out.

    A step that has begun is ended, so a run takes up to one network's training longer.
    """
    budget = Budget(budget_s)
    curves, hashes = load(data, progress)
    found = all_left_out(curves, seed, progress, cache, hashes, budget)
    figures = figures_of(found, budget.note) + knee_figures(curves)
    others = other_networks(curves, seed, progress, cache, hashes, budget)
    for name in dict.fromkeys(one.name for one in others):
        for group, names in GROUPS.items():
            errors = [one.next_ten for one in others if (one.name, one.group) == (name, group)]
            if not errors:
                continue
            figures.append(
                figure(f"{group} next 10 cycles, MAE, {name}", float(np.mean(errors)), "%SOH", None,
                       "lower", f"{group}: each cell from the others; mean of {len(errors)} of "
                       f"{len(names)} cells{budget.note}")
            )  # fmt: skip
    return report("evaluate forecast", hashes, figures), found, budget.left_out


def figures_of(found: Mapping[str, LeftOut], note: str = "") -> list[Figure]:
    """Means over each group's cells, with the targets."""
    targets = {
        "nasa": {"ten": 0.92, "rest": 2.3, "life": 12.0},
        "calce": {"ten": 0.70, "rest": 3.6, "life": 60.0},
    }
    lines: list[Figure] = []
    for group, names in GROUPS.items():
        own = [found[cell] for cell in names if cell in found]
        if not own:
            continue
        how = f"{group}: each cell from the others; mean of {len(own)} cells{note}"
        for method in own[0].next_ten:
            one = float(np.mean([line.next_one[method] for line in own]))
            ten = float(np.mean([line.next_ten[method] for line in own]))
            target = targets[group]["ten"] if method == "LSTM" else None
            lines.append(
                figure(f"{group} next cycle, MAE, {method}", one, "%SOH", None, "lower", how)
            )
            lines.append(
                figure(f"{group} next 10 cycles, MAE, {method}", ten, "%SOH", target, "lower", how)
            )
        for method in own[0].rest:
            value = float(np.mean([line.rest[method] for line in own]))
            target = targets[group]["rest"] if method == "template" else None
            lines.append(
                figure(
                    f"{group} first 50 to the rest, MAE, {method}",
                    value,
                    "%SOH",
                    target,
                    "lower",
                    how,
                )
            )
        for method in own[0].life:
            known = [line.life[method] for line in own]
            ended = [value for value in known if value is not None]
            target = targets[group]["life"] if method == "template" else None
            lines.append(
                figure(
                    f"{group} remaining life at cycle 50, MAE, {method}",
                    float(np.mean(ended)) if ended else None,
                    "cycles",
                    target,
                    "lower",
                    f"{how}; {len(ended)} of them reach {END_OF_LIFE:.0%}",
                )
            )
        if len(own) < 2:  # an interval comes from other cells' errors
            continue
        covered, width = [], []
        for i, line in enumerate(own):
            half = half_widths([other for j, other in enumerate(own) if j != i])
            covered.append(float(np.mean(np.abs(np.array(line.errors)) <= half)))
            width.append(200.0 * float(half.mean()))
        lines.append(
            figure(f"{group} next 10 cycles, coverage of the 90 % interval, LSTM",
                   float(np.mean(covered)), "share", None, "higher", how)
        )  # fmt: skip
        lines.append(
            figure(f"{group} next 10 cycles, width of the 90 % interval, LSTM",
                   float(np.mean(width)), "%SOH", None, "lower", how)
        )  # fmt: skip
    return lines


def knee_figures(curves: Curves) -> list[Figure]:
    """Where the monitor's online tracker notices a knee in each cell's measured life."""
    out = []
    for cell, (_, series) in curves.items():
        tracker = FadeTracker()
        for soh in series:
            tracker.update(float(soh))
        noticed = tracker.now().knee_cycle
        out.append(
            figure(f"{cell} knee noticed online at", None if noticed is None else float(noticed),
                   "cycle", None, "lower",
                   f"of {len(series)} cycles; thresholds set with these cells in view")
        )  # fmt: skip
    return out


def other_networks(
    curves: Curves, seed: int, progress: Progress, cache: Path | None, hashes: Mapping[str, str],
    budget: Budget,
) -> list[OtherNetwork]:  # fmt: skip
    """MAE of the next ten cycles by other hidden sizes and by a Transformer, cells left out."""
    out = []
    for hidden, attention in ((4, False), (64, False), (HIDDEN, True)):
        for group, names in GROUPS.items():
            for cell in names:

                def compute(
                    cell: str = cell, hidden: int = hidden, attention: bool = attention
                ) -> float:
                    told = told_by_net(curves, cell, seed, hidden, attention)
                    truth = forecast_net.examples(curves[cell][1])[1]
                    return 100.0 * float(np.mean(np.abs(told - truth)))

                key = key_of("other network", cell, seed, hidden, attention,
                             sorted(hashes.items()), sources=SOURCES)  # fmt: skip
                name = "Transformer" if attention else f"LSTM, {hidden} hidden"
                if not budget.allows(f"{name}, {cell}"):
                    continue
                error = remembered(cache, key, float, compute)
                progress(f"{name}, {cell}: next ten {error:.2f} %SOH")
                out.append(OtherNetwork(name, group, cell, error))
    return out


def to_json(result: Mapping[str, Any]) -> str:
    """One line for `--json`."""
    return json.dumps(msgspec.to_builtins(result))
